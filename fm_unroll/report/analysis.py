"""All numbers of one set of records, before any is laid out."""

from dataclasses import dataclass

import pandas as pd

from fm_unroll.evaluation import statistics
from fm_unroll.evaluation.arms import BASELINE, CONTROLS, Arm
from fm_unroll.evaluation.metric_table import metrics_of
from fm_unroll.evaluation.records import volume_table


@dataclass(frozen=True)
class Analysis:
    """All numbers of one set of records.

    Attributes:
        records: one row per slice.
        volumes: one row per run, condition and volume.
        arms: all arms in the order of the tables.
        priors: those whose prior is a frozen encoder.
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
        contrasts: the same by contrast, of the data sets that have several.
        comparisons: trained methods minus the baseline; empty without the baseline.
        controls: foundation priors minus the same architecture with a random encoder (SSIM); empty without
            one.
        crossings: where trained methods overtake the baseline in SSIM.
    """

    records: pd.DataFrame
    volumes: pd.DataFrame
    arms: list[Arm]
    priors: list[Arm]
    means: pd.DataFrame
    contrasts: pd.DataFrame
    comparisons: pd.DataFrame
    controls: pd.DataFrame
    crossings: pd.DataFrame

    @property
    def synthetic(self) -> bool:
        """Whether any record is synthetic."""
        return bool(self.records.synthetic.any())


def analyse(records: pd.DataFrame) -> Analysis:
    """Compute all numbers.

    Args:
        records: as :func:`fm_unroll.evaluation.records.read_records` returns them.

    Raises:
        InputError: methods do not share masks and targets at a slice.
    """
    volumes = volume_table(records)
    found = statistics.align(volumes)
    arms = sorted(volumes.arm.unique())
    trained = [arm for arm in arms if volumes.loc[volumes.arm == arm, "train_acceleration"].notna().all()]
    priors = [arm for arm in arms if arm.kind == "prior"]
    comparisons = statistics.compare(found, BASELINE, trained, metrics_of("main"))
    return Analysis(
        records=records,
        volumes=volumes,
        arms=arms,
        priors=priors,
        means=statistics.describe(found, arms),
        contrasts=_by_contrast(volumes, arms),
        comparisons=comparisons,
        controls=_controls(found, priors),
        crossings=statistics.crossings(comparisons[comparisons.metric == "ssim"]),
    )


def _controls(found: list[statistics.AlignedVolumes], priors: list[Arm]) -> pd.DataFrame:
    """SSIM of the priors minus that of each control: random weights, the same encoder's, no encoder."""
    pretrained = [prior for prior in priors if prior != prior.with_random_weights()]
    baselines = dict.fromkeys(CONTROLS, pretrained)
    for prior in pretrained:
        baselines.setdefault(prior.with_random_weights(), []).append(prior)
    compared = [statistics.compare(found, *pair) for pair in baselines.items()]
    return pd.concat([table for table in compared if len(table)] or compared[:1], ignore_index=True)


def _by_contrast(volumes: pd.DataFrame, arms: list[Arm]) -> pd.DataFrame:
    means = [
        statistics.describe(statistics.align(group), arms, metrics_of("main")).assign(contrast=contrast)
        for _, domain in volumes.groupby(["anatomy", "dataset"])
        if domain.contrast.nunique() > 1
        for contrast, group in domain.groupby("contrast")
    ]
    return pd.concat(means) if means else pd.DataFrame(columns=["dataset", "anatomy"])


def main_means(records: pd.DataFrame) -> pd.DataFrame:
    """Means of the main metrics alone, as :func:`fm_unroll.evaluation.statistics.describe` returns them.

    Args:
        records: as :func:`fm_unroll.evaluation.records.read_records` returns them.
    """
    volumes = volume_table(records)
    found = statistics.align(volumes)
    return statistics.describe(found, sorted(volumes.arm.unique()), metrics_of("main"))
