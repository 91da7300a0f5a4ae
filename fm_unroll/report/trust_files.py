"""The two files of trust maps: the numbers of all slices, and a picture of one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fm_unroll.data.volume import Volume
from fm_unroll.files import whole_file
from fm_unroll.reconstruction.trust import TrustMaps
from fm_unroll.reconstruction.volume import as_volume
from fm_unroll.reconstruction.writers import DISPLAY_PERCENTILE, SUFFIXES, write_h5
from fm_unroll.report.contact_sheet import GrayImage

INCHES = 2.6  # height of a panel
# of the panels; the number of each map goes in
TITLES = {
    "reconstruction": "reconstruction\n",
    "residual": "data-consistency residual\n{:.3g} % of the measured signal",
    "prior": "prior's part\n{:.3g} % of the energy",
    "spread": "spread\n{:.3g} % of the image",
}


def draw_trust(
    path: Path, image: GrayImage, maps: Mapping[str, GrayImage], numbers: Mapping[str, float], title: str
) -> None:
    """Draw an image and its maps side by side, each with its scale and its number.

    Args:
        path: a PNG file.
        image: the reconstruction, float32 ``(row, column)``.
        maps: ``residual``, ``prior`` and ``spread``, of the same shape and unit.
        numbers: one per map, over the whole volume.
        title: what the picture shows.
    """
    rows, columns = image.shape
    width = (len(maps) + 1) * (max(INCHES * columns / rows, 1.6) + 0.8)
    figure = Figure(figsize=(width, INCHES + 0.8), layout="constrained", dpi=150)
    axes = figure.subplots(1, len(maps) + 1)
    peak = float(image.max())
    shown = {"reconstruction": image, **maps}
    for axis, (name, values) in zip(axes, shown.items(), strict=True):
        percent = 100 * values / peak
        top = float(np.percentile(percent, DISPLAY_PERCENTILE)) or 1.0
        colours = "gray" if name == "reconstruction" else "magma"
        drawn = axis.imshow(percent, cmap=colours, vmin=0, vmax=top)
        axis.set_title(TITLES[name].format(100 * numbers.get(name, 0)), fontsize=7)
        axis.set_axis_off()
        bar = figure.colorbar(drawn, ax=axis, shrink=0.8, pad=0.02)
        bar.ax.tick_params(labelsize=6)
    figure.suptitle(f"{title}; scales: % of the image's maximum", fontsize=8)
    with whole_file(path) as part:
        figure.savefig(part, format="png")


def write_trust(beside: Path, volume: Volume, image: GrayImage, trust: TrustMaps) -> tuple[Path, Path]:
    """Write ``NAME_trust.h5`` with the maps and ``NAME_trust.png`` with the middle slice of the first frame.

    Args:
        beside: the reconstruction's file.
        volume: the scan's volume.
        image: its reconstruction, float32 ``(frame, slice, row, column)``.
        trust: the maps of all its slices.

    Returns:
        The paths of both.
    """
    suffix = next(suffix for suffix in SUFFIXES if beside.name.lower().endswith(suffix))
    stem = beside.name[: -len(suffix)]
    table, figure = (beside.with_name(f"{stem}_trust.{kind}") for kind in ("h5", "png"))
    numbers = trust.numbers()
    maps = {name: as_volume(getattr(trust, name), volume) for name in numbers}
    write_h5(table, image, extra=maps, attributes=numbers)
    middle = volume.num_slices // 2
    title = f"{volume.name}, slice {middle}, frame 0"
    shown = {name: values[0, middle] for name, values in maps.items()}
    draw_trust(figure, image[0, middle], shown, numbers, title)
    return table, figure
