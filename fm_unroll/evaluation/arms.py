"""What is compared: trained checkpoints and classical baselines, each with the facts its records need."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fm_unroll.errors import InputError
from fm_unroll.evaluation.records import arm_name
from fm_unroll.files import file_sha256
from fm_unroll.models.classical import CGSense, WaveletCS, ZeroFilled
from fm_unroll.training.task import ReconstructionTask, read_checkpoint

BASELINES: dict[str, Callable[[], nn.Module]] = {
    "zero_filled": ZeroFilled,
    "cg_sense": CGSense,
    "wavelet": WaveletCS,
}


@dataclass(frozen=True)
class Method:
    """One column of every comparison.

    Attributes:
        name: ``build_model``'s method, or a baseline's name.
        load: builds the network; called once, when its turn comes.
        train_acceleration: nominal acceleration it was trained for; NaN for baselines.
        seed: of the training; NaN for baselines.
        sha256: of the checkpoint file; empty for baselines.
        encoder: name, sha256 and weights label of the frozen encoder; empty strings without one.
        trained_on: ``(anatomy, synthetic, subject)`` of all subjects seen in training or used for early
            stopping.
    """

    name: str
    load: Callable[[], nn.Module]
    train_acceleration: float = float("nan")
    seed: float = float("nan")
    sha256: str = ""
    encoder: tuple[str, str, str] = ("", "", "")
    trained_on: frozenset[tuple[str, bool, str]] = frozenset()

    @property
    def arm(self) -> str:
        """What it is called in every comparison."""
        return arm_name(self.name, self.encoder[2])

    @property
    def trained_on_synthetic(self) -> bool:
        """Whether it was trained on phantoms."""
        return any(synthetic for _, synthetic, _ in self.trained_on)

    @property
    def folder(self) -> str:
        """A folder name that is its own for every method and changes with the checkpoint."""
        return f"{self.name.replace('/', '-')}-{self.sha256[:12] or 'classical'}"


def baseline(name: str) -> Method:
    """A classical method by name.

    Raises:
        InputError: no such baseline.
    """
    if name not in BASELINES:
        raise InputError(f"unknown baseline {name!r}: choose from {', '.join(BASELINES)}")
    return Method(name, BASELINES[name])


def trained(path: Path) -> Method:
    """A checkpoint of ``fit`` as a method; its network is built only when it is loaded.

    Raises:
        InputError: no such file, or not a checkpoint of this framework.
    """
    checkpoint = read_checkpoint(path)
    facts = checkpoint["fm_unroll"]
    if "synthetic" not in facts:
        raise InputError(
            f"{path} is of an earlier version and does not say what it was trained on: train again"
        )
    subjects = [*facts["subjects"]["train"], *facts["subjects"]["val"]]
    return Method(
        name=checkpoint["hyper_parameters"]["method"],
        load=lambda: ReconstructionTask.from_checkpoint(path).network,
        train_acceleration=facts["acceleration"],
        seed=facts["seed"],
        sha256=file_sha256(path),
        encoder=(facts["encoder"]["name"], facts["encoder"]["sha256"], facts["encoder"]["weights"]),
        trained_on=frozenset((facts["anatomy"], facts["synthetic"], subject) for subject in subjects),
    )
