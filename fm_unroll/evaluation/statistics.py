"""Paired statistics of volumes: numbers only, without words, tables or pictures.

The rules are those that the report prints (``fm_unroll/report/templates/rules.html``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.inference import Floats, SignedRank, bootstrap_interval, holm, signed_rank
from fm_unroll.evaluation.metric_table import METRICS
from fm_unroll.evaluation.records import ANATOMIES, CONDITION, VOLUME
from fm_unroll.physics import Center


@dataclass(frozen=True)
class AlignedVolumes:
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
    subjects: NDArray[np.object_]
    values: dict[Arm, dict[str, Floats]]
    missing: dict[Arm, str]

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that say where a number was measured, in the order of the tables' columns."""
        names = (*CONDITION, "true_acceleration", "train_acceleration", "synthetic")
        return {name: getattr(self, name) for name in names}

    def succeeded(self, arm: Arm) -> NDArray[np.bool_]:
        """Volumes in which no slice of any run of this arm failed: bool of shape (volumes,)."""
        succeeded: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(self.values[arm]["ssim"]))
        return succeeded


def align(volumes: pd.DataFrame) -> list[AlignedVolumes]:
    """Align the volumes of all methods at every condition.

    Args:
        volumes: as :func:`fm_unroll.evaluation.records.volume_table` returns them.

    Returns:
        One item per condition; anatomies in the paper's order, larger centers first, accelerations ascending.
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
    return float(trained[np.abs(np.log(trained / acceleration)).argmin()]) if len(trained) else np.nan


def _align(key: tuple[str, str, str, float], group: pd.DataFrame) -> AlignedVolumes:
    dataset, anatomy, center, acceleration = key
    nearest = nearest_training(group.train_acceleration, acceleration)
    places = group.drop_duplicates(list(VOLUME)).sort_values(list(VOLUME))
    values: dict[Arm, list[pd.DataFrame]] = {}
    missing: dict[Arm, str] = {}
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
    return AlignedVolumes(
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


@dataclass(frozen=True)
class Comparison:
    """One method minus a baseline at one condition; all numbers from the volumes in which neither failed."""

    metric: str
    baseline: Arm
    arm: Arm
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
    found: Iterable[AlignedVolumes], baseline: Arm, arms: Sequence[Arm], metrics: Sequence[str] = ("ssim",)
) -> pd.DataFrame:
    """Compare methods with a baseline, volume by volume.

    Args:
        found: as :func:`align` returns them.
        baseline: arm that is subtracted.
        arms: arms to compare with it; one that is missing at a condition has no row there.
        metrics: names from ``METRICS``.

    Returns:
        One row per comparison: the identity of the condition, the fields of :class:`Comparison`, ``p_holm``
        and ``clear``.
    """
    rows = [
        condition.identity | vars(_compare_one(condition, baseline, arm, metric))
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


def _compare_one(condition: AlignedVolumes, baseline: Arm, arm: Arm, metric: str) -> Comparison:
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
        **vars(test),
    )


def describe(
    found: Iterable[AlignedVolumes], arms: Sequence[Arm], metrics: Sequence[str] | None = None
) -> pd.DataFrame:
    """Mean and interval of every method at every condition.

    Args:
        found: as :func:`align` returns them.
        arms: arms to list; one that is missing at a condition has a row that says so.
        metrics: names from ``METRICS``; by default all of them.

    Returns:
        One row per condition, arm and metric: identity of the condition, ``arm``, ``metric``, ``mean``,
        ``low``, ``high``, ``volumes``, ``subjects``, ``excluded``, ``seeds``, ``failed`` (volumes in which
        this arm failed), ``status`` (``ok``, ``failed``, ``missing``), ``note``.
    """
    rows = [
        row
        for condition in found
        for row in _describe_one(condition, arms, list(METRICS) if metrics is None else metrics)
    ]
    return pd.DataFrame(rows)


def _describe_one(
    condition: AlignedVolumes, arms: Sequence[Arm], metrics: Sequence[str]
) -> Iterable[dict[str, Any]]:
    succeeded = {arm: condition.succeeded(arm) for arm in arms if arm in condition.values}
    took_part = {arm: ok for arm, ok in succeeded.items() if ok.mean() >= 0.5}
    keep = np.logical_and.reduce([*took_part.values(), np.full(len(condition.subjects), bool(took_part))])
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
            yield fixed | {"metric": metric, "mean": mean, "low": low, "high": high}


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
        comparisons: as :func:`compare` returns them, of one metric and one baseline.
        higher_is_better: whether a larger value of the metric is better.

    Returns:
        One row per data set, center and arm: ``crossing`` (true acceleration, NaN where none), ``points``,
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
        numbers = {"crossing": found, "points": len(x)} | ends | {"clear": bool(ahead.any())}
        rows.append(dict(zip(keys, key, strict=True)) | numbers)
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
