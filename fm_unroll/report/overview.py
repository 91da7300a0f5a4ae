"""The first picture of the page: a slice of every anatomy, methods side by side, where they differ most."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.selection import ZERO_FILLED
from fm_unroll.report.pictures import ERROR_COLORS, StoredSlice, brightest_error
from fm_unroll.report.sentences import times
from fm_unroll.report.sheet import (
    FOOT,
    GAP,
    HEAD,
    LINE,
    cut,
    detail_box,
    error_note,
    finish_sheet,
    gray_note,
    new_sheet,
    put_image,
)
from fm_unroll.report.style import GRAY, HEIGHT, WIDTH, styled, wrapped

ANATOMIES = 3
METHODS = 6  # as many as can be told apart in the width of a page
SCORE = 1.15 * LINE  # inches for what is said below a picture


def overview_slices(typical: Sequence[tuple[Arm, StoredSlice]]) -> list[tuple[Arm, StoredSlice]]:
    """Of every anatomy and data set the first slice at its highest acceleration, as far as a page has room.

    Args:
        typical: slices, each with the method whose median SSIM it has.
    """
    chosen: dict[tuple[str, str], tuple[Arm, StoredSlice]] = {}
    for arm, item in typical:
        key = (item.place.anatomy, item.place.dataset)
        if key not in chosen or item.place.acceleration > chosen[key][1].place.acceleration:
            chosen[key] = arm, item
    return list(chosen.values())[:ANATOMIES]


def overview_arms(items: Sequence[StoredSlice], classical: Arm | None) -> list[Arm]:
    """The methods that are shown: zero-filling, the best one without training, the baselines, then the best.

    Args:
        items: the slices; methods of which one is missing are left out.
        classical: the best method without training.
    """
    everywhere = [arm for arm in items[0].images if all(arm in item.images for item in items)]
    first = [arm for arm in (ZERO_FILLED, classical) if arm in everywhere]
    trained = [arm for arm in everywhere if arm.kind != "classical"]
    means = {arm: np.mean([item.ssim[arm] for item in items]) for arm in trained}
    ranked = sorted(trained, key=lambda arm: (arm.kind != "baseline", np.isnan(means[arm]), -means[arm]))
    kept = ranked[: METHODS - len(first)]
    return [*first, *(arm for arm in everywhere if arm in kept)]


@styled
def overview(chosen: Sequence[tuple[Arm, StoredSlice]], classical: Arm | None = None) -> Figure:
    """Slices in rows, methods in columns: half of the field of view, where they differ most, and its error.

    The target stands on the left, with the part framed. Each row has one gray scale, all errors another.

    Args:
        chosen: see :func:`overview_slices`; one at least.
        classical: the best method without training.
    """
    items = [item for _, item in chosen]
    arms = overview_arms(items, classical)
    foot = FOOT + LINE
    room = (HEIGHT - HEAD - 2 * LINE - foot) / len(items) - SCORE
    # a target is as high as a picture and its error: its width depends on the slice
    shape = max(item.target.shape[1] / item.target.shape[0] for item in items)
    cell = min(WIDTH / (2 * shape + len(arms)), room / 2)
    start = WIDTH - len(arms) * cell
    brightest = brightest_error(item.error(arm) for item in items for arm in arms if arm in item.trained)
    names = ["Target", *(wrapped(arm.label, cell - GAP) for arm in arms)]
    top = HEAD + max(name.count("\n") for name in names) * LINE
    figure, axis = new_sheet(top + len(items) * (2 * cell + SCORE) + foot)
    for column, name in enumerate(names):
        middle = start + (column - 0.5) * cell if column else start / 2
        axis.text(middle, top - 0.06, name, ha="center", va="bottom", fontweight="bold")
    for row, item in enumerate(items):
        _row(axis, item, arms, top + row * (2 * cell + SCORE), cell, brightest)
    notes = [
        "Below each error: SSIM of the slice, the highest in bold.",
        gray_note((item, arm) for item in items for arm in arms),
        error_note("a trained method"),
    ]
    errors = [item.error(arm) for item in items for arm in arms]
    title = f"Slices with the median SSIM of {' or '.join(dict.fromkeys(arm.label for arm, _ in chosen))}"
    bar = (start, WIDTH)
    synthetic = [item.synthetic for item in items]
    finish_sheet(figure, axis, title, bar, brightest, errors, notes, synthetic, foot)
    return figure


def _row(axis: Axes, item: StoredSlice, arms: Sequence[Arm], y: float, cell: float, brightest: float) -> None:
    """One slice: the target on the left, then of each method the framed part above its error."""
    start = WIDTH - len(arms) * cell
    box = detail_box(item, share=2)
    width = (2 * cell - GAP) * item.target.shape[1] / item.target.shape[0]
    put_image(axis, item.target, (start - GAP - width) / 2, y, 2 * cell, item.white, box=box)
    place, best = item.place, np.nanmax([0.0, *(item.ssim[arm] for arm in arms)])
    where = f"{place.anatomy}, {times(place.acceleration)}, {place.center}"
    axis.text(start / 2, y + 2 * cell, where, ha="center", va="top", color=GRAY)
    for column, arm in enumerate(arms):
        x = start + column * cell
        put_image(axis, cut(item.images[arm], box), x, y, cell, item.white)
        put_image(axis, cut(item.error(arm), box), x, y + cell, cell, brightest, ERROR_COLORS)
        ssim = item.ssim[arm]
        said = "failed" if np.isnan(ssim) else f"{ssim:.3f}"
        weight = "bold" if said == f"{best:.3f}" else "normal"
        axis.text(x + (cell - GAP) / 2, y + 2 * cell, said, ha="center", va="top", fontweight=weight)
