import pytest
import torch
from fastmri.fftc import fft2c_new, ifft2c_new

from fm_unroll.physics import fft2c, ifft2c
from fm_unroll.physics.fourier import HybridSpace
from simulate import complex_noise

SIZES = [(16, 24), (17, 24), (16, 23), (15, 7), (1, 1)]


def inner(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.vdot(x.flatten(), y.flatten())


@pytest.mark.parametrize("size", SIZES)
def test_transforms_equal_fastmri(size):
    x = complex_noise(2, 3, *size)
    pairs = torch.view_as_real(x)
    torch.testing.assert_close(fft2c(x), torch.view_as_complex(fft2c_new(pairs)), rtol=0, atol=1e-6)
    torch.testing.assert_close(ifft2c(x), torch.view_as_complex(ifft2c_new(pairs)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_inverse_transform_is_the_adjoint(size):
    x, y = complex_noise(3, *size), complex_noise(3, *size).flip(0)
    torch.testing.assert_close(inner(fft2c(x), y), inner(x, ifft2c(y)))


@pytest.mark.parametrize("size", SIZES)
def test_hybrid_space_is_a_unitary_view_of_kspace(size):
    kspace, other = complex_noise(3, *size), complex_noise(3, *size).flip(0)
    space = HybridSpace(size[1])
    hybrid = space.enter(kspace)
    torch.testing.assert_close(space.leave(hybrid), kspace)
    torch.testing.assert_close(space.to_image(hybrid), ifft2c(kspace))
    torch.testing.assert_close(space.from_image(ifft2c(kspace)), hybrid)
    torch.testing.assert_close(inner(space.enter(kspace), other), inner(kspace, space.leave(other)))
    torch.testing.assert_close(inner(space.to_image(kspace), other), inner(kspace, space.from_image(other)))


def test_sampling_lines_commutes_with_entering_hybrid_space():
    kspace, lines = complex_noise(3, 8, 21), torch.arange(21) % 3 == 1
    space = HybridSpace(21)
    torch.testing.assert_close(space.enter(kspace * lines), space.enter(kspace) * space.enter_lines(lines))


def test_origin_factor_is_exact_for_large_matrices():
    turns = HybridSpace(4096).origin
    torch.testing.assert_close(turns[1::2], -torch.ones(2048, dtype=torch.complex64), rtol=0, atol=1e-7)
