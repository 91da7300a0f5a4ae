"""A page of images, to see at a glance what is in a data set and which way up it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fm_unroll.files import whole_file
from fm_unroll.report.style import TYPE, WIDTH, styled, wrapped

IMAGES_PER_ROW = 6
WHITE_PERCENTILE = 98.5
SPACE = 0.06  # inches between images
LINE = 1.3 * TYPE / 72  # inches

GrayImage = npt.NDArray[np.floating[Any]]


def draw_contact_sheet(rows: Mapping[str, Sequence[tuple[str, GrayImage]]], title: str, path: Path) -> None:
    """Draw one row of images per heading, as they lie in memory: rows downwards, columns to the right.

    Args:
        rows: heading -> labels and images, real ``(rows, columns)``, at most ``IMAGES_PER_ROW``. An image is
            white from its 98.5th percentile on.
        title: title of the page.
        path: the PNG to write.
    """
    figure = contact_sheet(rows, title)
    with whole_file(path) as part:
        figure.savefig(part, dpi=240, format="png")


@styled
def contact_sheet(rows: Mapping[str, Sequence[tuple[str, GrayImage]]], title: str) -> Figure:
    """The page as a figure; see :func:`draw_contact_sheet`."""
    columns = max(3, *(len(images) for images in rows.values()))
    cell = WIDTH / columns
    width = cell - SPACE
    labels = {heading: [wrapped(label, width) for label, _ in images] for heading, images in rows.items()}
    heights = {
        heading: width * max(image.shape[0] / image.shape[1] for _, image in images)
        for heading, images in rows.items()
    }
    lines = {heading: 1 + max(label.count("\n") for label in labels[heading]) for heading in rows}
    total = 3.5 * LINE + sum(heights[heading] + (lines[heading] + 2.5) * LINE for heading in rows)
    figure = Figure(figsize=(WIDTH, total), facecolor="black")
    scale = f"White: from the {WHITE_PERCENTILE}th percentile of each image on"
    figure.text(0.5, 1 - LINE / total, f"{title}\n{scale}", color="white", ha="center", va="top")
    y = 3.5 * LINE  # inches from the top
    for heading, images in rows.items():
        name = heading.replace("\n", ", ")
        figure.text(SPACE / 2 / WIDTH, 1 - y / total, name, color="white", va="top", fontweight="bold")
        y += 1.5 * LINE
        for column, (label, (_, image)) in enumerate(zip(labels[heading], images, strict=True)):
            height = width * image.shape[0] / image.shape[1]
            left = column * cell + SPACE / 2
            place = (left / WIDTH, 1 - (y + height) / total, width / WIDTH, height / total)
            axis = figure.add_axes(place)
            axis.set_axis_off()
            axis.imshow(image, cmap="gray", vmin=0, vmax=float(np.percentile(image, WHITE_PERCENTILE)))
            figure.text(left / WIDTH, 1 - (y + height + 0.03) / total, label, color="white", va="top")
        y += heights[heading] + (lines[heading] + 1) * LINE
    return figure
