"""Cartesian sampling patterns: which phase-encoding lines an accelerated scan acquires."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fm_unroll.errors import InputError
from fm_unroll.physics.center import Center

Seed = str | int
Lines = NDArray[np.bool_]


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

    def __repr__(self) -> str:
        """One line: how many lines, not which."""
        return (
            f"SamplingMask({int(self.lines.sum())} of {self.lines.numel()} lines, {self.num_acs} ACS lines, "
            f"x{self.acceleration:g} nominal, x{self.true_acceleration:.3g} true)"
        )

    @property
    def true_acceleration(self) -> float:
        """Available lines over acquired lines; ACS lines bring it below the nominal acceleration."""
        return self.available / int(self.lines.sum())


@dataclass(frozen=True)
class SamplingPattern(ABC):
    """A rule that turns a number of phase-encoding lines and a seed into a :class:`SamplingMask`.

    A subclass is a frozen dataclass of plain values. To define it is to register it: from then on configs may
    name it (``sampling: {class_path: ..., init_args: ...}``) and :func:`pattern_from_config` finds it.

    Attributes:
        acceleration: nominal acceleration.
    """

    acceleration: float = 8

    def __post_init__(self) -> None:
        """Refuse accelerations below 1, and centres that cannot be."""
        if not self.acceleration >= 1:
            raise InputError(f"acceleration {self.acceleration:g} is below 1: give 1 (fully sampled) or more")
        self.num_acs(1)  # makes the centre, which refuses impossible values

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
        pattern = self.drawn(num_lines, seed)
        num_acs = pattern.num_acs(num_lines)
        if num_acs > num_lines:
            raise InputError(f"{num_acs} ACS lines do not fit into {num_lines} phase-encoding lines")
        first, last = acquired or (0, num_lines)
        lines = pattern.outer_lines(num_lines, num_acs, generator(seed))
        lines[pattern.place_center(num_lines, num_acs)] = True
        lines[:first] = lines[last:] = False
        if not lines.any():
            raise InputError(
                f"{pattern} samples none of the {last - first} acquired lines: lower the acceleration"
            )
        return SamplingMask(torch.from_numpy(lines), num_acs, pattern.acceleration, available=last - first)

    @property
    def accelerations(self) -> tuple[float, float]:
        """The least and the greatest nominal acceleration of its masks."""
        return self.acceleration, self.acceleration

    def drawn(self, num_lines: int, seed: Seed) -> "SamplingPattern":
        """The pattern that makes the mask of a seed: this one, unless it stands for several."""
        return self

    def of_batch(self, num_lines: int, seed: Seed) -> Self:
        """The pattern for slices that share one number of ACS lines.

        Args:
            num_lines: phase-encoding lines of the matrix.
            seed: that of the first slice.
        """
        return self

    def ends(self, num_lines: int) -> "Iterator[SamplingPattern]":
        """The patterns between which it varies in a matrix of ``num_lines``: itself, if it does not vary."""
        yield self

    def at(self, acceleration: float | None = None, center: Center | None = None) -> Self:
        """The same pattern at another acceleration or with another centre; None: as it is here.

        Raises:
            InputError: values that the pattern cannot have.
        """
        pattern = self if center is None else self.with_center(center)
        return pattern if acceleration is None else replace(pattern, acceleration=acceleration)

    def num_acs(self, num_lines: int) -> int:
        """Fully sampled centre lines in a matrix of ``num_lines``."""
        return self.center.num_acs(num_lines)

    def place_center(self, num_lines: int, num_acs: int) -> slice:
        """Where ``num_acs`` ACS lines lie in a matrix of ``num_lines``: where fastMRI puts them."""
        return center_lines(num_lines, num_acs)

    @property
    def folder(self) -> str:
        """A folder's name for what it undersampled: ``uniform_x8_24``, ``equispaced_x4_0.08``."""
        kind = type(self).__name__.removesuffix("Sampling").lower()
        return f"{kind}_x{self.acceleration:g}_{self.center.number:g}"

    def to_config(self) -> dict[str, Any]:
        """Class and arguments as plain values, as configs and checkpoints hold them."""
        arguments = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        return {"class_path": class_path(type(self)), "init_args": arguments}

    @property
    @abstractmethod
    def center(self) -> Center:
        """The fully sampled centre."""

    @abstractmethod
    def with_center(self, center: Center) -> Self:
        """The same pattern with another centre.

        Raises:
            InputError: a number of lines where the pattern has a fraction, or the other way round.
        """

    @abstractmethod
    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> Lines:
        """The pattern without its centre: bool, ``(num_lines,)``."""


def generator(seed: Seed) -> np.random.RandomState:
    """The random numbers of a seed; a text is turned into numbers as fastMRI does with file names."""
    return np.random.RandomState(tuple(map(ord, seed)) if isinstance(seed, str) else seed)


def log_uniform(random: np.random.RandomState, low: float, high: float) -> float:
    """A number from a range, uniform in its logarithm."""
    return float(low * (high / low) ** random.uniform())


def class_path(kind: type) -> str:
    """The full name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def known_patterns(kind: type[SamplingPattern] = SamplingPattern) -> Iterator[type[SamplingPattern]]:
    """Every pattern that has been defined so far, later ones last."""
    for subclass in kind.__subclasses__():
        yield subclass
        yield from known_patterns(subclass)


def pattern_from_config(config: Mapping[str, Any]) -> SamplingPattern:
    """The pattern that :meth:`SamplingPattern.to_config` described.

    Nothing is imported: a file must not decide which code runs.

    Args:
        config: ``class_path`` and ``init_args``.

    Raises:
        InputError: a class that has not been imported, or arguments that it does not take.
    """
    name, arguments = config["class_path"], config["init_args"]
    kind = {class_path(known): known for known in known_patterns()}.get(name)
    if kind is None:
        raise InputError(
            f"the sampling pattern {name} is not known here: import the module that defines it, "
            "or give a pattern (--sampling)"
        )
    try:
        return kind(**arguments)
    except TypeError as error:
        raise InputError(f"the sampling pattern {name} cannot be made of {arguments}: {error}") from None


@dataclass(frozen=True)
class UniformSampling(SamplingPattern):
    """Every R-th line from the first, plus a fixed number of centre lines: the CMRxRecon 2023 mask.

    The challenge's own code (``mySubsampling.m``) takes lines ``1:R:end`` and 24 centre lines, placed by its
    ``zpad.m``. The true acceleration is far below nominal: 2.96, 4.34, 4.86 at 4, 8, 10 with 204 lines.

    Attributes:
        acceleration: R, a whole number.
        acs_lines: number of fully sampled centre lines.
    """

    acs_lines: int = 24

    def __post_init__(self) -> None:
        """Refuse spacings that are not whole lines."""
        super().__post_init__()
        if self.acceleration != int(self.acceleration):
            raise InputError(f"uniform sampling needs a whole acceleration, not {self.acceleration:g}")

    @property
    def center(self) -> Center:
        """The same number of lines in every matrix."""
        return Center(lines=self.acs_lines)

    def with_center(self, center: Center) -> Self:
        """Another number of ACS lines."""
        if center.lines is None:
            raise InputError(f"{center.name}: {type(self).__name__} needs a number of ACS lines")
        return replace(self, acs_lines=center.lines)

    def place_center(self, num_lines: int, num_acs: int) -> slice:
        """Where the challenge puts the centre lines, see :func:`challenge_center_lines`."""
        return challenge_center_lines(num_lines, num_acs)

    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> Lines:
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

    @property
    def center(self) -> Center:
        """The same fraction of the lines of every matrix."""
        return Center(fraction=self.center_fraction)

    def with_center(self, center: Center) -> Self:
        """Another center fraction."""
        if center.fraction is None:
            raise InputError(f"{center.name}: {type(self).__name__} needs a center fraction")
        return replace(self, center_fraction=center.fraction)

    def outer_budget(self, num_lines: int, num_acs: int) -> float:
        """Number of lines outside of the centre that the acceleration leaves.

        Raises:
            InputError: the centre alone exceeds the acceleration's lines.
        """
        left = num_lines - num_acs * self.acceleration
        if left < 0 or (left == 0 and num_acs < num_lines):
            raise InputError(
                f"{num_acs} ACS lines of {num_lines} (center fraction {self.center_fraction:g}) leave no "
                f"line for acceleration {self.acceleration:g}: lower the acceleration or the center fraction"
            )
        return num_lines / self.acceleration - num_acs


@dataclass(frozen=True)
class EquispacedSampling(CenterFractionSampling):
    """Evenly spaced lines whose spacing allows for the centre, from a random offset.

    The same lines as ``fastmri.data.subsample.EquispacedMaskFractionFunc`` for the same seed. The spacing
    R (n - N) / (n R - N) of N lines with n in the centre is not whole, so gaps differ by one line, and the
    centre overlaps the grid: the true acceleration stays a little above nominal.
    """

    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> Lines:
        """Lines at offset, offset + spacing, ... rounded to whole lines."""
        self.outer_budget(num_lines, num_acs)  # refuses a centre that leaves no line
        # fastMRI's rule, which never takes the last line, would leave it out of all lines
        lines = np.full(num_lines, self.acceleration == 1)
        if num_acs < num_lines:
            # fastMRI's own expression: one that equals it on paper differs in the last bit, which decides to
            # which side half a line is rounded
            acceleration = self.acceleration
            spacing = (acceleration * (num_acs - num_lines)) / (num_acs * acceleration - num_lines)
            offset = random.randint(0, high=round(spacing))
            lines[np.around(np.arange(offset, num_lines - 1, spacing)).astype(int)] = True
        return lines


@dataclass(frozen=True)
class RandomSampling(CenterFractionSampling):
    """Lines drawn independently so that the expected number meets the acceleration.

    The same lines as ``fastmri.data.subsample.RandomMaskFunc`` for the same seed.
    """

    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> Lines:
        """Lines drawn with one probability, which meets the budget on average."""
        budget = self.outer_budget(num_lines, num_acs)
        return random.uniform(size=num_lines) < budget / max(num_lines - num_acs, 1)


def center_lines(num_lines: int, num_acs: int) -> slice:
    """The ``num_acs`` centre lines of ``num_lines``, placed as fastMRI does."""
    first = (num_lines - num_acs + 1) // 2
    return slice(first, first + num_acs)


def challenge_center_lines(num_lines: int, num_acs: int) -> slice:
    """The ``num_acs`` centre lines of ``num_lines``, placed as the CMRxRecon challenge does.

    Its ``zpad.m`` takes lines ``floor(n/2)+1+ceil(-m/2) : floor(n/2)+ceil(m/2)``, counted from 1. With an
    even number of ACS lines in an odd number of lines that is one line before fastMRI's: 24 of 205 are 90 to
    113 counted from 0, where fastMRI has 91 to 114. Otherwise both are the same.
    """
    first = num_lines // 2 - num_acs // 2
    return slice(first, first + num_acs)


def locate_acs(mask: Tensor, num_acs: int) -> Tensor:
    """The ACS lines among the sampled ones, which do not say by whose rule they were placed.

    Args:
        mask: bool, ``(..., phase)``: sampled lines.
        num_acs: number of ACS lines.

    Returns:
        Bool, of the same shape: the lines that :func:`challenge_center_lines` gives where all of them were
        sampled and not all of those of :func:`center_lines`; else the latter.
    """
    num_lines = mask.shape[-1]
    lines = torch.arange(num_lines, device=mask.device)
    challenge, fastmri = challenge_center_lines(num_lines, num_acs), center_lines(num_lines, num_acs)
    in_challenge = mask[..., challenge].all(-1, keepdim=True) & ~mask[..., fastmri].all(-1, keepdim=True)
    first = torch.where(in_challenge, challenge.start, fastmri.start)
    return (first <= lines) & (lines < first + num_acs)


def count_acs_lines(lines: Tensor) -> int:
    """Number of contiguous acquired lines around the centre of an existing scan.

    Args:
        lines: bool, ``(phase,)``.

    Returns:
        The largest ``n`` for which all of ``locate_acs(lines, n)`` are acquired. A fully sampled scan gives
        all its lines (``fastmri``'s finder gives 1 there).

    Raises:
        InputError: the centre line itself is missing.
    """
    count = 0
    while count < lines.numel() and bool(lines[locate_acs(lines, count + 1)].all()):
        count += 1
    if count == 0:
        raise InputError(
            "the centre of k-space is not sampled (in a mask, 1 stands for sampled): no ACS lines for the "
            "sensitivity maps"
        )
    return count
