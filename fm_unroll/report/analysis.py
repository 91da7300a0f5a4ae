"""All numbers of one set of records, before any is laid out."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from fm_unroll.evaluation.alignment import AlignedVolumes, align
from fm_unroll.evaluation.arms import BASELINE, CONTROLS, Arm
from fm_unroll.evaluation.by_physics import gains_by_physics
from fm_unroll.evaluation.crossings import crossings
from fm_unroll.evaluation.endpoint import Answer, Endpoint, answer, interactions
from fm_unroll.evaluation.metric_table import metrics_of
from fm_unroll.evaluation.records import volume_table
from fm_unroll.evaluation.statistics import compare, describe, subject_differences
from fm_unroll.evaluation.worst_slices import worst_slices
from fm_unroll.methods import PAPER


@dataclass(frozen=True)
class Analysis:
    """All numbers of one set of records.

    Attributes:
        records: one row per slice.
        volumes: one row per run, condition and volume.
        arms: all arms in the order of the tables.
        priors: those whose prior is a pretrained frozen encoder.
        baselines: those that others are compared with, where they were trained on the same data.
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
        contrasts: the same by contrast, of the data sets that have several.
        comparisons: all other methods, those without training included, minus each baseline; empty without
            one.
        subjects: what every subject adds to the comparisons in SSIM.
        worst: the worst slices of every arm, as :func:`fm_unroll.evaluation.worst_slices.worst_slices`
            returns them.
        controls: priors minus each of their controls (SSIM); empty without one.
        physics: networks of another physics minus the same ones of the paper's (SSIM); empty without such.
        survival: what becomes of the gains of the paper's physics in another one (SSIM); likewise.
        apart: pairs of a trained method and a baseline, or of two physics, that differ in what they were
            trained on or in other settings too, and are not compared for that.
        interactions: how much the gains of trained methods in SSIM change with acceleration and anatomy.
        endpoint: the primary endpoint, if one was named.
        answers: what the records say to it.
        crossings: from which acceleration on trained methods are ahead of the baseline in SSIM.
    """

    records: pd.DataFrame
    volumes: pd.DataFrame
    arms: list[Arm]
    priors: list[Arm]
    baselines: list[Arm]
    means: pd.DataFrame
    contrasts: pd.DataFrame
    comparisons: pd.DataFrame
    subjects: pd.DataFrame
    worst: pd.DataFrame
    controls: pd.DataFrame
    physics: pd.DataFrame
    survival: pd.DataFrame
    crossings: pd.DataFrame
    interactions: pd.DataFrame
    endpoint: Endpoint | None
    answers: list[Answer]
    apart: list[tuple[Arm, Arm]]


def analyse(
    records: pd.DataFrame, endpoint: Endpoint | None = None, sizes: Mapping[str, str] = MappingProxyType({})
) -> Analysis:
    """Compute all numbers.

    Args:
        records: as :func:`fm_unroll.evaluation.records.read_records` returns them.
        endpoint: the primary endpoint, if one was named.
        sizes: how large the networks of an arm are, in words, by its text; in the column ``size`` of tables.

    Raises:
        InputError: methods do not share masks and targets at a slice.
    """
    volumes = volume_table(records)
    found = align(volumes)
    arms = sorted(volumes.arm.unique())
    trained = [arm for arm in arms if volumes.loc[volumes.arm == arm, "train_acceleration"].notna().all()]
    priors = [arm for arm in arms if arm.kind == "prior"]
    baselines = [arm for arm in arms if arm.kind == "baseline"] or [BASELINE]
    # the same network in another physics has comparisons of its own
    beside = {base: [arm for arm in arms if not arm.differs_in_physics(base)] for base in baselines}
    networks = {base: [arm for arm in beside[base] if arm in trained] for base in baselines}
    return Analysis(
        records=records,
        volumes=volumes,
        arms=arms,
        priors=priors,
        baselines=baselines,
        means=_sized(describe(found, arms), sizes),
        contrasts=_sized(_by_contrast(volumes, arms), sizes),
        comparisons=_sized(
            _join([compare(found, base, beside[base], metrics_of("main")) for base in baselines]), sizes
        ),
        subjects=_join([subject_differences(found, base, beside[base]) for base in baselines]),
        worst=worst_slices(records, found, arms),
        controls=_sized(_controls(found, priors, arms), sizes),
        physics=_sized(_physics(found, arms), sizes),
        survival=gains_by_physics(found, arms),
        crossings=_sized(_join([crossings(found, base, networks[base]) for base in baselines]), sizes),
        interactions=_sized(_join([interactions(found, base, networks[base]) for base in baselines]), sizes),
        endpoint=endpoint,
        answers=answer(endpoint, found, arms) if endpoint else [],
        apart=_apart(found, trained),
    )


def _apart(found: list[AlignedVolumes], trained: list[Arm]) -> list[tuple[Arm, Arm]]:
    """Pairs that would be compared, with the baseline or with another physics, if they were trained alike."""
    return [
        (arm, other)
        for other in trained
        for arm in trained
        if (_would_be_baseline(arm, other) or (other.physics == PAPER and arm.differs_in_physics(other)))
        and any({arm, other} <= here.networks.keys() for here in found)
        and not any(here.comparable(arm, other) for here in found)
    ]


def _would_be_baseline(arm: Arm, other: Arm) -> bool:
    return arm.physics == other.physics and arm.kind != "baseline" == other.kind


def _controls(found: list[AlignedVolumes], priors: list[Arm], arms: list[Arm]) -> pd.DataFrame:
    """SSIM of the priors minus that of each control: random weights, the same encoder's, no encoder.

    And of the adapted networks minus that of the same ones as they were trained.
    """
    compared = []
    for control in arms:
        known = control.of_any_training
        twins = [
            prior for prior in priors if known in (prior.with_random_weights(), prior.with_shuffled_weights())
        ]
        compared.append(
            compare(found, control, priors if known in CONTROLS and control.kind == "control" else twins)
        )
        compared.append(compare(found, control, [arm for arm in arms if arm.unadapted == control]))
    return _join(compared)


def _physics(found: list[AlignedVolumes], arms: list[Arm]) -> pd.DataFrame:
    """SSIM of the networks of other physics minus that of the same ones of the paper's."""
    compared = []
    for arm in arms:
        others = [other for other in arms if arm.differs_in_physics(other)]
        compared.append(compare(found, arm, others if arm.physics == PAPER else []))
    return _join(compared)


def _sized(table: pd.DataFrame, sizes: Mapping[str, str]) -> pd.DataFrame:
    """A table of arms with their sizes."""
    return table.assign(size=[sizes.get(str(arm), "") for arm in table.arm])


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several tables with the same columns, some of which may be empty."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def _by_contrast(volumes: pd.DataFrame, arms: list[Arm]) -> pd.DataFrame:
    means = [
        describe(align(group), arms, metrics_of("main")).assign(contrast=contrast)
        for _, domain in volumes.groupby(["anatomy", "dataset"])
        if domain.contrast.nunique() > 1
        for contrast, group in domain.groupby("contrast")
    ]
    return pd.concat(means) if means else pd.DataFrame(columns=["dataset", "anatomy", "arm"])


def main_means(records: pd.DataFrame) -> pd.DataFrame:
    """Means of the main metrics alone, as :func:`fm_unroll.evaluation.statistics.describe` returns them.

    Args:
        records: as :func:`fm_unroll.evaluation.records.read_records` returns them.
    """
    volumes = volume_table(records)
    return describe(align(volumes), sorted(volumes.arm.unique()), metrics_of("main"))
