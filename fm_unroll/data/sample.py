"""The one record that flows through everything: a slice of multi-coil k-space, and a batch of such slices."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class KSpaceSample:
    """One slice of one frame, as a reader found it on disk.

    Attributes:
        kspace: complex64, ``(coil, readout, phase)``.
        acquired: bool, ``(phase,)``: lines the scanner acquired. All but zero padding in a fully sampled
            scan; the sampling mask in an undersampled one.
        fully_sampled: whether ``acquired`` leaves out nothing but padding, so that a target exists.
        target: float32, ``crop``: the reconstruction stored in the file, or None where the target is the RSS
            of ``kspace``.
        crop: rows and columns of the centre of the image that count (fastMRI's reconstruction size).
        data_range: maximum of the target volume, in the units of the image; NaN without a target.
        num_acs: fully sampled centre lines of an undersampled scan; 0 in a fully sampled one, whose ACS lines
            are the sampling pattern's to choose.
        volume: the volume's id relative to the data set's root, such as ``P001/cine_sax``.
        subject: the subject's id; splits are by subject.
        contrast: ``cine_sax``, ``T1map``, ``CORPD_FBK``, ``AXT2``, ...
        slice: slice index in the volume.
        frame: time frame or contrast weighting in the volume; 0 where there is one.
    """

    kspace: Tensor
    acquired: Tensor
    fully_sampled: bool
    target: Tensor | None
    crop: tuple[int, int]
    data_range: float
    num_acs: int
    volume: str
    subject: str
    contrast: str
    slice: int
    frame: int


@dataclass(frozen=True)
class KSpaceBatch:
    """Slices of one matrix size, stacked: one value (or row) a slice, in the order of the samples.

    Attributes:
        kspace: complex64, ``(batch, coil, readout, phase)``; zero at lines that are not sampled, once a
            sampling pattern was applied.
        mask: bool, ``(batch, 1, 1, phase)``: sampled lines.
        fully_sampled: whether the slices come from fully sampled scans.
        num_acs: fully sampled centre lines, the same for all slices.
        target: float32, ``(batch, *crop)``, or None.
        crop: rows and columns of the image that count.
        data_range: float32, ``(batch,)``: the maximum of each slice's target volume.
        volume, subject, contrast, slice, frame: as in :class:`KSpaceSample`, one for each slice.
        acceleration: nominal acceleration of the applied pattern; NaN before, and for undersampled scans.
        true_acceleration: available over acquired lines, one for each slice; NaN before.
    """

    kspace: Tensor
    mask: Tensor
    fully_sampled: bool
    num_acs: int
    target: Tensor | None
    crop: tuple[int, int]
    data_range: Tensor
    volume: list[str]
    subject: list[str]
    contrast: list[str]
    slice: list[int]
    frame: list[int]
    acceleration: float
    true_acceleration: list[float]

    def __len__(self) -> int:
        """Slices in the batch."""
        return len(self.volume)

    @classmethod
    def collate(cls, samples: Sequence[KSpaceSample]) -> "KSpaceBatch":
        """Stack samples of equal shape, crop and number of ACS lines, as the batch sampler groups them."""
        first = samples[0]
        targets = [sample.target for sample in samples if sample.target is not None]
        return cls(
            kspace=torch.stack([sample.kspace for sample in samples]),
            mask=torch.stack([sample.acquired for sample in samples])[:, None, None],
            fully_sampled=first.fully_sampled,
            num_acs=first.num_acs,
            target=torch.stack(targets) if targets else None,
            crop=first.crop,
            data_range=torch.tensor([sample.data_range for sample in samples], dtype=torch.float32),
            volume=[sample.volume for sample in samples],
            subject=[sample.subject for sample in samples],
            contrast=[sample.contrast for sample in samples],
            slice=[sample.slice for sample in samples],
            frame=[sample.frame for sample in samples],
            acceleration=float("nan"),
            true_acceleration=[float("nan")] * len(samples),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "KSpaceBatch":
        """The same batch with its tensors on ``device``."""
        return self._on_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "KSpaceBatch":
        """The same batch with its tensors in page-locked memory, for fast copies to a GPU."""
        return self._on_tensors(Tensor.pin_memory)

    def _on_tensors(self, function) -> "KSpaceBatch":
        tensors = {
            field.name: function(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)
