"""Pictures of slices: what a run stored, panels and extreme cases, and images for the page."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pandas.api.typing import DataFrameGroupBy
from PIL import Image
from scipy.ndimage import uniform_filter

from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import BASELINE, Arm
from fm_unroll.evaluation.selection import PLACE, ZERO_FILLED, Extreme, Place
from fm_unroll.files import visible
from fm_unroll.report.sentences import SYNTHETIC, center_name, signed, times, two_lines
from fm_unroll.report.style import WARNING, WIDTH, data_uri, styled

HEAD, FOOT, LABEL, GAP = 0.45, 0.65, 0.42, 0.03  # inches: margins of a sheet of pictures, space between them


@dataclass(frozen=True)
class StoredSlice:
    """The reconstructions of one slice that the run stored as pictures.

    Attributes:
        place: where it stands in the records.
        contrast: contrast or view.
        target: float32 (readout, phase).
        images: arm -> float32 (readout, phase), in the order of the tables.
        ssim: arm -> SSIM of the record the picture belongs to; NaN where it failed.
        synthetic: whether it is a phantom.
    """

    place: Place
    contrast: str
    target: NDArray[np.float32]
    images: dict[Arm, NDArray[np.float32]]
    ssim: dict[Arm, float]
    synthetic: bool

    @property
    def title(self) -> str:
        """Where the slice is from, in one line."""
        place = self.place
        condition = f"{place.anatomy}, {center_name(place.center)}, {times(place.acceleration)}"
        frame = f", frame {place.frame}" if place.frame else ""
        return f"{condition}: {place.volume}, slice {place.slice}{frame} ({self.contrast})"


def read_slices(folder: Path, shown: pd.DataFrame) -> dict[Place, StoredSlice]:
    """Read the pictures a run stored.

    Args:
        folder: the run's ``images`` folder; need not exist.
        shown: as :func:`fm_unroll.evaluation.selection.shown_runs` returns them; they hold the SSIM.

    Raises:
        InputError: a file that lies outside the folder (a link), cannot be read or lacks a key, or whose
            slice is not in the records.
    """
    slices = {}
    rows_at = shown.groupby(list(PLACE))
    for path in visible(folder, ".npz"):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: a link out of {folder}; copy the file instead")
        stored = _read_slice(path, rows_at)
        slices[stored.place] = stored
    return slices


def _read_slice(path: Path, rows_at: DataFrameGroupBy) -> StoredSlice:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored}
        target = arrays["target"]
        place = Place(*(arrays[name].item() for name in PLACE))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{path}: not a stored slice ({error}); delete it or run the evaluation again"
        ) from error
    if place not in rows_at.groups:
        raise InputError(f"{path}: its slice is not in the records; delete it or run the evaluation again")
    rows = rows_at.get_group(place)
    recorded = {str(arm): (arm, float(ssim)) for arm, ssim in zip(rows.arm, rows.ssim, strict=True)}
    images = {name.partition("/")[2]: image for name, image in arrays.items() if name.startswith("image/")}
    if strange := images.keys() - recorded.keys():
        raise InputError(f"{path}: {min(strange)} has no record of this slice; run the evaluation again")
    shown = sorted(recorded[text] for text in images)
    return StoredSlice(
        place=place,
        contrast=rows.contrast.iloc[0],
        target=target,
        images={arm: images[str(arm)] for arm, _ in shown},
        ssim=dict(shown),
        synthetic=bool(rows.synthetic.any()),
    )


def _zoom_box(item: StoredSlice) -> tuple[int, int, int]:
    """Row, column and side of the square in which the reconstructions disagree most (mean variance)."""
    trained = [image for arm, image in item.images.items() if arm != ZERO_FILLED] or [item.target]
    side = max(8, min(item.target.shape) // 4)
    spread = uniform_filter(np.nan_to_num(np.var([item.target, *trained], axis=0)), side, mode="constant")
    half = side // 2
    inner = spread[half : -half or None, half : -half or None]
    row, column = np.unravel_index(inner.argmax(), inner.shape)
    return int(row), int(column), side


def _scales(items: Sequence[StoredSlice], arms: Sequence[Arm]) -> tuple[list[float], float]:
    """The display maximum of every slice, and one maximum for all error maps, in units of it."""
    peaks = [float(np.percentile(item.target, 99.8)) or 1.0 for item in items]
    errors = [
        np.percentile(np.abs(item.images[arm] - item.target), 99.5) / peak
        for item, peak in zip(items, peaks, strict=True)
        for arm in arms
        if arm in item.images and np.isfinite(item.images[arm]).all()
    ]
    return peaks, float(max(errors, default=1.0)) or 1.0


@styled
def panel(item: StoredSlice) -> Figure:
    """The paper's layout: rows are methods; columns are target, reconstruction, error map, zero-filled.

    Gray values share one scale and error maps another; the box is where the reconstructions disagree most.
    """
    arms = [arm for arm in item.images if arm != ZERO_FILLED] or list(item.images)
    (peak,), worst = _scales([item], arms)
    height, width = item.target.shape
    cell = min((WIDTH - LABEL) / 4, 11 * width / (len(arms) * height))  # inches; the figure fits a page
    figure, axis = _sheet(LABEL + 4 * cell, HEAD + len(arms) * cell * height / width + FOOT)
    box = _zoom_box(item)
    for x, title in enumerate(("Target", "Reconstruction", "Error", "Zero-filled")):
        axis.text(LABEL + (x + 0.5) * cell, HEAD - 0.06, title, ha="center", fontweight="bold")
    for i, arm in enumerate(arms):
        y = HEAD + i * cell * height / width
        middle = y + cell * height / width / 2
        label = two_lines(arm.label)
        axis.text(LABEL - 0.06, middle, label, rotation=90, ha="right", va="center", multialignment="center")
        _paste(axis, item.target, LABEL, y, cell, box, peak)
        _paste(axis, item.images[arm], LABEL + cell, y, cell, box, peak, item.ssim[arm])
        error = np.abs(item.images[arm] - item.target) / peak
        _paste(axis, error, LABEL + 2 * cell, y, cell, box, worst, cmap="inferno")
        if ZERO_FILLED in item.images:
            score = item.ssim[ZERO_FILLED]
            _paste(axis, item.images[ZERO_FILLED], LABEL + 3 * cell, y, cell, box, peak, score)
    _finish_sheet(figure, axis, item.title, worst, LABEL + 2 * cell, cell, item.synthetic)
    return figure


@styled
def extreme_cases(cases: Sequence[tuple[Extreme, StoredSlice]], searched: int) -> Figure:
    """Best and worst cases: target, baseline, method, and both error maps on one scale.

    Args:
        cases: extremes and their pictures.
        searched: number of slices they were chosen from.
    """
    items = [item for _, item in cases]
    peaks, worst = _scales(items, [arm for case, _ in cases for arm in (case.baseline, case.arm)])
    label = 1.25
    cell = (WIDTH - label) / 5
    heights = [cell * item.target.shape[0] / item.target.shape[1] for item in items]
    figure, axis = _sheet(WIDTH, HEAD + sum(heights) + FOOT)
    baseline = BASELINE.label
    for x, title in enumerate(("Target", baseline, "Method", f"Error, {baseline}", "Error, method")):
        axis.text(label + (x + 0.5) * cell, HEAD - 0.06, title, ha="center", fontweight="bold")
    y = HEAD
    for (case, item), peak, height in zip(cases, peaks, heights, strict=True):
        box = _zoom_box(item)
        gain = signed(item.ssim[case.arm] - item.ssim[case.baseline], 3)
        place = (
            f"{item.place.anatomy}, {times(item.place.acceleration)}\n"
            f"{center_name(item.place.center).replace(' fraction', '')}\n"
            f"{item.place.volume}\nslice {item.place.slice}, {item.contrast}"
        )
        text = f"{two_lines(case.arm.label)}\n{case.kind}: {gain}\n{place}"
        axis.text(0.05, y + height / 2, text, va="center", fontsize=6.5, linespacing=1.5)
        _paste(axis, item.target, label, y, cell, box, peak)
        for column, name in ((1, case.baseline), (2, case.arm)):
            image = item.images[name]
            _paste(axis, image, label + column * cell, y, cell, box, peak, item.ssim[name])
            error = np.abs(image - item.target) / peak
            _paste(axis, error, label + (column + 2) * cell, y, cell, box, worst, cmap="inferno")
        y += height
    title = f"Largest differences in SSIM to {baseline} among {searched} slices"
    length = 2 * cell - 0.12  # leaves room for half of the scale's last number
    _finish_sheet(figure, axis, title, worst, label + 3 * cell, length, any(item.synthetic for item in items))
    return figure


def _sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one axis over all of it, in inches from the upper left corner."""
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.set_axis_off()
    return figure, axis


def _paste(
    axis: Axes,
    image: NDArray[np.float32],
    x: float,
    y: float,
    cell: float,
    box: tuple[int, int, int],
    peak: float,
    ssim: float | None = None,
    cmap: str = "gray",
) -> None:
    """Put an image of ``cell`` inches width, with its zoomed box in a lower corner, onto a sheet."""
    rows, columns = image.shape
    scale = (cell - GAP) / columns
    width, height = cell - GAP, rows * scale
    look: dict[str, Any] = {
        "cmap": cmap,
        "vmin": 0,
        "vmax": peak,
        "interpolation": "nearest",
        "aspect": "auto",
    }
    row, column, side = box
    zoom = 0.42 * min(width, height)
    in_right_half = column + side / 2 > columns / 2
    corner = (x if in_right_half else x + width - zoom, y + height - zoom)
    frame: dict[str, Any] = {"fill": False, "edgecolor": "#F0E442", "linewidth": 0.7}
    axis.imshow(image, extent=(x, x + width, y + height, y), **look)
    axis.add_patch(
        Rectangle((x + column * scale, y + row * height / rows), side * scale, side * height / rows, **frame)
    )
    detail = image[row : row + side, column : column + side]
    axis.imshow(detail, extent=(corner[0], corner[0] + zoom, corner[1] + zoom, corner[1]), **look, zorder=2)
    axis.add_patch(Rectangle(corner, zoom, zoom, **frame, zorder=3))
    if ssim is not None:
        text = "failed" if np.isnan(ssim) else f"SSIM {ssim:.3f}"
        back = {"facecolor": "black", "alpha": 0.55, "linewidth": 0, "pad": 1}
        axis.text(x + 0.05, y + 0.05, text, va="top", color="white", fontsize=6, bbox=back)


def _finish_sheet(
    figure: Figure, axis: Axes, title: str, worst: float, x: float, length: float, synthetic: bool
) -> None:
    """Title, scale of the error maps (below them), and the notice; restore the limits that images change."""
    width, height = figure.get_size_inches()
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.text(0.05, 0.14, title, fontsize=7, va="center")
    place = (x / width, (FOOT - 0.14) / height, (length - GAP) / width, 0.06 / height)
    scalar = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, worst), "inferno")
    bar = figure.colorbar(scalar, cax=figure.add_axes(place), orientation="horizontal")
    bar.ax.xaxis.set_major_locator(MaxNLocator(4))
    bar.ax.tick_params(labelsize=6, length=2)
    bar.set_label("|error| / display maximum", fontsize=6)
    bar.outline.set_visible(False)
    if synthetic:
        axis.text(0.05, height - 0.08, SYNTHETIC, fontsize=6, color=WARNING)


def picture(image: NDArray[np.float32], peak: float) -> str:
    """An image as an 8-bit gray PNG in a data URI; 0 is black, ``peak`` is white."""
    gray = np.rint(255 * np.clip(np.nan_to_num(image) / peak, 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, format="png", optimize=True)
    return data_uri(buffer.getvalue())


def display_maximum(item: StoredSlice) -> float:
    """The gray value that is shown as white: the 99.8th percentile of the target."""
    return _scales([item], ())[0][0]
