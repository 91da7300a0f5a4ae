"""Out of domain against in domain while networks are trained: the figure, and the table of gains."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fm_unroll.report.formats import Cell, Table
from fm_unroll.report.sentences import center_name, difference, domain_name, times
from fm_unroll.report.style import WIDTH, footer, legend_columns, line_styles, styled, wrapped
from fm_unroll.report.tables import notes_of, plain_header

MARKS = (
    "Each line is one training, each point the network after an epoch, larger towards the last; rings: the"
    " epoch that validation chose. Crosses: methods without training, by their two figures where they lie"
    " outside. Means over test subjects."
)


@styled
def along_training(courses: pd.DataFrame) -> Figure:
    """SSIM out of domain against SSIM in domain, one panel per condition, one line per training.

    Args:
        courses: as :func:`fm_unroll.evaluation.along_training.courses` returns them.
    """
    known = courses.dropna(subset=["ssim", "in_domain"])
    panels = list(known.groupby(["dataset", "anatomy", "center", "acceleration"], sort=False))
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, 2.8 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    styles = line_styles(known.arm)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for i, (axis, ((dataset, anatomy, center, acceleration), group)) in enumerate(
        zip(axes, panels, strict=False)
    ):
        far = _lines(axis, group, styles)
        title = f"{domain_name(dataset, anatomy)}\n{center_name(center)}, {times(acceleration)}"
        axis.set_title(wrapped(title, 5.6 / columns))
        axis.set_xlabel(wrapped("\n".join(["SSIM in domain", *far]), 6.3 / columns))
        if i % columns == 0:
            axis.set_ylabel("SSIM out of domain")
    entries = {
        text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper center",
        ncols=legend_columns(entries),
        handlelength=2.4,
    )
    footer(figure, courses.synthetic, MARKS)
    return figure


def _lines(axis: Axes, group: pd.DataFrame, styles: dict[Any, dict[str, Any]]) -> list[str]:
    """Draw the trainings at one condition, and crosses for methods without; name those that are far off."""
    trained, others = group[group.epoch.notna()], group[group.epoch.isna()]
    for (arm, _, _), line in trained.groupby(["arm", "train_acceleration", "seed"], sort=True):
        style, line = styles[arm], line.sort_values("epoch")
        axis.plot([], [], **style)  # in the legend
        axis.plot(line.in_domain, line.ssim, color=style["color"], linewidth=0.8, alpha=0.7)
        size = 4 + 26 * (line.epoch / line.epoch.max()) ** 2
        axis.scatter(line.in_domain, line.ssim, s=size, color=style["color"], marker=style["marker"])
        chosen = line[line.chosen]
        axis.plot(chosen.in_domain, chosen.ssim, "o", markersize=10, mfc="none", mec=style["color"], mew=1.2)
    axis.margins(0.15)
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    axis.autoscale(False)  # what is far below all networks does not decide how they are told apart
    for row in others.itertuples():
        look = {"color": styles[row.arm]["color"], "marker": "x", "linestyle": "none", "label": row.arm.label}
        axis.plot(row.in_domain, row.ssim, **look, markersize=6, markeredgewidth=1.5)
    far = [r for r in others.itertuples() if not (left < r.in_domain < right and bottom < r.ssim < top)]
    return [f"{row.arm.label}: {row.in_domain:.2f}, {row.ssim:.2f}" for row in far]


def gain_table(gains: pd.DataFrame, sizes: Mapping[str, str] = MappingProxyType({})) -> list[Table]:
    """How steady the gains out of domain are, along training: one table, none where nothing is compared.

    Args:
        gains: as :func:`fm_unroll.evaluation.along_training.gains` returns them.
        sizes: how large the networks of an arm are, in words, by its text.
    """
    if gains.empty:
        return []
    headings = ("Condition", "Method", "Against", "Epochs ahead", "Δ SSIM at the chosen", "Least to greatest")
    body, previous = [], None
    for row in gains.itertuples():
        place = (
            f"{domain_name(row.dataset, row.anatomy)}, {center_name(row.center)}, {times(row.acceleration)}"
        )
        body.append(
            (
                Cell(place if place != previous else ""),
                Cell(row.arm.label, small=sizes.get(str(row.arm), "")),
                Cell(row.baseline.label),
                Cell(f"{row.ahead} of {row.epochs}"),
                Cell(difference(row.at_chosen, "ssim")),
                Cell(f"{difference(row.low, 'ssim')} to {difference(row.high, 'ssim')}"),
            )
        )
        previous = place
    note = (
        "Gain in SSIM over test subjects, seeds averaged, at every epoch that all networks of both methods"
        " saved; at the chosen: each network at its own. Nothing is tested here; a gain that changes its sign"
        " with the epoch says nothing about the prior."
    )
    caption = "Out of domain along training: is the gain the same at every saved epoch?"
    return [
        Table("along_training", caption, plain_header(headings), tuple(body), notes_of(gains, note), gains)
    ]
