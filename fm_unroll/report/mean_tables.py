"""Tables of means: results, by contrast, by the challenge's convention, and a summary for the terminal."""

from collections.abc import Iterator, Sequence

import pandas as pd

from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.metric_table import METRICS, Group, metrics_of
from fm_unroll.evaluation.records import CONDITION
from fm_unroll.report.formats import MISSING, Cell, Table
from fm_unroll.report.sentences import (
    SIZES,
    center_name,
    counted,
    domain_name,
    file_name,
    interval,
    number,
    span,
    times,
)
from fm_unroll.report.tables import CONVENTION, domains, metric_header, notes_of, plain_header

CHALLENGE_CONVENTION = (
    "Convention of the CMRxRecon 2023 challenge: target and reconstruction are each divided by their own"
    " maximum in the slice, which hides errors of scale; whole images, mean over slices."
    " Not comparable with any other table here."
)

WORST = (
    "SSIM: as in the results, over subjects. Worst 5 %: mean SSIM of the worst one in twenty slices, rounded"
    " up, of each method by itself; of several seeds the mean. Where a slice failed there is none."
)


def result_tables(means: pd.DataFrame) -> list[Table]:
    """Means in the paper's layout, one table per data set: best in bold, second best underlined.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
    """
    return _group_tables(means, "main", "results", "mean over subjects.", CONVENTION)


def further_tables(means: pd.DataFrame) -> list[Table]:
    """Means of the metrics inside the body and of the perceptual ones beside SSIM, where they were computed.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
    """
    made = []
    for dataset, anatomy, group in domains(means):
        of_metric = {metric: rows for metric, rows in group.groupby("metric") if rows["mean"].notna().any()}
        further = [m for kind in ("body", "perceptual") for m in metrics_of(kind) if m in of_metric]
        if not further or "ssim" not in of_metric:
            continue
        made.append(
            _mean_table(
                name=file_name("further", anatomy, dataset),
                caption=f"{domain_name(dataset, anatomy)}, other metrics: mean over subjects.",
                blocks=[("", pd.concat([of_metric[metric] for metric in ("ssim", *further)]))],
                convention="; ".join(f"{METRICS[m].label}: {METRICS[m].convention}" for m in further) + ".",
            )
        )
    return made


def challenge_tables(means: pd.DataFrame) -> list[Table]:
    """Means by the challenge's own convention, one table per data set, apart from all other metrics.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
    """
    caption = "mean over subjects, challenge convention."
    return _group_tables(means, "challenge", "challenge", caption, CHALLENGE_CONVENTION)


def _group_tables(means: pd.DataFrame, kind: Group, stem: str, caption: str, convention: str) -> list[Table]:
    """The metrics of one group, one table per data set."""
    return [
        _mean_table(
            name=file_name(stem, anatomy, dataset),
            caption=f"{domain_name(dataset, anatomy)}: {caption}",
            blocks=[("", group[group.metric.isin(metrics_of(kind))])],
            convention=convention,
        )
        for dataset, anatomy, group in domains(means)
    ]


def contrast_tables(means: pd.DataFrame) -> list[Table]:
    """Means by contrast or view, one table per data set that has several.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them, and a column ``contrast``.
    """
    return [
        _mean_table(
            name=file_name("contrasts", anatomy, dataset),
            caption=f"{domain_name(dataset, anatomy)}, by contrast: mean over subjects.",
            blocks=list(group.groupby("contrast", sort=True)),
            convention=CONVENTION,
        )
        for dataset, anatomy, group in domains(means)
    ]


def worst_tables(worst: pd.DataFrame, means: pd.DataFrame) -> list[Table]:
    """SSIM of the worst slices beside the mean, one table per data set.

    Args:
        worst: as :func:`fm_unroll.evaluation.worst_slices.worst_slices` returns them.
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them; the mean is theirs.
    """
    ssim = means[means.metric == "ssim"]
    places = [*CONDITION, "arm"]
    return [
        _worst_table(dataset, anatomy, group, ssim.merge(group[places], on=places))
        for dataset, anatomy, group in domains(worst)
    ]


def _worst_table(dataset: str, anatomy: str, worst: pd.DataFrame, means: pd.DataFrame) -> Table:
    centers, heading = list(dict.fromkeys(worst.center)), METRICS["ssim"].heading
    places = ["center", "acceleration", "arm"]
    kinds = {"mean": means, "worst": worst.assign(metric="ssim", mean=worst.worst)}
    marks = {
        (kind, center, acceleration, arm): mark
        for kind, table in kinds.items()
        for (center, acceleration), group in table.groupby(["center", "acceleration"])
        for mark, arm in _ranking(group)
    }
    rows = {
        (kind, *(getattr(row, name) for name in places)): row
        for kind, table in kinds.items()
        for _, row in table.iterrows()
    }
    body, sizes = [], dict(zip(means.arm, means["size"], strict=True))
    for acceleration in sorted(worst.acceleration.unique()):
        at = worst[(worst.acceleration == acceleration) & (worst.slices > 0)]
        counts = f"{span(at.worst_slices)} of {span(at.slices)} slices"
        first = Cell(times(acceleration), small=f"{_acceleration_note(at, centers)}; worst {counts}")
        for arm in sorted(set(worst.arm)):
            keys = [(kind, center, acceleration, arm) for center in centers for kind in kinds]
            cells = [CELLS[key[0]](rows.get(key), marks.get(key, "")) for key in keys]
            body.append((first, Cell(arm.label, small=sizes.get(arm, "")), *cells))
            first = Cell("")
    pairs = [(text, 1) for _ in centers for text in (heading, f"{heading[:-2]}, worst 5 % {heading[-1]}")]
    return Table(
        name=file_name("worst", anatomy, dataset),
        caption=f"{domain_name(dataset, anatomy)}: the worst 5 % of the slices of each method.",
        header=(
            (("", 1), ("", 1), *((center_name(center), 2) for center in centers)),
            (("Acceleration", 1), ("Method", 1), *pairs),
        ),
        body=tuple(body),
        notes=notes_of(worst, WORST, SIZES if any(sizes.values()) else ""),
        data=worst.merge(means[[*places, "mean"]], on=places),
    )


def _plain_mean_cell(row: pd.Series | None, mark: str) -> Cell:
    return _mean_cell(row, "ssim", mark, leads=False)


def _worst_cell(row: pd.Series | None, mark: str) -> Cell:
    if row is None or row.status == "missing":
        return Cell(MISSING)
    if row.status == "failed":
        return Cell("failed", small=f"{row.failed} slice{'s' * (row.failed > 1)}")
    return Cell(number(row.worst, "ssim"), mark)


CELLS = {"mean": _plain_mean_cell, "worst": _worst_cell}


def _mean_table(name: str, caption: str, blocks: list[tuple[str, pd.DataFrame]], convention: str) -> Table:
    """Methods in rows, centers and metrics in columns; accelerations below each other, blocks likewise."""
    means = pd.concat([block for _, block in blocks])
    metrics, centers = list(dict.fromkeys(means.metric)), list(dict.fromkeys(means.center))
    notes = [note for heading, block in blocks for note in _sample_notes(block, heading)]
    return Table(
        name=name,
        caption=caption,
        header=metric_header(centers, metrics),
        body=tuple(row for heading, block in blocks for row in _mean_rows(heading, block, centers, metrics)),
        notes=notes_of(
            means,
            *notes,
            convention + (" Second line: 95 % interval." if means.low.notna().any() else ""),
            SIZES if means["size"].any() else "",
        ),
        data=means,
    )


def _mean_rows(
    heading: str, means: pd.DataFrame, centers: Sequence[str], metrics: Sequence[str]
) -> Iterator[tuple[Cell, ...]]:
    places = ["center", "acceleration", "arm", "metric"]
    lookup = {tuple(getattr(row, name) for name in places): row for _, row in means.iterrows()}
    marks = {
        (center, acceleration, arm, metric): mark
        for (center, acceleration, metric), group in means.groupby(["center", "acceleration", "metric"])
        for mark, arm in _ranking(group)
    }
    sizes = dict(zip(means.arm, means["size"], strict=True))
    for acceleration in sorted(means.acceleration.unique()):
        at = means[means.acceleration == acceleration]
        text = " ".join(filter(None, (heading, times(acceleration))))
        first = Cell(text, small=_acceleration_note(at, centers))
        for arm in sorted(set(means.arm)):
            row = [first, Cell(arm.label, small=sizes.get(arm, ""))]
            for key in [(center, acceleration, arm, metric) for center in centers for metric in metrics]:
                leads = key[-1] == metrics[0]
                row.append(_mean_cell(lookup.get(key), key[-1], marks.get(key, ""), leads))
            yield tuple(row)
            first = Cell("")


def _ranking(group: pd.DataFrame) -> list[tuple[str, Arm]]:
    ascending = not METRICS[group.metric.iloc[0]].higher_is_better
    order = group.dropna(subset="mean").sort_values("mean", ascending=ascending, kind="stable").arm
    return list(zip(("best", "second"), order, strict=False)) if len(order) > 1 else []


def _mean_cell(row: pd.Series | None, metric: str, mark: str, leads: bool) -> Cell:
    """A mean; the leading metric of a table carries the interval, or how much failed."""
    if row is None:
        return Cell(MISSING)
    if row.status == "failed":
        return Cell("failed", small=f"{row.failed} volumes" if leads else "")
    return Cell(number(row["mean"], metric), mark, interval(row.low, row.high, metric) if leads else "")


def _acceleration_note(at: pd.DataFrame, centers: Sequence[str]) -> str:
    true = at.drop_duplicates("center").set_index("center").true_acceleration
    note = "true " + ", ".join(f"{true[c]:.1f}" if c in true else MISSING for c in centers)
    trained = at.train_acceleration.dropna().unique()
    off = [t for t in trained if t != at.acceleration.iloc[0]]
    return note + (f"; models of {times(off[0])}" if off else "")


def _sample_notes(means: pd.DataFrame, heading: str) -> list[str]:
    one = means.drop_duplicates([*CONDITION, "arm"])
    sizes = one.drop_duplicates(list(CONDITION))
    counts = f"{counted(sizes.subjects, 'subject')}, {counted(sizes.volumes, 'volume')} per condition"
    counts = f"{heading}: {counts}" if heading else counts
    out = sizes[sizes.excluded > 0]
    excluded = "; ".join(f"{r.center}, {times(r.acceleration)}: {r.excluded}" for r in out.itertuples())
    gaps = one[(one.note != "") & (one.note != "not run")]
    partial = "; ".join(
        f"{r.arm.label} at {r.center}, {times(r.acceleration)}: {r.note}" for r in gaps.itertuples()
    )
    return [
        counts + ".",
        f"Volumes left out for all methods because a slice failed in one ({excluded})." if excluded else "",
        f"Incomplete ({partial})." if partial else "",
    ]


def summary(means: pd.DataFrame) -> str:
    """A compact table for the terminal: the main metrics by method, data set, center and acceleration.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
    """
    blocks = []
    metrics = metrics_of("main")
    words = ", ".join(METRICS[m].label + " (dB)" * METRICS[m].convention.endswith("dB") for m in metrics)
    lookup = means.set_index([*CONDITION, "arm", "metric"])["mean"].to_dict()
    for (dataset, anatomy, center), group in means.groupby(["dataset", "anatomy", "center"], sort=False):
        accelerations = sorted(group.acceleration.unique())
        true = group.drop_duplicates("acceleration").set_index("acceleration").true_acceleration
        body = []
        for arm in sorted(set(group.arm)):
            row = [Cell(arm.label)]
            for acceleration in accelerations:
                key = (dataset, anatomy, center, acceleration, arm)
                row.append(Cell(" ".join(number(lookup[*key, metric], metric) for metric in metrics)))
            body.append(tuple(row))
        heads = [f"{times(a)} (true {true[a]:.2f})" for a in accelerations]
        title = f"{domain_name(dataset, anatomy)}, {center_name(center)}: {words}"
        blocks.append(Table("", title, plain_header(["", *heads]), tuple(body), (), group).text())
    return "\n\n".join([*blocks, *notes_of(means)])
