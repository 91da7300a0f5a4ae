"""What a reader says about a file: a volume from its headers, a sample from its data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import torch
from torch import Tensor

from fm_unroll.data.sample import KSpaceSample
from fm_unroll.errors import InputError
from fm_unroll.physics import count_acs_lines

SMALLEST = 1e-15  # magnitude below which, and inverse above which, energies leave float32


@dataclass(frozen=True)
class Volume:
    """One file, as its headers describe it. All fields can be written as JSON.

    Attributes:
        path: POSIX path relative to the data set's root.
        name: the volume's id, such as ``P001/cine_sax``: unique in the data set, wherever that lies.
        subject: the subject's id; splits are by subject.
        contrast: ``cine_sax``, ``T1map``, ``CORPD_FBK``, ``AXT2``, ...
        num_slices: slices.
        num_frames: time frames or contrast weightings; 1 where there is one.
        num_coils: receiver channels.
        readout: readout samples.
        phase: phase-encoding lines of the matrix, padding included.
        crop: rows and columns of the centre of the image that count.
        acquired: first and one-past-last line the scanner acquired; lines outside are zero padding.
        sampled: the sampled lines of an undersampled scan; None in a fully sampled one.
        num_acs: fully sampled centre lines of an undersampled scan; 0 in a fully sampled one.
        maximum: maximum of the target, in image units; None where it is not known (yet).
        synthetic: whether the file says of itself that it is simulated.
    """

    path: str
    name: str
    subject: str
    contrast: str
    num_slices: int
    num_frames: int
    num_coils: int
    readout: int
    phase: int
    crop: tuple[int, int]
    acquired: tuple[int, int]
    sampled: tuple[int, ...] | None
    num_acs: int
    maximum: float | None
    synthetic: bool

    @property
    def fully_sampled(self) -> bool:
        """Whether nothing but padding is left out, so that a target exists."""
        return self.sampled is None

    @property
    def shape(self) -> tuple[int, ...]:
        """What the slices of one batch must share: coils, readout, phase, crop and ACS lines."""
        return (self.num_coils, self.readout, self.phase, *self.crop, self.num_acs)

    @property
    def lines(self) -> np.ndarray:
        """Lines that were acquired: bool, ``(phase,)``."""
        lines = np.zeros(self.phase, bool)
        lines[slice(*self.acquired) if self.sampled is None else list(self.sampled)] = True
        return lines

    def to_sample(
        self, kspace: np.ndarray, target: Tensor | None, slice: int, frame: int, file: str
    ) -> KSpaceSample:
        """Make a sample of one slice's data, if a scanner can have measured them.

        Args:
            kspace: complex64, ``(coil, readout, phase)``.
            target: float32, ``crop``: the stored reconstruction, or None.
            slice: slice index.
            frame: frame index.
            file: what to call the file in messages.

        Raises:
            InputError: the k-space is not of this volume's shape, holds NaN or Inf, nothing but zeros, values
                too small or large for float32, or data in lines that are not sampled; or the target holds NaN
                or Inf.
        """
        where = f"{file}: slice {slice}, frame {frame}"
        shape = (self.num_coils, self.readout, self.phase)
        if kspace.shape != shape:
            raise InputError(
                f"{where}: shape {kspace.shape} is no longer {shape}; start again to index it anew"
            )
        parts = kspace.view(np.float32)
        largest = max(parts.max(), -parts.min())  # NaN where there is one
        if not np.isfinite(largest):
            raise InputError(f"{where}: k-space holds NaN or Inf")
        if largest == 0:
            raise InputError(f"{where}: k-space is zero everywhere")
        if not SMALLEST <= largest <= 1 / SMALLEST:
            raise InputError(
                f"{where}: k-space reaches {largest:.3g}; the squares of values beyond "
                f"{SMALLEST:g}..{1 / SMALLEST:g} leave float32: store it in other units"
            )
        if not self.fully_sampled and kspace[..., ~self.lines].any():
            raise InputError(f"{where}: k-space holds data in lines that the sampling mask leaves out")
        if target is not None and not target.isfinite().all():
            raise InputError(f"{where}: the stored reconstruction holds NaN or Inf")
        return KSpaceSample(
            kspace=torch.from_numpy(kspace),
            acquired=torch.from_numpy(self.lines),
            fully_sampled=self.fully_sampled,
            target=target,
            crop=self.crop,
            data_range=float("nan") if self.maximum is None else self.maximum,
            num_acs=self.num_acs,
            volume=self.name,
            subject=self.subject,
            contrast=self.contrast,
            slice=slice,
            frame=frame,
        )


def num_acs_lines(lines: np.ndarray, file: Path) -> int:
    """Contiguous sampled centre lines of an undersampled scan.

    Args:
        lines: bool, ``(phase,)``.
        file: where the lines were found, for the message.

    Raises:
        InputError: the centre of k-space is not sampled.
    """
    try:
        return count_acs_lines(torch.from_numpy(lines))
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


class SliceReader(Protocol):
    """Reads slices of files whose volumes are known. Readers are small, immutable and can be pickled."""

    def read(self, file: h5py.File, volume: Volume, slice: int, frame: int) -> KSpaceSample:
        """One slice of one frame; no other is read.

        Raises:
            InputError: the slice cannot be used.
        """
        ...


class Reader(SliceReader, Protocol):
    """What a file layout knows about itself."""

    layout: str

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """All files of this layout, sorted, and the names of volumes that should be there and are not.

        Raises:
            InputError: the root is missing, or nothing is found; the message shows the expected tree.
        """
        ...

    def companions(self, path: Path) -> list[Path]:
        """Existing files that are read along with ``path`` to describe it, such as its sampling mask."""
        ...

    def describe(self, path: Path, root: Path) -> Volume:
        """The volume in a file, from its headers.

        Raises:
            InputError: the file cannot be used.
        """
        ...
