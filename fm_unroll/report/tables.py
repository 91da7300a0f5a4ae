"""The layout of each table: numbers in, rows of cells out. ``formats`` writes them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.inference import MIN_SUBJECTS
from fm_unroll.evaluation.metric_table import METRICS, metrics_of
from fm_unroll.evaluation.records import CONDITION, RUN
from fm_unroll.report.formats import MISSING, Cell, Header, Table
from fm_unroll.report.sentences import (
    SIZES,
    beside_baseline,
    center_name,
    crossing_text,
    difference,
    differs,
    domain_name,
    file_name,
    interval,
    number,
    p_text,
    signed,
    synthetic_notice,
    times,
)

CONVENTION = (
    "SSIM: mean over slices, data range of the volume;"
    " PSNR (dB) and NMSE: volume convention (fastmri.evaluate)."
)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: above it.
        cell: text or cell for one row of the table's numbers, whose columns are attributes.
    """

    heading: str
    cell: Callable[[Any], Cell | str]

    def of(self, row: Any) -> Cell:
        """The cell for a row of numbers."""
        found = self.cell(row)
        return found if isinstance(found, Cell) else Cell(found)


def notes_of(data: pd.DataFrame, *notes: str) -> tuple[str, ...]:
    """Notes below a table, with the one on phantoms where it applies; empty ones are dropped."""
    return tuple(filter(None, (synthetic_notice(data.synthetic), *notes)))


def domains(data: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Data set, anatomy and rows of every pair of data set and anatomy."""
    for (dataset, anatomy), group in data.groupby(["dataset", "anatomy"], sort=False):
        yield dataset, anatomy, group


def plain_header(headings: Iterable[str]) -> Header:
    """A header of one row."""
    return (tuple((heading, 1) for heading in headings),)


def metric_header(centers: Sequence[str], metrics: Sequence[str]) -> Header:
    """The header of the paper's layout: centers, and below each of them the metrics."""
    headings = [(METRICS[metric].heading, 1) for _ in centers for metric in metrics]
    return (
        (("", 1), ("", 1), *((center_name(center), len(metrics)) for center in centers)),
        (("Acceleration", 1), ("Method", 1), *headings),
    )


def _difference_cell(row: Any) -> Cell:
    return Cell(difference(row.difference, row.metric), differs(row) if row.covers_seeds else "")


def _sample_cell(row: Any) -> str:
    return f"{row.subjects} ({row.volumes})" + (f", {row.excluded} left out" if row.excluded else "")


def _seeds_cell(row: Any) -> str:
    own = row.seeds if row.arm.trained_here else MISSING
    return f"{own}, {row.baseline_seeds}" + ("" if row.covers_seeds else ": these networks")


METHOD = Column("Method", lambda row: Cell(row.arm.label, small=row.size))
INTERVAL = Column("95 % interval", lambda row: interval(row.low, row.high, row.metric, difference) or MISSING)
P_VALUE = Column("p (Holm)", lambda row: p_text(row.p_holm, row.subjects))

# Of one row that :func:`compare` returns, behind its condition; ``{label}`` is the metric's.
COMPARISON_COLUMNS = [
    METHOD,
    Column("Δ {label}", _difference_cell),
    INTERVAL,
    P_VALUE,
    Column("Cohen's dz", lambda row: signed(row.cohens_dz, 2)),
    Column("Subjects (volumes)", _sample_cell),
    Column("Seeds", _seeds_cell),
]


def comparison_tables(comparisons: pd.DataFrame, stem: str = "comparison") -> list[Table]:
    """Paired differences, one table per baseline, data set and metric.

    Args:
        comparisons: as :func:`fm_unroll.evaluation.statistics.compare` returns them.
        stem: of the files' names.
    """
    return [
        _comparison_table(stem, dataset, anatomy, metric, group)
        for (_, metric, dataset, anatomy), group in comparisons.groupby(
            ["baseline", "metric", "dataset", "anatomy"], sort=False
        )
    ]


def _comparison_table(stem: str, dataset: str, anatomy: str, metric: str, data: pd.DataFrame) -> Table:
    baseline: Arm = data.baseline.iloc[0]
    label, convention = METRICS[metric].label, METRICS[metric].convention
    body, previous = [], None
    for row in data.itertuples():
        place = (row.center, row.acceleration)
        first = Cell("")
        if place != previous:
            heading = f"{times(row.acceleration)}, {center_name(row.center)}"
            first = Cell(heading, small=f"true {row.true_acceleration:.1f}")
        body.append((first, *(column.of(row) for column in COMPARISON_COLUMNS)))
        previous = place
    better = "positive" if METRICS[metric].higher_is_better else "negative"
    return Table(
        name=file_name(stem, metric, f"to_{baseline}", anatomy, dataset),
        caption=f"{domain_name(dataset, anatomy)}: {label} minus that of {baseline.label}, paired.",
        header=plain_header(
            ["Condition", *(column.heading.format(label=label) for column in COMPARISON_COLUMNS)]
        ),
        body=tuple(body),
        notes=notes_of(
            data,
            f"{label}: {convention}; {better} is better than {baseline.label}."
            " All figures are over subjects; interval and test hold the variance between subjects and"
            " between seeds, where both methods have several."
            f" Holm over {_tests(data)}."
            " Coloured: p < 0.05, with several seeds.",
            SIZES if data["size"].any() else "",
        ),
        data=data,
    )


def _tests(data: pd.DataFrame) -> str:
    """How many tests a table holds, those of methods without training apart."""
    tested = data[data.p_value.notna()]
    floors = sum(arm.kind == "classical" for arm in tested.arm)
    text = f"the tests of trained methods in this table ({len(tested) - floors})"
    return f"{text}, and apart over those of methods without training ({floors})" if floors else text


COURSES = {
    "overtakes": "behind at first, ahead at last",
    "ahead": "ahead from the lowest acceleration on",
    "behind": "behind throughout",
    "falls behind": "ahead at first, behind at last",
    "not clear": "not clear with these subjects",
}
CROSSING_COLUMNS = [
    METHOD,
    Column("Overtakes at", crossing_text),
    Column("In words", lambda row: row.verdict),
    Column(
        "True accelerations looked at",
        lambda row: f"{row.from_acceleration:.2f} to {row.to_acceleration:.2f}",
    ),
    Column("Subjects", lambda row: str(row.subjects)),
]


def crossing_tables(found: pd.DataFrame) -> list[Table]:
    """From which acceleration on each method is ahead of the baseline, one table per baseline.

    Args:
        found: as :func:`fm_unroll.evaluation.crossings.crossings` returns it.
    """
    return [_crossing_table(group, baseline) for baseline, group in found.groupby("baseline", sort=False)]


def _crossing_table(found: pd.DataFrame, baseline: Arm) -> Table:
    data = found.assign(verdict=[_verdict(row) for row in found.itertuples()])
    body, previous = [], None
    for row in data.itertuples():
        place = f"{domain_name(row.dataset, row.anatomy)}, {center_name(row.center)}"
        first = Cell(place if place != previous else "")
        body.append((first, *(column.of(row) for column in CROSSING_COLUMNS)))
        previous = place
    return Table(
        name=beside_baseline("crossings", baseline),
        caption=f"True acceleration from which on each method is ahead of {baseline.label} in SSIM.",
        header=plain_header(["Data", *(column.heading for column in CROSSING_COLUMNS)]),
        body=tuple(body),
        notes=notes_of(
            data,
            "Linear interpolation of the mean difference between the accelerations tested, with a 95 %"
            " interval (bootstrap over subjects); given only where nearly all resamples overtake.",
            SIZES if data["size"].any() else "",
        ),
        data=data,
    )


INTERACTION_COLUMNS = [
    METHOD,
    Column("Changes with", lambda row: row.of),
    Column("From", lambda row: row.against),
    Column(
        "Δ gain",
        lambda row: Cell(
            difference(row.difference, row.metric),
            ("better" if row.difference > 0 else "worse") if row.p_holm < 0.05 and row.covers_seeds else "",
        ),
    ),
    INTERVAL,
    P_VALUE,
    Column("Subjects", lambda row: str(row.subjects)),
]


def interaction_tables(found: pd.DataFrame) -> list[Table]:
    """How much gains change with acceleration and anatomy, one table per baseline.

    Args:
        found: as :func:`fm_unroll.evaluation.endpoint.interactions` returns it.
    """
    return [_interaction_table(group, baseline) for baseline, group in found.groupby("baseline", sort=False)]


def _interaction_table(data: pd.DataFrame, baseline: Arm) -> Table:
    body = [
        (Cell(domain_name(row.dataset, row.anatomy)), *(column.of(row) for column in INTERACTION_COLUMNS))
        for row in data.itertuples()
    ]
    label = METRICS[data.metric.iloc[0]].label
    one_seed = "" if data.covers_seeds.all() else "Methods with one seed: for these networks."
    return Table(
        name=beside_baseline("interactions", baseline),
        caption=f"Does the gain in {label} over {baseline.label} depend on acceleration or anatomy?",
        header=plain_header(["Data", *(column.heading for column in INTERACTION_COLUMNS)]),
        body=tuple(body),
        notes=notes_of(
            data,
            "Acceleration: the gain at the highest nominal acceleration minus that at the lowest, mean over"
            " centers. Anatomy: the mean gain on this data set minus that on the first. Positive: the gain"
            f" grows. Holm over the tests of this table ({int(data.p_value.notna().sum())}).",
            one_seed,
            SIZES if data["size"].any() else "",
        ),
        data=data,
    )


def _verdict(row: Any) -> str:
    if row.course == "not tested":
        return "one acceleration only" if row.points < 2 else f"fewer than {MIN_SUBJECTS} subjects"
    return COURSES[row.course] + ("" if row.covers_seeds else ", for these networks")


def _slices_cell(row: Any) -> str:
    return f"{row.slices}" + (f" of {row.expected}" if row.slices < row.expected else "")


def _tested_cell(row: Any) -> str:
    return f"{domain_name(row.dataset, row.anatomy)}, {row.center}, {times(row.acceleration)}"


# Of one run at one condition, before its metrics.
RUN_COLUMNS = [
    METHOD,
    Column(
        "Trained at",
        lambda row: MISSING if np.isnan(row.train_acceleration) else times(row.train_acceleration),
    ),
    Column("Seed", lambda row: MISSING if np.isnan(row.seed) else f"{row.seed:g}"),
    Column("Checkpoint", lambda row: row.checkpoint_sha256[:10] or MISSING),
    Column("Tested at", _tested_cell),
    Column("Slices", _slices_cell),
    Column("Failed", lambda row: str(row.failed)),
]


def run_table(
    volumes: pd.DataFrame, records: pd.DataFrame, sizes: Mapping[str, str] = MappingProxyType({})
) -> Table:
    """Every run at every condition, also those at another than their training acceleration.

    Args:
        volumes: as :func:`fm_unroll.evaluation.records.volume_table` returns them.
        records: the slices they were made of (for the names and hashes of the encoders).
        sizes: how large the networks of an arm are, in words, by its text.
    """
    encoders = records.groupby("checkpoint_sha256")[["encoder", "encoder_sha256", "encoder_weights"]].first()
    grouped = volumes.groupby([*RUN, "arm", *CONDITION], dropna=False)
    counts = grouped.agg(
        true_acceleration=("true_acceleration", "mean"),
        synthetic=("synthetic", "any"),
        volumes=("volume", "size"),
        slices=("slices", "sum"),
        expected=("expected", "sum"),
        failed=("failed", "sum"),
    )
    means = grouped[list(METRICS)].mean(skipna=False)
    data = counts.join(means).reset_index().join(encoders, on="checkpoint_sha256")
    data["size"] = [sizes.get(str(arm), "") for arm in data.arm]
    printed = metrics_of("main", "slice")
    body = [
        (
            *(column.of(row) for column in RUN_COLUMNS),
            *(Cell(number(getattr(row, metric), metric)) for metric in printed),
        )
        for row in data.itertuples()
    ]
    headings = [*(column.heading for column in RUN_COLUMNS), *(METRICS[m].heading for m in printed)]
    return Table(
        name="runs",
        caption="Every run at every condition: mean over its volumes, none where a slice failed.",
        header=plain_header(headings),
        body=tuple(body),
        notes=notes_of(data, CONVENTION + " “(slice)”: slice convention."),
        data=data,
    )
