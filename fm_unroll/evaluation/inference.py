"""Inference from paired values: intervals by bootstrap, the signed-rank test and Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats: TypeAlias = NDArray[np.float64]

MIN_SUBJECTS = 6
RESAMPLES = 5000
LEVEL = 0.95


@lru_cache(maxsize=8)
def _draws(count: int, resamples: int, stream: int) -> Floats:
    """How often each of ``count`` items is drawn: (resamples, count).

    ``count - 1`` items are drawn (one where there is only one), which makes the variance of a resampled
    mean unbiased: Rao & Wu, JASA 83 (1988).
    """
    generator = np.random.default_rng((2604, stream))
    chances = np.full(count, 1 / count)
    return generator.multinomial(max(count - 1, 1), chances, size=resamples).astype(np.float64)


def bootstrap_interval(
    values: Floats,
    subjects: NDArray[np.object_ | np.integer],
    baseline: Floats | None = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Interval of a mean, or of a difference of means, by a bootstrap crossed over subjects and seeds.

    Subjects are drawn with all their volumes and are the same for both methods (paired); the seeds of each
    method are drawn independently (Owen, Ann. Appl. Stat. 1 (2007), "pigeonhole bootstrap"). With one seed
    only subjects vary. The percentiles are those of Student's t with (subjects - 1) degrees of freedom:
    Hesterberg, Am. Stat. 69 (2015).

    Args:
        values: (seeds, volumes), finite.
        subjects: (volumes,), the subject of every volume.
        baseline: (seeds of the baseline, volumes), subtracted.
        level: nominal coverage.
        resamples: number of bootstrap resamples.

    Returns:
        Lower and upper end; NaN with fewer than two subjects.
    """
    codes = np.unique(subjects, return_inverse=True)[1]
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        return np.nan, np.nan
    drawn_subjects = _draws(len(sizes), resamples, 0)

    def resampled_mean(matrix: Floats, stream: int) -> Floats:
        sums = np.stack([np.bincount(codes, weights=row) for row in matrix])
        drawn_seeds = _draws(len(matrix), resamples, stream)
        mean_of_seeds = drawn_seeds @ sums / drawn_seeds.sum(axis=1, keepdims=True)
        means: Floats = (mean_of_seeds * drawn_subjects).sum(axis=1) / (drawn_subjects @ sizes)
        return means

    resampled = resampled_mean(values, 1)
    if baseline is not None:
        resampled = resampled - resampled_mean(baseline, 2)
    tail = stats.norm.cdf(stats.t.ppf((1 - level) / 2, len(sizes) - 1))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test and its effect sizes.

    Attributes:
        p_value: two-sided; NaN with fewer than ``MIN_SUBJECTS`` differences.
        rank_biserial: (positive - negative rank sum) / their sum, -1..1; 0 where all differences are zero.
        cohens_dz: mean over standard deviation of the differences; NaN where that is 0 or unknown.
        ties: number of differences that are exactly zero.
    """

    p_value: float
    rank_biserial: float
    cohens_dz: float
    ties: int


def signed_rank(differences: Floats) -> SignedRank:
    """Test whether paired differences of shape (subjects,) are symmetric about zero."""
    nonzero = differences[differences != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    total = ranks.sum()
    deviation = differences.std(ddof=1) if len(differences) > 1 else 0.0
    if len(differences) < MIN_SUBJECTS:
        p_value = np.nan
    elif len(nonzero) == 0:
        p_value = 1.0
    else:
        p_value = float(stats.wilcoxon(nonzero).pvalue)
    return SignedRank(
        p_value=p_value,
        rank_biserial=float((ranks * np.sign(nonzero)).sum() / total) if total else 0.0,
        cohens_dz=float(differences.mean() / deviation) if deviation > 0 else np.nan,
        ties=len(differences) - len(nonzero),
    )


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's step-down adjustment; NaN (not tested) stays NaN and does not count as a comparison."""
    given = np.asarray(p_values, np.float64)
    adjusted = np.full_like(given, np.nan)
    tested = np.flatnonzero(np.isfinite(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1)
    return adjusted
