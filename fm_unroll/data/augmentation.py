"""Augmentation of fully sampled k-space in training, batched on the device, before it is undersampled.

Coil images are changed, and k-space, target and data range are those of the changed images, as if such a scan
had been measured: what is done to the target alone would contradict the measured lines. That is the idea of
MRAugment (Fabian et al., ICML 2021, https://arxiv.org/abs/2106.14947); that networks become robust by the
diversity of what they are trained on is shown by Lin and Heckel, https://arxiv.org/abs/2312.10271, for data
sets that are put together (:class:`~fm_unroll.data.mixed.MixedData`) rather than for changed copies of one.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fm_unroll.data.lines import NOTHING
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import center_crop, rss_image
from fm_unroll.errors import InputError
from fm_unroll.physics import fft2c, ifft2c, rss
from fm_unroll.physics.sampling import generator, log_uniform

SMALLEST_MATRIX = 32  # that a crop leaves, where there is as much
LEAST_SIGNAL = 0.5  # energy of what a crop shows, over that of as many pixels of the mean energy


@dataclass(frozen=True)
class Augmentation:
    """What is drawn anew for every slice and epoch; by default nothing.

    Sizes are the same for all slices of a batch: the numbers of coils, transposition, and crops are drawn
    once for each batch, all else for each slice. Every range names the least and the greatest value.

    Attributes:
        contrast: range of the factor b by which dark parts are brightened: the magnitude m of the combined
            image, in parts of its maximum, becomes b m / (1 + (b - 1) m), a curve that rises from 0 to 1.
            All coil images are multiplied by the same positive map, and lines that the scanner did not
            acquire stay empty. 1 changes nothing, such as [0.5, 2].
        coil_subset: range of the number of coils that are kept, such as [4, 16]. They are drawn from those
            that hold data in the slice, and from the others only where there are fewer of those.
        virtual_coils: range of the number of virtual coils into which the coils are compressed by a singular
            value decomposition of the slice (Buehrer et al., MRM 57 (2007), and Huang et al., MRI 26 (2008)).
        flips: whether either axis is flipped, each with a chance of one half.
        transposition: whether readout and phase encoding are exchanged, with a chance of one half.
        crop: range of the share of the field of view that is kept along each axis, such as [0.6, 1]. It lies
            at any place where what is shown has half or more of the slice's mean energy a pixel, so that it
            is never air alone; where there is no such place, it lies where it shows most.
        noise: range of the standard deviation of complex noise that is added, in its real and its imaginary
            part, in parts of the image's maximum, such as [0.001, 0.03]. The target is that of the noisier
            scan.
    """

    contrast: tuple[float, float] | None = None
    coil_subset: tuple[int, int] | None = None
    virtual_coils: tuple[int, int] | None = None
    flips: bool = False
    transposition: bool = False
    crop: tuple[float, float] | None = None
    noise: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no range, or has values that cannot be."""
        for option in fields(self):
            values = getattr(self, option.name)
            if values is None or isinstance(values, bool):
                continue
            object.__setattr__(self, option.name, tuple(values))  # configs hold lists
            most = 1 if option.name == "crop" else sys.float_info.max
            if len(values) != 2 or not 0 < values[0] <= values[1] <= most:
                raise InputError(
                    f"augmentation.{option.name} {list(values)}: give the least and the greatest, above 0"
                    + (" and at most 1" if most == 1 else "")
                )

    def to_config(self) -> dict[str, Any]:
        """What is drawn, as plain values."""
        return {name: value for name, value in asdict(self).items() if value}

    def __call__(self, batch: KSpaceBatch, seeds: Sequence[str]) -> KSpaceBatch:
        """Augment fully sampled slices; undersampled ones are returned as they are.

        Args:
            batch: slices as they were acquired.
            seeds: of each slice.

        Returns:
            The batch with other k-space, and with acquired lines, crop, target and data range to it. The data
            range is the target's maximum times the ratio that it had to the slice's maximum before.
        """
        if not batch.fully_sampled:
            return batch
        changed = replace(batch, kspace=ifft2c(batch.kspace))
        # not of a stored target, which may be zero where k-space is not
        above = batch.data_range / center_crop(rss(changed.kspace), batch.crop).amax((-2, -1))
        for change in (self._bend, self._choose_coils, self._flip, self._transpose, self._cut):
            changed = change(changed, seeds)
        changed = self._add_noise(replace(changed, kspace=fft2c(changed.kspace)), seeds)
        target = rss_image(changed.kspace, changed.crop)
        return replace(changed, target=target, data_range=above * target.amax((-2, -1)))

    def sizes(self, coils: int, readout: int, phase: int) -> Iterator[tuple[int, int, int]]:
        """The least and the greatest numbers of coils, readout samples and phase-encoding lines of a scan."""
        numbers = {coils}
        for span in (self.coil_subset, self.virtual_coils):
            if span is not None:
                numbers = {min(number, each) for number in numbers for each in span}
        shares = self.crop or (1,)
        for number in numbers:
            for share in shares:
                matrix = cropped(readout, share), cropped(phase, share)
                yield (number, *matrix)
                if self.transposition:
                    yield (number, *matrix[::-1])

    # each of these changes the coil images, which stand in the place of k-space

    def _bend(self, batch: KSpaceBatch, seeds: Sequence[str]) -> KSpaceBatch:
        """Change the contrast."""
        if self.contrast is None:
            return batch
        factors = [log_uniform(generator(f"contrast/{seed}"), *self.contrast) for seed in seeds]
        magnitude = rss(batch.kspace)
        magnitude = magnitude / magnitude.amax((-2, -1), keepdim=True)
        factor = torch.tensor(factors, device=magnitude.device)[:, None, None]
        gain = factor / (1 + (factor - 1) * magnitude)
        images = batch.kspace * gain[:, None]
        if not batch.mask.all():  # the map moves signal into lines that were never measured
            images = ifft2c(fft2c(images) * batch.mask)
        return replace(batch, kspace=images)

    def _choose_coils(self, batch: KSpaceBatch, seeds: Sequence[str]) -> KSpaceBatch:
        """Keep some coils, and compress them."""
        images = batch.kspace
        if self.coil_subset is not None:
            number = draw_number(f"coil_subset/{seeds[0]}", self.coil_subset, images.shape[1])
            orders = np.stack([generator(f"coils/{seed}").permutation(images.shape[1]) for seed in seeds])
            peaks = images.abs().amax((-2, -1)).cpu().numpy()
            silent = peaks <= NOTHING * peaks.max(1, keepdims=True)
            last = np.take_along_axis(silent, orders, 1).argsort(1, kind="stable")
            chosen = np.take_along_axis(orders, last, 1)[:, :number]
            places = torch.from_numpy(chosen).to(images.device)
            images = images[torch.arange(len(images), device=images.device)[:, None], places]
        if self.virtual_coils is not None:
            number = draw_number(f"virtual_coils/{seeds[0]}", self.virtual_coils, images.shape[1])
            images = compress_coils(images, number)
        return replace(batch, kspace=images)

    def _flip(self, batch: KSpaceBatch, seeds: Sequence[str]) -> KSpaceBatch:
        """Flip the axes of some slices."""
        if not self.flips:
            return batch
        drawn = np.stack([generator(f"flips/{seed}").randint(2, size=2) for seed in seeds]) == 1
        along_readout, along_phase = torch.from_numpy(drawn).to(batch.kspace.device).T[..., None, None, None]
        images = torch.where(along_readout, batch.kspace.flip(-2), batch.kspace)
        images = torch.where(along_phase, images.flip(-1), images)
        # a line k goes to -k; with an even number of lines the first one is its own mirror image
        mirrored = batch.mask.flip(-1).roll(1 - batch.mask.shape[-1] % 2, -1)
        return replace(batch, kspace=images, mask=torch.where(along_phase, mirrored, batch.mask))

    def _transpose(self, batch: KSpaceBatch, seeds: Sequence[str]) -> KSpaceBatch:
        """Exchange readout and phase encoding of all slices or of none."""
        if not self.transposition or not generator(f"transposition/{seeds[0]}").randint(2):
            return batch
        images = batch.kspace.mT.contiguous()
        lines = torch.ones_like(batch.mask[..., :1]).expand(-1, -1, -1, images.shape[-1])
        return replace(batch, kspace=images, mask=lines, crop=batch.crop[::-1])

    def _cut(self, batch: KSpaceBatch, seeds: Sequence[str]) -> KSpaceBatch:
        """Keep a part of the field of view."""
        if self.crop is None:
            return batch
        random, images, old = generator(f"crop/{seeds[0]}"), batch.kspace, batch.mask.shape[-1]
        rows, columns = (cropped(size, random.uniform(*self.crop)) for size in images.shape[-2:])
        places = np.argwhere(bright(images, (rows, columns), batch.crop))
        top, left = places[random.randint(len(places))].tolist()
        images = images[..., top : top + rows, left : left + columns]
        # the acquired lines reach as far into k-space as before, in wider steps
        lines = (torch.arange(columns, device=images.device) - columns // 2) * (old / columns) + old // 2
        mask = batch.mask[..., lines.round().long().clamp(0, old - 1)]
        crop = min(batch.crop[0], rows), min(batch.crop[1], columns)
        return replace(batch, kspace=images, mask=mask, crop=crop)

    def _add_noise(self, batch: KSpaceBatch, seeds: Sequence[str]) -> KSpaceBatch:
        """Add noise to the acquired lines of k-space, where it is what it is in the images."""
        if self.noise is None:
            return batch
        kspace = batch.kspace
        levels = [log_uniform(generator(f"noise/{seed}"), *self.noise) for seed in seeds]
        noise = torch.empty_like(kspace)
        for row, seed in zip(noise, seeds, strict=True):
            number = int(generator(f"noise values/{seed}").randint(2**31))
            random = torch.Generator(kspace.device).manual_seed(number)
            torch.view_as_real(row).normal_(generator=random)
        level = torch.tensor(levels, device=kspace.device) * rss(ifft2c(kspace)).amax((-2, -1))
        return replace(batch, kspace=kspace + level[:, None, None, None] * noise * batch.mask)


def bright(images: Tensor, size: tuple[int, int], crop: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a piece can be cut out of some slices so that each of them shows something.

    Args:
        images: complex64, ``(batch, coil, readout, phase)``.
        size: rows and columns of the piece.
        crop: those of its middle that are shown, at most.

    Returns:
        bool, over rows and columns of the piece's first corner: where the slice that has least of its energy
        in what is shown has ``LEAST_SIGNAL`` of its mean or more; if nowhere, where it has most.
    """
    energy = images.abs().square().sum(1).cpu().double().numpy()
    energy /= energy.mean((1, 2), keepdims=True)
    shown = min(crop[0], size[0]), min(crop[1], size[1])
    for axis, (whole, part) in enumerate(zip(size, shown, strict=True), start=1):
        sums = np.cumsum(np.insert(energy, 0, 0, axis), axis)
        first = (whole - part) // 2 + np.arange(images.shape[axis + 1] - whole + 1)
        energy = (sums.take(first + part, axis) - sums.take(first, axis)) / part
    least: NDArray[np.float64] = energy.min(0)
    return np.asarray(least >= min(LEAST_SIGNAL, least.max()))


def compress_coils(images: Tensor, number: int) -> Tensor:
    """The virtual coils that hold most of the energy of some coils.

    Args:
        images: complex64, ``(batch, coil, readout, phase)``; or k-space, of which the result is that of the
            compressed images.
        number: of virtual coils, at most that of the coils.

    Returns:
        complex64, ``(batch, number, readout, phase)``; with as many as there were the RSS is the same.
    """
    samples = images.flatten(2)
    energy = (samples @ samples.mH).to(torch.complex128)
    basis = torch.linalg.eigh(energy).eigenvectors[..., -number:]  # ascending eigenvalues
    virtual: Tensor = basis.mH.to(images.dtype) @ samples
    return virtual.reshape(len(images), number, *images.shape[2:])


def cropped(size: int, share: float) -> int:
    """The samples of an axis that a share of the field of view has."""
    return max(round(size * share), min(size, SMALLEST_MATRIX))


def draw_number(seed: str, span: tuple[int, int], available: int) -> int:
    """A whole number from a range, of at most so many that are there."""
    least, greatest = (min(each, available) for each in span)
    return int(generator(seed).randint(least, greatest + 1))
