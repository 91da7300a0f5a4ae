"""One estimate, one interval and one test, with both variances: between subjects and between trainings.

Subjects and training seeds are two random samples. The estimate is a mean over both, and its variance is the
sum of their shares. The interval and its test are Student's with the degrees of freedom of Satterthwaite
(Biometrics Bulletin 2 (1946)). That is right at 95 %, but not in the tails that a table of many comparisons
looks at: the variance of two or three seeds is often small by chance. So a p-value in a table is at least the
one that is averaged over what the variances may be (the generalized p-value of Tsui & Weerahandi, JASA 84
(1989)), from the seeds of all conditions of the table. ``experiments/calibration.py`` measures both.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats: TypeAlias = NDArray[np.float64]

MIN_SUBJECTS = 3  # of each group: fewer have no interval and no test
LEVEL = 0.95
POWER = 0.8
POINTS = 16384  # at which variances are looked at


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means.

    Attributes:
        value: the estimate.
        low: lower end of the 95 % interval; NaN with fewer than ``MIN_SUBJECTS`` subjects.
        high: upper end.
        p_value: two-sided, of the value being zero; NaN likewise.
        detectable: the smallest true value whose interval leaves out zero with a chance of 80 %; NaN
            likewise.
    """

    value: float
    low: float
    high: float
    p_value: float
    detectable: float


class Share(NamedTuple):
    """What one sample adds to the variance of an estimate, and the degrees of freedom of that."""

    variance: float
    freedom: int

    @classmethod
    def of(cls, sample: Floats) -> "Share":
        """The share of a mean of independent values."""
        return cls(float(sample.var(ddof=1)) / len(sample), len(sample) - 1)


def estimate(groups: Sequence[Floats], arms: Sequence[Floats]) -> Estimate:
    """Estimate a value that is a sum of means over groups of subjects.

    Args:
        groups: of each independent group of subjects what every subject adds to the value, averaged over
            seeds: ``(subjects,)``. A paired difference is one group, of differences.
        arms: of each independently trained arm what every one of its seeds adds, averaged over subjects:
            ``(seeds,)``. An arm with one seed, whose variance nobody knows, adds none.
    """
    value = float(sum(group.mean() if len(group) else np.nan for group in groups))
    if min(map(len, groups)) < MIN_SUBJECTS:
        return Estimate(value, np.nan, np.nan, np.nan, np.nan)
    shares = [Share.of(sample) for sample in (*groups, *arms) if len(sample) > 1]
    variance = sum(share.variance for share in shares)
    if variance == 0:
        return Estimate(value, value, value, float(value == 0), 0.0)
    freedom = variance**2 / sum(share.variance**2 / share.freedom for share in shares)
    deviation = float(np.sqrt(variance))
    half = -special.stdtrit(freedom, (1 - LEVEL) / 2) * deviation
    detectable = half + special.stdtrit(freedom, POWER) * deviation
    p_value = 2 * special.stdtr(freedom, -abs(value) / deviation)
    return Estimate(value, float(value - half), float(value + half), float(p_value), float(detectable))


@dataclass(frozen=True)
class Paired:
    """One method minus another at one condition.

    Attributes:
        differences: of each subject, averaged over seeds: ``(subjects,)``.
        method: what each seed of the method has, averaged over subjects: ``(seeds,)``.
        baseline: likewise.
        training: tells trainings apart: conditions with the same one share their networks.
        covers_seeds: whether the seeds count; else the comparison is of these two networks.
    """

    differences: Floats
    method: Floats
    baseline: Floats
    training: Hashable = None
    covers_seeds: bool = True

    def estimate(self) -> Estimate:
        """The mean difference, with an interval and a test of its own."""
        arms = (self.method, -self.baseline) if self.covers_seeds else ()
        return estimate([self.differences], arms)


def estimates(conditions: Sequence[Paired]) -> list[Estimate]:
    """The estimate at each condition of one method and one baseline, for a table of many comparisons.

    Its p-value is that of the interval, or the generalized one if that is larger: for the latter the seeds'
    variance is the mean over the conditions, and every training adds its degrees of freedom.
    """
    found = [condition.estimate() for condition in conditions]
    if not all(condition.covers_seeds for condition in conditions):
        return found
    pooled = [
        _pooled([(condition.training, condition.method) for condition in conditions]),
        _pooled([(condition.training, condition.baseline) for condition in conditions]),
    ]
    return [
        raised(each, [Share.of(condition.differences), *pooled]) if np.isfinite(each.p_value) else each
        for condition, each in zip(conditions, found, strict=True)
    ]


def raised(found: Estimate, shares: Sequence[Share]) -> Estimate:
    """An estimate whose p-value is at least the generalized one, by these shares of its variance."""
    return replace(found, p_value=max(found.p_value, generalized_p_value(found.value, shares)))


def _pooled(arms: Sequence[tuple[Hashable, Floats]]) -> Share:
    """The mean share of the seeds of one arm at several conditions, of which some have the same networks."""
    freedom = sum({training: len(seeds) - 1 for training, seeds in arms}.values())
    several = [Share.of(seeds).variance for _, seeds in arms if len(seeds) > 1]
    return Share(float(np.mean(several)) if several else 0.0, freedom)


def generalized_p_value(value: float, shares: Sequence[Share]) -> float:
    """The two-sided p-value of a normal estimate, averaged over the variances that its shares may have.

    A share that was estimated as v with f degrees of freedom may be v f / q, where q is distributed as
    chi-squared with f degrees. With one share this is the p-value of Student's t, with two that of Behrens
    and Fisher.

    Args:
        value: the estimate, whose truth is supposed to be zero.
        shares: of its variance.
    """
    shares = [share for share in shares if share.variance > 0]
    if not shares:
        return float(value == 0)
    possible = sum(
        share.variance * share.freedom / _chi_squared(share.freedom, place, len(shares))
        for place, share in enumerate(shares)
    )
    return float(2 * special.ndtr(-abs(value) / np.sqrt(possible)).mean())


@lru_cache(maxsize=64)
def _chi_squared(freedom: int, place: int, places: int) -> Floats:
    """Values of one of several independent chi-squared variables, spread evenly over all of them.

    The points are Roberts' additive recurrence, a lattice of low discrepancy in any number of dimensions.
    """
    ratio = 2.0
    for _ in range(64):  # the root of ratio^(places + 1) = ratio + 1
        ratio = (1 + ratio) ** (1 / (places + 1))
    chances = (0.5 + np.arange(1, POINTS + 1) * ratio ** -(place + 1.0)) % 1
    return np.asarray(2 * special.gammaincinv(freedom / 2, chances))


def effect_size(differences: Floats) -> float:
    """Cohen's dz of paired differences ``(subjects,)``: mean over standard deviation; NaN where that is 0."""
    deviation = differences.std(ddof=1) if len(differences) > 1 else 0.0
    return float(differences.mean() / deviation) if deviation > 0 else np.nan


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's step-down adjustment; NaN (not tested) stays NaN and does not count as a comparison."""
    given = np.asarray(p_values, np.float64)
    adjusted = np.full_like(given, np.nan)
    tested = np.flatnonzero(np.isfinite(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1)
    return adjusted
