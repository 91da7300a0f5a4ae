"""Centred orthonormal Fourier transforms of complex tensors."""

import torch
from torch import Tensor
from torch.fft import fftshift, ifftshift

READOUT_PHASE = (-2, -1)


def fft2c(image: Tensor) -> Tensor:
    """Image to k-space: centred orthonormal 2-D FFT over the last two axes.

    Args:
        image: complex, ``(..., readout, phase)``.

    Returns:
        k-space of the same shape, its zero frequency at index ``size // 2``. Equal to
        ``fastmri.fft2c_new``.
    """
    return fftshift(
        torch.fft.fft2(ifftshift(image, READOUT_PHASE), dim=READOUT_PHASE, norm="ortho"), READOUT_PHASE
    )


def ifft2c(kspace: Tensor) -> Tensor:
    """k-space to image: the inverse and the adjoint of :func:`fft2c`.

    Args:
        kspace: complex, ``(..., readout, phase)``, zero frequency at index ``size // 2``.

    Returns:
        Image of the same shape. Equal to ``fastmri.ifft2c_new``.
    """
    return fftshift(
        torch.fft.ifft2(ifftshift(kspace, READOUT_PHASE), dim=READOUT_PHASE, norm="ortho"), READOUT_PHASE
    )


def crop_readout(kspace: Tensor, size: int) -> Tensor:
    """Keep the central field of view along the readout, such as to remove readout oversampling.

    Args:
        kspace: complex, ``(..., readout, phase)``.
        size: samples to keep, at most as many as there are.

    Returns:
        k-space ``(..., size, phase)`` of the central ``size`` rows of the image, whose pixels keep their
        values. Lines that are zero stay zero.
    """
    readout = kspace.shape[-2]
    if size == readout:
        return kspace
    first = readout // 2 - size // 2
    hybrid = fftshift(torch.fft.ifft(ifftshift(kspace, -2), dim=-2, norm="ortho"), -2)
    hybrid = hybrid[..., first : first + size, :]
    return fftshift(torch.fft.fft(ifftshift(hybrid, -2), dim=-2, norm="ortho"), -2)


class HybridSpace:
    """k-space whose readout is transformed already, and which needs no shifts any more.

    A sampling mask selects whole phase-encoding lines, so it commutes with the Fourier transform along the
    readout. A loop of data consistency and coil combination therefore needs the transform along phase
    encoding only. Centring is moved out of the loop as well: lines are kept in the FFT's own order, and the
    shift of the image's origin is a unit-modulus factor per line, applied once by :meth:`enter` and once by
    :meth:`leave`. Both are unitary changes of basis: inner products, norms and iterates are those of k-space.

    Lines of hybrid data stand on the last axis, zero frequency first.
    """

    def __init__(self, num_lines: int, device: torch.device | None = None) -> None:
        """Precompute the factors of the image's origin for ``num_lines`` phase-encoding lines."""
        line = torch.arange(num_lines, device=device, dtype=torch.float64)
        # whole turns are removed before the product becomes an angle: exact for any matrix size
        turns = torch.remainder(line * (num_lines // 2), num_lines) / num_lines
        self.origin = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns).to(torch.complex64)

    def enter(self, kspace: Tensor) -> Tensor:
        """Centred k-space ``(..., readout, phase)`` to hybrid data of the same shape."""
        readout = fftshift(torch.fft.ifft(ifftshift(kspace, (-2, -1)), dim=-2, norm="ortho"), -2)
        return readout * self.origin

    def enter_lines(self, lines: Tensor) -> Tensor:
        """A sampling mask ``(..., phase)`` in the order of hybrid data."""
        return ifftshift(lines, -1)

    def leave(self, hybrid: Tensor) -> Tensor:
        """Hybrid data back to centred k-space: the inverse and adjoint of :meth:`enter`."""
        kspace = torch.fft.fft(ifftshift(hybrid * self.origin.conj(), -2), dim=-2, norm="ortho")
        return fftshift(kspace, (-2, -1))

    @staticmethod
    def to_image(hybrid: Tensor) -> Tensor:
        """Hybrid data to centred coil images: ``ifft2c(leave(hybrid))``."""
        return torch.fft.ifft(hybrid, dim=-1, norm="ortho")

    @staticmethod
    def from_image(image: Tensor) -> Tensor:
        """Centred coil images to hybrid data: ``enter(fft2c(image))``."""
        return torch.fft.fft(image, dim=-1, norm="ortho")
