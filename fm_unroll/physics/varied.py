"""Sampling that varies from scan to scan: one network for many accelerations, patterns and centres."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fm_unroll.errors import InputError
from fm_unroll.physics.center import Center
from fm_unroll.physics.sampling import (
    CenterFractionSampling,
    Lines,
    SamplingPattern,
    Seed,
    UniformSampling,
    generator,
    known_patterns,
    log_uniform,
)

MOST = 1000  # times that a scan is accelerated: more than any matrix has lines to leave out


@dataclass(frozen=True)
class VariedSampling(SamplingPattern):
    """A pattern, an acceleration and a centre that are drawn anew for every mask.

    They are drawn from the mask's seed: in training anew for every slice and epoch, in validation once for
    every volume. Every pattern is as likely as the others. Accelerations are uniform in their logarithm: each
    doubling costs about as much quality as the one before, and 2 to 4 is drawn as often as 4 to 8. Uniform in
    R, few masks would be easy, and uniform in 1 / R, the share of lines, few would be hard.

    Every draw is possible. Where the centre counts towards the acceleration, in all patterns but
    ``UniformSampling``, at least one line is left beside it: in small matrices the centre is smaller than it
    was asked for, and beside a large centre the range of accelerations ends earlier.

    Attributes:
        acceleration: that of all masks, if there is only one; else NaN.
        accelerations: least and greatest nominal acceleration; ``UniformSampling`` has the whole numbers
            between them, R with a weight of 1 / R, which is the same law.
        centers: least and greatest fully sampled centre: numbers of ACS lines, such as 16 and 32, or
            fractions of all lines, such as 0.04 and 0.1; each between them is as likely as the others.
        patterns: names of the patterns.
    """

    acceleration: float = field(init=False, default=math.nan)
    accelerations: tuple[float, float] = (2, 10)
    centers: tuple[float, float] = (0.04, 0.1)
    patterns: tuple[str, ...] = ("UniformSampling", "EquispacedSampling", "RandomSampling")

    def __post_init__(self) -> None:
        """Refuse ranges that cannot be, and patterns that are not known."""
        for name in ("accelerations", "centers", "patterns"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # configs and checkpoints hold lists
        for name, example in (("accelerations", "[2, 10]"), ("centers", "[16, 32] or [0.04, 0.1]")):
            values = getattr(self, name)
            if len(values) != 2 or not values[0] <= values[1]:
                raise InputError(f"{name} {list(values)}: give the least and the greatest, such as {example}")
        low, high = self.accelerations
        if not 1 <= low <= high <= MOST:
            raise InputError(
                f"accelerations {low:g} to {high:g}: give numbers from 1 (fully sampled) to {MOST}"
            )
        object.__setattr__(self, "acceleration", low if low == high else math.nan)
        least, greatest = map(Center.parse, self.centers)
        if (least.lines is None) != (greatest.lines is None) or not least.number > 0:
            raise InputError(
                f"centers {list(self.centers)}: give two numbers of ACS lines, such as [16, 32], or two "
                "fractions of all lines, such as [0.04, 0.1], above 0"
            )
        if any(issubclass(kind, UniformSampling) for kind in self.kinds) and not len(self._whole):
            raise InputError(f"accelerations {low:g} to {high:g}: UniformSampling needs a whole one")

    @property
    def kinds(self) -> list[type[SamplingPattern]]:
        """The classes of the patterns.

        Raises:
            InputError: there is none of that name, or no name at all.
        """
        left_out = (VariedSampling, CenterFractionSampling)
        known = {kind.__name__: kind for kind in known_patterns() if kind not in left_out}
        unknown = [name for name in self.patterns if name not in known]
        if unknown or not self.patterns:
            raise InputError(f"patterns {list(self.patterns)}: give some of {', '.join(known)}")
        return [known[name] for name in self.patterns]

    @property
    def _whole(self) -> NDArray[np.int64]:
        """The whole accelerations."""
        low, high = self.accelerations
        return np.arange(math.ceil(low), math.floor(high) + 1)

    def drawn(self, num_lines: int, seed: Seed) -> SamplingPattern:
        """The pattern that makes the mask of a seed."""
        random = generator(f"pattern/{seed}")
        kind = self.kinds[random.randint(len(self.patterns))]
        num_acs = self._draw_acs(num_lines, seed)
        if issubclass(kind, UniformSampling):
            chances = 1 / self._whole
            acceleration = float(random.choice(self._whole, p=chances / chances.sum()))
        else:
            low, high = self._limits(kind, num_lines, num_acs)
            acceleration = log_uniform(random, low, high)
        return _pattern(kind, acceleration, num_lines, num_acs)

    def of_batch(self, num_lines: int, seed: Seed) -> Self:
        """With the centre of its first slice for all slices of a batch."""
        return self.with_center(Center(lines=self._draw_acs(num_lines, seed)))

    def ends(self, num_lines: int) -> Iterator[SamplingPattern]:
        """Each pattern with the least and the greatest centre and acceleration."""
        for center in map(Center.parse, self.centers):
            num_acs = self._possible(center.num_acs(num_lines), num_lines)
            for kind in self.kinds:
                for acceleration in self._limits(kind, num_lines, num_acs):
                    yield _pattern(kind, acceleration, num_lines, num_acs)

    def _draw_acs(self, num_lines: int, seed: Seed) -> int:
        """The number of ACS lines of a seed."""
        random = generator(f"center/{seed}")
        least, greatest = map(Center.parse, self.centers)
        if least.lines is None or greatest.lines is None:
            num_acs = round(num_lines * random.uniform(least.number, greatest.number))
        else:
            num_acs = random.randint(least.lines, greatest.lines + 1)
        return self._possible(num_acs, num_lines)

    def _possible(self, num_acs: int, num_lines: int) -> int:
        """Of the numbers of ACS lines that all patterns can have the nearest to one that is asked for."""
        counts = any(issubclass(kind, CenterFractionSampling) for kind in self.kinds)
        most = math.floor(num_lines / self.accelerations[0]) - 1 if counts else num_lines
        return max(1, min(num_acs, most))

    def _limits(self, kind: type[SamplingPattern], num_lines: int, num_acs: int) -> tuple[float, float]:
        """The least and the greatest acceleration of one of the patterns beside its centre."""
        low, high = self.accelerations
        if issubclass(kind, UniformSampling):
            return float(self._whole[0]), float(self._whole[-1])
        if issubclass(kind, CenterFractionSampling):
            high = max(low, min(high, num_lines / (num_acs + 1)))
        return low, high

    def at(self, acceleration: float | None = None, center: Center | None = None) -> Self:
        """With one acceleration or one centre in the place of the ranges; None: as it is here."""
        pattern = self if center is None else self.with_center(center)
        return pattern if acceleration is None else replace(pattern, accelerations=(acceleration,) * 2)

    @property
    def center(self) -> Center:
        """The centre of all masks.

        Raises:
            InputError: there are several.
        """
        least, greatest = self.centers
        if least != greatest:
            raise InputError(f"centers {list(self.centers)}: a single one is needed here, give a center")
        return Center.parse(least)

    def with_center(self, center: Center) -> Self:
        """One centre in the place of the range."""
        return replace(self, centers=(center.number, center.number))

    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> Lines:
        """It has none of its own: those are of the pattern that is drawn."""
        raise NotImplementedError


def _pattern(
    kind: type[SamplingPattern], acceleration: float, num_lines: int, num_acs: int
) -> SamplingPattern:
    """One pattern with a number of ACS lines, in the way in which it takes them."""
    fraction = issubclass(kind, CenterFractionSampling)
    center = Center(fraction=num_acs / num_lines) if fraction else Center(lines=num_acs)
    return kind(acceleration).with_center(center)
