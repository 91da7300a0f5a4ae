"""A sheet of pictures in inches: images on one gray scale, errors on another, and what is said of both."""

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
from fm_unroll.report.pictures import (
    BRIGHTEST_PERCENTILE,
    ERROR_COLORS,
    WHITE_PERCENTILE,
    StoredSlice,
    clipped,
)
from fm_unroll.report.sentences import percent, synthetic_notice
from fm_unroll.report.style import GRAY, TYPE, WARNING, WIDTH, wrapped

LINE = 1.3 * TYPE / 72  # inches from one line of type to the next
HEAD, FOOT = 0.62, 1.4  # inches above and below the pictures of a sheet
LABEL, GAP = 1.45, 0.04  # inches beside a row, between two pictures
FRAME: dict[str, Any] = {"fill": False, "edgecolor": "#F0E442", "linewidth": 0.8}

Box = tuple[int, int, int]


def detail_box(item: StoredSlice, share: int = 4) -> Box:
    """Row, column and side of the square where trained methods and target differ most (mean variance).

    Args:
        item: the slice.
        share: of the shorter side of the image, one in so many.
    """
    side = max(8, min(item.target.shape) // share)
    images = [item.target, *(item.images[arm] for arm in item.trained)]
    finite = [image for image in images if np.isfinite(image).all()]
    spread = uniform_filter(np.var(finite, axis=0), side, mode="constant")
    half = side // 2
    rows, columns = (size - side + half + 1 for size in spread.shape)  # a mean of an even side is not centred
    inner = spread[half:rows, half:columns]
    row, column = np.unravel_index(inner.argmax(), inner.shape)
    return int(row), int(column), side


def cut(image: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """The part of an image that is in a box."""
    row, column, side = box
    return image[row : row + side, column : column + side]


def new_sheet(height: float) -> tuple[Figure, Axes]:
    """A figure of the full width with one axis over all of it, in inches from the upper left corner."""
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    return figure, axis


def put_title(axis: Axes, x: float, text: str) -> None:
    """The title of a column."""
    axis.text(x, HEAD - 0.06, text, ha="center", va="bottom", fontweight="bold")


def put_label(axis: Axes, middle: float, lines: Sequence[str]) -> None:
    """The label of a row: its name, and below it what is to be said of it."""
    name = wrapped(lines[0], LABEL - 0.1)
    height = (name.count("\n") + 1 + sum(line.count("\n") + 1 for line in lines[1:])) * LINE
    top = middle - height / 2
    axis.text(0.05, top, name, va="top", fontweight="bold")
    axis.text(0.05, top + (name.count("\n") + 1) * LINE, "\n".join(lines[1:]), va="top", color=GRAY)


def put_image(
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


def gray_note(shown: Iterable[tuple[StoredSlice, Arm]]) -> str:
    """What is shown as white, and how much of the reconstructions that is, of those that did not fail."""
    finite = [(item, item.images[arm]) for item, arm in shown if np.isfinite(item.images[arm]).all()]
    most = max((clipped(image, item.white) for item, image in finite), default=0.0)
    return (
        f"Images: white is the {WHITE_PERCENTILE}th percentile of the slice's target; what is brighter is"
        f" white too (at most {percent(most)} of a reconstruction)."
    )


def error_note(whose: str) -> str:
    """On which scale errors are shown, and whose errors it ends with."""
    return (
        f"Errors: absolute, in units of that white. The scale ends at the largest"
        f" {BRIGHTEST_PERCENTILE}th percentile of {whose}; clipped is what lies beyond."
    )


def finish_sheet(
    figure: Figure,
    axis: Axes,
    title: str,
    bar: tuple[float, float],
    brightest: float,
    errors: Sequence[NDArray[np.float32]],
    notes: Sequence[str],
    synthetic: Sequence[bool],
    foot: float = FOOT,
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
        foot: inches below the pictures.
    """
    width, height = figure.get_size_inches()
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.text(0.05, 0.14, wrapped(title, WIDTH), va="center")
    place = (bar[0] / width, (foot - 0.16) / height, (bar[1] - bar[0] - GAP) / width, 0.07 / height)
    scalar = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, brightest), ERROR_COLORS)
    beyond = "max" if any(clipped(error, brightest) for error in errors) else "neither"
    scale = figure.colorbar(scalar, cax=figure.add_axes(place), orientation="horizontal", extend=beyond)
    scale.ax.xaxis.set_major_locator(MaxNLocator(4))
    scale.ax.tick_params(length=2)
    scale.set_label("error")
    scale.outline.set_visible(False)
    axis.text(0.05, height - foot + 0.58, wrapped("\n".join(notes), WIDTH), va="top", color=GRAY)
    axis.text(0.05, height - 0.06, synthetic_notice(synthetic), va="bottom", color=WARNING)
