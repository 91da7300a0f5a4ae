"""The record that all parts of the package pass on: a slice of multi-coil k-space, and a batch of slices."""

import builtins
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fm_unroll.data.lines import naming_slice, require_lines
from fm_unroll.data.volume import Volume, counted
from fm_unroll.errors import InputError

SMALLEST = 1e-15  # squares of smaller magnitudes, and of magnitudes above its inverse, leave float32


@dataclass(frozen=True)
class KSpaceSample:
    """One slice of one frame, as a reader found it on disk.

    Attributes:
        kspace: complex64, ``(coil, readout, phase)``.
        target: float32, ``volume.crop``: the reconstruction stored in the file, or None where the target is
            the RSS of ``kspace``.
        volume: the volume that the slice is of.
        slice: slice index in the volume.
        frame: time frame or contrast weighting in the volume; 0 where there is one.
    """

    kspace: Tensor
    target: Tensor | None
    volume: Volume
    slice: int
    frame: int

    def __repr__(self) -> str:
        """One line of names and sizes."""
        return (
            f"KSpaceSample({self.volume.name}, slice {self.slice}, frame {self.frame}: "
            f"{matrix_of(self.kspace)}, {sampling_of(self.volume.fully_sampled)})"
        )

    @classmethod
    def checked(
        cls,
        kspace: NDArray[np.complex64],
        target: NDArray[np.float32] | None,
        volume: Volume,
        slice: int,
        frame: int,
        file: Path,
    ) -> "KSpaceSample":
        """Make a sample of the data of one slice, and refuse data that no scanner measures.

        Args:
            kspace: complex64, ``(coil, readout, phase)``.
            target: float32, ``volume.crop``: the stored reconstruction, or None.
            volume: the volume that the slice is of.
            slice: slice index.
            frame: frame index.
            file: what to call the file in messages.

        Raises:
            InputError: the k-space is not of the volume's shape, holds NaN or Inf, nothing but zeros, values
                too small or large for float32, or data in other lines than the volume says (see
                :func:`~fm_unroll.data.lines.require_lines`); or the target holds NaN or Inf.
        """
        with naming_slice(file, slice, frame):
            require_measurable(kspace, volume)
            require_lines(kspace, volume, frame)
            if target is not None and not np.isfinite(target).all():
                raise InputError("the stored reconstruction holds NaN or Inf")
        stored = None if target is None else torch.from_numpy(target)
        return cls(torch.from_numpy(kspace), stored, volume, slice, frame)


def require_measurable(kspace: NDArray[np.complex64], volume: Volume) -> None:
    """Refuse k-space of one slice that no scanner measures.

    Raises:
        InputError: see :meth:`KSpaceSample.checked`.
    """
    shape = (volume.num_coils, volume.readout, volume.phase)
    if kspace.shape != shape:
        raise InputError(f"shape {kspace.shape} is no longer {shape}; start again to index it anew")
    parts = kspace.view(np.float32)
    largest = max(parts.max(), -parts.min())  # NaN where there is one
    if not np.isfinite(largest):
        raise InputError("k-space holds NaN or Inf")
    if largest == 0:
        raise InputError("k-space is zero everywhere")
    if not SMALLEST <= largest <= 1 / SMALLEST:
        raise InputError(
            f"k-space reaches {largest:.3g}; the squares of values beyond "
            f"{SMALLEST:g}..{1 / SMALLEST:g} leave float32: store it in other units"
        )


@dataclass(frozen=True)
class KSpaceBatch:
    """Slices of one matrix size, stacked. Lists and tensors have one entry per slice, in the same order.

    Attributes:
        kspace: complex64, ``(batch, coil, readout, phase)``; zero at lines that are not sampled, once a
            sampling pattern was applied.
        mask: bool, ``(batch, 1, 1, phase)``: sampled lines. Before a pattern is applied: all lines that the
            scanner acquired, which leaves out zero padding.
        fully_sampled: whether the slices come from fully sampled scans.
        num_acs: fully sampled centre lines, the same for all slices.
        target: float32, ``(batch, *crop)``, or None.
        crop: rows and columns of the centre of the image that count (fastMRI's reconstruction size).
        data_range: float32, ``(batch,)``: the maximum of each slice's target volume, in the units of the
            image; NaN where it is not known.
        volume: name of each slice's volume, such as ``P001/cine_sax``.
        mask_seed: the seed of each slice's mask, see :attr:`Volume.mask_seed`.
        subject, contrast: as in :class:`~fm_unroll.data.volume.Volume`, for each slice.
        slice, frame: as in :class:`KSpaceSample`, for each slice.
        acceleration: nominal acceleration of each slice's mask; NaN before, and for undersampled scans.
        true_acceleration: available over acquired lines, for each slice; NaN before.
    """

    kspace: Tensor
    mask: Tensor
    fully_sampled: bool
    num_acs: int
    target: Tensor | None
    crop: tuple[int, int]
    data_range: Tensor
    volume: list[str]
    mask_seed: list[str]
    subject: list[str]
    contrast: list[str]
    slice: list[int]
    frame: list[int]
    acceleration: list[float]
    true_acceleration: list[float]

    def __repr__(self) -> str:
        """One line of sizes."""
        lines = self.mask.flatten(1).sum(1).tolist()
        fewest, most = min(lines, default=0), max(lines, default=0)
        of_lines = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        target = "no target" if self.target is None else "target"
        return (
            f"KSpaceBatch({counted(len(self), 'slice')}: {matrix_of(self.kspace)}, "
            f"{of_lines} of {self.mask.shape[-1]} lines, "
            f"{self.num_acs} ACS lines, {target}, {self.kspace.device})"
        )

    def __len__(self) -> int:
        """Slices in the batch."""
        return len(self.volume)

    def __getitem__(self, item: "int | builtins.slice") -> "KSpaceBatch":
        """A batch of one slice, or of a range of slices; tensors are views.

        Raises:
            IndexError: there is no such slice.
        """
        if isinstance(item, int):
            if not -len(self) <= item < len(self):
                raise IndexError(f"slice {item} of a batch of {counted(len(self), 'slice')}")
            item = builtins.slice(item % len(self), item % len(self) + 1)
        each = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {
            name: value[item] for name, value in each.items() if isinstance(value, Tensor | list)
        }
        return replace(self, **chosen)

    @classmethod
    def collate(cls, samples: Sequence[KSpaceSample]) -> "KSpaceBatch":
        """Stack samples of equal shape, crop and number of ACS lines, as the batch sampler groups them."""
        volumes = [sample.volume for sample in samples]
        targets = [sample.target for sample in samples if sample.target is not None]
        lines = torch.from_numpy(np.stack([volume.lines for volume in volumes]))
        maxima = [float("nan") if volume.maximum is None else volume.maximum for volume in volumes]
        return cls(
            kspace=torch.stack([sample.kspace for sample in samples]),
            mask=lines[:, None, None],
            fully_sampled=volumes[0].fully_sampled,
            num_acs=volumes[0].num_acs,
            target=torch.stack(targets) if targets else None,
            crop=volumes[0].crop,
            data_range=torch.tensor(maxima, dtype=torch.float32),
            volume=[volume.name for volume in volumes],
            mask_seed=[volume.mask_seed for volume in volumes],
            subject=[volume.subject for volume in volumes],
            contrast=[volume.contrast for volume in volumes],
            slice=[sample.slice for sample in samples],
            frame=[sample.frame for sample in samples],
            acceleration=[float("nan")] * len(samples),
            true_acceleration=[float("nan")] * len(samples),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "KSpaceBatch":
        """The same batch with its tensors on ``device``."""
        return self._on_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "KSpaceBatch":
        """The same batch with its tensors in page-locked memory, for fast copies to a GPU."""
        return self._on_tensors(lambda tensor: tensor.pin_memory())

    def _on_tensors(self, function: Callable[[Tensor], Tensor]) -> "KSpaceBatch":
        tensors: dict[str, Any] = {
            field.name: function(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)


def matrix_of(kspace: Tensor) -> str:
    """``10 coils x 512 readout x 204 phase``: the last three axes of k-space."""
    coils, readout, phase = kspace.shape[-3:]
    return f"{counted(coils, 'coil')} x {readout} readout x {phase} phase"


def sampling_of(fully_sampled: bool) -> str:
    """The scan's own sampling, in words."""
    return "fully sampled" if fully_sampled else "undersampled"
