"""Coil sensitivity operators: E, R and the root-sum-of-squares combination."""

from torch import Tensor

COIL = -3


def expand(image: Tensor, sensitivities: Tensor) -> Tensor:
    """E(x) = (S_1 x, ..., S_N x): one image seen by every coil.

    Args:
        image: complex, ``(..., readout, phase)``.
        sensitivities: complex, ``(..., coil, readout, phase)``.

    Returns:
        Coil images, complex, ``(..., coil, readout, phase)``.
    """
    return image.unsqueeze(COIL) * sensitivities


def reduce(coil_images: Tensor, sensitivities: Tensor) -> Tensor:
    """R(x_1, ..., x_N) = sum_i conj(S_i) x_i: the adjoint of :func:`expand`.

    Args:
        coil_images: complex, ``(..., coil, readout, phase)``.
        sensitivities: complex, ``(..., coil, readout, phase)``.

    Returns:
        Image, complex, ``(..., readout, phase)``.
    """
    return (coil_images * sensitivities.conj()).sum(COIL)


def rss(coil_images: Tensor) -> Tensor:
    """Root-sum-of-squares over coils.

    Args:
        coil_images: complex or real, ``(..., coil, readout, phase)``.

    Returns:
        Magnitude image, float32, ``(..., readout, phase)``. Its gradient is zero, not NaN, where every coil
        is zero.
    """
    energy = (coil_images.real.square() + coil_images.imag.square()).sum(COIL)
    silent = energy == 0
    return energy.masked_fill(silent, 1).sqrt().masked_fill(silent, 0)
