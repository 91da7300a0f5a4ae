"""k-space in a NumPy file, whose axes its owner names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from fm_unroll.data.readers.hdf5 import MAX_COILS, to_complex64
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.volume import Volume, num_acs_lines
from fm_unroll.errors import InputError

MAGIC = b"\x93NUMPY"
AXES = ("frame", "slice", "coil", "readout", "phase")
REQUIRED = ("readout", "phase")


class NumPyDataset(Dataset[KSpaceSample]):
    """Every slice of every frame of a complex array. Lines that are zero everywhere were not sampled.

    Attributes:
        volume: what the array holds.
    """

    def __init__(self, path: Path, axes: Sequence[str]) -> None:
        """Map the file; only its zero lines are looked for, slice by slice.

        Args:
            path: a ``.npy`` file with a complex array, zero frequency at index ``size // 2``.
            axes: the array's axes in order, such as ``("slice", "coil", "readout", "phase")``. Axes of length
                1 that the array does not have may be left out.

        Raises:
            InputError: not such a file, or the axes do not fit it.
        """
        self.path = path
        self._array = _arrange(path, _load(path), axes)
        frames, slices, coils, readout, phase = self._array.shape
        if coils > MAX_COILS:
            raise InputError(f"{path}: {coils} coils by the axes {', '.join(axes)}: is their order right?")
        lines = np.zeros(phase, bool)
        for frame, slice_ in np.ndindex(frames, slices):
            lines |= (self._array[frame, slice_] != 0).any(axis=(0, 1))
        full = bool(lines.all())
        self.volume = Volume(
            path=path.name,
            name=path.stem,
            subject=path.stem,
            contrast="unknown",
            num_slices=slices,
            num_frames=frames,
            num_coils=coils,
            readout=readout,
            phase=phase,
            crop=(readout, phase),
            acquired=(0, phase),
            sampled=None if full else tuple(np.flatnonzero(lines).tolist()),
            num_acs=0 if full else num_acs_lines(lines, path),
            maximum=None,
            synthetic=False,
        )

    def __len__(self) -> int:
        return self.volume.num_slices * self.volume.num_frames

    def __getitem__(self, item: int) -> KSpaceSample:
        """Read one slice.

        Raises:
            InputError: it holds NaN or Inf, or nothing but zeros.
        """
        frame, slice_ = divmod(item, self.volume.num_slices)
        kspace = to_complex64(np.asarray(self._array[frame, slice_]))
        return self.volume.to_sample(kspace, None, slice_, frame, str(self.path))


def _load(path: Path) -> np.ndarray:
    """The mapped array of a file; objects, which may hold code, are refused."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged NumPy file ({' '.join(str(error).split())})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "c":
        raise InputError(f"{path}: expected one complex array, found {getattr(array, 'dtype', 'an archive')}")
    return array


def _arrange(path: Path, array: np.ndarray, axes: Sequence[str]) -> np.ndarray:
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
