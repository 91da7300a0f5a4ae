"""Retrospective undersampling of a batch, on its device: target, mask, masked k-space."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

import fm_unroll.physics.varied  # noqa: F401  # so that configs and checkpoints may name its pattern
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.volume import Volume
from fm_unroll.physics import SamplingPattern, ifft2c, rss
from fm_unroll.physics.sampling import SamplingMask


def undersample(
    batch: KSpaceBatch, pattern: SamplingPattern, seeds: Sequence[str] | None = None
) -> KSpaceBatch:
    """Mask fully sampled slices, as if an accelerated scan had measured them.

    Args:
        batch: slices as they were acquired. Undersampled ones are returned as they are.
        pattern: the sampling pattern.
        seeds: the seed of each slice's mask. None: the volume's, so that every slice of it has the same mask
            whenever and wherever it is made. The number of ACS lines is that of the first slice.

    Returns:
        The batch with its masked k-space, mask, number of ACS lines, target and accelerations.
    """
    if not batch.fully_sampled:
        return batch
    seeds = seeds or batch.mask_seed
    pattern = pattern.of_batch(batch.mask.shape[-1], seeds[0])
    masks = [
        pattern(acquired.numel(), seed, acquired=extent(acquired))
        for acquired, seed in zip(batch.mask.flatten(1).cpu(), seeds, strict=True)
    ]
    lines = torch.stack([mask.lines for mask in masks]).to(batch.kspace.device)[:, None, None]
    return replace(
        batch,
        kspace=torch.where(lines, batch.kspace, 0) + 0.0,  # no negative zeros, as in fastMRI
        mask=lines,
        num_acs=masks[0].num_acs,
        target=rss_image(batch.kspace, batch.crop) if batch.target is None else batch.target,
        acceleration=[mask.acceleration for mask in masks],
        true_acceleration=[mask.true_acceleration for mask in masks],
    )


def mask_of(volume: Volume, pattern: SamplingPattern) -> SamplingMask:
    """The mask that a fully sampled volume gets wherever it is not for training."""
    pattern = pattern.of_batch(volume.phase, volume.mask_seed)
    return pattern(volume.phase, volume.mask_seed, volume.acquired)


def rss_image(kspace: Tensor, crop: tuple[int, int]) -> Tensor:
    """The image of some k-space without a network: the RSS of its coil images, cropped.

    This is the target where k-space is fully sampled and the file stores no reconstruction, and the
    zero-filled image where lines are missing.

    Args:
        kspace: complex64, ``(..., coil, readout, phase)``.
        crop: rows and columns of the centre that count.

    Returns:
        float32, ``(..., *crop)``.
    """
    return center_crop(rss(ifft2c(kspace)), crop)


def target_image(sample: KSpaceSample) -> Tensor:
    """The target of a fully sampled slice: what the file stores, else the RSS; float32, ``volume.crop``."""
    return rss_image(sample.kspace, sample.volume.crop) if sample.target is None else sample.target


def extent(acquired: Tensor) -> tuple[int, int]:
    """First and one-past-last acquired line of a scan with zero padding at its sides."""
    lines = acquired.nonzero()
    return int(lines[0]), int(lines[-1]) + 1


def center_crop(image: Tensor, crop: tuple[int, int]) -> Tensor:
    """The central ``crop`` rows and columns of ``(..., readout, phase)``, placed as fastMRI does."""
    rows, columns = image.shape[-2:]
    top, left = (rows - crop[0]) // 2, (columns - crop[1]) // 2
    return image[..., top : top + crop[0], left : left + crop[1]]
