"""Readers of reconstructed volumes, whoever wrote them, by the suffix of their files.

===========  ===========================================================================================
``.h5``      fastMRI's submission: the data set ``reconstruction`` ``(slice, row, column)``, or
             ``(frame, slice, row, column)``, as :mod:`~fm_unroll.reconstruction.writers` has it
``.mat``     the CMRxRecon challenge's: ``img4ranking(kx, ky, slice, frame)``, whole images, in a MATLAB file
             of version 5 or 7.3
``.npy``     one array with the axes of ``.h5``
===========  ===========================================================================================

Rows run along the readout, columns along phase encoding. Axes of slices and frames of length 1 may be
missing. Images are those that count, or the whole matrix, of which the centre is taken as fastMRI does. Of
complex images the magnitude counts. Files of others are not trusted: nothing is read before its size is known
to fit, links out of an HDF5 file are not followed, and Python objects are refused.
"""

import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from fm_unroll.data.readers.hdf5 import MATLAB_5, get_dataset, is_complex, open_file, reading, to_complex64
from fm_unroll.data.undersampling import center_crop
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.files import require_file

SUBMITTED, RANKED = "reconstruction", "img4ranking"
DAMAGES = (OSError, ValueError, TypeError, LookupError, OverflowError, MemoryError, zlib.error, MatReadError)


def read_images(path: Path, volume: Volume) -> NDArray[np.float32]:
    """The reconstruction of a volume.

    Args:
        path: a file that ends in one of :data:`FORMATS`.
        volume: what was reconstructed.

    Returns:
        float32, ``(frame, slice, *volume.crop)``.

    Raises:
        InputError: it cannot be read, is of another shape, or holds NaN or Inf.
    """
    require_file(path)
    images = FORMATS[path.suffix.lower()](path, volume)
    shape = (volume.num_frames, volume.num_slices, *images.shape[-2:])
    cropped = center_crop(torch.from_numpy(_magnitude(images, path)).reshape(shape), volume.crop)
    if not bool(cropped.isfinite().all()):
        frame, slice_ = (~cropped.isfinite()).flatten(2).any(-1).nonzero()[0].tolist()
        raise InputError(f"{path}: slice {slice_}, frame {frame} holds NaN or Inf; reconstruct it again")
    return np.ascontiguousarray(cropped.numpy())


def _magnitude(images: NDArray[Any], path: Path) -> NDArray[np.float32]:
    if is_complex(images.dtype):
        return np.abs(to_complex64(images))
    if images.dtype.kind not in "fiu":
        raise InputError(f"{path}: holds {images.dtype}, expected numbers")
    return images.astype(np.float32)


def _require_shape(shape: tuple[int, ...], volume: Volume, path: Path) -> None:
    """Refuse images of other sizes than the volume's.

    Raises:
        InputError: ``shape``, which is ``(..., row, column)``, is not that of all its images.
    """
    leading = [length for length in shape[:-2] if length != 1]
    expected = [length for length in (volume.num_frames, volume.num_slices) if length != 1]
    sizes = (volume.crop, (volume.readout, volume.phase))
    if len(shape) < 2 or leading != expected or shape[-2:] not in sizes:
        whole = (volume.num_frames, volume.num_slices, *volume.crop)
        raise InputError(
            f"{path}: its images are {shape} by (frame, slice, row, column), expected {whole}: give whole "
            "images of all slices and frames, in the order of axes of docs/data.md"
        )


def _read_submission(path: Path, volume: Volume) -> NDArray[Any]:
    """FastMRI's ``reconstruction``."""
    with reading(path), closing(open_file(path)) as file:
        dataset = _require_name(file, SUBMITTED, path)
        _require_shape(dataset.shape, volume, path)
        images: NDArray[Any] = dataset[()]
        return images


def _read_ranking(path: Path, volume: Volume) -> NDArray[Any]:
    """The challenge's ``img4ranking``, with its axes in the order of the others."""
    with path.open("rb") as content:
        if content.read(len(MATLAB_5)) == MATLAB_5:
            return _read_matlab_5(path, volume)
    with reading(path), closing(open_file(path)) as file:
        dataset = _require_name(file, RANKED, path)  # HDF5 has (frame, slice, ky, kx)
        _require_shape((*dataset.shape[:-2], *dataset.shape[:-3:-1]), volume, path)
        images: NDArray[Any] = dataset[()]
        return images.swapaxes(-1, -2)


def _read_matlab_5(path: Path, volume: Volume) -> NDArray[Any]:
    """The same of a file that is no HDF5: ``(kx, ky, slice, frame)``."""
    try:
        shapes = {name: shape for name, shape, _ in whosmat(path, appendmat=False)}
        if RANKED not in shapes:
            raise InputError(f"{path}: holds no {RANKED}; its variables are {', '.join(shapes) or 'none'}")
        _require_shape((*shapes[RANKED][:1:-1], *shapes[RANKED][:2]), volume, path)
        images: NDArray[Any] = loadmat(path, variable_names=[RANKED], appendmat=False)[RANKED]
    except InputError:
        raise
    except DAMAGES as error:
        raise InputError(f"{path}: damaged MATLAB file ({' '.join(str(error).split())})") from error
    return images.T.swapaxes(-1, -2)


def _read_numpy(path: Path, volume: Volume) -> NDArray[Any]:
    """The array of a file."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGES as error:
        raise InputError(f"{path}: damaged NumPy file ({' '.join(str(error).split())})") from error
    _require_shape(images.shape, volume, path)
    return np.asarray(images)


def _require_name(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """A data set of images of a file's own.

    Raises:
        InputError: there is none of that name, or it is a link or cannot be read.
    """
    dataset = get_dataset(file, name, axes=2)
    if dataset is None:
        keys = ", ".join(list(file)[:10]) or "none"
        raise InputError(f"{path}: holds no {name}; its keys are {keys}")
    return dataset


FORMATS: dict[str, Callable[[Path, Volume], NDArray[Any]]] = {
    ".h5": _read_submission,
    ".mat": _read_ranking,
    ".npy": _read_numpy,
}
