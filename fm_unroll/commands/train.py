"""The verbs ``fit``, ``validate``, ``test`` and ``predict``, whose options Lightning's parser reads."""

from pathlib import Path

from fm_unroll.errors import InputError
from fm_unroll.training.run import run
from fm_unroll.training.run_folder import latest_checkpoint


def train(args: list[str]) -> None:
    """Train, validate, test or predict.

    Args:
        args: the command line from the verb on. ``fit --resume RUN_DIR`` stands for that run's own config and
            its latest checkpoint. ``fit --resume`` without a folder goes on with this command's own run, or
            begins it.
    """
    if "--resume" not in args:
        run(args)
        return
    if args[0] != "fit":
        raise InputError(f"`{args[0]}` does not go on with a run: give --ckpt_path instead of --resume")
    position = args.index("--resume")
    before, after = args[:position], args[position + 1 :]
    if not after or after[0].startswith("-"):
        run([*before, *after], goes_on=True)
    else:
        run([*before, *spelled_out(Path(after[0])), *after[1:]])


def spelled_out(run_dir: Path) -> list[str]:
    """What ``--resume RUN_DIR`` stands for."""
    config = run_dir / "config.yaml"
    if not config.is_file():
        raise InputError(f"cannot resume {run_dir}: {config} is missing")
    checkpoint = str(latest_checkpoint(run_dir))
    # the config may name another folder, from which the run was moved or copied
    return ["--config", str(config), "--ckpt_path", checkpoint, "--trainer.default_root_dir", str(run_dir)]
