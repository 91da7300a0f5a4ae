"""The two files of the trust map: the map of all slices, and a picture of one."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter

from fm_unroll.data.volume import Volume
from fm_unroll.files import whole_file
from fm_unroll.reconstruction.trust import WORTH
from fm_unroll.reconstruction.writers import DISPLAY_PERCENTILE, beside, write_h5
from fm_unroll.report.contact_sheet import GrayImage
from fm_unroll.report.pictures import clipped
from fm_unroll.report.style import TYPE, wrapped

PANEL_INCHES = 3.0  # height of an image
WINDOW = 7  # pixels: the map ranks regions better than pixels


def draw_trust(path: Path, image: GrayImage, change: GrayImage, title: str) -> None:
    """Draw an image and its trust map side by side, each with its scale, and what the map is worth below.

    Args:
        path: a PNG file.
        image: the reconstruction, float32 ``(row, column)``.
        change: its map, of the same shape and unit.
        title: what the picture shows.
    """
    rows, columns = image.shape
    width = 2 * max(PANEL_INCHES * columns / rows + 1.0, 3.2)
    figure = Figure(figsize=(width, PANEL_INCHES + 1.5), layout="constrained", dpi=150)
    axes = figure.subplots(1, 2)
    peak = float(image.max())
    regions = uniform_filter(change, WINDOW)
    name_of_map = f"change when sampled again,\nmeans of {WINDOW} x {WINDOW} pixels"
    panels = (("reconstruction", image, "gray"), (name_of_map, regions, "magma"))
    for axis, (name, values, colours) in zip(axes, panels, strict=True):
        percent = 100 * values / peak
        top = float(np.percentile(percent, DISPLAY_PERCENTILE)) or 1.0
        above = 100 * clipped(percent, top)
        drawn = axis.imshow(percent, cmap=colours, vmin=0, vmax=top)
        axis.set_title(name, fontsize=TYPE + 1)
        axis.set_axis_off()
        bar = figure.colorbar(drawn, ax=axis, shrink=0.9, pad=0.02, extend="max" if above else "neither")
        bar.ax.tick_params(labelsize=TYPE)
        bar.set_label(f"% of the image's maximum ({above:.1f} % of pixels above)", fontsize=TYPE)
    figure.suptitle(title, fontsize=TYPE + 2)
    figure.supxlabel(wrapped(WORTH, width), fontsize=TYPE)
    with whole_file(path) as part:
        figure.savefig(part, format="png")


def write_trust(written: Path, volume: Volume, image: GrayImage, change: GrayImage) -> tuple[Path, Path]:
    """Write ``NAME_trust.h5`` with the map and ``NAME_trust.png`` with one slice: the middle of frame 0.

    Args:
        written: the reconstruction's file.
        volume: the scan's volume.
        image: its reconstruction, float32 ``(frame, slice, row, column)``.
        change: the map, of the same shape.

    Returns:
        The paths of both.
    """
    table, figure = (beside(written, f"_trust.{kind}") for kind in ("h5", "png"))
    write_h5(table, image, extra={"change": change})
    middle = volume.num_slices // 2
    draw_trust(figure, image[0, middle], change[0, middle], f"{volume.name}, slice {middle}, frame 0")
    return table, figure
