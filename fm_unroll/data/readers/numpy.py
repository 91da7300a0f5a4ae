"""Reader of k-space in NumPy files, whose axes the user names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fm_unroll.data.lines import find_lines, masks_beside
from fm_unroll.data.readers.hdf5 import MAX_COILS, to_complex64
from fm_unroll.data.readers.reader import Images, Reader
from fm_unroll.data.readers.registry import register_reader
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError

AXES = ("frame", "slice", "coil", "readout", "phase")
REQUIRED = ("readout", "phase")

Array = NDArray[Any]


@dataclass(frozen=True)
class MappedArray:
    """An array that is mapped from a file.

    Attributes:
        kspace: complex, ``(frame, slice, coil, readout, phase)``.
    """

    kspace: Array

    def close(self) -> None:
        """Do nothing: NumPy closes the map with the last array that uses it."""


@register_reader
@dataclass(frozen=True)
class NumPyReader(Reader[MappedArray]):
    """A ``.npy`` file with a complex array. It says nothing of sampling: lines without data were not sampled.

    Attributes:
        axes: the array's axes in order, such as ``("slice", "coil", "readout", "phase")``. Axes of length 1
            that the array does not have may be left out. Zero frequency is at index ``size // 2``.
    """

    axes: tuple[str, ...] = ()

    name: ClassVar[str] = "NumPy"
    magic: ClassVar[bytes] = b"\x93NUMPY"

    def with_axes(self, axes: Sequence[str]) -> "NumPyReader":
        """See :meth:`Reader.with_axes`."""
        return replace(self, axes=tuple(axes))

    def open(self, path: Path) -> MappedArray:
        """Map the file.

        Raises:
            InputError: not such a file, or the axes do not fit it.
        """
        return MappedArray(_arrange(path, _load(path), self.axes))

    def parse(self, file: MappedArray, path: Path) -> Volume:
        """The volume that the array holds. All slices are read, to find the lines that hold data."""
        for mask in masks_beside(path):
            raise InputError(
                f"{path}: {mask.name} lies beside it, and masks of NumPy files are not read: put zeros where "
                "nothing was sampled, and move the mask elsewhere"
            )
        frames, slices, coils, readout, phase = file.kspace.shape
        if coils > MAX_COILS:
            raise InputError(
                f"{path}: {coils} coils by the axes {', '.join(self.axes)}: is their order right?"
            )
        lines = find_lines(
            ((slice_, frame, file.kspace[frame, slice_]) for frame, slice_ in np.ndindex(frames, slices)),
            path,
        )
        sampled = None if lines.all() else lines
        return Volume.of_array(path, (frames, slices, coils, readout, phase), sampled)

    def read(self, file: MappedArray, volume: Volume, slice: int, frame: int) -> Images:
        """One slice of one frame."""
        # a copy: the file is mapped for reading only, and tensors have to be writable
        return to_complex64(np.array(file.kspace[frame, slice])), None


def _load(path: Path) -> Array:
    """The mapped array of a file. Python objects are refused, because they may hold code."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "ython objects" in str(error):
            raise InputError(
                f"{path}: an array of Python objects, which may hold code and is not read: save numbers in "
                "one array, such as numpy.save(file, numpy.stack(slices).astype('complex64'))"
            ) from error
        raise InputError(f"{path}: damaged NumPy file ({' '.join(str(error).split())})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "c":
        raise InputError(f"{path}: expected one complex array, found {getattr(array, 'dtype', 'an archive')}")
    return array


def _arrange(path: Path, array: Array, axes: Sequence[str]) -> Array:
    """A view ``(frame, slice, coil, readout, phase)`` of the array."""
    unknown = sorted(set(axes) - set(AXES))
    if not axes or unknown or len(set(axes)) != len(axes) or not set(REQUIRED) <= set(axes):
        raise InputError(
            f"{path}: name the {array.ndim} axes of the array {array.shape} in order, once each, such as "
            f"--axes slice,coil,readout,phase (known: {', '.join(AXES)}; readout and phase must be there)"
        )
    if len(axes) != array.ndim or 0 in array.shape:
        raise InputError(f"{path}: the array {array.shape} does not have the axes {', '.join(axes)}")
    order = [axes.index(name) for name in AXES if name in axes]
    shape = [array.shape[axes.index(name)] if name in axes else 1 for name in AXES]
    return array.transpose(order).reshape(shape)
