"""Weights that were trained elsewhere as a checkpoint, with what is known of their training."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning
import torch

from fm_unroll.errors import InputError
from fm_unroll.files import file_sha256
from fm_unroll.methods import folder_name
from fm_unroll.models.checkpoints import NETWORK
from fm_unroll.physics import EquispacedSampling, RandomSampling, SamplingPattern
from fm_unroll.physics.sampling import CenterFractionSampling
from fm_unroll.subjects.population import Population
from fm_unroll.subjects.split import Split, split_content
from fm_unroll.training.fastmri_weights import named_as_ours, read_fastmri_weights, sizes_of
from fm_unroll.training.task import ReconstructionTask

Anatomy = Literal["knee", "brain"]
TrainedOn = Literal["train", "train+val", "unknown"]

# parts of fastMRI's data that each word leaves out
UNSEEN: dict[TrainedOn, tuple[str, ...]] = {
    "train": ("multicoil_val", "multicoil_test", "multicoil_test_full", "multicoil_challenge"),
    "train+val": ("multicoil_test", "multicoil_test_full", "multicoil_challenge"),
    "unknown": (),
}
# Masks of training: fastmri_examples/varnet/README.md, and the scripts beside it of the published networks,
# where center fractions 0.08 and 0.04 belong to accelerations 4 and 8.
PATTERNS: dict[Anatomy, type[CenterFractionSampling]] = {"knee": RandomSampling, "brain": EquispacedSampling}
CENTER_LINES = 0.32  # center fraction times acceleration


@dataclass(frozen=True)
class Training:
    """What is known of the training of weights.

    Attributes:
        name: what tables call it.
        anatomy: of fastMRI's data.
        trained_on: the folders of these data.
        accelerations: of the masks.
    """

    name: str
    anatomy: Anatomy
    trained_on: TrainedOn
    accelerations: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse accelerations that no mask has."""
        for acceleration in self.accelerations:
            replace(self.sampling, acceleration=acceleration)

    @property
    def sampling(self) -> SamplingPattern:
        """The masks that ``reconstruct`` takes: of the least acceleration, as fastMRI's scripts draw them."""
        acceleration = min(self.accelerations)
        return PATTERNS[self.anatomy](acceleration, min(CENTER_LINES / acceleration, 1))

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data, as :meth:`fm_unroll.data.modules.KSpaceData.facts` does.

        Nobody noted ids of subjects, sizes or the seed: they are left out, not guessed.
        """
        low, high = float(min(self.accelerations)), float(max(self.accelerations))
        return {
            "encoders": [],
            "anatomy": self.anatomy,
            "synthetic": False,
            "acceleration": low if low == high else [low, high],
            "sampling": self.sampling.to_config(),
            "population": asdict(Population("fastMRI", edition=self.anatomy, synthetic=False)),
            "subjects": split_content(Split((), (), ())),
            "all_but": list(UNSEEN[self.trained_on]),
            "seed": float("nan"),
            "imported": self.name,
        }


# https://github.com/facebookresearch/fastMRI, fastmri_examples/varnet: run_pretrained_varnet_inference.py has
# the names, README.md the folders, varnet_reproduce_20201111 the accelerations. It states no hashes.
PUBLISHED = {
    f"{anatomy}_leaderboard_state_dict.pt": Training(f"fastMRI_{anatomy}", anatomy, "train+val", (4.0, 8.0))
    for anatomy in PATTERNS
}


def settle_training(
    path: Path, anatomy: Anatomy | None, trained_on: TrainedOn | None, accelerations: tuple[float, ...]
) -> Training:
    """What was given, and for the rest what is known of a published file by its name.

    Args:
        path: the weights.
        anatomy: None: not given.
        trained_on: None: not given.
        accelerations: empty: not given.

    Raises:
        InputError: something is not given and not known, contradicts the file's name, or cannot be.
    """
    known = PUBLISHED.get(path.name)
    given = {"anatomy": anatomy, "trained_on": trained_on, "accelerations": accelerations}
    if known is not None:
        for name, value in given.items():
            if value and value != getattr(known, name):
                raise InputError(
                    f"--{name} contradicts {path}, which is fastMRI's {known.anatomy} network by its name: "
                    f"leave out --{name}, or give the file another name"
                )
        return known
    if anatomy is None or trained_on is None or not accelerations:
        raise InputError(
            f"{path} is no file that fastMRI publishes, by its name: give --anatomy, --trained_on and "
            "--accelerations"
        )
    return Training(folder_name(path.stem), anatomy, trained_on, accelerations)


def import_fastmri(path: Path, training: Training) -> dict[str, Any]:
    """Weights of fastMRI's E2E-VarNet as the content of a checkpoint.

    Args:
        path: see :func:`~fm_unroll.training.fastmri_weights.read_fastmri_weights`.
        training: what is known of their training.

    Raises:
        InputError: they cannot be read, or are not of one such network.
    """
    tensors = read_fastmri_weights(path)
    ours = named_as_ours(tensors, path)
    settings: dict[str, Any] = dict(sizes_of(tensors))
    with torch.device("meta"):  # the settings alone are wanted
        task = ReconstructionTask(method="varnet", **settings)
    return {
        "state_dict": {NETWORK + name: tensor for name, tensor in ours.items()},
        "hyper_parameters": dict(task.hparams),
        # the file's hash tells it from other weights; nothing else of the recipe is known
        "fm_unroll": training.facts() | {"recipe": {"imported": file_sha256(path)}},
        "epoch": float("nan"),
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
    }
