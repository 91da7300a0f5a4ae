"""A page of images, to see at a glance what is in a data set and which way up it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

COLUMNS = 6

Labelled = tuple[str, np.ndarray]


def draw_contact_sheet(rows: Mapping[str, Sequence[Labelled]], title: str, path: Path) -> None:
    """Draw rows of images, up to `COLUMNS` each, as they lie in memory: rows downwards, columns to the right.

    Args:
        rows: a heading, and the images below it with their labels, real ``(rows, columns)``. Brightness ends
            at each image's 98.5th percentile.
        title: of the page.
        path: the PNG to write.
    """
    from matplotlib.figure import Figure

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
    figure.savefig(path, dpi=100, format="png")
