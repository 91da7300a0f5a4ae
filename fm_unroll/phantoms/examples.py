"""Example images of a synthetic data set, to see at a glance what is in it."""

from pathlib import Path

import h5py
import numpy as np

from fm_unroll.files import visible
from fm_unroll.phantoms.shapes import Array
from fm_unroll.phantoms.simulate import root_sum_of_squares

#: What an image shows, and the image: float32 ``(readout, phase)``.
Labelled = tuple[str, Array]


def example_images(root: Path, per_row: int) -> dict[str, list[Labelled]]:
    """Read a few root-sum-of-squares images of every anatomy.

    Args:
        root: a folder written by ``data synthesize``.
        per_row: at most so many images of each anatomy and view.

    Returns:
        The images by anatomy and view, without those of which there are no files.
    """
    rows = {
        "heart, short axis": _heart_images(root, "Cine", "cine_sax", per_row),
        "heart, long axis": _heart_images(root, "Cine", "cine_lax", per_row),
        "heart, T1-weighted": _heart_images(root, "Mapping", "T1map", per_row),
        "heart, T2-weighted": _heart_images(root, "Mapping", "T2map", per_row),
        "knee": _volume_images(root / "knee", per_row),
        "head": _volume_images(root / "brain", per_row),
    }
    return {title: images for title, images in rows.items() if images}


def _heart_images(root: Path, family: str, name: str, count: int) -> list[Labelled]:
    """Read images of the first subjects, stepping through frames and slices."""
    subjects = visible(root / "MultiCoil" / family / "TrainingSet" / "FullSample")
    files = [subject / f"{name}.mat" for subject in subjects if (subject / f"{name}.mat").is_file()]
    images = []
    # with fewer subjects than images, the subjects come again, at other frames and slices
    for column, path in zip(range(count), files * count, strict=False):
        with h5py.File(path, locking=False) as file:
            kspace = file["kspace_full"]
            frames, slices = kspace.shape[:2]
            t, z = (column // 2 + column % 2 * (frames // 2)) % frames, column // 2 % slices
            values = kspace[t, z].view(np.complex64).swapaxes(-2, -1)
        images.append((f"{path.parent.name} slice {z} image {t}", root_sum_of_squares(values)))
    return images


def _volume_images(folder: Path, count: int) -> list[Labelled]:
    """Read one slice of each of the first volumes, each at another height."""
    images = []
    for column, path in enumerate(visible(folder / "multicoil_val", ".h5")[:count]):
        with h5py.File(path, locking=False) as file:
            stored = file["reconstruction_rss"]
            z = column * len(stored) // count
            images.append((f"{file.attrs['acquisition']} slice {z}", stored[z]))
    return images
