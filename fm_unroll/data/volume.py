"""What the headers of a file say: a volume."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fm_unroll.errors import InputError
from fm_unroll.metrics import WINDOW
from fm_unroll.physics import count_acs_lines

PICTURES = "pictures"  # the anatomy of data that show no body


@dataclass(frozen=True)
class Volume:
    """One file, as its headers describe it. All fields can be written as JSON.

    Attributes:
        path: POSIX path relative to the data set's root.
        name: the volume's id, such as ``P001/cine_sax``: unique in the data set, wherever that lies.
        subject: the subject's id; splits are by subject.
        contrast: ``cine_sax``, ``T1map``, ``CORPD_FBK``, ``AXT2``, ...
        num_slices: slices.
        num_frames: time frames or contrast weightings; 1 for a single image of each slice.
        num_coils: receiver channels.
        readout: readout samples.
        phase: phase-encoding lines of the matrix, padding included.
        crop: rows and columns of the centre of the image that count.
        acquired: first and one-past-last line the scanner acquired; lines outside are zero padding.
        sampled: the sampled lines of an undersampled scan; None in a fully sampled one.
        num_acs: fully sampled centre lines of an undersampled scan, 0 where its centre is not sampled
            (see ``require_acs``); 0 in a fully sampled one.
        maximum: maximum of the target, in image units, as it was measured; None where it is not known (yet).
        synthetic: whether the file says of itself that it is simulated.
        reference_seed: the text that the layout's reference seeds masks with, where that is not ``name``.
        contradictions: what the file says of itself and its data do not show, one line for each; known once
            they are examined.
        remarks: what is unusual about its data and no fault, likewise.
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
    sampled: tuple[int, ...] | None = None
    num_acs: int = 0
    maximum: float | None = None
    synthetic: bool = False
    reference_seed: str | None = None
    contradictions: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def of_array(
        cls,
        file: Path,
        shape: tuple[int, int, int, int, int],
        lines: NDArray[np.bool_] | None = None,
        *,
        name: str | None = None,
        subject: str | None = None,
        contrast: str = "unknown",
        synthetic: bool = False,
    ) -> "Volume":
        """Describe a file that stores an array and no sizes besides: all of its matrix counts.

        Args:
            file: the file.
            shape: frames, slices, coils, readout samples and phase-encoding lines.
            lines: sampled lines of an undersampled scan, bool, ``(phase,)``; None for a fully sampled one.
            name: the volume's id; by default the file's name without its suffix.
            subject: the subject's id; by default the same.
            contrast: what was imaged.
            synthetic: whether the file says of itself that it is simulated.

        Raises:
            InputError: no line is sampled.
        """
        frames, slices, coils, readout, phase = shape
        sampled, num_acs = sampled_lines(lines, file)
        return cls(
            path=file.name,
            name=name or file.stem,
            subject=subject or file.stem,
            contrast=contrast,
            num_slices=slices,
            num_frames=frames,
            num_coils=coils,
            readout=readout,
            phase=phase,
            crop=(readout, phase),
            acquired=(0, phase),
            sampled=sampled,
            num_acs=num_acs,
            synthetic=synthetic,
        )

    @property
    def num_images(self) -> int:
        """Slices of all frames: as many samples as the volume gives."""
        return self.num_slices * self.num_frames

    @property
    def fully_sampled(self) -> bool:
        """Whether nothing but padding is left out, so that a target exists."""
        return self.sampled is None

    @property
    def mask_seed(self) -> str:
        """The seed of the volume's masks in validation, testing and reconstruction, wherever it lies.

        fastMRI's is the file's name with its suffix, ``file1000001.h5``. Other layouts have no reference that
        seeds masks; theirs is the name: ``P001/cine_sax``, and the file's name without suffix of ISMRMRD and
        NumPy.
        """
        return self.reference_seed or self.name

    @property
    def shape(self) -> tuple[int, ...]:
        """What the slices of one batch must share: coils, readout, phase, crop and ACS lines."""
        return (self.num_coils, self.readout, self.phase, *self.crop, self.num_acs)

    @property
    def lines(self) -> NDArray[np.bool_]:
        """Lines that were acquired: bool, ``(phase,)``."""
        lines = np.zeros(self.phase, bool)
        lines[slice(*self.acquired) if self.sampled is None else list(self.sampled)] = True
        return lines

    @property
    def true_acceleration(self) -> float:
        """Available lines over acquired lines, as the scanner sampled it: 1 of a fully sampled scan."""
        first, last = self.acquired
        return (last - first) / int(self.lines.sum())

    def __str__(self) -> str:
        """Sizes and sampling in a few words, without the name."""
        images = f"{counted(self.num_slices, 'slice')} x {counted(self.num_frames, 'frame')}"
        matrix = f"{counted(self.num_coils, 'coil')} x {self.readout} readout x {self.phase} phase"
        sampled = "fully sampled" if self.sampled is None else f"{len(self.sampled)} lines sampled"
        return f"{images}, {matrix}, {sampled}"


def counted(number: int, noun: str) -> str:
    """``1 slice``, ``2 slices``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sampled_lines(lines: NDArray[np.bool_] | None, file: Path) -> tuple[tuple[int, ...] | None, int]:
    """The fields ``sampled`` and ``num_acs`` of a :class:`Volume`.

    Args:
        lines: sampled lines of an undersampled scan, bool, ``(phase,)``; None for a fully sampled one.
        file: where the lines were found, for the message.

    Raises:
        InputError: no line is sampled.
    """
    if lines is None:
        return None, 0
    sampled = tuple(np.flatnonzero(lines).tolist())
    try:
        return sampled, count_acs_lines(torch.from_numpy(lines))
    except InputError as error:
        if sampled:
            return sampled, 0
        raise InputError(f"{file}: {error}") from error


def require_acs(volume: Volume, file: Path) -> None:
    """Refuse an undersampled volume from which no sensitivity maps can be estimated.

    Raises:
        InputError: its centre of k-space is not sampled.
    """
    if volume.sampled is not None:
        try:
            count_acs_lines(torch.from_numpy(volume.lines))
        except InputError as error:
            raise InputError(f"{file}: {error}") from error


def require_size(volume: Volume, file: Path) -> None:
    """Refuse a fully sampled volume whose images cannot be scored.

    Raises:
        InputError: they are smaller than the window of SSIM.
    """
    if volume.fully_sampled and min(volume.crop) < WINDOW:
        rows, columns = volume.crop
        raise InputError(
            f"{file}: images of {rows} x {columns} are smaller than the {WINDOW} x {WINDOW} window of SSIM, "
            "by which those of fully sampled scans are scored"
        )
