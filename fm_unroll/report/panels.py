"""Pictures of methods side by side: at one slice, and in extreme cases. Nothing is drawn over an image."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.selection import ZERO_FILLED, Extreme
from fm_unroll.report.pictures import ERROR_COLORS, StoredSlice, brightest_error, clipped
from fm_unroll.report.sentences import center_name, percent, score, signed, times
from fm_unroll.report.sheet import (
    FOOT,
    GAP,
    HEAD,
    LABEL,
    LINE,
    cut,
    detail_box,
    error_note,
    finish_sheet,
    gray_note,
    new_sheet,
    put_image,
    put_label,
    put_title,
)
from fm_unroll.report.style import HEIGHT, WIDTH, styled, wrapped

CAPTION = 0.2  # inches below a picture
CASES_PER_SHEET = 4  # as many as a printed page shows whole


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
    figure, axis = new_sheet(HEAD + (len(arms) + 1) * height + FOOT)
    for left, across, title in zip(
        lefts, (width, width, 1, 1), ("Image", "Error", "Detail", "Its error"), strict=True
    ):
        put_title(axis, left + across * height / 2, title)
    brightest = brightest_error(item.error(arm) for arm in item.trained)
    box = detail_box(item)
    y = HEAD
    for arm in (None, *arms):
        image = item.target if arm is None else item.images[arm]
        put_label(axis, y + height / 2, _row_label(item, arm, brightest))
        put_image(axis, image, lefts[0], y, height, item.white, box=box)
        put_image(axis, cut(image, box), lefts[2], y, height, item.white)
        if arm is not None:
            error = item.error(arm)
            put_image(axis, error, lefts[1], y, height, brightest, ERROR_COLORS, box)
            put_image(axis, cut(error, box), lefts[3], y, height, brightest, ERROR_COLORS)
        y += height
    shown = [item.error(arm) for arm in arms]
    notes = [gray_note((item, arm) for arm in arms), error_note("a trained method")]
    bar = (lefts[1], lefts[3] + height)
    finish_sheet(figure, axis, item.title, bar, brightest, shown, notes, [item.synthetic])
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
    figure, axis = new_sheet(HEAD + sum(heights) + FOOT)
    heads = ("Target", ZERO_FILLED.label, baseline, "Method", f"Error,\n{of_baseline}", "Error,\nmethod")
    for column, title in enumerate(heads):
        put_title(axis, LABEL + (column + 0.5) * cell, title)
    y = HEAD
    for (case, item), label, height in zip(cases, labels, heights, strict=True):
        put_label(axis, y + (height - CAPTION) / 2, label)
        _case_row(axis, case, item, y, cell, brightest)
        y += height
    notes = [
        gray_note((item, arm) for case, item in cases for arm in _case_arms(case, item).values()),
        error_note("an error shown"),
    ]
    title = f"Largest differences in SSIM to {' or '.join(baselines)} among {searched} slices"
    bar = (LABEL + 2 * cell, LABEL + 6 * cell)
    finish_sheet(figure, axis, title, bar, brightest, errors, notes, [i.synthetic for i in items])
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
        put_image(axis, image, left, y, height, top, colors)
        axis.text(left + (cell - GAP) / 2, y + height, text, ha="center", va="top")


def _case_arms(case: Extreme, item: StoredSlice) -> dict[int, Arm]:
    """What is shown of a case beside the target, by column; a run may have no zero-filled images."""
    arms = {1: ZERO_FILLED, 2: case.baseline, 3: case.arm}
    return {column: arm for column, arm in arms.items() if arm in item.images}


def _clipped_text(error: NDArray[np.float32], brightest: float) -> str:
    """How much of an error lies above its scale; nothing if none does."""
    share = clipped(error, brightest)
    return f"{percent(share)} clipped" if share else ""
