"""The verbs ``fit``, ``validate``, ``test`` and ``predict``, whose options Lightning's parser reads."""

from pathlib import Path

from fm_unroll.errors import InputError
from fm_unroll.training.run import latest_checkpoint, run


def train(args: list[str]) -> None:
    """Train, validate, test or predict.

    Args:
        args: the command line from the verb on. ``fit --resume RUN_DIR`` stands for that run's own config and
            its latest checkpoint.
    """
    run(resume(args))


def resume(args: list[str]) -> list[str]:
    """Spell out ``--resume RUN_DIR``."""
    if "--resume" not in args:
        return args
    position = args.index("--resume")
    run_dir = Path(*args[position + 1 : position + 2])
    config = run_dir / "config.yaml"
    if not config.is_file():
        raise InputError(f"cannot resume {run_dir}: {config} is missing")
    spelled_out = ["--config", str(config), "--ckpt_path", str(latest_checkpoint(run_dir))]
    return [*args[:position], *spelled_out, *args[position + 2 :]]
