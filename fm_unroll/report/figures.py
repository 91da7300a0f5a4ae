"""Figures of the evaluation. The only place that draws: tables come in, PNG and PDF go out."""

import base64
import functools
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from pandas.api.typing import DataFrameGroupBy
from PIL import Image
from scipy.ndimage import uniform_filter

from fm_unroll.errors import InputError
from fm_unroll.evaluation.records import BASELINE
from fm_unroll.evaluation.selection import PLACE, Extreme, Place
from fm_unroll.evaluation.statistics import MIN_SUBJECTS
from fm_unroll.report.tables import (
    METRICS,
    MISSING,
    SYNTHETIC,
    base_method,
    center_name,
    domain_name,
    method_name,
    order_arms,
    signed,
    stars,
    times,
)

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "figure.constrained_layout.h_pad": 0.06,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "image.composite_image": False,  # keep every picture at its own resolution in the PDF
    "savefig.dpi": 200,
}
# Okabe & Ito's palette, safe for colour-blind readers; the baseline is black, classical methods are grey
COLORS = {
    "varnet": "#000000",
    "clip": "#0072B2",
    "dinov2": "#D55E00",
    "biomedclip": "#009E73",
    "random": "#CC79A7",
    "none": "#B8860B",
    "varnet_wide": "#56B4E9",
    "zero_filled": "#9a9a9a",
    "cg_sense": "#7a7a7a",
    "wavelet": "#5a5a5a",
}
MARKERS = dict(zip(COLORS, "osD^vPXx1+", strict=True))
# for encoders registered elsewhere
SPARE = (("#8E44AD", "*"), ("#B03A2E", "h"), ("#1F618D", "<"), ("#7D6608", ">"), ("#117A65", "p"))
CLASSICAL = ("zero_filled", "cg_sense", "wavelet")
CONTROLS = ("random", "none", "varnet_wide")
MARKS = (
    f"* p < 0.05, ** p < 0.01, *** p < 0.001 after Holm's correction, and a 95 % interval without zero;"
    f" n/t: not tested (fewer than {MIN_SUBJECTS} subjects).  In brackets: true acceleration."
)
WIDTH = 7.2  # inches: the text width of a two-column page
HEAD, FOOT, LABEL, GAP = 0.45, 0.65, 0.42, 0.03  # inches: margins of a sheet of pictures, space between them
WARNING = "#9c2f1f"


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw with the one style, whatever the caller's settings."""

    @functools.wraps(draw)
    def wrapper(*args: object, **kwargs: object) -> Figure:
        with mpl.rc_context(mpl.rcParamsDefault | STYLE):
            return draw(*args, **kwargs)

    return wrapper


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write ``name.png`` and ``name.pdf`` into a folder; return the PNG as a data URI."""
    buffer = io.BytesIO()
    with mpl.rc_context(mpl.rcParamsDefault | STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None})
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    (folder / f"{name}.png").write_bytes(buffer.getvalue())
    return _data_uri(buffer.getvalue())


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _footer(figure: Figure, synthetic: bool, legend: str = "") -> None:
    """A line of explanation below the figure and, where it applies, the notice below that."""
    if legend or synthetic:
        figure.supxlabel(
            f"{legend}\n " if synthetic else legend, x=0.01, ha="left", fontsize=6, color="#444444"
        )
    if synthetic:
        figure.text(0.01, 0.08 / figure.get_figheight(), SYNTHETIC, fontsize=6, color=WARNING)


def _two_lines(name: str) -> str:
    return name.replace(" (", "\n(")


def _lines(arms: Iterable[str]) -> dict[str, dict]:
    """A line style for every arm: dotted without training, dashed for controls and unpublished weights."""
    arms = order_arms(set(arms))
    others = [arm for arm in arms if base_method(arm) not in COLORS]
    styles = {}
    for arm in arms:
        method = base_method(arm)
        spare = None if method in COLORS else SPARE[others.index(arm) % len(SPARE)]
        color, marker = spare or (COLORS[method], MARKERS[method])
        control = method in CONTROLS or "[" in arm
        styles[arm] = {
            "color": color,
            "marker": marker,
            "linestyle": ":" if method in CLASSICAL else "--" if control else "-",
            "label": method_name(arm),
        }
    return styles


def _panels(data: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    groups = data.groupby(["dataset", "anatomy", "center"], sort=False)
    return [(f"{domain_name(d, a)}\n{center_name(c)}", group) for (d, a, c), group in groups]


@styled
def regime_map(comparisons: pd.DataFrame) -> Figure:
    """Difference of each method to the baseline over data set, center and acceleration, with its marks.

    Args:
        comparisons: as `fm_unroll.evaluation.statistics.compare` returns them, of one metric and one
            baseline.
    """
    metric = METRICS[comparisons.metric.iloc[0]]
    arms = order_arms(set(comparisons.arm))
    panels = _panels(comparisons)
    columns = [sorted(group.acceleration.unique()) for _, group in panels]
    cells = sum(map(len, columns)) + 0.35 * len(panels)
    figure = Figure(figsize=(WIDTH, 0.36 * len(arms) + 1.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=[len(c) / cells for c in columns])[0]
    limit = np.nanmax(np.abs(comparisons.difference), initial=1e-6)
    norm = TwoSlopeNorm(0, -limit, limit)
    colors = mpl.colormaps["PuOr" if metric.higher_is_better else "PuOr_r"]
    for axis, (title, group), accelerations in zip(axes, panels, columns, strict=True):
        found = group.set_index(["arm", "acceleration"])
        for y, arm in enumerate(arms):
            for x, acceleration in enumerate(accelerations):
                row = found.loc[(arm, acceleration)] if (arm, acceleration) in found.index else None
                _regime_cell(axis, x, y, row, norm, colors, metric.digits)
        heads = [
            f"{times(a)}\n({group[group.acceleration == a].true_acceleration.iloc[0]:.1f})"
            for a in accelerations
        ]
        axis.set_xticks(range(len(accelerations)), heads)
        axis.set_yticks(
            range(len(arms)), [_two_lines(method_name(arm)) for arm in arms] if axis is axes[0] else []
        )
        axis.set(xlim=(-0.5, len(accelerations) - 0.5), ylim=(len(arms) - 0.5, -0.5))
        axis.set_title(_two_lines(title).replace("center fraction", "center"), fontsize=6.5)
        axis.tick_params(length=0)
        axis.grid(False)
        axis.spines[:].set_visible(False)
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(norm, colors), ax=list(axes), fraction=0.025, pad=0.01, aspect=18
    )
    bar.set_label(f"Δ {metric.label}")
    bar.outline.set_visible(False)
    _footer(figure, comparisons.synthetic.any(), MARKS)
    return figure


def _regime_cell(axis: Axes, x: int, y: int, row: pd.Series | None, norm, colors, digits: int) -> None:
    box = {"xy": (x - 0.48, y - 0.46), "width": 0.96, "height": 0.92}
    if row is None or np.isnan(row.difference):
        axis.add_patch(Rectangle(**box, facecolor="white", edgecolor="#c8c8c8", hatch="////", linewidth=0))
        axis.text(x, y, MISSING, ha="center", va="center", color="#777777")
        return
    face = colors(norm(row.difference))
    axis.add_patch(Rectangle(**box, facecolor=face, linewidth=0))
    dark = np.dot(face[:3], (0.299, 0.587, 0.114)) < 0.6
    mark = "n/t" if np.isnan(row.p_holm) else stars(row.p_holm) if row.clear else ""
    text = signed(row.difference, min(digits, 3))
    color = "white" if dark else "#222222"
    axis.text(x, y - (0.1 if mark else 0), text, ha="center", va="center", fontsize=5.5, color=color)
    axis.text(x, y + 0.24, mark, ha="center", va="center", fontsize=5.5, color=color)


@styled
def degradation_curves(means: pd.DataFrame, metric: str) -> Figure:
    """Mean of a metric against true acceleration, with 95 % bootstrap bands, one panel a data set and center.

    Args:
        means: as `fm_unroll.evaluation.statistics.describe` returns them.
        metric: a key of `fm_unroll.report.tables.METRICS`.
    """
    chosen = means[(means.metric == metric) & means["mean"].notna()]
    return _curves(chosen, "mean", METRICS[metric].heading)


@styled
def difference_curves(comparisons: pd.DataFrame, crossings: pd.DataFrame) -> Figure:
    """Difference to the baseline against true acceleration; rings mark where a method starts to win.

    Args:
        comparisons: as `fm_unroll.evaluation.statistics.compare` returns them, of one metric and one
            baseline.
        crossings: as `fm_unroll.evaluation.statistics.crossings` returns them for these comparisons.
    """
    metric = METRICS[comparisons.metric.iloc[0]]
    label = f"Δ {metric.label} to {method_name(comparisons.baseline.iloc[0])}"
    figure = _curves(comparisons.dropna(subset="difference"), "difference", label)
    styles = _lines(comparisons.arm)
    for axis, ((dataset, _, center), _) in zip(
        figure.axes, comparisons.groupby(["dataset", "anatomy", "center"], sort=False), strict=False
    ):
        axis.axhline(0, color="#000000", linewidth=0.8, zorder=1)
        here = crossings[(crossings.dataset == dataset) & (crossings.center == center)].dropna(
            subset="crossing"
        )
        for row in here.itertuples():
            color = styles[row.arm]["color"]
            axis.plot(row.crossing, 0, "o", markersize=7, mfc="none", mec=color, mew=1.2, zorder=5)
    return figure


def _curves(data: pd.DataFrame, column: str, label: str) -> Figure:
    panels = _panels(data)
    styles = _lines(data.arm)
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(WIDTH, 2.05 * rows + 0.55), layout="constrained")
    columns = min(len(panels), 3)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, (title, group) in zip(axes, panels, strict=False):
        for arm in order_arms(set(group.arm)):
            line = group[group.arm == arm].sort_values("true_acceleration")
            style = styles[arm]
            axis.plot(line.true_acceleration, line[column], **style, markeredgewidth=0.8, clip_on=False)
            axis.fill_between(
                line.true_acceleration, line.low, line.high, color=style["color"], alpha=0.12, linewidth=0
            )
        axis.set_title(title, fontsize=7)
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
    ordered = [method_name(arm) for arm in order_arms(set(data.arm))]
    spare = axes[len(panels)] if len(axes) > len(panels) else None
    where = {"loc": "outside upper center", "ncols": 5} if spare is None else {"loc": "center"}
    if spare is not None:
        spare.set_visible(True)
        spare.set_axis_off()
    owner = figure if spare is None else spare
    owner.legend([entries[text] for text in ordered], ordered, **where, handlelength=2.4, fontsize=7)
    _footer(figure, data.synthetic.any())
    return figure


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
    target: np.ndarray
    images: dict[str, np.ndarray]
    ssim: dict[str, float]
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
        shown: as `fm_unroll.evaluation.selection.shown_runs` returns them; gives every picture its SSIM.

    Raises:
        InputError: a file that lies outside the folder (a link), cannot be read or lacks a key, or whose
            slice is not in the records.
    """
    slices = {}
    rows_at = shown.groupby(list(PLACE))
    for path in sorted(folder.glob("*.npz")):
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
    rows = rows_at.get_group(place).set_index("arm")
    images = {name.partition("/")[2]: image for name, image in arrays.items() if name.startswith("image/")}
    if strange := images.keys() - set(rows.index):
        raise InputError(f"{path}: {min(strange)} has no record of this slice; run the evaluation again")
    return StoredSlice(
        place=place,
        contrast=rows.contrast.iloc[0],
        target=target,
        images={arm: images[arm] for arm in order_arms(images)},
        ssim={arm: float(rows.ssim[arm]) for arm in images},
        synthetic=bool(rows.synthetic.any()),
    )


def _zoom_box(item: StoredSlice) -> tuple[int, int, int]:
    """Row, column and side of the square in which the reconstructions disagree most (mean variance)."""
    trained = [image for method, image in item.images.items() if method != "zero_filled"] or [item.target]
    side = max(8, min(item.target.shape) // 4)
    spread = uniform_filter(np.nan_to_num(np.var([item.target, *trained], axis=0)), side, mode="constant")
    half = side // 2
    inner = spread[half : -half or None, half : -half or None]
    row, column = np.unravel_index(inner.argmax(), inner.shape)
    return int(row), int(column), side


def _scales(items: Sequence[StoredSlice], methods: Sequence[str]) -> tuple[list[float], float]:
    """The display maximum of every slice, and one maximum for all error maps, in units of it."""
    peaks = [float(np.percentile(item.target, 99.8)) or 1.0 for item in items]
    errors = [
        np.percentile(np.abs(item.images[method] - item.target), 99.5) / peak
        for item, peak in zip(items, peaks, strict=True)
        for method in methods
        if method in item.images and np.isfinite(item.images[method]).all()
    ]
    return peaks, float(max(errors, default=1.0)) or 1.0


@styled
def panel(item: StoredSlice) -> Figure:
    """The paper's layout: rows are methods; columns are target, reconstruction, error map, zero-filled.

    Gray values share one scale and error maps another; the box is where the reconstructions disagree most.
    """
    methods = [method for method in item.images if method != "zero_filled"] or list(item.images)
    (peak,), worst = _scales([item], methods)
    height, width = item.target.shape
    cell = min((WIDTH - LABEL) / 4, 11 * width / (len(methods) * height))  # inches; the figure fits a page
    figure, axis = _sheet(LABEL + 4 * cell, HEAD + len(methods) * cell * height / width + FOOT)
    box = _zoom_box(item)
    for x, title in enumerate(("Target", "Reconstruction", "Error", "Zero-filled")):
        axis.text(LABEL + (x + 0.5) * cell, HEAD - 0.06, title, ha="center", fontweight="bold")
    for i, method in enumerate(methods):
        y = HEAD + i * cell * height / width
        middle = y + cell * height / width / 2
        label = _two_lines(method_name(method))
        axis.text(LABEL - 0.06, middle, label, rotation=90, ha="right", va="center", multialignment="center")
        _paste(axis, item.target, LABEL, y, cell, box, peak)
        _paste(axis, item.images[method], LABEL + cell, y, cell, box, peak, item.ssim[method])
        error = np.abs(item.images[method] - item.target) / peak
        _paste(axis, error, LABEL + 2 * cell, y, cell, box, worst, cmap="inferno")
        if "zero_filled" in item.images:
            score = item.ssim["zero_filled"]
            _paste(axis, item.images["zero_filled"], LABEL + 3 * cell, y, cell, box, peak, score)
    _finish_sheet(figure, axis, item.title, worst, LABEL + 2 * cell, cell, item.synthetic)
    return figure


@styled
def extreme_cases(cases: Sequence[tuple[Extreme, StoredSlice]], searched: int) -> Figure:
    """Best and worst cases: target, baseline, prior, and both error maps on one scale.

    Args:
        cases: extremes and their pictures.
        searched: number of slices they were chosen from.
    """
    items = [item for _, item in cases]
    peaks, worst = _scales(items, [BASELINE, *(case.arm for case, _ in cases)])
    label = 1.25
    cell = (WIDTH - label) / 5
    heights = [cell * item.target.shape[0] / item.target.shape[1] for item in items]
    figure, axis = _sheet(WIDTH, HEAD + sum(heights) + FOOT)
    baseline = method_name(BASELINE)
    for x, title in enumerate(("Target", baseline, "Prior", f"Error, {baseline}", "Error, prior")):
        axis.text(label + (x + 0.5) * cell, HEAD - 0.06, title, ha="center", fontweight="bold")
    y = HEAD
    for (case, item), peak, height in zip(cases, peaks, heights, strict=True):
        box = _zoom_box(item)
        gain = signed(item.ssim[case.arm] - item.ssim[BASELINE], 3)
        place = (
            f"{item.place.anatomy}, {times(item.place.acceleration)}\n"
            f"{center_name(item.place.center).replace(' fraction', '')}\n"
            f"{item.place.volume}\nslice {item.place.slice}, {item.contrast}"
        )
        text = f"{_two_lines(method_name(case.arm))}\n{case.kind}: {gain}\n{place}"
        axis.text(0.05, y + height / 2, text, va="center", fontsize=6.5, linespacing=1.5)
        _paste(axis, item.target, label, y, cell, box, peak)
        for column, name in ((1, BASELINE), (2, case.arm)):
            image = item.images[name]
            _paste(axis, image, label + column * cell, y, cell, box, peak, item.ssim[name])
            error = np.abs(image - item.target) / peak
            _paste(axis, error, label + (column + 2) * cell, y, cell, box, worst, cmap="inferno")
        y += height
    title = f"Largest differences in SSIM to {baseline} among {searched} slices"
    _finish_sheet(
        figure, axis, title, worst, label + 3 * cell, 2 * cell, any(item.synthetic for item in items)
    )
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
    image: np.ndarray,
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
    look = {"cmap": cmap, "vmin": 0, "vmax": peak, "interpolation": "nearest", "aspect": "auto"}
    row, column, side = box
    zoom = 0.42 * min(width, height)
    in_right_half = column + side / 2 > columns / 2
    corner = (x if in_right_half else x + width - zoom, y + height - zoom)
    frame = {"fill": False, "edgecolor": "#F0E442", "linewidth": 0.7}
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


@styled
def fusion_weights(priors: dict[str, dict]) -> Figure:
    """Learned weights of the encoder's blocks (one heat map a method) and step sizes, over cascades.

    Args:
        priors: label -> ``fusion`` (cascades x blocks), ``step_sizes`` (cascades), ``blocks`` (their
            numbers).
    """
    fused = {label: prior for label, prior in priors.items() if prior.get("fusion")}
    stepped = {label: prior for label, prior in priors.items() if prior.get("step_sizes")}
    count = len(fused) + bool(stepped)
    figure = Figure(figsize=(min(WIDTH, 2.3 * count + 0.6), 2.5), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    highest = max((np.max(prior["fusion"]) for prior in fused.values()), default=1.0)
    for axis, (label, prior) in zip(axes, fused.items(), strict=False):
        weights = np.asarray(prior["fusion"], float).T
        picture = axis.imshow(weights, cmap="cividis", vmin=0, vmax=highest, aspect="auto", origin="lower")
        axis.set_yticks(range(len(weights)), prior["blocks"])
        axis.set_xticks(range(0, weights.shape[1], 2 if weights.shape[1] > 6 else 1))
        axis.set_xticklabels([str(int(tick) + 1) for tick in axis.get_xticks()])
        title = _two_lines(method_name(label))
        axis.set(xlabel="cascade", ylabel="encoder block" if axis is axes[0] else None, title=title)
        axis.grid(False)
        axis.spines[:].set_visible(False)
    if fused:
        bar = figure.colorbar(picture, ax=list(axes[: len(fused)]), fraction=0.04, pad=0.02)
        bar.set_label("fusion weight")
        bar.outline.set_visible(False)
    if stepped:
        styles = _lines(stepped)
        for label, prior in stepped.items():
            axes[-1].plot(range(1, len(prior["step_sizes"]) + 1), prior["step_sizes"], **styles[label])
        axes[-1].set(xlabel="cascade", title="Step size μ")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower right", fontsize=6.5, ncols=3)
    return figure


def picture(image: np.ndarray, peak: float) -> str:
    """An image as an 8-bit gray PNG in a data URI; 0 is black, ``peak`` is white."""
    gray = np.rint(255 * np.clip(np.nan_to_num(image) / peak, 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, format="png", optimize=True)
    return _data_uri(buffer.getvalue())


def display_maximum(item: StoredSlice) -> float:
    """The gray value shown as white: the 99.8th percentile of the target."""
    return _scales([item], ())[0][0]
