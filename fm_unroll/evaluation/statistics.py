"""Paired statistics of volumes. Only numbers: no words, tables or pictures.

The rules, which the report repeats:

- **Which model.** At every condition (data set, center, acceleration) all trained methods are taken at one
  training acceleration: the one nearest to the tested one (nearest ratio). A method without such a model is
  missing.
- **Which volumes.** A run that lacks slices other runs have is missing, never averaged over what it has. A
  volume in which a slice failed leaves a comparison for both methods; a table of means, for all methods of
  that condition (a method that failed in more than half of the volumes is itself shown as failed instead, and
  removes nothing). The number of volumes left out stands beside the result.
- **Unit.** Subjects are independent, their volumes are not, and neither are the seeds of one method on one
  volume. Means run over volumes and seeds. Intervals come from a crossed bootstrap, which resamples subjects
  (with all their volumes) and, independently and for each method, seeds. The test and the effect sizes see
  one difference a subject.
- **Test.** Wilcoxon's signed-rank test, zero differences dropped and counted; none with fewer than
  `MIN_SUBJECTS` subjects, where even unanimous signs could not reach p < 0.05. Holm's correction runs over
  the comparisons of one table: one data set, one metric, one baseline. The test takes the seeds at hand as
  given; the interval does not. So a difference is called clear only if p < 0.05 after correction and the
  interval has no zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from fm_unroll.evaluation.records import ANATOMIES, CONDITION, VOLUME
from fm_unroll.physics import Center

METRICS = (
    "ssim",
    "psnr_volume",
    "nmse_volume",
    "psnr_slice",
    "nmse_slice",
    "challenge_ssim",
    "challenge_psnr",
    "challenge_nmse",
    "haarpsi",
    "lpips",
)
MIN_SUBJECTS = 6
RESAMPLES = 5000
LEVEL = 0.95


@dataclass(frozen=True)
class Condition:
    """All methods at one data set, center and acceleration, aligned by volume.

    Attributes:
        dataset: display name of the data set.
        anatomy: ``cardiac``, ``knee`` or ``brain``.
        center: sampling of the centre.
        acceleration: nominal acceleration.
        true_acceleration: mean over the volumes.
        train_acceleration: nominal acceleration for which the trained methods were trained; NaN if there are
            none.
        synthetic: whether any volume is a phantom.
        subjects: the subject of every volume, shape (volumes,).
        values: ``values[arm][metric]``, float64 of shape (runs, volumes), NaN where a slice failed.
        missing: arm -> why it (or one of its runs) is not there.
    """

    dataset: str
    anatomy: str
    center: str
    acceleration: float
    true_acceleration: float
    train_acceleration: float
    synthetic: bool
    subjects: np.ndarray
    values: dict[str, dict[str, np.ndarray]]
    missing: dict[str, str]

    @property
    def identity(self) -> dict:
        """The fields that say where a number was measured, in the order of the tables' columns."""
        names = (*CONDITION, "true_acceleration", "train_acceleration", "synthetic")
        return {name: getattr(self, name) for name in names}

    def succeeded(self, arm: str) -> np.ndarray:
        """Volumes in which no slice of any run of this arm failed: bool of shape (volumes,)."""
        return np.isfinite(self.values[arm]["ssim"]).all(axis=0)


def conditions(volumes: pd.DataFrame) -> list[Condition]:
    """Align the volumes of all methods at every condition.

    Args:
        volumes: as `fm_unroll.evaluation.records.volume_table` returns them.

    Returns:
        One item a condition; anatomies in the paper's order, larger centers first, accelerations ascending.
    """
    found = [_align(key, group) for key, group in volumes.groupby(list(CONDITION), sort=True)]
    return sorted(
        found, key=lambda c: (ANATOMIES.index(c.anatomy), c.dataset, center_order(c.center), c.acceleration)
    )


def center_order(center: str) -> tuple[bool, float]:
    """A key that puts larger center fractions first, and numbers of ACS lines before them."""
    return Center.parse(center).order


def nearest_training(train_accelerations: pd.Series, acceleration: float) -> float:
    """The training acceleration whose models are taken at an acceleration; NaN where nothing was trained."""
    trained = np.sort(train_accelerations.dropna().unique())
    return trained[np.abs(np.log(trained / acceleration)).argmin()] if len(trained) else np.nan


def _align(key: tuple, group: pd.DataFrame) -> Condition:
    dataset, anatomy, center, acceleration = key
    nearest = nearest_training(group.train_acceleration, acceleration)
    places = group.drop_duplicates(list(VOLUME)).sort_values(list(VOLUME))
    values: dict[str, list[pd.DataFrame]] = {}
    missing: dict[str, str] = {}
    for arm, rows in group.groupby("arm"):
        chosen = rows[rows.train_acceleration.isna() | (rows.train_acceleration == nearest)]
        if chosen.empty:
            missing[arm] = f"no model trained at x{nearest:g}"
        for (seed, _), run in chosen.groupby(["seed", "checkpoint_sha256"], dropna=False):
            complete = (run.slices == run.expected).sum()
            if complete == len(places):
                values.setdefault(arm, []).append(run.sort_values(list(VOLUME)))
            else:
                name = "" if np.isnan(seed) else f"seed {seed:g}: "
                missing[arm] = f"{name}{complete} of {len(places)} volumes complete"
    return Condition(
        dataset=dataset,
        anatomy=anatomy,
        center=center,
        acceleration=acceleration,
        true_acceleration=group.drop_duplicates(list(VOLUME)).true_acceleration.mean(),
        train_acceleration=nearest,
        synthetic=bool(group.synthetic.any()),
        subjects=places.subject.to_numpy(),
        values={
            arm: {metric: np.stack([run[metric].to_numpy(float) for run in runs]) for metric in METRICS}
            for arm, runs in values.items()
        },
        missing=missing,
    )


@lru_cache(maxsize=8)
def _draws(count: int, resamples: int, stream: int) -> np.ndarray:
    """How often each of ``count`` items is drawn: (resamples, count).

    ``count - 1`` items are drawn (all draws of one item are that item), which makes the variance of a
    resampled mean
    unbiased: Rao & Wu, JASA 83 (1988).
    """
    generator = np.random.default_rng((2604, stream))
    return generator.multinomial(max(count - 1, 1), np.full(count, 1 / count), size=resamples).astype(float)


def bootstrap_interval(
    values: np.ndarray,
    subjects: np.ndarray,
    baseline: np.ndarray | None = None,
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

    def resampled_mean(matrix: np.ndarray, stream: int) -> np.ndarray:
        sums = np.stack([np.bincount(codes, weights=row) for row in matrix])
        drawn_seeds = _draws(len(matrix), resamples, stream)
        mean_of_seeds = drawn_seeds @ sums / drawn_seeds.sum(axis=1, keepdims=True)
        return (mean_of_seeds * drawn_subjects).sum(axis=1) / (drawn_subjects @ sizes)

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
        p_value: two-sided; NaN with fewer than `MIN_SUBJECTS` differences.
        rank_biserial: (positive - negative rank sum) / their sum, -1..1; 0 where all differences are zero.
        cohens_dz: mean over standard deviation of the differences; NaN where that is 0 or unknown.
        ties: number of differences that are exactly zero.
    """

    p_value: float
    rank_biserial: float
    cohens_dz: float
    ties: int


def signed_rank(differences: np.ndarray) -> SignedRank:
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


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjustment; NaN (not tested) stays NaN and does not count as a comparison."""
    p_values = np.asarray(p_values, float)
    adjusted = np.full_like(p_values, np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1)
    return adjusted


@dataclass(frozen=True)
class Comparison:
    """One method minus a baseline at one condition; all numbers from the volumes in which neither failed."""

    metric: str
    baseline: str
    arm: str
    volumes: int
    subjects: int
    excluded: int
    seeds: int
    baseline_seeds: int
    baseline_mean: float
    difference: float
    low: float
    high: float
    p_value: float
    rank_biserial: float
    cohens_dz: float
    ties: int


def compare(
    found: Iterable[Condition], baseline: str, arms: Sequence[str], metrics: Sequence[str] = ("ssim",)
) -> pd.DataFrame:
    """Compare methods with a baseline, volume by volume.

    Args:
        found: as `conditions` returns them.
        baseline: arm that is subtracted.
        arms: arms to compare with it; one that is missing at a condition has no row there.
        metrics: names from `METRICS`.

    Returns:
        One row a comparison: the identity of the condition, the fields of `Comparison`, ``p_holm`` and
        ``clear``.
    """
    rows = [
        condition.identity | asdict(_compare_one(condition, baseline, arm, metric))
        for metric in metrics
        for condition in found
        for arm in arms
        if arm != baseline and {arm, baseline} <= condition.values.keys()
    ]
    names = (
        *CONDITION,
        "true_acceleration",
        "train_acceleration",
        "synthetic",
        *Comparison.__dataclass_fields__,
    )
    table = pd.DataFrame(rows, columns=list(names))
    family = table.groupby(["dataset", "anatomy", "metric"], sort=False).p_value
    table["p_holm"] = family.transform(holm) if len(table) else np.empty(0)
    table["clear"] = (table.p_holm < 0.05) & (table.low * table.high > 0)
    return table


def _compare_one(condition: Condition, baseline: str, arm: str, metric: str) -> Comparison:
    keep = condition.succeeded(arm) & condition.succeeded(baseline)
    values = condition.values[arm][metric][:, keep]
    reference = condition.values[baseline][metric][:, keep]
    subjects = condition.subjects[keep]
    differences = values.mean(axis=0) - reference.mean(axis=0)
    by_subject = pd.Series(differences).groupby(subjects).mean().to_numpy()
    known = bool(len(differences)) and bool(np.isfinite(differences).all())
    low, high = bootstrap_interval(values, subjects, reference) if known else (np.nan, np.nan)
    test = signed_rank(by_subject) if known else SignedRank(np.nan, np.nan, np.nan, 0)
    return Comparison(
        metric=metric,
        baseline=baseline,
        arm=arm,
        volumes=len(differences),
        subjects=len(by_subject),
        excluded=int((~keep).sum()),
        seeds=len(values),
        baseline_seeds=len(reference),
        baseline_mean=float(reference.mean()) if known else np.nan,
        difference=float(differences.mean()) if known else np.nan,
        low=low,
        high=high,
        **asdict(test),
    )


def describe(
    found: Iterable[Condition], arms: Sequence[str], metrics: Sequence[str] = METRICS
) -> pd.DataFrame:
    """Mean and interval of every method at every condition.

    Args:
        found: as `conditions` returns them.
        arms: arms to list; one that is missing at a condition has a row that says so.
        metrics: names from `METRICS`.

    Returns:
        One row a condition, arm and metric: identity of the condition, ``arm``, ``metric``, ``mean``,
        ``low``, ``high``, ``volumes``, ``subjects``, ``excluded``, ``seeds``, ``failed`` (volumes in which
        this arm failed), ``status`` (``ok``, ``failed``, ``missing``), ``note``.
    """
    rows = []
    for condition in found:
        succeeded = {arm: condition.succeeded(arm) for arm in arms if arm in condition.values}
        took_part = {arm: ok for arm, ok in succeeded.items() if ok.mean() >= 0.5}
        keep = (
            np.logical_and.reduce(list(took_part.values()))
            if took_part
            else np.zeros(len(condition.subjects), bool)
        )
        subjects = condition.subjects[keep]
        for arm in arms:
            fixed = condition.identity | {
                "arm": arm,
                "volumes": int(keep.sum()),
                "subjects": len(set(subjects)),
                "excluded": int((~keep).sum()),
                "seeds": len(condition.values[arm]["ssim"]) if arm in succeeded else 0,
                "failed": int((~succeeded[arm]).sum()) if arm in succeeded else 0,
                "status": "missing" if arm not in succeeded else "failed" if arm not in took_part else "ok",
                "note": condition.missing.get(arm, "" if arm in succeeded else "not run"),
            }
            for metric in metrics:
                values = condition.values[arm][metric][:, keep] if arm in took_part else np.empty((0, 0))
                known = values.size > 0 and np.isfinite(values).all()
                low, high = bootstrap_interval(values, subjects) if known else (np.nan, np.nan)
                mean = float(values.mean()) if known else np.nan
                rows.append(fixed | {"metric": metric, "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def crossing(accelerations: Sequence[float], gains: Sequence[float]) -> float:
    """Acceleration at which a gain first turns from not positive to positive, by linear interpolation.

    Args:
        accelerations: true accelerations, ascending.
        gains: how much better the method is than the baseline at each of them.

    Returns:
        The crossing point; NaN where there is none in the range.
    """
    x, gain = np.asarray(accelerations, float), np.asarray(gains, float)
    turns = np.flatnonzero((gain[:-1] <= 0) & (gain[1:] > 0))
    if len(turns) == 0:
        return np.nan
    i = turns[0]
    return float(x[i] - gain[i] * (x[i + 1] - x[i]) / (gain[i + 1] - gain[i]))


def crossings(comparisons: pd.DataFrame, higher_is_better: bool = True) -> pd.DataFrame:
    """Find where each method starts to win over the baseline.

    Args:
        comparisons: as `compare` returns them, of one metric and one baseline.
        higher_is_better: whether a larger value of the metric is better.

    Returns:
        One row a data set, center and arm: ``crossing`` (true acceleration, NaN where none), ``points``,
        ``from_acceleration``, ``to_acceleration`` (the range looked at), ``first_gain``, ``last_gain``,
        ``clear`` (whether the method is clearly ahead at some acceleration beyond the crossing).
    """
    rows = []
    keys = ["dataset", "anatomy", "center", "synthetic", "arm"]
    for key, group in comparisons.dropna(subset="difference").groupby(keys, sort=False):
        group = group.sort_values("true_acceleration")
        gains = group.difference.to_numpy() * (1 if higher_is_better else -1)
        x = group.true_acceleration.to_numpy()
        ends = {
            "from_acceleration": x[0],
            "to_acceleration": x[-1],
            "first_gain": gains[0],
            "last_gain": gains[-1],
        }
        found = crossing(x, gains)
        ahead = group.clear.to_numpy(bool) & (gains > 0) & (x > found)
        found = {"crossing": found, "points": len(x)} | ends | {"clear": bool(ahead.any())}
        rows.append(dict(zip(keys, key, strict=True)) | found)
    names = [
        *keys,
        "crossing",
        "points",
        "from_acceleration",
        "to_acceleration",
        "first_gain",
        "last_gain",
        "clear",
    ]
    return pd.DataFrame(rows, columns=names)
