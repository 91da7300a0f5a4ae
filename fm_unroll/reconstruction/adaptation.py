"""A network is adapted to one scan by what was measured of it, before the scan is reconstructed.

See :mod:`fm_unroll.models.self_supervision` for the loss. Darestani, Liu and Heckel (ICML 2022,
https://arxiv.org/abs/2204.07204) adapt to one scan as well; they train with a self-supervised loss beside the
supervised one, and show that a network that was trained without it may become worse by adapting. So here a
fifth of the measured lines is held out. A network that predicts these better than CG-SENSE, which was trained
on nothing, fits the scan and stays as it is. Of another a later step is taken only where it predicts them
better than the former, by more than chance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from scipy.special import stdtrit  # quantiles of Student's t; all of scipy.stats takes long to import
from torch import Tensor, nn
from tqdm import tqdm

from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.errors import InputError
from fm_unroll.models.classical import CGSense
from fm_unroll.models.classical.memory import set_apart
from fm_unroll.models.classical.sense import SenseProblem
from fm_unroll.models.self_supervision import (
    FEWEST_LINES,
    HELD_OUT,
    PREDICTED,
    Free,
    free_parameters,
    kspace_loss,
    leave_out,
    lines_to_divide,
    predict_kspace,
    relative_errors,
)
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.physics import SamplingPattern, fft2c
from fm_unroll.reconstruction.engine import accelerate, in_float32
from fm_unroll.reconstruction.volume import Indexed

SLICES = 4  # of a volume at most, evenly spread: what a network is adapted to
EXERCISES = 8  # divisions into given and predicted lines, which come again and again
PATIENCE = 3  # looks
AS_ZEROS = 1e-3  # errors this close to 1 are those of zeros
SURE = 0.9  # how sure a gain must be, by Student's t


@dataclass(frozen=True)
class Adaptation:
    """How a network is adapted.

    Attributes:
        free: the parameters that change: all; step_sizes_and_gates (of the cascades, without denoisers);
            decoder (denoisers alone).
        steps: of Adam, at most.
        learning_rate: of Adam.
        look_every: steps between two looks at the lines that are held out.
        seed: of the lines that are drawn.
    """

    free: Free = "all"
    steps: int = 8
    learning_rate: float = 1e-4
    look_every: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive, and a seed that torch does not take."""
        for name in ("steps", "learning_rate", "look_every"):
            if not getattr(self, name) > 0:
                raise InputError(f"adapt.{name} is {getattr(self, name):g}: give a number above 0")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"adapt.seed is {self.seed}: give a number from 0 to 2^63 - 1")


class Look(NamedTuple):
    """Errors at the lines held out, L1 and L2 relative to what was measured, means over slices.

    Attributes:
        by_line: of each line on its own, float32, ``(2, lines)``.
        together: of all lines, float32, ``(2,)``: the large ones near the centre decide.
    """

    by_line: Tensor
    together: Tensor

    @property
    def loss(self) -> float:
        """Of all lines."""
        return self.together.mean().item()


@dataclass
class Outcome:
    """What came of an adaptation.

    Attributes:
        looks: by step, those after which there was one.
        without_training: the same errors of CG-SENSE.
        chosen: the step that was taken; 0: the network as it was.
        ending: why it ended before its last step; empty if it did not.
    """

    looks: dict[int, Look]
    without_training: Look
    chosen: int = 0
    ending: str = ""

    @property
    def fits(self) -> bool:
        """Whether the network as it is fits the scan: by either error it predicts better than CG-SENSE."""
        return bool((self.looks[0].together < self.without_training.together).any())

    def error(self, step: int) -> float:
        """The loss over the lines held out after a step."""
        return self.looks[step].loss

    def judge(self, step: int) -> bool:
        """Choose the latest step if it is better than the one chosen so far; end if that no longer comes.

        Better is what has less of both errors: of each line on its own, by a one-sided t-test over lines, and
        of all lines together. It ends after ``PATIENCE`` looks without better.

        Returns:
            Whether it is chosen.
        """
        former, latest = self.looks[self.chosen], self.looks[step]
        gains = former.by_line - latest.by_line
        if not gains.isfinite().all():
            self.ending = f"it diverged before step {step}: lower the learning rate"
            return False
        if ((latest.together - 1).abs() < AS_ZEROS).all():
            self.ending = f"by step {step} it predicts nothing any more: lower the learning rate"
            return False
        lines = gains.shape[1]
        sure = stdtrit(lines - 1, SURE).item() * gains.std(1) / math.sqrt(lines)
        better = bool((gains.mean(1) > sure).all() and (latest.together < former.together).all())
        if better:
            self.chosen = step
        elif list(self.looks).index(step) - list(self.looks).index(self.chosen) >= PATIENCE:
            self.ending = f"ended at step {step}, nothing better since"
        return better

    def content(self) -> dict[str, Any]:
        """What a record says of it: steps, errors at the lines held out, and the ending in words.

        Errors that are not finite, of a network that gives no numbers, are None.
        """
        before, after = (
            error if math.isfinite(error) else None for error in map(self.error, (0, self.chosen))
        )
        return {
            "step_chosen": self.chosen,
            "steps_taken": max(self.looks),
            "error_before": before,
            "error_after": after,
            "error_of_cg_sense": self.without_training.loss,
            "ending": self.ending,
        }

    def __str__(self) -> str:
        """One line."""
        errors = f"error at lines held out {self.error(0):.4f}, of CG-SENSE {self.without_training.loss:.4f}"
        if not self.chosen:
            return f"not adapted, {errors}: {self.ending or 'no step is better by more than chance'}"
        ending = f"; {self.ending}" if self.ending else ""
        return f"adapted by {self.chosen} steps: {errors}, now {self.error(self.chosen):.4f}{ending}"


@contextmanager
def adapted(
    network: UnrolledNetwork, slices: Sequence[KSpaceBatch], settings: Adaptation
) -> Iterator[Outcome]:
    """Adapt a network to one volume; afterwards it is again what it was.

    Args:
        network: in evaluation mode, on the device of the slices.
        slices: undersampled slices of the volume, which share one mask. Nothing is used of them but what was
            measured.
        settings: how.

    Yields:
        What came of it, with the network as it was chosen.

    Raises:
        InputError: too few lines, no parameter of this kind, or one slice does not fit into memory.
    """
    require_lines(slices[0].mask[0], slices[0].num_acs, slices[0].volume[0])
    free = [parameter for _, parameter in free_parameters(network, settings.free)]
    if not free:
        raise InputError(f"the network has no parameters of the kind {settings.free}: adapt others")
    former = copies(free)
    try:
        try:
            with (
                in_float32(network, slices[0]),
                set_apart(),
                torch.inference_mode(False),
                torch.enable_grad(),
            ):
                outcome = _adapt(network, free, slices, settings)
        except torch.OutOfMemoryError as error:
            reason = str(error).split(". ")[0]
            raise InputError(
                f"{slices[0].volume[0]}: to adapt the network to one slice takes more memory than the device "
                f"has ({reason}): leave out --adapt"
            ) from None
        yield outcome
    finally:
        put(former, free)
        network.zero_grad()  # of all parameters, not only of those that were free


def _adapt(
    network: UnrolledNetwork,
    free: Sequence[nn.Parameter],
    slices: Sequence[KSpaceBatch],
    settings: Adaptation,
) -> Outcome:
    """Take steps, and leave the network as it was at the one that was chosen."""
    random = torch.Generator().manual_seed(settings.seed)
    mask, num_acs = slices[0].mask[:1], slices[0].num_acs
    learned, held_out = leave_out(mask, num_acs, HELD_OUT, random)
    exercises = [leave_out(learned, num_acs, PREDICTED, random) for _ in range(EXERCISES)]

    @torch.no_grad()
    def look(predict: Callable[[Tensor, Tensor, int], Tensor]) -> Look:
        pairs = [(predict(one.kspace, learned, num_acs), one.kspace) for one in slices]
        by_line = torch.cat([relative_errors(*pair, held_out, each_line=True) for pair in pairs])
        together = torch.cat([relative_errors(*pair, held_out) for pair in pairs])
        return Look(by_line[..., held_out.flatten()].mean(0).cpu(), together.mean(0).cpu())

    optimizer = torch.optim.Adam(free, lr=settings.learning_rate)
    as_network = partial(predict_kspace, network)
    outcome, chosen = Outcome({0: look(as_network)}, look(by_cg_sense)), copies(free)
    if outcome.fits:
        outcome.ending = "the network fits the scan, it predicts these lines better than CG-SENSE"
        return outcome
    for step in tqdm(range(1, settings.steps + 1), unit="step", desc="adapting", delay=1):
        given, predicted = exercises[step % EXERCISES]
        kspace = slices[step % EXERCISES % len(slices)].kspace
        optimizer.zero_grad()
        loss = kspace_loss(predict_kspace(network, kspace, given, num_acs), kspace, predicted).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % settings.look_every and step < settings.steps:
            continue
        outcome.looks[step] = look(as_network)
        if outcome.judge(step):
            chosen = copies(free)
        if outcome.ending:
            break
    put(chosen, free)
    return outcome


def by_cg_sense(kspace: Tensor, given: Tensor, num_acs: int) -> Tensor:
    """What CG-SENSE makes of some lines of k-space: as :func:`predict_kspace`, of no network."""
    problem = SenseProblem.calibrate(torch.where(given, kspace, 0), given, num_acs)
    return fft2c(problem.coil_images(CGSense().solve(problem)))


def require_lines(mask: Tensor, num_acs: int, volume: str) -> None:
    """Refuse a volume of which too few lines were measured.

    Args:
        mask: bool, ``(..., phase)``: measured lines.
        num_acs: ACS lines among them.
        volume: what to call it.

    Raises:
        InputError: there are fewer than ``FEWEST_LINES`` besides the ACS lines.
    """
    lines = int(lines_to_divide(mask, num_acs).sum())
    if lines < FEWEST_LINES:
        raise InputError(
            f"{volume}: {lines} lines were measured besides {num_acs} ACS lines; to learn from measured "
            f"lines alone takes {FEWEST_LINES}"
        )


def spread(
    scan: Indexed[KSpaceSample], sampling: SamplingPattern | None, device: torch.device
) -> list[KSpaceBatch]:
    """Some slices of a volume, evenly spread over it, undersampled, each as a batch of its own.

    Args:
        scan: its slices, such as a scan.
        sampling: masks a fully sampled scan; None for undersampled ones.
        device: where to put them.
    """
    number = min(SLICES, len(scan))
    chosen = [(2 * part + 1) * len(scan) // (2 * number) for part in range(number)]
    return [accelerate(KSpaceBatch.collate([scan[index]]).to(device), sampling) for index in chosen]


def copies(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The values of some parameters."""
    return [parameter.detach().clone() for parameter in parameters]


@torch.no_grad()
def put(values: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> None:
    """Give some parameters their values."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
