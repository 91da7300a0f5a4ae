"""The folder of a run: its name, what it holds already, and whether a command goes on with it."""

import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.utilities import rank_zero_only

from fm_unroll.data.training_data import TrainingData
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.files import read_json, visible, write_json
from fm_unroll.methods import PAPER, folder_name
from fm_unroll.models.checkpoints import read_checkpoint

# Set by W&B's agent for the runs that it starts. Users set WANDB_RUN_ID themselves as well, to name a run at
# W&B: alone it makes no run of a sweep.
WANDB_SWEEP, WANDB_RUN = "WANDB_SWEEP_ID", "WANDB_RUN_ID"

# Set by `sweep` on one machine, where W&B knows no sweep.
LOCAL_SWEEP = "FM_UNROLL_SWEEP"

# What the reconstructions in a folder are made of.
ORIGIN = "predict.json"

# What a run trains on and is chosen by, as it was when the run began.
VOLUMES = "volumes.json"

NAMED = 5  # volumes in one line

# Methods, behind their physics unless it is the paper's, that configs call by another name.
CALLED = {"varnet": "e2e_varnet", "anchored_varnet_zero": "anchored_unet"}

# What may change while a run goes on: where it computes and where things lie. How its subjects are split is
# compared subject by subject, and the data's seed is that of the run.
MAY_CHANGE = {
    *("config", "ckpt_path", "weights_only", "leave_out"),
    *(f"model.{name}" for name in ("any_encoder", "checkpoint_cascades", "compile", "weights")),
    *(f"data.init_args.{name}" for name in ("num_workers", "release", "root", "seed")),
    *(f"data.init_args.{name}" for name in ("split", "split_file", "split_seed")),
}
# Where the options of one of several data sets stand.
PART_OF_SEVERAL = re.compile(r"data\.init_args\.parts\.\d+\.")
TRAINER_MUST_STAY = {
    *("accumulate_grad_batches", "check_val_every_n_epoch", "gradient_clip_algorithm", "gradient_clip_val"),
    *("limit_train_batches", "limit_val_batches", "precision", "val_check_interval"),
}


def sweep_run() -> str | None:
    """The id of this run if a sweep started it: W&B's agent, or `sweep`."""
    in_sweep = os.environ.get(WANDB_SWEEP) or os.environ.get(LOCAL_SWEEP)
    return os.environ.get(WANDB_RUN) or None if in_sweep else None


def run_folder(config: Namespace) -> Path:
    """Name the folder of a run: the given one, else ``runs/<method>_x<acceleration>/seed<seed>``.

    Before the method stands its physics, unless it is the paper's: ``runs/anchored_clip_x8/seed0``. Of a
    range of accelerations it says both ends, ``varnet_x2-10``. The folder of every config in ``configs/`` has
    the config's name. The runs of a sweep share most of their command: each has a folder below, named by its
    id.
    """
    given, run = config.trainer.default_root_dir, sweep_run()
    if given:
        return Path(given, run) if run and Path(given).name != run else Path(given)
    accelerations = "-".join(f"{each:g}" for each in dict.fromkeys(data_module(config).accelerations))
    method, physics = config.model.method, config.model.physics
    name = method if physics == PAPER else f"{physics}_{method}"
    name = folder_name(CALLED.get(name, name))
    return Path("runs", f"{name}_x{accelerations}", run or f"seed{config.seed_everything}")


def data_module(config: Namespace) -> TrainingData:
    """Make the data module of a resolved config, and nothing else of it; no file is read."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(TrainingData, "data")
    given = Namespace(data=config.data)  # type: ignore[no-untyped-call]  # untyped in jsonargparse
    data: TrainingData = parser.instantiate(given).data
    return data


def is_begun(run_dir: Path) -> bool:
    """Whether a folder holds a run, finished or interrupted."""
    return bool(visible(run_dir / "checkpoints", ".ckpt"))


@rank_zero_only
def refuse_overwriting(run_dir: Path) -> None:
    """Refuse to train over a finished or interrupted run."""
    if is_begun(run_dir):
        raise InputError(
            f"{run_dir} already holds a run: continue it with `fit --resume {run_dir}`, "
            "give another --trainer.default_root_dir, or delete it"
        )


def require_same_config(run_dir: Path, earlier: Any, asked: Any) -> None:
    """Refuse to go on with a run by another config than its own.

    Args:
        run_dir: the run's folder.
        earlier: its resolved config, as plain values.
        asked: that of the command.

    Raises:
        InputError: they differ in something that decides what is trained; the message names each such key.
    """
    if differing := list(differences(earlier, asked, must_stay)):
        raise InputError(
            f"{run_dir} holds a run with another config: {'; '.join(differing)}. "
            "Give the same options, or another --trainer.default_root_dir"
        )


def must_stay(key: str) -> bool:
    """Whether an option decides what is trained."""
    section, _, name = key.partition(".")
    if section == "trainer":
        return name.partition(".")[0] in TRAINER_MUST_STAY
    return PART_OF_SEVERAL.sub("data.", key) not in MAY_CHANGE


def require_same_origin(folder: Path, made_of: Mapping[str, Any]) -> None:
    """Refuse to put reconstructions among those of other data, of another network or with other masks.

    Args:
        folder: what ``predict`` writes into.
        made_of: what its reconstructions will be made of.

    Raises:
        InputError: the folder holds others, or such of which it does not say what they are made of.
    """
    if earlier := read_json(folder / ORIGIN):
        differing = list(differences({key: earlier.get(key) for key in made_of}, made_of))
    else:
        differing = [f"there is no {ORIGIN}"] * bool(visible(folder, ".h5"))
    if differing:
        raise InputError(
            f"{folder} is of other reconstructions: {'; '.join(differing)}. "
            "Delete it, or give another --trainer.default_root_dir"
        )


def differences(earlier: Any, now: Any, counts: Callable[[str], bool] = bool) -> Iterator[str]:
    """In words, each value that differs between nested dictionaries, among those whose dotted name counts."""
    before, after = dict(flattened(earlier)), dict(flattened(now))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key) and counts(key):
            yield f"{key} is {before.get(key)!r} there and {after.get(key)!r} here"


def flattened(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries, and of lists of them, by dotted names."""
    if isinstance(node, list) and node and all(isinstance(each, dict) for each in node):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        yield name, node
        return
    for key, value in node.items():
        yield from flattened(value, f"{name}.{key}" if name else key)


def keep_volumes(run_dir: Path, volumes: Iterable[Volume], checkpoint: Path | None) -> None:
    """Write what a run is given; of a run that goes on keep what it began with, and warn of what has changed.

    Sizes and the target's maximum stand for the content of a volume: they are known at once, and stay the
    same when files are moved, copied or packed.

    Args:
        run_dir: the run's folder.
        volumes: those of training and validation, as they are now.
        checkpoint: what the run goes on from, in its own folder or in another's; None: it begins.
    """
    now = {v.name: [v.num_frames, v.num_slices, *v.shape[:3], v.maximum or 0.0] for v in volumes}
    folders = checkpoint.resolve().parents[:2] if checkpoint else ()
    began = next(filter(None, (read_json(folder / VOLUMES) for folder in folders)), now)
    changed = [name for name in sorted(began.keys() | now) if not _same(began.get(name), now.get(name))]
    if changed:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        warnings.warn(
            f"changed since the run began: {', '.join(changed[:NAMED])}{more}; it goes on with other data",
            stacklevel=2,
        )
    write_json(run_dir / VOLUMES, began)


def _same(began: Sequence[float] | None, now: Sequence[float] | None) -> bool:
    """Whether a volume is the same by its numbers; another machine may round a maximum otherwise."""
    if began is None or now is None or len(began) != len(now):
        return False
    return all(math.isclose(one, other, rel_tol=1e-5) for one, other in zip(began, now, strict=True))


def latest_checkpoint(run_dir: Path) -> Path:
    """Find the checkpoint of a run that has seen most training steps; those that cannot be read do not count.

    Raises:
        InputError: there is none that can be read.
    """
    readable = []
    saved_by_slurm = [path for path in visible(run_dir, ".ckpt") if path.name.startswith("hpc_ckpt_")]
    for path in [*visible(run_dir / "checkpoints", ".ckpt"), *saved_by_slurm]:
        try:
            steps = read_checkpoint(path)["global_step"]
        except InputError as error:
            warnings.warn(f"{error}: passed over", stacklevel=2)
            continue
        readable.append((steps, path.stat().st_mtime_ns, path))
    if not readable:
        raise InputError(
            f"cannot resume {run_dir}: {run_dir / 'checkpoints'} has no checkpoint to go on from"
        )
    return max(readable)[-1]
