import fastmri
import torch

from fm_unroll.physics import expand, reduce, rss


def test_reduce_is_the_adjoint_of_expand():
    torch.manual_seed(0)
    sensitivities = torch.randn(2, 5, 8, 6, dtype=torch.complex128)
    image = torch.randn(2, 8, 6, dtype=torch.complex128)
    coils = torch.randn(2, 5, 8, 6, dtype=torch.complex128)
    left = torch.vdot(expand(image, sensitivities).flatten(), coils.flatten())
    right = torch.vdot(image.flatten(), reduce(coils, sensitivities).flatten())
    torch.testing.assert_close(left, right)


def test_rss_equals_fastmri():
    coils = torch.randn(2, 5, 8, 6, dtype=torch.complex64)
    torch.testing.assert_close(rss(coils), fastmri.rss_complex(torch.view_as_real(coils), dim=1))


def test_rss_of_silence_is_zero_with_zero_gradient():
    coils = torch.zeros(1, 3, 4, 4, dtype=torch.complex64, requires_grad=True)
    image = rss(coils)
    image.sum().backward()
    assert image.eq(0).all() and coils.grad.eq(0).all()


def test_rss_gradient_is_right_in_float64():
    coils = torch.randn(1, 3, 4, 4, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(rss, coils)
