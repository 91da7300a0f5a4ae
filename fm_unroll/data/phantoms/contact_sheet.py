"""A page of images of a synthetic data set, to see at a glance what is in it."""

from pathlib import Path

import h5py
import numpy as np

from fm_unroll.data.phantoms.shapes import Array
from fm_unroll.data.phantoms.simulate import root_sum_of_squares
from fm_unroll.errors import InputError

_COLUMNS = 6


def contact_sheet(root: Path) -> Path:
    """Draw a few root-sum-of-squares images of every anatomy.

    Args:
        root: a folder written by `data synthesize`.

    Returns:
        The path of the picture, `root/contact_sheet.png`.

    Raises:
        InputError: if the folder holds no files.
    """
    from matplotlib.figure import Figure

    rows = {
        "heart, short axis": _heart_images(root, "Cine", "cine_sax"),
        "heart, long axis": _heart_images(root, "Cine", "cine_lax"),
        "heart, T1-weighted": _heart_images(root, "Mapping", "T1map"),
        "heart, T2-weighted": _heart_images(root, "Mapping", "T2map"),
        "knee": _volume_images(root / "knee"),
        "head": _volume_images(root / "brain"),
    }
    rows = {title: images for title, images in rows.items() if images}
    if not rows:
        raise InputError(f"{root} holds no synthetic files: run `data synthesize` on it first")
    figure = Figure(figsize=(2.6 * _COLUMNS, 2.9 * len(rows) + 0.5), facecolor="black")
    axes = figure.subplots(len(rows), _COLUMNS, squeeze=False)
    top = 1 - 0.9 / figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.03, hspace=0.15)
    for row, (title, images) in zip(axes, rows.items(), strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, (label, image) in zip(row, images, strict=False):
            axis.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 98.5))
            axis.set_title(f"{title}\n{label}", color="white", fontsize=8)
    figure.suptitle("Synthetic data: procedural phantoms, nobody was scanned", color="white")
    path = root / "contact_sheet.png"
    figure.savefig(path, dpi=100)
    return path


def _heart_images(root: Path, family: str, name: str) -> list[tuple[str, Array]]:
    """Labelled images of the first subjects, stepping through frames and slices."""
    files = sorted((root / "MultiCoil" / family / "TrainingSet" / "FullSample").glob(f"*/{name}.mat"))
    images = []
    for column, path in zip(range(_COLUMNS), files * _COLUMNS, strict=False):
        with h5py.File(path) as file:
            kspace = file["kspace_full"]
            frames, slices = kspace.shape[:2]
            t, z = (column // 2 + column % 2 * (frames // 2)) % frames, column // 2 % slices
            values = kspace[t, z].view(np.complex64).swapaxes(-2, -1)
        images.append((f"{path.parent.name} slice {z} image {t}", root_sum_of_squares(values)))
    return images


def _volume_images(folder: Path) -> list[tuple[str, Array]]:
    """A labelled slice of each of the first volumes."""
    images = []
    for column, path in enumerate(sorted(folder.glob("multicoil_val/*.h5"))[:_COLUMNS]):
        with h5py.File(path) as file:
            stored = file["reconstruction_rss"]
            z = column * len(stored) // _COLUMNS
            images.append((f"{file.attrs['acquisition']} slice {z}", stored[z]))
    return images
