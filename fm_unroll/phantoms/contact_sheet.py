"""A page of images of a synthetic data set, to see at a glance what is in it."""

from pathlib import Path

import h5py
import numpy as np

from fm_unroll.errors import InputError
from fm_unroll.phantoms.shapes import Array
from fm_unroll.phantoms.simulate import root_sum_of_squares
from fm_unroll.report.contact_sheet import COLUMNS, draw_contact_sheet


def contact_sheet(root: Path) -> Path:
    """Draw a few root-sum-of-squares images of every anatomy.

    Args:
        root: a folder written by `data synthesize`.

    Returns:
        The path of the picture, `root/contact_sheet.png`.

    Raises:
        InputError: if the folder holds no files.
    """
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
    path = root / "contact_sheet.png"
    draw_contact_sheet(rows, "Synthetic data: procedural phantoms, nobody was scanned", path)
    return path


def _heart_images(root: Path, family: str, name: str) -> list[tuple[str, Array]]:
    """Labelled images of the first subjects, stepping through frames and slices."""
    files = sorted((root / "MultiCoil" / family / "TrainingSet" / "FullSample").glob(f"*/{name}.mat"))
    images = []
    for column, path in zip(range(COLUMNS), files * COLUMNS, strict=False):
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
    for column, path in enumerate(sorted(folder.glob("multicoil_val/*.h5"))[:COLUMNS]):
        with h5py.File(path) as file:
            stored = file["reconstruction_rss"]
            z = column * len(stored) // COLUMNS
            images.append((f"{file.attrs['acquisition']} slice {z}", stored[z]))
    return images
