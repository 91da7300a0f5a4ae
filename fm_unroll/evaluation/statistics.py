"""Means, and paired differences between methods: numbers only, without words, tables or pictures.

Every figure is over subjects: the mean of the volumes of a subject, then the mean over subjects. The rules
are those that the report prints (``fm_unroll/report/templates/rules.html``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fm_unroll.evaluation.alignment import AlignedVolumes
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.inference import (
    Estimate,
    Floats,
    Paired,
    Share,
    effect_size,
    estimate,
    estimates,
    holm,
    raised,
)
from fm_unroll.evaluation.metric_table import METRICS
from fm_unroll.evaluation.records import CONDITION

UNKNOWN = Estimate(np.nan, np.nan, np.nan, np.nan, np.nan)


class Term(NamedTuple):
    """What one method adds to a contrast at one condition: its mean times a weight."""

    weight: float
    condition: AlignedVolumes
    arm: Arm


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of means, with what it was estimated from.

    Attributes:
        estimate: value, interval and test; all NaN where no subject has every term. Where there are seeds,
            the p-value is at least the generalized one.
        groups: of each data set what every subject adds, by its id.
        covers_seeds: whether the interval holds the variance between trainings.
    """

    estimate: Estimate
    groups: list["pd.Series[float]"]
    covers_seeds: bool

    @property
    def subjects(self) -> int:
        """Number of subjects, of all data sets."""
        return sum(map(len, self.groups))

    def columns(self) -> dict[str, float | bool]:
        """The difference with its interval and test, as tables name them."""
        return {
            "difference": self.estimate.value,
            "low": self.estimate.low,
            "high": self.estimate.high,
            "p_value": self.estimate.p_value,
            "covers_seeds": self.covers_seeds,
            "subjects": self.subjects,
        }


def contrast(terms: Sequence[Term], metric: str) -> Contrast:
    """Estimate a weighted sum of means over subjects and seeds.

    Subjects of one data set are paired over its terms, a network with itself wherever it takes part, and
    different data sets, arms and training accelerations are independent.

    Args:
        terms: at least one.
        metric: a name from ``METRICS``. Volumes that one of the terms at a condition failed in are left out.
    """
    shares: dict[tuple[str, str], list[pd.Series[float]]] = {}
    trainings: dict[tuple[Arm, float], list[pd.Series[float]]] = {}
    for weight, condition, arm in terms:
        others = [other for _, where, other in terms if where is condition]
        keep = np.logical_and.reduce([condition.succeeded(other) for other in others])
        means = by_subject(condition.values[arm][metric][:, keep], condition.subjects[keep])
        means = weight * means.set_axis(condition.networks[arm], axis="index")
        shares.setdefault(condition.domain, []).append(means.mean(axis="index"))
        if condition.networks[arm] != [""]:
            trainings.setdefault((arm, condition.trainings[arm]), []).append(means.mean(axis="columns"))
    groups = [_sum(group) for group in shares.values()]
    covers_seeds = all(condition.covers_seeds(arm) for _, condition, arm in terms)
    arms = [_sum(arm).to_numpy(float) for arm in trainings.values()] if covers_seeds else []
    known = all(len(group) and np.isfinite(group).all() for group in groups)
    values = [group.to_numpy(float) for group in groups]
    result = estimate(values, arms) if known else UNKNOWN
    if arms and np.isfinite(result.p_value):
        result = raised(result, [Share.of(sample) for sample in (*values, *arms)])
    return Contrast(result, groups, covers_seeds)


def by_subject(values: Floats, subjects: NDArray[np.object_]) -> pd.DataFrame:
    """The mean over the volumes of each subject.

    Args:
        values: ``(runs, volumes)``.
        subjects: ``(volumes,)``.

    Returns:
        Runs in rows, subjects in columns.
    """
    names, codes = np.unique(subjects.astype(str), return_inverse=True)
    sums = [np.bincount(codes, weights=row, minlength=len(names)) for row in values]
    return pd.DataFrame(np.reshape(sums, (len(values), len(names))) / np.bincount(codes), columns=names)


def _sum(parts: Sequence["pd.Series[float]"]) -> "pd.Series[float]":
    """The sum of what has the same name in all parts; what one of them lacks is left out."""
    total: pd.Series[float] = pd.concat(parts, axis="columns", join="inner").sum(axis="columns", skipna=False)
    return total


@dataclass(frozen=True)
class Comparison:
    """One method minus a baseline at one condition; all numbers from the volumes in which neither failed.

    The means and the difference are over subjects, the interval and the test over subjects and, where
    ``covers_seeds`` says so, over seeds.
    """

    metric: str
    baseline: Arm
    arm: Arm
    volumes: int
    subjects: int
    excluded: int
    seeds: int
    baseline_seeds: int
    covers_seeds: bool
    baseline_mean: float
    difference: float
    low: float
    high: float
    p_value: float
    cohens_dz: float


def compare(
    found: Iterable[AlignedVolumes], baseline: Arm, arms: Sequence[Arm], metrics: Sequence[str] = ("ssim",)
) -> pd.DataFrame:
    """Compare methods with a baseline, subject by subject.

    Args:
        found: as :func:`fm_unroll.evaluation.alignment.align` returns them.
        baseline: arm that is subtracted.
        arms: arms to compare with it; one that is missing at a condition, or was trained on other data, has
            no row there.
        metrics: names from ``METRICS``.

    Returns:
        One row per comparison: the identity of the condition, the fields of :class:`Comparison`, ``p_holm``
        (Holm's correction over one data set, metric and baseline; over methods without training apart, which
        are no hypotheses of a study) and ``clear`` (whether it is below 0.05).
    """
    rows = [
        row
        for metric in metrics
        for place, conditions in groupby(found, lambda condition: condition.domain)
        for row in _compare_all(list(conditions), baseline, arms, metric)
    ]
    names = (
        *CONDITION,
        "true_acceleration",
        "train_acceleration",
        "synthetic",
        *Comparison.__dataclass_fields__,
    )
    table = pd.DataFrame(rows, columns=list(names))
    floor = table.arm.map(lambda arm: arm.kind == "classical").astype(bool)
    family = table.groupby(["dataset", "anatomy", "metric", floor.rename("floor")], sort=False).p_value
    table["p_holm"] = family.transform(holm) if len(table) else np.empty(0)
    table["clear"] = table.p_holm < 0.05
    return table


def _compare_all(
    conditions: Sequence[AlignedVolumes], baseline: Arm, arms: Sequence[Arm], metric: str
) -> list[dict[str, Any]]:
    """The rows of one data set, condition by condition."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for number, arm in enumerate(arms):
        places = [
            place
            for place, condition in enumerate(conditions)
            if arm != baseline and condition.comparable(arm, baseline)
        ]
        pairs = [paired(conditions[place], arm, baseline, metric) for place in places]
        for place, pair, found in zip(places, pairs, estimates(pairs), strict=True):
            comparison = _comparison(conditions[place], baseline, arm, metric, pair, found)
            rows[place, number] = conditions[place].identity | vars(comparison)
    return [rows[key] for key in sorted(rows)]


def paired(condition: AlignedVolumes, arm: Arm, baseline: Arm, metric: str) -> Paired:
    """One method minus a baseline at one condition, in the volumes in which neither failed."""
    method, reference = _both(condition, arm, baseline, metric)
    return Paired(
        differences=(method.mean(axis="index") - reference.mean(axis="index")).to_numpy(float),
        method=method.mean(axis="columns").to_numpy(float),
        baseline=reference.mean(axis="columns").to_numpy(float),
        training=(condition.trainings.get(arm), condition.trainings.get(baseline)),
        covers_seeds=condition.covers_seeds(arm, baseline),
    )


def differences(condition: AlignedVolumes, arm: Arm, baseline: Arm, metric: str) -> "pd.Series[float]":
    """One method minus a baseline by subject, in the volumes in which neither failed; seeds averaged."""
    method, reference = _both(condition, arm, baseline, metric)
    return method.mean(axis="index") - reference.mean(axis="index")


def subject_differences(
    found: Iterable[AlignedVolumes], baseline: Arm, arms: Sequence[Arm], metric: str = "ssim"
) -> pd.DataFrame:
    """What every subject adds to the comparisons that :func:`compare` makes of the same arguments.

    Returns:
        One row per comparison and subject: the identity of the condition, ``baseline``, ``arm``, ``metric``,
        ``subject``, ``difference`` (over its volumes in which neither failed; seeds averaged).
    """
    rows = [
        condition.identity
        | {"baseline": baseline, "arm": arm, "metric": metric, "subject": subject, "difference": value}
        for condition in found
        for arm in arms
        if arm != baseline and condition.comparable(arm, baseline)
        for subject, value in differences(condition, arm, baseline, metric).items()
    ]
    names = (*CONDITION, "true_acceleration", "train_acceleration", "synthetic")
    return pd.DataFrame(rows, columns=[*names, "baseline", "arm", "metric", "subject", "difference"])


def _both(condition: AlignedVolumes, arm: Arm, baseline: Arm, metric: str) -> list[pd.DataFrame]:
    """Runs x subjects of both."""
    keep = condition.succeeded(arm) & condition.succeeded(baseline)
    return [
        by_subject(condition.values[each][metric][:, keep], condition.subjects[keep])
        for each in (arm, baseline)
    ]


def _comparison(
    condition: AlignedVolumes, baseline: Arm, arm: Arm, metric: str, pair: Paired, found: Estimate
) -> Comparison:
    volumes = int((condition.succeeded(arm) & condition.succeeded(baseline)).sum())
    return Comparison(
        metric=metric,
        baseline=baseline,
        arm=arm,
        volumes=volumes,
        subjects=len(pair.differences),
        excluded=len(condition.subjects) - volumes,
        seeds=len(condition.networks[arm]),
        baseline_seeds=len(condition.networks[baseline]),
        covers_seeds=pair.covers_seeds,
        baseline_mean=float(pair.baseline.mean()),
        difference=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        cohens_dz=effect_size(pair.differences),
    )


def describe(
    found: Iterable[AlignedVolumes], arms: Sequence[Arm], metrics: Sequence[str] | None = None
) -> pd.DataFrame:
    """Mean and interval of every method at every condition.

    Args:
        found: as :func:`fm_unroll.evaluation.alignment.align` returns them.
        arms: arms to list; one that is missing at a condition has a row that says so.
        metrics: names from ``METRICS``; by default all of them.

    Returns:
        One row per condition, arm and metric: identity of the condition, ``arm``, ``metric``, ``mean`` (over
        subjects) with ``low`` and ``high``, ``slice_mean`` (over slices: a volume counts as often as it has
        slices), ``volumes``, ``subjects``, ``excluded``, ``seeds``, ``covers_seeds``, ``failed`` (volumes in
        which this arm failed), ``status`` (``ok``, ``failed``, ``missing``), ``note``.
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
    subjects, slices = condition.subjects[keep], condition.slices[keep]
    for arm in arms:
        fixed = condition.identity | {
            "arm": arm,
            "volumes": int(keep.sum()),
            "subjects": len(set(subjects)),
            "excluded": int((~keep).sum()),
            "seeds": len(condition.networks.get(arm, [])),
            "covers_seeds": arm in succeeded and condition.covers_seeds(arm),
            "failed": int((~succeeded[arm]).sum()) if arm in succeeded else 0,
            "status": "missing" if arm not in succeeded else "failed" if arm not in took_part else "ok",
            "note": condition.missing.get(arm, "" if arm in succeeded else "not run"),
        }
        for metric in metrics:
            values = condition.values[arm][metric][:, keep] if arm in took_part else np.empty((0, 0))
            yield fixed | {"metric": metric} | _mean(values, subjects, slices, fixed["covers_seeds"])


def _mean(
    values: Floats, subjects: NDArray[np.object_], slices: NDArray[np.int_], seeds: bool
) -> dict[str, float]:
    if not (values.size and np.isfinite(values).all()):
        return dict.fromkeys(("mean", "low", "high", "slice_mean"), np.nan)
    means = by_subject(values, subjects).to_numpy()
    found = estimate([means.mean(axis=0)], [means.mean(axis=1)] if seeds else [])
    return {
        "mean": found.value,
        "low": found.low,
        "high": found.high,
        "slice_mean": float(np.average(values.mean(axis=0), weights=slices)),
    }
