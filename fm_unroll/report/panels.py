"""Sheets of pictures: the methods at one slice, and extreme cases. Nothing is drawn over an image."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.selection import ZERO_FILLED, Extreme
from fm_unroll.report.pictures import (
    BRIGHTEST_PERCENTILE,
    ERROR_COLORS,
    WHITE_PERCENTILE,
    StoredSlice,
    brightest_error,
    clipped,
)
from fm_unroll.report.sentences import center_name, percent, score, signed, synthetic_notice, times
from fm_unroll.report.style import GRAY, HEIGHT, TYPE, WARNING, WIDTH, styled, wrapped

LINE = 1.3 * TYPE / 72  # inches from one line of type to the next
HEAD, FOOT = 0.62, 1.4  # inches above and below the pictures of a sheet
LABEL, CAPTION, GAP = 1.45, 0.2, 0.04  # inches beside a row, below a picture, between two
CASES_PER_SHEET = 4  # as many as a printed page shows whole
FRAME: dict[str, Any] = {"fill": False, "edgecolor": "#F0E442", "linewidth": 0.8}

Box = tuple[int, int, int]


@styled
def panel(item: StoredSlice, classical: Arm | None = None) -> Figure:
    """All methods at one slice: rows are methods, columns are image, error, and a detail of both.

    Images share one gray scale and errors another. The detail is where trained methods and target differ
    most.

    Args:
        item: the slice.
        classical: the method without training that is shown beside the zero-filled image.
    """
    arms = [arm for arm in (ZERO_FILLED, classical) if arm in item.images and arm not in item.trained]
    arms = [*arms, *item.trained]
    rows, columns = item.target.shape
    width = columns / rows  # of an image, in units of its height; a detail is a square of that height
    height = min((WIDTH - LABEL) / (2 * width + 2), (HEIGHT - HEAD - FOOT) / (len(arms) + 1))
    lefts = LABEL + height * np.cumsum([0, width, width, 1])
    figure, axis = _sheet(HEAD + (len(arms) + 1) * height + FOOT)
    for left, across, title in zip(
        lefts, (width, width, 1, 1), ("Image", "Error", "Detail", "Its error"), strict=True
    ):
        _title(axis, left + across * height / 2, title)
    brightest = brightest_error(item.error(arm) for arm in item.trained)
    box = _detail_box(item)
    y = HEAD
    for arm in (None, *arms):
        image = item.target if arm is None else item.images[arm]
        _label(axis, y + height / 2, _row_label(item, arm, brightest))
        _paste(axis, image, lefts[0], y, height, item.white, box=box)
        _paste(axis, _cut(image, box), lefts[2], y, height, item.white)
        if arm is not None:
            error = item.error(arm)
            _paste(axis, error, lefts[1], y, height, brightest, ERROR_COLORS, box)
            _paste(axis, _cut(error, box), lefts[3], y, height, brightest, ERROR_COLORS)
        y += height
    shown = [item.error(arm) for arm in arms]
    notes = [_gray_note((item, arm) for arm in arms), _error_note("a trained method")]
    bar = (lefts[1], lefts[3] + height)
    _finish_sheet(figure, axis, item.title, bar, brightest, shown, notes, [item.synthetic])
    return figure


def _row_label(item: StoredSlice, arm: Arm | None, brightest: float) -> list[str]:
    """The name of a row and what is to be said of it, line by line."""
    if arm is None:
        return ["Target"]
    lines = [arm.label, score(item.ssim[arm])]
    if text := _clipped_text(item.error(arm), brightest):
        lines.append(f"error: {text}")
    return lines


@styled
def extreme_cases(cases: Sequence[tuple[Extreme, StoredSlice]], searched: int) -> Figure:
    """Best and worst cases: target, zero-filled, baseline, method, and the errors of these two on one scale.

    Args:
        cases: extremes and their pictures, at most ``CASES_PER_SHEET``.
        searched: number of slices they were chosen from.
    """
    items = [item for _, item in cases]
    baselines = list(dict.fromkeys(case.baseline.label for case, _ in cases))
    baseline, of_baseline = baselines * 2 if len(baselines) == 1 else ("Baseline", "baseline")
    ratios = [item.target.shape[0] / item.target.shape[1] for item in items]
    room = HEIGHT - HEAD - FOOT - CAPTION * len(cases)
    cell = min((WIDTH - LABEL) / 6, room / sum(ratios))
    labels = [_case_label(case, item, named=len(baselines) > 1) for case, item in cases]
    heights = [
        max(cell * ratio + CAPTION, (sum(text.count("\n") + 1 for text in label) + 1) * LINE)
        for ratio, label in zip(ratios, labels, strict=True)
    ]
    errors = [item.error(arm) for case, item in cases for arm in (case.baseline, case.arm)]
    brightest = brightest_error(errors)
    figure, axis = _sheet(HEAD + sum(heights) + FOOT)
    heads = ("Target", ZERO_FILLED.label, baseline, "Method", f"Error,\n{of_baseline}", "Error,\nmethod")
    for column, title in enumerate(heads):
        _title(axis, LABEL + (column + 0.5) * cell, title)
    y = HEAD
    for (case, item), label, height in zip(cases, labels, heights, strict=True):
        _label(axis, y + (height - CAPTION) / 2, label)
        _case_row(axis, case, item, y, cell, brightest)
        y += height
    notes = [
        _gray_note((item, arm) for case, item in cases for arm in _case_arms(case, item).values()),
        _error_note("an error shown"),
    ]
    title = f"Largest differences in SSIM to {' or '.join(baselines)} among {searched} slices"
    bar = (LABEL + 2 * cell, LABEL + 6 * cell)
    _finish_sheet(figure, axis, title, bar, brightest, errors, notes, [i.synthetic for i in items])
    return figure


def _case_label(case: Extreme, item: StoredSlice, named: bool) -> list[str]:
    """What is said of a case beside its pictures, line by line, and against which baseline if it is told."""
    place = item.place
    gain = signed(item.ssim[case.arm] - item.ssim[case.baseline], 3)
    frame = f", frame {place.frame}" if place.frame else ""
    where = (
        *([f"against {case.baseline.label}"] if named else []),
        f"{place.anatomy}, {times(place.acceleration)}",
        center_name(place.center).replace(" fraction", ""),
        place.volume,
        f"slice {place.slice}{frame}",
        item.contrast,
    )
    return [wrapped(line, LABEL - 0.1) for line in (case.arm.label, f"{case.kind}: {gain}", *where)]


def _case_row(axis: Axes, case: Extreme, item: StoredSlice, y: float, cell: float, brightest: float) -> None:
    """The images of one case, and below them what is to be said of each."""
    rows, columns = item.target.shape
    height = cell * rows / columns
    shown = [(0, item.target, "", item.white, "gray")]
    for column, arm in _case_arms(case, item).items():
        shown.append((column, item.images[arm], score(item.ssim[arm]), item.white, "gray"))
    for column, arm in ((4, case.baseline), (5, case.arm)):
        error = item.error(arm)
        shown.append((column, error, _clipped_text(error, brightest), brightest, ERROR_COLORS))
    for column, image, text, top, colors in shown:
        left = LABEL + column * cell
        _paste(axis, image, left, y, height, top, colors)
        axis.text(left + (cell - GAP) / 2, y + height, text, ha="center", va="top")


def _case_arms(case: Extreme, item: StoredSlice) -> dict[int, Arm]:
    """What is shown of a case beside the target, by column; a run may have no zero-filled images."""
    arms = {1: ZERO_FILLED, 2: case.baseline, 3: case.arm}
    return {column: arm for column, arm in arms.items() if arm in item.images}


def _clipped_text(error: NDArray[np.float32], brightest: float) -> str:
    """How much of an error lies above its scale; nothing if none does."""
    share = clipped(error, brightest)
    return f"{percent(share)} clipped" if share else ""


def _detail_box(item: StoredSlice) -> Box:
    """Row, column and side of the square where trained methods and target differ most (mean variance)."""
    side = max(8, min(item.target.shape) // 4)
    images = [item.target, *(item.images[arm] for arm in item.trained)]
    finite = [image for image in images if np.isfinite(image).all()]
    spread = uniform_filter(np.var(finite, axis=0), side, mode="constant")
    half = side // 2
    rows, columns = (size - side + half + 1 for size in spread.shape)  # a mean of an even side is not centred
    inner = spread[half:rows, half:columns]
    row, column = np.unravel_index(inner.argmax(), inner.shape)
    return int(row), int(column), side


def _cut(image: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    row, column, side = box
    return image[row : row + side, column : column + side]


def _sheet(height: float) -> tuple[Figure, Axes]:
    """A figure of the full width with one axis over all of it, in inches from the upper left corner."""
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    return figure, axis


def _title(axis: Axes, x: float, text: str) -> None:
    """The title of a column."""
    axis.text(x, HEAD - 0.06, text, ha="center", va="bottom", fontweight="bold")


def _label(axis: Axes, middle: float, lines: Sequence[str]) -> None:
    """The label of a row: its name, and below it what is to be said of it."""
    name = wrapped(lines[0], LABEL - 0.1)
    height = (name.count("\n") + 1 + sum(line.count("\n") + 1 for line in lines[1:])) * LINE
    top = middle - height / 2
    axis.text(0.05, top, name, va="top", fontweight="bold")
    axis.text(0.05, top + (name.count("\n") + 1) * LINE, "\n".join(lines[1:]), va="top", color=GRAY)


def _paste(
    axis: Axes,
    image: NDArray[np.float32],
    x: float,
    y: float,
    height: float,
    top: float,
    colors: str = "gray",
    box: Box | None = None,
) -> None:
    """Put an image into a cell of some inches height; ``box`` is framed in it."""
    rows, columns = image.shape
    image = np.minimum(image, top)  # an infinite error would be left out
    scale = (height - GAP) / rows
    extent = (x, x + columns * scale, y + rows * scale, y)
    axis.imshow(image, colors, vmin=0, vmax=top, interpolation="nearest", aspect="auto", extent=extent)
    if box:
        row, column, side = box
        corner = (x + column * scale, y + row * scale)
        axis.add_patch(Rectangle(corner, side * scale, side * scale, **FRAME))


def _gray_note(shown: Iterable[tuple[StoredSlice, Arm]]) -> str:
    """What is shown as white, and how much of the reconstructions that is, of those that did not fail."""
    finite = [(item, item.images[arm]) for item, arm in shown if np.isfinite(item.images[arm]).all()]
    most = max((clipped(image, item.white) for item, image in finite), default=0.0)
    return (
        f"Images: white is the {WHITE_PERCENTILE}th percentile of the slice's target; what is brighter is"
        f" white too (at most {percent(most)} of a reconstruction)."
    )


def _error_note(whose: str) -> str:
    return (
        f"Errors: absolute, in units of that white. The scale ends at the largest"
        f" {BRIGHTEST_PERCENTILE}th percentile of {whose}; clipped is what lies beyond."
    )


def _finish_sheet(
    figure: Figure,
    axis: Axes,
    title: str,
    bar: tuple[float, float],
    brightest: float,
    errors: Sequence[NDArray[np.float32]],
    notes: Sequence[str],
    synthetic: Sequence[bool],
) -> None:
    """Title, scale of the errors below them, notes, and limits of the axis, which images have changed.

    Args:
        figure: the sheet.
        axis: its axis.
        title: what it shows.
        bar: where the scale begins and ends, in inches from the left.
        brightest: the end of the scale.
        errors: all that share it.
        notes: one sentence or more each.
        synthetic: of each slice shown, whether it is of a phantom.
    """
    width, height = figure.get_size_inches()
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.text(0.05, 0.14, wrapped(title, WIDTH), va="center")
    place = (bar[0] / width, (FOOT - 0.16) / height, (bar[1] - bar[0] - GAP) / width, 0.07 / height)
    scalar = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, brightest), ERROR_COLORS)
    beyond = "max" if any(clipped(error, brightest) for error in errors) else "neither"
    scale = figure.colorbar(scalar, cax=figure.add_axes(place), orientation="horizontal", extend=beyond)
    scale.ax.xaxis.set_major_locator(MaxNLocator(4))
    scale.ax.tick_params(length=2)
    scale.set_label("error")
    scale.outline.set_visible(False)
    axis.text(0.05, height - FOOT + 0.58, wrapped("\n".join(notes), WIDTH), va="top", color=GRAY)
    axis.text(0.05, height - 0.06, synthetic_notice(synthetic), va="bottom", color=WARNING)
