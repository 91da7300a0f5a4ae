"""From an image on a fine grid to multi-coil k-space, as a Cartesian scanner samples it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from fm_unroll.phantoms.coils import CoilArray
from fm_unroll.phantoms.shapes import Array, Noise, Plane

_FINER = 2  # the object is drawn on a grid this many times finer than the image that will be reconstructed


@dataclass(frozen=True)
class Acquisition:
    """One Cartesian encoding: how many samples over which field of view.

    Attributes:
        matrix: samples along readout and phase; even numbers.
        field_mm: field of view along readout and phase. What lies outside along phase wraps; along readout
            the receiver's filter removes it.
        padding: phase-encoding lines at either end that the scanner does not acquire: they are zero.
    """

    matrix: tuple[int, int]
    field_mm: tuple[float, float]
    padding: tuple[int, int] = (0, 0)

    @property
    def acquired(self) -> slice:
        """The phase-encoding lines that the scanner acquires."""
        return slice(self.padding[0], self.matrix[1] - self.padding[1])

    def plane(self, z: float = 0.0) -> Plane:
        """Fine grid on which to draw: the whole readout field, and 1.5 times the phase field."""
        rows, columns = (f / n / _FINER for f, n in zip(self.field_mm, self.matrix, strict=True))
        return Plane.grid(_FINER * self.matrix[0], 3 * _FINER * self.matrix[1] // 2, (rows, columns), z)

    def sample(self, image: Array) -> Array:
        """Sample an object's Fourier transform, without noise.

        The field of view is finite because k-space is sampled at multiples of 1 / field: that sums (wraps)
        whatever lies one field apart. The resolution is finite because only the centre of the fine image's
        k-space is kept.

        Args:
            image: ``(..., rows, columns)`` on the grid of :meth:`plane`.

        Returns:
            k-space, complex64 ``(..., readout, phase)``, centred and orthonormal: its inverse FFT has the
            scale of the image.
        """
        readout, phase = self.matrix
        width = _FINER * phase
        margin = (image.shape[-1] - width) // 2
        wrapped = image[..., margin : margin + width].astype(np.complex64)
        wrapped[..., -margin:] += image[..., :margin]
        wrapped[..., :margin] += image[..., -margin:]
        axes = (-2, -1)
        fine = fft.fftshift(fft.fft2(fft.ifftshift(wrapped, axes), norm="ortho"), axes) / _FINER
        top, left = (_FINER * readout - readout) // 2, (width - phase) // 2
        kspace = np.zeros((*image.shape[:-2], readout, phase), np.complex64)
        kspace[..., self.acquired] = fine[..., top : top + readout, left : left + phase][..., self.acquired]
        return kspace


@dataclass(frozen=True)
class Scanner:
    """The scanner for one file: what stays the same over its images.

    Attributes:
        acquisition: the Cartesian encoding.
        coils: the receive array.
        phase: random field of the image's phase, in units of ``phase_radians``.
        phase_radians: strength of that phase.
        scale: factor from the arbitrary units of the signal equations to those of the files.
        noise_std: standard deviation of the complex noise in every coil, in units of the files.
    """

    acquisition: Acquisition
    coils: CoilArray
    phase: Noise
    phase_radians: float
    scale: float
    noise_std: float

    def acquire(self, images: Sequence[Array], plane: Plane, rng: np.random.Generator) -> Array:
        """Acquire multi-coil k-space of the images of one slice (its frames or contrasts).

        Args:
            images: signed signals on the fine grid, each float32 ``(rows, columns)``.
            plane: that grid, from :meth:`Acquisition.plane`.
            rng: source of the noise.

        Returns:
            k-space, complex64 ``(image, coil, readout, phase)``.
        """
        phase = np.exp(1j * self.phase_radians * self.phase(plane, plane.z))
        weights = (self.scale * self.coils.sensitivities(plane) * phase).astype(np.complex64)
        kspace = np.stack([self.acquisition.sample(weights * image) for image in images])
        lines = self.acquisition.acquired
        for measured in kspace:
            measured[..., lines] += self.coils.noise(rng, measured[0, :, lines].shape, self.noise_std)
        return kspace


def root_sum_of_squares(kspace: Array) -> Array:
    """Image fully sampled k-space ``(..., coil, readout, phase)``: float32 ``(..., readout, phase)``."""
    axes = (-2, -1)
    images = fft.fftshift(fft.ifft2(fft.ifftshift(kspace, axes), norm="ortho"), axes)
    image: Array = np.sqrt(np.sum(images.real**2 + images.imag**2, axis=-3)).astype(np.float32)
    return image
