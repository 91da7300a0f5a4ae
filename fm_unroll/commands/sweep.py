"""The verb ``sweep``."""

from pathlib import Path

from fm_unroll.training.sweep import run_sweep


def sweep(file: Path, max_runs: int | None = None, output: Path = Path("runs/sweeps")) -> None:
    """Run a W&B sweep file on this machine: what is finished is not done again, what was interrupted goes on.

    Args:
        file: a sweep file, as for ``wandb sweep``.
        max_runs: start at most so many runs; grid sweeps end by themselves.
        output: the sweep's record and its runs go into a folder of it that has the file's name.
    """
    run_sweep(file, max_runs, output)
