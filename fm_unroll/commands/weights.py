"""The verb ``weights import``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from fm_unroll.errors import InputError
from fm_unroll.files import whole_file
from fm_unroll.training.imported import PUBLISHED, Anatomy, TrainedOn, import_fastmri, settle_training

SUFFIX = ".ckpt"


def import_(
    source: Literal["fastmri"],
    file: Path,
    anatomy: Anatomy | None = None,
    trained_on: TrainedOn | None = None,
    accelerations: Sequence[float] = (),
    output: Path | None = None,
) -> None:
    """Turn weights that were trained elsewhere into a checkpoint, with what is known of their training.

    Nobody is scored whom they may have been trained on. Of fastMRI's knee_leaderboard_state_dict.pt and
    brain_leaderboard_state_dict.pt that is known, by the name of the file; of others the options say it.
    Networks of DIRECT and PromptMR are others than ours: see docs/sharing.md for how they take part.

    Args:
        source: fastmri: a state dict of its VarNet, or a checkpoint of its VarNetModule.
        file: the weights.
        anatomy: knee or brain: of which fastMRI data set.
        trained_on: its folders: train, train+val, or unknown, which may be any. By train you say that val
            took no part, not in selection either.
        accelerations: nominal accelerations of training, such as [4,8].
        output: the checkpoint. Default: runs/imported/NAME.ckpt.
    """
    training = settle_training(file, anatomy, trained_on, tuple(accelerations))
    path = output or Path("runs/imported", training.name + SUFFIX)
    if path.suffix != SUFFIX:
        raise InputError(f"--output {path}: give a name that ends in {SUFFIX}")
    content = import_fastmri(file, training)
    with whole_file(path) as part:
        torch.save(content, part)
    sizes = {name: content["hyper_parameters"][name] for name in ("num_cascades", "chans", "pools")}
    print(
        f"E2E-VarNet with {', '.join(f'{name} {size}' for name, size in sizes.items())}; trained on "
        f"{training.trained_on} of fastMRI {training.anatomy} at "
        f"{' and '.join(f'x{acceleration:g}' for acceleration in training.accelerations)}"
        f"{', by its name' if file.name in PUBLISHED else ''}\nwritten: {path}"
    )
