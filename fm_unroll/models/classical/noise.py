"""The noise level of a measurement, from its own samples.

Two estimates that signal can only raise, of which the lower one holds. Both are of the standard deviation of
real and imaginary part of the noise in k-space, for noise that is white and alike in all coils: of noise that
coils share they see the part that is least.

- The corners: the median of magnitudes where k-space lies furthest out, robust against the little signal
  there (Donoho and Johnstone, Biometrika 81, 1994, take the finest wavelets for the same reason). Magnitudes
  of complex Gaussian noise follow Rayleigh's distribution, whose median is its parameter times
  sqrt(2 log 2). Of the four corners the least counts: a partial scan ends close to the centre at one side.
- The directions that patches of the ACS lines do not span: with several coils signal fills few of them
  (ESPIRiT's null space, see :mod:`fm_unroll.models.classical.calibration`). With one coil it fills all.
  Below a thousandth of the largest signal float32 decides.
"""

import math

import torch
from torch import Tensor

from fm_unroll.physics.sampling import center_lines

OUTER = 0.1  # of the measured readout, at both of its ends
OUTER_LINES = 0.25  # of the measured lines, at both ends
KERNEL, WINDOW = 5, 24  # samples of a patch and of the window of patches along either axis
UNSPANNED = 0.25  # of the directions of patches: those with the least energy
SPREAD = 0.68  # how far white noise in so many patches falls below its level there, see :func:`in_patches`
ROUNDING = 1e-6  # of the largest magnitude: zeros are only nearly zero after the transforms


def noise_level(kspace: Tensor, lines: Tensor, acs: Tensor) -> Tensor:
    """Estimate the standard deviation of real and imaginary part of the noise in k-space.

    Zeros are no measurements: those of a readout that is padded or partial, and of silent coils.

    Args:
        kspace: complex64, ``(batch, coil, readout, phase)``, zero at lines that are not sampled.
        lines: bool, ``(batch or 1, phase)``: sampled lines.
        acs: bool, likewise: the ACS lines among them.

    Returns:
        float32, ``(batch,)``, in the k-space's unit; 0 where nothing was measured.
    """
    lines, acs = (each.expand(len(kspace), -1) for each in (lines, acs))
    return torch.stack([_of_slice(*slice_) for slice_ in zip(kspace, lines, acs, strict=True)])


def _of_slice(kspace: Tensor, lines: Tensor, acs: Tensor) -> Tensor:
    magnitudes = kspace.abs()
    measured = magnitudes > ROUNDING * magnitudes.amax()
    coils, rows, columns = (measured.any(others) for others in ((1, 2), (0, 2), (0, 1)))
    if not coils.any():
        return magnitudes.new_zeros(())
    corners = torch.where(measured, magnitudes, torch.nan)[:, rows][..., lines & columns]
    return torch.minimum(in_corners(corners), in_patches(middle(kspace[coils][:, rows][..., acs])))


def middle(samples: Tensor) -> Tensor:
    """The central WINDOW of rows and lines, ``(coil, row, line)``, or as many as there are."""
    rows, lines = (center_lines(size, min(size, WINDOW)) for size in samples.shape[1:])
    return samples[:, rows, lines]


def in_corners(magnitudes: Tensor) -> Tensor:
    """By the least corner of a slice's k-space: float32, a scalar.

    Args:
        magnitudes: float32, ``(coil, row, line)``: measured rows and lines; NaN: single samples that are not.
    """
    _, rows, lines = magnitudes.shape
    height, width = max(1, round(OUTER * rows)), max(1, round(OUTER_LINES * lines))
    medians = [
        magnitudes[:, some_rows, some_lines].nanmedian()
        for some_rows in (slice(height), slice(-height, None))
        for some_lines in (slice(width), slice(-width, None))
    ]
    least = torch.stack(medians).nan_to_num(torch.inf).amin()
    return torch.where(least.isinf(), 0, least / math.sqrt(2 * math.log(2)))


def in_patches(window: Tensor) -> Tensor:
    """By the directions that patches of ACS lines fill least: float32, a scalar.

    The eigenvalues of the energy of white noise spread about it, the more, the more directions there are for
    the patches (Marchenko and Pastur, Math. USSR-Sbornik 1, 1967). Patches overlap, and the mean of the
    least quarter is wanted, so that what it is too low by was measured: SPREAD times the root of the ratio,
    which is right to a quarter for noise in 4 to 32 coils and 4 to 24 ACS lines. Where there are fewer
    patches than directions, patches and directions change places, which leaves the eigenvalues as they are.

    Args:
        window: complex64, ``(coil, row, line)``: measured samples in the middle of the ACS lines.
    """
    height, width = min(KERNEL, window.shape[1]), min(KERNEL, (window.shape[2] + 1) // 2)
    patches = window.unfold(1, height, 1).unfold(2, width, 1).movedim(0, 2).flatten(2).flatten(0, 1)
    if patches.shape[0] < patches.shape[1]:
        patches = patches.mT
    number, directions = patches.shape
    energies = torch.linalg.eigvalsh(patches.mT @ patches.conj()) / (2 * number)
    least = energies[: max(1, int(UNSPANNED * directions))].mean().clamp_min(0).sqrt()
    level: Tensor = least / (1 - SPREAD * math.sqrt(directions / number))
    return level
