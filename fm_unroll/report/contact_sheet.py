"""A page of images, to see at a glance what is in a data set and which way up it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fm_unroll.files import whole_file

IMAGES_PER_ROW = 6

GrayImage = npt.NDArray[np.floating[Any]]


def draw_contact_sheet(rows: Mapping[str, Sequence[tuple[str, GrayImage]]], title: str, path: Path) -> None:
    """Draw one row of images per heading, as they lie in memory: rows downwards, columns to the right.

    Args:
        rows: heading -> labels and images, real ``(rows, columns)``, at most ``IMAGES_PER_ROW``. An image is
            white from its 98.5th percentile on.
        title: title of the page.
        path: the PNG to write.
    """
    columns = max(3, *(len(images) for images in rows.values()))
    figure = Figure(figsize=(2.6 * columns, 2.9 * len(rows) + 0.5), facecolor="black")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    top = 1 - 0.9 / figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.03, hspace=0.3)
    for row, (heading, images) in zip(axes, rows.items(), strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, (label, image) in zip(row, images, strict=False):
            axis.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 98.5))
            axis.set_title(f"{heading}\n{label}", color="white", fontsize=8)
    figure.suptitle(title, y=1 - 0.1 / figure.get_figheight(), color="white")
    with whole_file(path) as part:
        figure.savefig(part, dpi=100, format="png")
