"""Cartesian sampling patterns: which phase-encoding lines an accelerated scan acquires."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fm_unroll.errors import InputError

Seed = str | int


@dataclass(frozen=True)
class SamplingMask:
    """The phase-encoding lines of one accelerated scan.

    Attributes:
        lines: bool, ``(phase,)``; True where a line is acquired.
        num_acs: number of fully sampled centre (auto-calibration) lines.
        acceleration: the nominal acceleration the pattern was asked for.
        available: number of lines that a fully sampled scan would have acquired; padding is not among them.
    """

    lines: Tensor
    num_acs: int
    acceleration: float
    available: int

    @property
    def true_acceleration(self) -> float:
        """Available lines per acquired line: what the scan really saves, below nominal with ACS lines."""
        return self.available / int(self.lines.sum())


@dataclass(frozen=True)
class SamplingPattern(ABC):
    """A rule that turns a number of phase-encoding lines and a seed into a :class:`SamplingMask`."""

    acceleration: float

    def __post_init__(self) -> None:
        """Refuse accelerations below 1."""
        if not self.acceleration >= 1:
            raise InputError(f"acceleration {self.acceleration:g} is below 1: give 1 (fully sampled) or more")

    def __call__(
        self, num_lines: int, seed: Seed = 0, acquired: tuple[int, int] | None = None
    ) -> SamplingMask:
        """Draw a mask.

        Args:
            num_lines: phase-encoding lines of the matrix, padding included.
            seed: an integer, or a volume's relative id such as ``P001/cine_sax``; the same seed always gives
                the same lines. Strings are turned into numbers as fastMRI does with file names.
            acquired: first and one-past-last line the scanner acquired; lines outside are zero padding, stay
                unsampled and do not count. None: all lines.

        Returns:
            The mask, with its nominal and true acceleration.

        Raises:
            InputError: the ACS lines do not fit into the matrix, or leave no lines for the acceleration.
        """
        num_acs = self.num_acs(num_lines)
        if num_acs > num_lines:
            raise InputError(f"{num_acs} ACS lines do not fit into {num_lines} phase-encoding lines")
        first, last = acquired or (0, num_lines)
        random = np.random.RandomState(tuple(map(ord, seed)) if isinstance(seed, str) else seed)
        lines = self.outer_lines(num_lines, num_acs, random)
        lines[center_lines(num_lines, num_acs)] = True
        lines[:first] = lines[last:] = False
        if not lines.any():
            raise InputError(
                f"{self} samples none of the {last - first} acquired lines: lower the acceleration"
            )
        return SamplingMask(torch.from_numpy(lines), num_acs, self.acceleration, available=last - first)

    @property
    @abstractmethod
    def center(self) -> str:
        """How the fully sampled centre was asked for, as reports print it (``24 ACS lines``, ``0.08``)."""

    @abstractmethod
    def num_acs(self, num_lines: int) -> int:
        """Fully sampled centre lines in a matrix of ``num_lines``."""

    @abstractmethod
    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> np.ndarray:
        """The pattern without its centre: bool, ``(num_lines,)``."""


@dataclass(frozen=True)
class UniformSampling(SamplingPattern):
    """Every R-th line from the first, plus a fixed number of centre lines: the CMRxRecon 2023 mask.

    The challenge's own code (``mySubsampling.m``) takes lines ``1:R:end`` and 24 centre lines. The true
    acceleration is far below nominal: 2.96, 4.34, 4.86 at 4, 8, 10 with 204 lines.

    Attributes:
        acceleration: R, a whole number.
        acs_lines: number of fully sampled centre lines.
    """

    acs_lines: int = 24

    def __post_init__(self) -> None:
        """Refuse spacings that are not whole lines and a negative centre."""
        super().__post_init__()
        if self.acceleration != int(self.acceleration):
            raise InputError(f"uniform sampling needs a whole acceleration, not {self.acceleration:g}")
        if self.acs_lines < 0:
            raise InputError(f"acs_lines is {self.acs_lines}: give 0 or more")

    @property
    def center(self) -> str:
        """``24 ACS lines``."""
        return f"{self.acs_lines} ACS lines"

    def num_acs(self, num_lines: int) -> int:
        """The same number of lines in every matrix."""
        return self.acs_lines

    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> np.ndarray:
        """Lines 0, R, 2R, ...; nothing is random."""
        lines = np.zeros(num_lines, dtype=bool)
        lines[:: int(self.acceleration)] = True
        return lines


@dataclass(frozen=True)
class CenterFractionSampling(SamplingPattern):
    """A pattern whose fully sampled centre is a fraction of the lines, and counts towards the acceleration.

    Attributes:
        acceleration: all lines over acquired lines.
        center_fraction: ACS lines over all lines, 0..1.
    """

    center_fraction: float = 0.08

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1; a count of lines is :class:`UniformSampling`'s."""
        super().__post_init__()
        if not 0 <= self.center_fraction <= 1:
            raise InputError(f"center_fraction is {self.center_fraction:g}: give a fraction from 0 to 1")

    @property
    def center(self) -> str:
        """``0.08``."""
        return f"{self.center_fraction:.2f}"

    def num_acs(self, num_lines: int) -> int:
        """The fraction of the lines, rounded as fastMRI does."""
        return round(num_lines * self.center_fraction)

    def outer_budget(self, num_lines: int, num_acs: int) -> float:
        """Lines left for the periphery once the centre is paid for.

        Raises:
            InputError: the centre alone exceeds the acceleration's lines.
        """
        budget = num_lines / self.acceleration - num_acs
        if budget < 0 or (budget == 0 and num_acs < num_lines):
            raise InputError(
                f"{num_acs} ACS lines of {num_lines} (center fraction {self.center_fraction:g}) leave no "
                f"line for acceleration {self.acceleration:g}: lower the acceleration or the center fraction"
            )
        return budget


@dataclass(frozen=True)
class EquispacedSampling(CenterFractionSampling):
    """Evenly spaced lines whose spacing allows for the centre, from a random offset.

    The same lines as ``fastmri.data.subsample.EquispacedMaskFractionFunc`` for the same seed. The spacing
    R (n - N) / (n R - N) is not whole, so gaps differ by one line, and the centre overlaps the grid: the true
    acceleration stays a little above nominal.
    """

    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> np.ndarray:
        """Lines at offset, offset + spacing, ... rounded to whole lines."""
        budget = self.outer_budget(num_lines, num_acs)
        lines = np.zeros(num_lines, dtype=bool)
        if num_acs < num_lines:
            spacing = (num_lines - num_acs) / budget
            offset = random.randint(0, high=round(spacing))
            lines[np.around(np.arange(offset, num_lines - 1, spacing)).astype(int)] = True
        return lines


@dataclass(frozen=True)
class RandomSampling(CenterFractionSampling):
    """Lines drawn independently so that the expected number meets the acceleration.

    The same lines as ``fastmri.data.subsample.RandomMaskFunc`` for the same seed.
    """

    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> np.ndarray:
        """Every line with the probability that spends the budget left by the centre."""
        budget = self.outer_budget(num_lines, num_acs)
        return random.uniform(size=num_lines) < budget / max(num_lines - num_acs, 1)


def center_lines(num_lines: int, num_acs: int) -> slice:
    """The ``num_acs`` centre lines of ``num_lines``, placed as fastMRI and the CMRxRecon challenge do."""
    first = (num_lines - num_acs + 1) // 2
    return slice(first, first + num_acs)


def count_acs_lines(lines: Tensor) -> int:
    """Number of contiguous acquired lines around the centre of an existing scan.

    Args:
        lines: bool, ``(phase,)``.

    Returns:
        The largest ``n`` for which all of ``center_lines(phase, n)`` are acquired. A fully sampled scan gives
        all its lines (``fastmri``'s finder gives 1 there).

    Raises:
        InputError: the centre line itself is missing.
    """
    num_lines = lines.numel()
    count = 0
    while count < num_lines and bool(lines[center_lines(num_lines, count + 1)].all()):
        count += 1
    if count == 0:
        raise InputError("the centre of k-space is not sampled: no ACS lines for the sensitivity maps")
    return count
