"""Pictures as objects of a scanner: air around them, coils, a smooth phase, noise, and lines left out.

The scanner computes with torch, which keeps to one thread in the processes that load data; NumPy's matrix
products would take all cores in each of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

from fm_unroll.data.undersampling import center_crop
from fm_unroll.errors import InputError
from fm_unroll.phantoms.coils import CoilArray
from fm_unroll.phantoms.dead_leaves import Range, log_uniform, paint, require_range
from fm_unroll.phantoms.shapes import Array, Plane
from fm_unroll.physics import fft2c, ifft2c

FINER = 2  # pixels of a picture along a pixel of the matrix: edges ring as those of a scanned object do
_MAP_POINTS, _PHASE_POINTS = 12, 5  # a side of the grids from which maps and phase are interpolated
_BRIGHTNESS = 3e-4  # of the image in the units of the files, as in the drawn bodies and fastMRI's scans


@dataclass(frozen=True)
class PictureScans:
    """How pictures are scanned: matrices, coils, air, phase and noise.

    Attributes:
        matrix: least and greatest number of samples along either axis; even numbers.
        coils: least and greatest number of coils; few ones are drawn more often than many.
        shapes: how many matrices, each with a number of coils, the pictures share: only slices of one of
            them make up a batch.
        air: share of the pictures that have air around them, as bodies have.
        padded: share of the scans in which phase-encoding lines are left out, at both ends (a matrix padded
            with zeros) or at one end (partial Fourier).
        phase: greatest standard deviation of the image's smooth phase, in radians.
        noise: range of the standard deviation of the complex noise in every coil, over the brightness of the
            brightest point in the middle of the field.
    """

    matrix: tuple[int, int] = (96, 384)
    coils: tuple[int, int] = (1, 32)
    shapes: int = 24
    air: float = 0.8
    padded: float = 0.25
    phase: float = 1.5
    noise: Range = (0.002, 0.03)

    def __post_init__(self) -> None:
        """Refuse what cannot be scanned.

        Raises:
            InputError: a value is out of its range.
        """
        for name, least in (("matrix", 16), ("coils", 1)):
            lower, upper = getattr(self, name)
            if not least <= lower <= upper < math.inf:
                raise InputError(
                    f"scans.{name} is {[lower, upper]}: give two numbers from {least} on, in order"
                )
        if any(size % 2 for size in self.matrix):
            raise InputError(f"scans.matrix is {list(self.matrix)}: give even numbers")
        if not self.shapes >= 1:
            raise InputError(f"scans.shapes is {self.shapes}: give 1 or more")
        for name in ("air", "padded"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"scans.{name} is {getattr(self, name):g}: give a share from 0 to 1")
        if not 0 <= self.phase < math.inf:
            raise InputError(f"scans.phase is {self.phase:g}: give 0 or more radians")
        require_range("scans.noise", self.noise)

    def draw_shape(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Coils, readout samples and phase-encoding lines."""
        readout, phase = 2 * rng.integers(self.matrix[0] // 2, self.matrix[1] // 2 + 1, 2)
        # uniform in the square root
        first, last = np.sqrt((self.coils[0], self.coils[1] + 1))
        return min(int(rng.uniform(first, last) ** 2), self.coils[1]), int(readout), int(phase)

    def draw_acquired(self, rng: np.random.Generator, phase: int) -> tuple[int, int]:
        """First and one-past-last line that the scanner acquires, of ``phase``."""
        if rng.random() >= self.padded:
            return 0, phase
        if rng.random() < 0.5:
            padding = int(phase * rng.uniform(0.03, 0.15))
            return padding, phase - padding
        missing = int(phase * rng.uniform(0.1, 0.3))
        return (missing, phase) if rng.random() < 0.5 else (0, phase - missing)

    def surround(self, rng: np.random.Generator, picture: Array) -> Array:
        """Put air around some pictures, and around some of those a bright or dark rim, as skin is.

        The outline is a superellipse with waves that spans 50 to 100 % of either side.

        Args:
            rng: source of randomness.
            picture: float32 ``(rows, columns)``.
        """
        if rng.random() >= self.air:
            return picture
        half, power = np.array(picture.shape[::-1]) / 2, rng.uniform(2, 5)
        angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        circle = np.stack([np.cos(angles), np.sin(angles)], -1)
        waves = sum(rng.normal(0, 0.03) * np.cos(n * angles + rng.uniform(0, 2 * np.pi)) for n in range(2, 6))
        reach = (np.abs(circle) ** power).sum(-1) ** (-1 / power) * (1 + waves)
        outer = half * rng.uniform(0.6, 1.0, 2) * (reach[:, None] * circle)
        shift = rng.uniform(-0.1, 0.1, 2) * half
        inner = outer * (1 - rng.uniform(0.01, 0.06) * (rng.random() < 0.3))
        inside = paint(np.stack([outer, inner]) + half + shift, picture.shape)
        return np.where(
            inside == 2, picture, np.array([0, rng.uniform(0, 2) * picture.mean(), 0], np.float32)[inside]
        )

    def scanner(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> "PictureScanner":
        """Place coils around a field of view, and choose the image's phase, its brightness and the noise.

        Args:
            rng: source of randomness.
            shape: coils, readout samples and phase-encoding lines.
        """
        num_coils, *matrix = shape
        field = rng.uniform(180, 420) * np.array([1, rng.uniform(0.6, 1.2)])  # mm, readout and phase
        half_axes = field[::-1] / 2 * rng.uniform(1.05, 1.6)
        # a few coils are large, so that they see the whole field
        radius = half_axes.mean() * max(rng.uniform(0.45, 0.75), 2 / num_coils)
        main_field = tuple(rng.normal((0, 0, 1), 0.2))
        coils = CoilArray.around(rng, num_coils, tuple(half_axes), radius, main_field)
        sides = (np.linspace(-0.5, 0.5, _MAP_POINTS) * length for length in field)
        y, x = np.meshgrid(*sides, indexing="ij")
        maps = coils.sensitivities(Plane(x, y, 0.0, field.max() / _MAP_POINTS), _MAP_POINTS)
        waves = rng.uniform(0, self.phase) * rng.standard_normal((_PHASE_POINTS, _PHASE_POINTS), np.float32)
        brightness = _BRIGHTNESS * float(np.exp(rng.normal(0, 0.5)))
        phase = enlarged(torch.from_numpy(waves), matrix)
        common = torch.polar(torch.full_like(phase, brightness), phase)
        weights = enlarged(torch.from_numpy(maps), matrix) * common
        noise_std = brightness * log_uniform(rng, self.noise)
        return PictureScanner(coils, weights, noise_std)


@dataclass(frozen=True)
class PictureScanner:
    """The scanner of one picture.

    Attributes:
        coils: the receive array.
        weights: what each coil sees of a picture of 1 everywhere: its sensitivity times phase and brightness,
            complex64 ``(coil, readout, phase)``.
        noise_std: standard deviation of the complex noise in every coil, in the units of ``weights``.
    """

    coils: CoilArray
    weights: Tensor
    noise_std: float

    def acquire(self, rng: np.random.Generator, picture: Array, acquired: tuple[int, int]) -> Tensor:
        """Scan a picture.

        Args:
            rng: source of the noise.
            picture: float32 ``(2 readout, 2 phase)``; what the matrix does not resolve is lost.
            acquired: first and one-past-last line that is acquired; others are zero.

        Returns:
            k-space, complex64 ``(coil, readout, phase)``.
        """
        kspace = fft2c(resolved(torch.from_numpy(picture)) * self.weights)
        white = torch.from_numpy(rng.standard_normal((*kspace.shape, 2), np.float32))
        mixing = torch.from_numpy(self.coils.noise_mixing(self.noise_std))
        kspace += (mixing @ torch.view_as_complex(white).flatten(1)).view_as(kspace)
        kspace[..., : acquired[0]] = kspace[..., acquired[1] :] = 0
        return kspace


def resolved(picture: Tensor) -> Tensor:
    """What a matrix resolves of a picture that is ``FINER`` than it: complex64, with the same brightness."""
    rows, columns = (size // FINER for size in picture.shape)
    return ifft2c(center_crop(fft2c(picture), (rows, columns))) / FINER


def enlarged(values: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate ``(..., rows, columns)`` by cubic splines to more rows and columns, ends upon ends."""
    rows, columns = (
        torch.from_numpy(make_interp_spline(np.arange(few), np.eye(few))(np.linspace(0, few - 1, many)))
        for few, many in zip(values.shape[-2:], size, strict=True)
    )
    return rows.to(values.dtype) @ values @ columns.to(values.dtype).T
