"""Whether a prior's gain survives another physics: the sentences, the table and the figure."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fm_unroll.evaluation.by_physics import CHANGE, KEY, OUT_OF_DOMAIN, Survival, survival
from fm_unroll.evaluation.inference import MIN_SUBJECTS
from fm_unroll.evaluation.metric_table import METRICS
from fm_unroll.report.formats import MISSING, Cell, Table
from fm_unroll.report.sentences import counted, difference, domain_name, interval, p_text
from fm_unroll.report.style import (
    GRAY,
    WIDTH,
    arrange_rows,
    footer,
    line_styles,
    physics_marker,
    styled,
    wrapped,
)
from fm_unroll.report.tables import notes_of, plain_header

WORDS: dict[Survival, str] = {
    "kept": "the gain survives",
    "larger": "the gain survives and is larger",
    "smaller": "the gain survives, but is smaller",
    "lost": "the gain does not survive",
    "reversed": "the gain turns into a loss",
    "none": "there is no clear gain that could survive",
    "appears": "a gain is clear in the second physics only",
    "open": "whether the gain survives is open",
    "not tested": f"not tested, with fewer than {MIN_SUBJECTS} subjects",
}
UNLIKE = "the change is not estimated, because more than the physics differs"
HEADINGS = (
    "Data",
    "Method",
    "Physics",
    "Gain over its U-Net",
    "95 % interval",
    "p (Holm)",
    "In words",
    "Subjects",
)
LEGEND = "Gain over the U-Net of the same physics, with 95 % intervals; right of zero the method is better."


def headline(gains: pd.DataFrame) -> list[str]:
    """Whether the gain of each prior out of domain survives each other physics, one sentence each.

    Args:
        gains: as :func:`fm_unroll.evaluation.by_physics.gains_by_physics` returns them.
    """
    outside = gains[gains.dataset == OUT_OF_DOMAIN]
    groups = outside.groupby(KEY, sort=False)
    return [_sentence(rows) for (arm, *_), rows in groups if arm.kind == "prior"]


def _sentence(rows: pd.DataFrame) -> str:
    before, after, change = rows.itertuples()
    of = f"{counted(rows.test_sets[:1], 'data set')}, {counted(rows.subjects[:1], 'subject')}"
    phantoms = ", on phantoms" if before.synthetic else ""
    changed = UNLIKE if np.isnan(change.difference) else f"a change of {_value(change)}"
    seeds = "" if before.covers_seeds and after.covers_seeds else ", for these networks"
    return (
        f"Does the gain survive the {after.of} physics? Out of domain ({of}{phantoms}) the gain of"
        f" {before.method.label} in {METRICS[before.metric].label} over {before.baseline.label} is"
        f" {_value(before)} in the paper's physics, and over {after.baseline.label} {_value(after)} in the"
        f" {after.of} one; {changed}: {WORDS[survival(rows)]}{seeds}."
    )


def _value(row: Any) -> str:
    """A difference with its interval."""
    ends = interval(row.low, row.high, row.metric, difference)
    return f"{difference(row.difference, row.metric)} {ends}".rstrip()


def survival_table(gains: pd.DataFrame) -> list[Table]:
    """Gains in each physics and their change: one table, none where no method is there in two.

    Args:
        gains: as :func:`fm_unroll.evaluation.by_physics.gains_by_physics` returns them.
    """
    body, previous = [], ""
    for _, rows in gains.groupby(KEY, sort=False):
        for row in rows.itertuples():
            first, text = "", ""
            if row.of == CHANGE:
                text = UNLIKE if np.isnan(row.difference) else WORDS[survival(rows)]
            elif row.method == row.arm:
                first = _place(row)
            body.append(_cells(row, first if first != previous else "", text))
            previous = first or previous
    if not body:
        return []
    label = METRICS[gains.metric.iloc[0]].label
    note = (
        f"Gain in {label} over the U-Net of the same physics. Out of domain: mean over the data sets of other"
        " anatomies than that of training, each counts alike. Change: the gain in the other physics minus"
        " that in the paper's, over the same conditions; estimated where networks and U-Nets differ in the"
        " physics alone: the paper's U-Net then has a zero head (varnet_zero), and loss and recipe are the"
        " same. In words: by the intervals. p: of no change at all, raised where few seeds tell little of"
        " their variance, so that it may be above 0.05 beside an interval without 0. Holm over the changes"
        " out of domain, and over the others."
    )
    caption = f"Does the gain in {label} survive another physics?"
    return [Table("survival", caption, plain_header(HEADINGS), tuple(body), notes_of(gains, note), gains)]


def _place(row: Any) -> str:
    return "Out of domain" if row.dataset == OUT_OF_DOMAIN else domain_name(row.dataset, row.anatomy)


def _cells(row: Any, place: str, text: str) -> tuple[Cell, ...]:
    """One line of the table."""
    clear = row.p_holm < 0.05 and row.covers_seeds  # of changes
    mark = ("better" if row.difference > 0 else "worse") if clear else ""
    known = not np.isnan(row.difference)
    changed = row.of == CHANGE
    return (
        Cell(place),
        Cell("" if changed else row.method.label),
        Cell("change" if changed else row.of),
        Cell(difference(row.difference, row.metric), mark, "" if changed else f"over {row.baseline.label}"),
        Cell(interval(row.low, row.high, row.metric, difference) or MISSING),
        Cell(p_text(row.p_holm, row.subjects) if known and changed else "" if known else MISSING),
        Cell(text),
        Cell(str(row.subjects) if known else MISSING),
    )


@styled
def survival_figure(gains: pd.DataFrame) -> Figure:
    """Gains in each physics side by side, one panel out of domain and one for each data set.

    Args:
        gains: as :func:`fm_unroll.evaluation.by_physics.gains_by_physics` returns them.
    """
    known = gains[gains.of != CHANGE].dropna(subset="difference")
    panels = list(known.groupby(["dataset", "anatomy"], sort=False))
    arms, kinds = sorted(set(known.arm)), list(dict.fromkeys(known.of))
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, rows * (0.42 * len(arms) + 0.75) + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    styles = line_styles(arms)
    for number, (axis, (_, group)) in enumerate(zip(axes, panels, strict=False)):
        for row in group.itertuples():
            y = arms.index(row.arm) + 0.36 * (kinds.index(row.of) - (len(kinds) - 1) / 2)
            look = {"color": styles[row.arm]["color"], "zorder": 3}
            axis.plot([row.low, row.high], [y, y], linewidth=1.4, **look)
            axis.plot(row.difference, y, physics_marker(row.of), markersize=5, **look)
        axis.set_title(wrapped(_place(next(group.itertuples())), 5.4 / columns))
        arrange_rows(axis, arms, named=number % columns == 0)
        if number + columns >= len(panels):
            axis.set_xlabel(f"gain in {METRICS[known.metric.iloc[0]].label}")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    marks = [Line2D([], [], color=GRAY, marker=physics_marker(kind), linestyle="-") for kind in kinds]
    figure.legend(marks, [f"{kind} physics" for kind in kinds], loc="outside upper right", ncols=len(kinds))
    footer(figure, gains.synthetic, LEGEND)
    return figure
