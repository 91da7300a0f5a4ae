"""Figures of numbers: maps, curves and learned weights. Tables come in, matplotlib figures go out."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.inference import MIN_SUBJECTS
from fm_unroll.evaluation.metric_table import METRICS
from fm_unroll.evaluation.records import CONDITION
from fm_unroll.evaluation.selection import ZERO_FILLED
from fm_unroll.report.formats import MISSING
from fm_unroll.report.sentences import center_name, domain_name, signed, span, stars, times
from fm_unroll.report.style import (
    GRAY,
    WIDTH,
    arrange_rows,
    footer,
    ink_on,
    legend_columns,
    line_styles,
    styled,
    wrapped,
)

ONE_SEED = "\N{DEGREE SIGN}"
MARKS = (
    f"* p < 0.05, ** p < 0.01, *** p < 0.001 after Holm's correction; {ONE_SEED} p < 0.05 for these"
    f" networks (one training seed); n/t: not tested (fewer than {MIN_SUBJECTS} subjects). Hatched: method"
    " or baseline is worse than zero-filled. In brackets: true acceleration."
)
DOTS = (
    "Dots: subjects, each the mean of its volumes and of all seeds. Ticks and bars: their mean and its"
    " 95 % interval, as in the tables."
)
# of the physics, by their names in :func:`fm_unroll.models.insight.learned_weights`
COURSES = {"step_sizes": "Step size μ", "pulls": "Pull β", "strengths": "Strength λ"}
CELLS = 9  # of a regime map beside each other: as many as fit the width at the size of all type


def _panels(data: pd.DataFrame, inches: float) -> list[tuple[str, pd.DataFrame]]:
    """Title, broken to fit a width, and rows of every data set and center."""
    groups = data.groupby(["dataset", "anatomy", "center"], sort=False)
    return [(wrapped(f"{domain_name(d, a)}\n{center_name(c)}", inches), group) for (d, a, c), group in groups]


def _grid(
    count: int, columns: int, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with axes row by row, as many as are asked for, and those that stay empty behind them.

    Args:
        count: number of axes that are drawn into.
        columns: of them beside each other.
        height: of one row, in inches.
        sharex: whether all have the same limits of x.
        sharey: likewise, of y.
    """
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.8), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel())


@styled
def regime_map(comparisons: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """Difference of each method to the baseline over data set, center and acceleration, with its marks.

    Cells are hatched where the method or the baseline is worse than the zero-filled image.

    Args:
        comparisons: as :func:`fm_unroll.evaluation.statistics.compare` returns them, of one metric and one
            baseline.
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
    """
    metric = METRICS[comparisons.metric.iloc[0]]
    arms, baseline = sorted(set(comparisons.arm)), comparisons.baseline.iloc[0]
    most = comparisons.groupby(["dataset", "anatomy", "center"]).acceleration.nunique().max()
    columns = min(comparisons.groupby(["dataset", "anatomy", "center"]).ngroups, 3, max(1, CELLS // most))
    panels = _panels(comparisons, 5 / columns)
    figure, axes = _grid(len(panels), columns, 0.4 * len(arms) + 0.95)
    # zero-filled images may be far below: shades are for telling networks apart
    own = comparisons[[arm.kind != "classical" for arm in comparisons.arm]]
    largest = [table.difference.abs().max() for table in (own, comparisons)]
    limit = next((value for value in largest if value > 0), 1e-6)
    norm = TwoSlopeNorm(0, -limit, limit)
    colors = mpl.colormaps["PuOr" if metric.higher_is_better else "PuOr_r"]
    below = _below_zero_filled(means[means.metric == metric.name], metric.higher_is_better)
    for number, (axis, (title, group)) in enumerate(zip(axes, panels, strict=False)):
        accelerations = sorted(group.acceleration.unique())
        found = group.set_index(["arm", "acceleration"])
        for y, arm in enumerate(arms):
            for x, acceleration in enumerate(accelerations):
                row = found.loc[(arm, acceleration)] if (arm, acceleration) in found.index else None
                place = tuple(group.iloc[0][list(CONDITION[:3])])
                hatched = any((*place, acceleration, each) in below for each in (arm, baseline))
                _regime_cell(axis, x, y, row, norm, colors, metric.digits, hatched)
        true = group.drop_duplicates("acceleration").set_index("acceleration").true_acceleration
        heads = [f"{times(a)}\n({true[a]:.1f})" for a in accelerations]
        axis.set_xticks(range(len(accelerations)), heads)
        first = number % columns == 0
        axis.set_yticks(range(len(arms)), [wrapped(arm.label, 1.3) for arm in arms] if first else [])
        axis.set(xlim=(-0.5, len(accelerations) - 0.5), ylim=(len(arms) - 0.5, -0.5), title=title)
        axis.tick_params(length=0)
        axis.grid(False)
        axis.spines[:].set_visible(False)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    shades = mpl.cm.ScalarMappable(norm, colors)
    extend = "both" if largest[1] > limit else "neither"
    bar = figure.colorbar(shades, ax=axes, fraction=0.025, pad=0.01, aspect=30, extend=extend)
    bar.set_label(f"Δ {metric.label}")
    bar.outline.set_visible(False)
    footer(figure, comparisons.synthetic, MARKS)
    return figure


def _below_zero_filled(means: pd.DataFrame, higher_is_better: bool) -> set[tuple[Any, ...]]:
    """Conditions and arms whose mean is worse than that of the zero-filled images."""
    sign = 1 if higher_is_better else -1
    known = means.dropna(subset="mean")
    zero = known[known.arm == ZERO_FILLED].set_index(list(CONDITION))["mean"].rename("floor")
    beside = known.join(zero, on=list(CONDITION))
    worse = beside[sign * (beside["mean"] - beside.floor) < 0]
    return set(worse[[*CONDITION, "arm"]].itertuples(index=False, name=None))


def _regime_cell(
    axis: Axes,
    x: int,
    y: int,
    row: pd.Series | None,
    norm: Normalize,
    colors: Colormap,
    digits: int,
    hatched: bool,
) -> None:
    box: dict[str, Any] = {"xy": (x - 0.48, y - 0.46), "width": 0.96, "height": 0.92}
    if row is None or np.isnan(row.difference):
        axis.add_patch(Rectangle(**box, facecolor="white", edgecolor="#c8c8c8", hatch="////", linewidth=0))
        ground = {"facecolor": "white", "linewidth": 0, "pad": 1}
        axis.text(x, y, MISSING, ha="center", va="center", color=GRAY, bbox=ground)
        return
    face = colors(norm(row.difference))
    axis.add_patch(Rectangle(**box, facecolor=face, linewidth=0))
    if hatched:
        axis.add_patch(Rectangle(**box, fill=False, edgecolor="#8c8c8c", hatch="////", linewidth=0))
    one_seed = ONE_SEED if row.clear else ""
    mark = "n/t" if np.isnan(row.p_holm) else stars(row.p_holm) if row.covers_seeds else one_seed
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": ink_on(face)}
    if hatched:  # keep the lines off the letters
        look["bbox"] = {"facecolor": face, "linewidth": 0, "pad": 1}
    axis.text(x, y - (0.2 if mark else 0), signed(row.difference, min(digits, 3)), **look)
    if mark:
        axis.text(x, y + 0.22, mark, **look)


@styled
def degradation_curves(means: pd.DataFrame, metric: str) -> Figure:
    """Mean of a metric against true acceleration, with 95 % bands; one panel per domain and center.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
        metric: a name in ``METRICS``.
    """
    chosen = means[(means.metric == metric) & means["mean"].notna()]
    return _curves(chosen, "mean", METRICS[metric].heading)


@styled
def difference_curves(comparisons: pd.DataFrame, crossings: pd.DataFrame) -> Figure:
    """Difference to the baseline against true acceleration; rings mark where a method clearly overtakes.

    Args:
        comparisons: as :func:`fm_unroll.evaluation.statistics.compare` returns them, of one metric and one
            baseline.
        crossings: as :func:`fm_unroll.evaluation.crossings.crossings` returns them, of the same.
    """
    metric = METRICS[comparisons.metric.iloc[0]]
    label = f"Δ {metric.label} to {comparisons.baseline.iloc[0].label}"
    figure = _curves(comparisons.dropna(subset="difference"), "difference", label)
    styles = line_styles(comparisons.arm)
    for axis, ((dataset, anatomy, center), _) in zip(
        figure.axes, comparisons.groupby(["dataset", "anatomy", "center"], sort=False), strict=False
    ):
        axis.axhline(0, color="#000000", linewidth=0.8, zorder=1)
        here = crossings[(crossings.dataset == dataset) & (crossings.anatomy == anatomy)]
        for row in here[(here.center == center) & (here.course == "overtakes")].itertuples():
            color = styles[row.arm]["color"]
            axis.plot([row.low, row.high], [0, 0], color=color, linewidth=2.5, alpha=0.5, zorder=4)
            axis.plot(row.crossing, 0, "o", markersize=7, mfc="none", mec=color, mew=1.2, zorder=5)
    return figure


def _curves(data: pd.DataFrame, column: str, label: str) -> Figure:
    groups = data.groupby(["dataset", "anatomy", "center"]).ngroups
    columns = min(groups, 3)
    panels = _panels(data, 6.3 / columns)
    styles = line_styles(data.arm)
    figure, axes = _grid(len(panels), columns, 2.1, sharex=True, sharey=True)
    for axis, (title, group) in zip(axes, panels, strict=False):
        for arm in sorted(set(group.arm)):
            line = group[group.arm == arm].sort_values("true_acceleration")
            style = styles[arm]
            axis.plot(line.true_acceleration, line[column], **style, markeredgewidth=0.8, clip_on=False)
            axis.fill_between(
                line.true_acceleration, line.low, line.high, color=style["color"], alpha=0.12, linewidth=0
            )
        axis.set_title(title)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for i, axis in enumerate(axes[: len(panels)]):
        if i % columns == 0:
            axis.set_ylabel(label)
        if i + columns >= len(panels):
            axis.set_xlabel("true acceleration")
            axis.tick_params(labelbottom=True)
    entries = {
        text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    ordered = [arm.label for arm in sorted(set(data.arm))]
    lines, short = [entries[text] for text in ordered], [wrapped(text, 1.5) for text in ordered]
    if len(axes) > len(panels) and "\n".join(short).count("\n") < 12:  # as many as an empty panel holds
        spare = axes[len(panels)]
        spare.set_visible(True)
        spare.set_axis_off()
        spare.legend(lines, short, loc="center", handlelength=2.4)
    else:
        beside = legend_columns(ordered)
        figure.legend(lines, ordered, loc="outside upper center", ncols=beside, handlelength=2.4)
    footer(figure, data.synthetic)
    return figure


@styled
def paired_differences(comparisons: pd.DataFrame, subjects: pd.DataFrame) -> Figure:
    """Difference of every subject to the baseline as a dot, with mean and interval; one panel per condition.

    Args:
        comparisons: as :func:`fm_unroll.evaluation.statistics.compare` returns them, of one data set, metric
            and baseline: mean and interval are theirs.
        subjects: as :func:`fm_unroll.evaluation.statistics.subject_differences` returns them, of the same.
    """
    metric, baseline = METRICS[comparisons.metric.iloc[0]], comparisons.baseline.iloc[0]
    arms, styles = sorted(set(comparisons.arm)), line_styles(comparisons.arm)
    panels = list(comparisons.groupby(["center", "acceleration"], sort=False))
    columns = min(4, comparisons.groupby("center").acceleration.nunique().max())
    figure, axes = _grid(len(panels), columns, 0.42 * len(arms) + 0.85, sharex=True)
    dots = subjects.set_index(["center", "acceleration", "arm"]).sort_index()
    for number, (axis, (place, group)) in enumerate(zip(axes, panels, strict=False)):
        found = group.set_index("arm")
        for y, arm in enumerate(arms):
            if arm in found.index and (*place, arm) in dots.index:
                values = dots.loc[[(*place, arm)]].sort_values("subject").difference.to_numpy()
                _paired_row(axis, y, values, found.loc[arm], styles[arm]["color"])
            else:
                ground = {"facecolor": "white", "linewidth": 0, "pad": 1}
                axis.text(0, y, "missing", ha="center", va="center", color=GRAY, bbox=ground)
        head = f"{center_name(place[0])}, {times(place[1])}\n{span(group.subjects)} subjects"
        axis.set_title(wrapped(head.replace("center fraction", "center"), 5.4 / columns))
        arrange_rows(axis, arms, named=number % columns == 0)
        if number + columns >= len(panels):
            axis.set_xlabel(f"Δ {metric.label} to {baseline.label}" if columns < 4 else f"Δ {metric.label}")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    footer(figure, comparisons.synthetic, DOTS)
    return figure


def _paired_row(axis: Axes, y: int, values: NDArray[np.float64], row: pd.Series, color: str) -> None:
    """The subjects of one comparison, spread over the upper part of its row, and their mean below them."""
    spread = (np.arange(len(values)) * 0.618) % 1  # the golden ratio keeps neighbours apart
    size = 3.5 if len(values) <= 30 else 2
    axis.plot(values, y - 0.38 + 0.5 * spread, "o", color=color, markersize=size, alpha=0.6, mew=0)
    axis.plot([row.low, row.high], [y + 0.27] * 2, color=GRAY, linewidth=3.5, solid_capstyle="butt")
    axis.plot(row.difference, y + 0.27, "|", color="#000000", markersize=9, markeredgewidth=1.4)


@styled
def fusion_weights(priors: Mapping[Arm, Mapping[str, Any]]) -> Figure:
    """Learned weights of the encoder's blocks (one heat map per arm) and of the physics, over cascades.

    Args:
        priors: arm -> ``fusion`` (cascades x blocks), ``blocks`` and ``fused`` (the numbers of blocks and of
            cascades that have them), and of the physics ``step_sizes``, or ``pulls`` and ``strengths``
            (cascades).
    """
    fused = {arm: prior for arm, prior in priors.items() if prior.get("fusion")}
    courses = {
        title: of
        for name, title in COURSES.items()
        if (of := {arm: prior[name] for arm, prior in priors.items() if prior.get(name)})
    }
    count = len(fused) + len(courses)
    columns = min(count, 4)
    figure, axes = _grid(count, columns, 2.0)
    figure.set_figwidth(min(WIDTH, 2.3 * columns + 0.6))
    highest = max((np.max(prior["fusion"]) for prior in fused.values()), default=1.0)
    for axis, (arm, prior) in zip(axes, fused.items(), strict=False):
        weights = np.asarray(prior["fusion"], float).T
        picture = axis.imshow(weights, cmap="cividis", vmin=0, vmax=highest, aspect="auto", origin="lower")
        axis.set_yticks(range(len(weights)), prior["blocks"])
        cascades = prior.get("fused") or range(1, weights.shape[1] + 1)  # records of 0.1 have all
        step = 2 if len(cascades) > 6 else 1
        axis.set_xticks(range(0, len(cascades), step), list(map(str, cascades[::step])))
        axis.set(xlabel="cascade", title=wrapped(arm.label, 1.4))
        axis.grid(False)
        axis.spines[:].set_visible(False)
    for axis in axes[: len(fused) : columns]:
        axis.set_ylabel("encoder block")
    for axis in axes[count:]:
        axis.set_axis_off()
    if fused:
        bar = figure.colorbar(picture, ax=list(axes[: len(fused)]), fraction=0.04, pad=0.02)
        bar.set_label("fusion weight")
        bar.outline.set_visible(False)
    styles = line_styles(arm for of in courses.values() for arm in of)
    for axis, (title, of) in zip(axes[len(fused) :], courses.items(), strict=False):
        for arm, values in of.items():
            axis.plot(range(1, len(values) + 1), values, **styles[arm])
        axis.set(xlabel="cascade", title=title)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if styles:
        handles = [Line2D([], [], **styles[arm]) for arm in sorted(styles)]
        beside = legend_columns([arm.label for arm in styles], figure.get_figwidth())
        figure.legend(handles=handles, loc="outside lower right", ncols=beside)
    return figure
