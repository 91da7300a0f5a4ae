"""Figures of the evaluation. The only place that draws: tables come in, PNG and PDF go out."""

import base64
import functools
import io
from collections.abc import Callable, Sequence
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
from PIL import Image
from scipy.ndimage import uniform_filter

from fm_unroll.errors import InputError
from fm_unroll.evaluation.records import arm_names
from fm_unroll.evaluation.statistics import MIN_SUBJECTS
from fm_unroll.evaluation.tables import (
    BASELINE,
    FOUNDATION,
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
MARKERS = dict(zip(COLORS, "osD^vPXxx+", strict=True))
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


def _line(arm: str) -> dict:
    method = base_method(arm)
    dashes = (
        "-" if method in (*FOUNDATION, BASELINE) and "[" not in arm else "--" if method in COLORS else ":"
    )
    classical = method in ("zero_filled", "cg_sense", "wavelet")
    return {
        "color": COLORS.get(method, "#333333"),
        "marker": MARKERS.get(method, "."),
        "linestyle": ":" if classical else dashes,
        "label": method_name(arm),
    }


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
        axis.set_yticks(range(len(arms)), [method_name(arm) for arm in arms] if axis is axes[0] else [])
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
    axis.text(x, y - (0.1 if mark else 0), text, ha="center", va="center", fontsize=6, color=color)
    axis.text(x, y + 0.24, mark, ha="center", va="center", fontsize=5.5, color=color)


@styled
def degradation_curves(means: pd.DataFrame, metric: str) -> Figure:
    """Mean of a metric against true acceleration, with 95 % bootstrap bands, one panel a data set and center.

    Args:
        means: as `fm_unroll.evaluation.statistics.describe` returns them.
        metric: a key of `fm_unroll.evaluation.tables.METRICS`.
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
    for axis, ((dataset, _, center), _) in zip(
        figure.axes, comparisons.groupby(["dataset", "anatomy", "center"], sort=False), strict=False
    ):
        axis.axhline(0, color="#000000", linewidth=0.8, zorder=1)
        here = crossings[(crossings.dataset == dataset) & (crossings.center == center)].dropna(
            subset="crossing"
        )
        for row in here.itertuples():
            axis.plot(
                row.crossing, 0, "o", markersize=7, mfc="none", mec=_line(row.arm)["color"], mew=1.2, zorder=5
            )
    return figure


def _curves(data: pd.DataFrame, column: str, label: str) -> Figure:
    panels = _panels(data)
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(WIDTH, 2.05 * rows + 0.55), layout="constrained")
    columns = min(len(panels), 3)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, (title, group) in zip(axes, panels, strict=False):
        for arm in order_arms(set(group.arm)):
            line = group[group.arm == arm].sort_values("true_acceleration")
            style = _line(arm)
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
        anatomy: ``cardiac``, ``knee`` or ``brain``.
        center: sampling of the centre.
        acceleration: nominal acceleration.
        volume: id of the volume.
        slice: index of the slice.
        frame: index of the frame.
        contrast: contrast or view.
        target: float32 (readout, phase).
        images: arm -> float32 (readout, phase), in the order of the tables.
        ssim: arm -> SSIM of the record the picture belongs to; NaN where it failed.
        synthetic: whether it is a phantom.
    """

    anatomy: str
    center: str
    acceleration: float
    volume: str
    slice: int
    frame: int
    contrast: str
    target: np.ndarray
    images: dict[str, np.ndarray]
    ssim: dict[str, float]
    synthetic: bool

    @property
    def title(self) -> str:
        """Where the slice is from, in one line."""
        place = f"{self.anatomy}, {center_name(self.center)}, {times(self.acceleration)}"
        frame = f", frame {self.frame}" if self.frame else ""
        return f"{place}: {self.volume}, slice {self.slice}{frame} ({self.contrast})"


def read_slices(folder: Path, records: pd.DataFrame) -> list[StoredSlice]:
    """Read the pictures a run stored: ``<anatomy>/<center>_x<acceleration>/*.npz``.

    Args:
        folder: the run's ``images`` folder; need not exist.
        records: as `fm_unroll.evaluation.records.read_records` returns them; gives every picture its SSIM.
            Where a method has several runs, the record whose squared error is nearest to the picture's is the
            picture's.

    Raises:
        InputError: a file that lies outside the folder (a link), cannot be read or lacks a key, or whose
            slice is not in the records.
    """
    named = records.assign(arm=arm_names(records))
    places = named.groupby(["anatomy", "center", "acceleration", "volume", "slice", "frame"])
    paths = sorted(folder.glob("*/*_x*/*.npz"))
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: a link out of {folder}; copy the file instead")
    return [_read_slice(path, places) for path in paths]


def _read_slice(path: Path, places) -> StoredSlice:
    center, _, acceleration = path.parent.name.rpartition("_x")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored}
        volume, contrast = str(arrays.pop("volume")), str(arrays.pop("contrast"))
        number, frame = int(arrays.pop("slice")), int(arrays.pop("frame"))
        arrays.pop("subject")
        target = arrays.pop("target")
        key = (path.parents[1].name, center, float(acceleration), volume, number, frame)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{path}: not a stored slice ({error}); delete it or run the evaluation again"
        ) from error
    if key not in places.groups:
        raise InputError(f"{path}: its slice is not in the records; delete it or run the evaluation again")
    rows = places.get_group(key)
    images, ssim = {}, {}
    for method, image in arrays.items():
        mine = rows[rows.method == method]
        if mine.empty:
            raise InputError(f"{path}: {method} has no record of this slice; run the evaluation again")
        distance = (mine.squared_error - np.square(image - target, dtype=float).sum()).abs().fillna(np.inf)
        row = mine.loc[distance.idxmin() if np.isfinite(image).all() else mine.ssim.isna().idxmax()]
        images[row.arm], ssim[row.arm] = image, float(row.ssim)
    return StoredSlice(
        *key,
        contrast=contrast,
        target=target,
        images={arm: images[arm] for arm in order_arms(images)},
        ssim=ssim,
        synthetic=bool(rows.synthetic.any()),
    )


def representative(slices: Sequence[StoredSlice]) -> list[StoredSlice]:
    """One slice a condition: the one with the baseline's median SSIM (zero-filling's where it has none)."""
    chosen = []
    frame = pd.DataFrame([{"key": (s.anatomy, s.center, s.acceleration), "slice": s} for s in slices])
    for _, group in frame.groupby("key", sort=False) if len(frame) else ():
        method = (
            BASELINE if all(np.isfinite(s.ssim.get(BASELINE, np.nan)) for s in group.slice) else "zero_filled"
        )
        ranked = sorted(group.slice, key=lambda s: (s.ssim.get(method, np.nan), s.volume, s.slice, s.frame))
        chosen.append(ranked[(len(ranked) - 1) // 2])
    return chosen


def extremes(slices: Sequence[StoredSlice]) -> list[tuple[str, str, StoredSlice]]:
    """Best and worst stored slice of every foundation prior, by its SSIM minus the baseline's.

    Returns:
        (``best`` or ``worst``, arm, slice), two a prior.
    """
    arms = {arm for item in slices for arm in item.ssim if base_method(arm) in FOUNDATION}
    found = []
    for arm in order_arms(arms):
        gains = [
            (item.ssim[arm] - item.ssim[BASELINE], item)
            for item in slices
            if {arm, BASELINE} <= item.ssim.keys()
        ]
        gains = sorted((gain for gain in gains if np.isfinite(gain[0])), key=lambda pair: pair[0])
        if gains:
            found += [("best", arm, gains[-1][1]), ("worst", arm, gains[0][1])]
    return found


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
def extreme_cases(cases: Sequence[tuple[str, str, StoredSlice]], stored: int) -> Figure:
    """Best and worst cases: target, baseline, prior, and both error maps on one scale.

    Args:
        cases: as `extremes` returns them.
        stored: number of stored slices they were chosen from.
    """
    items = [item for _, _, item in cases]
    peaks, worst = _scales(items, [BASELINE, *(arm for _, arm, _ in cases)])
    label = 1.15
    cell = (WIDTH - label) / 5
    heights = [cell * item.target.shape[0] / item.target.shape[1] for item in items]
    figure, axis = _sheet(WIDTH, HEAD + sum(heights) + FOOT)
    for x, title in enumerate(("Target", method_name(BASELINE), "Prior", "Error, VarNet", "Error, prior")):
        axis.text(label + (x + 0.5) * cell, HEAD - 0.06, title, ha="center", fontweight="bold")
    y = HEAD
    for (kind, method, item), peak, height in zip(cases, peaks, heights, strict=True):
        box = _zoom_box(item)
        gain = signed(item.ssim[method] - item.ssim[BASELINE], 3)
        place = (
            f"{item.anatomy}, {times(item.acceleration)}\n{center_name(item.center).replace(' fraction', '')}"
        )
        text = f"{_two_lines(method_name(method))}\n{kind}: {gain}\n{place}"
        axis.text(0.05, y + height / 2, text, va="center", fontsize=6.5, linespacing=1.5)
        _paste(axis, item.target, label, y, cell, box, peak)
        for column, name in ((1, BASELINE), (2, method)):
            image = item.images[name]
            _paste(axis, image, label + column * cell, y, cell, box, peak, item.ssim[name])
            error = np.abs(image - item.target) / peak
            _paste(axis, error, label + (column + 2) * cell, y, cell, box, worst, cmap="inferno")
        y += height
    title = f"Largest differences in SSIM to {method_name(BASELINE)} among the {stored} stored slices"
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
    """Put an image of ``cell`` inches width, with its zoomed box in the lower right corner, onto a sheet."""
    rows, columns = image.shape
    scale = (cell - GAP) / columns
    width, height = cell - GAP, rows * scale
    look = {"cmap": cmap, "vmin": 0, "vmax": peak, "interpolation": "nearest", "aspect": "auto"}
    row, column, side = box
    zoom = 0.42 * min(width, height)
    corner = (x + width - zoom, y + height - zoom)
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
        axis.set(
            xlabel="cascade", ylabel="encoder block" if axis is axes[0] else None, title=method_name(label)
        )
        axis.grid(False)
        axis.spines[:].set_visible(False)
    if fused:
        bar = figure.colorbar(picture, ax=list(axes[: len(fused)]), fraction=0.04, pad=0.02)
        bar.set_label("fusion weight")
        bar.outline.set_visible(False)
    if stepped:
        for label, prior in stepped.items():
            axes[-1].plot(range(1, len(prior["step_sizes"]) + 1), prior["step_sizes"], **_line(label))
        axes[-1].set(xlabel="cascade", title="Step size μ")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[-1].legend(fontsize=6.5)
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
