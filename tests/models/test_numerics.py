"""Inputs at the edge of what floats can hold: every method stays finite, forwards and backwards."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.classical import CGSense, WaveletCS, ZeroFilled
from fm_unroll.models.classical.wavelet import analyse, soft_threshold, synthesise
from fm_unroll.models.denoisers.foundation import magnitude_range
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.paper import Cascade
from fm_unroll.physics import expand, fft2c, ifft2c, reduce, rss
from fm_unroll.physics.fourier import HybridSpace
from fm_unroll.physics.sampling import center_lines
from fm_unroll.training.losses import SSIMLoss
from simulate import complex_noise, noise_scan, uniform_mask

READOUT, PHASE, ACS = 20, 17, 5
NETWORKS = ("varnet", "image_skip_only", "timm/vit_tiny_patch16_224")
CLASSICAL = (ZeroFilled, CGSense, WaveletCS)


@cache
def network(method: str) -> torch.nn.Module:
    """A small network whose prior does something: the head of a foundation denoiser starts at zero."""
    torch.manual_seed(0)
    sizes = {"num_cascades": 2, "sens_chans": 2, "sens_pools": 2}
    options = {"pools": 2, "chans": 4} if method == "varnet" else {"decoder_widths": (8, 8, 8, 8)}
    if method.startswith("timm/"):
        options |= {"pretrained": False, "blocks": (1, 2, 3), "encoder_image_size": 32}
    net = build_model(method, **sizes, **options)
    for cascade in net.cascades if method != "varnet" else ():
        torch.nn.init.normal_(cascade.denoiser.head.weight, std=0.1)
    return net


def scan(readout: int = READOUT, phase: int = PHASE, coils: int = 3, acs: int = ACS) -> Tensor:
    return noise_scan(2, coils, readout, phase, acceleration=2, acs_lines=acs)[0]


def with_changed(change: Callable[[Tensor], None]) -> Tensor:
    kspace = scan()
    change(kspace)
    return kspace


def impulse(row: int, coils: slice = slice(None)) -> Tensor:
    """One sample of the central line: at the centre an image without any variation."""
    kspace = torch.zeros(2, 3, READOUT, PHASE, dtype=torch.complex64)
    kspace[:, coils, row, PHASE // 2] = 1
    return kspace


HOSTILE = {
    "one slice is zero": with_changed(lambda kspace: kspace[1].zero_()),
    "all is zero": torch.zeros_like(scan()),
    "no signal in the ACS lines": with_changed(lambda k: k[..., center_lines(PHASE, ACS)].zero_()),
    "a dead coil": with_changed(lambda kspace: kspace[:, 1].zero_()),
    "one coil": scan(coils=1),
    "a constant image": impulse(READOUT // 2),
    "a constant image in one coil": impulse(READOUT // 2, slice(0, 1)),
    "a pure harmonic": impulse(0),
    "one huge sample": with_changed(lambda kspace: kspace[0, 0, 3, 8].fill_(1e9)),
    "tiny values": scan() * 1e-12,
    "large values": scan() * 1e12,
    "a matrix of 1 x 8": scan(1, 8, acs=3),
    "a matrix of 8 x 1": scan(8, 1, acs=1),
    "a matrix of 2 x 2": scan(2, 2, acs=1),
    "an odd matrix": scan(7, 9, acs=3),
    "a long matrix": scan(3, 100),
}


def acs_lines_of(kspace: Tensor) -> int:
    return min(ACS, max(1, kspace.shape[-1] // 3))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", NETWORKS)
@pytest.mark.parametrize("name", HOSTILE)
def test_networks_are_finite_forwards_and_backwards(name: str, method: str, precision: torch.dtype):
    net = network(method)
    net.zero_grad()
    kspace = HOSTILE[name].clone().requires_grad_()
    acs = acs_lines_of(kspace)
    mask = uniform_mask(kspace.shape[-1], 2, acs)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        image = net(kspace, mask, acs)
    assert image.dtype == torch.float32 and image.isfinite().all()
    unit = kspace.detach().abs().max().clamp_min(1e-12)
    loss = (image / unit).square().mean()
    if min(image.shape[1:]) >= 7:
        target = rss(ifft2c(kspace.detach()))
        loss = loss + SSIMLoss()(image, target, target.amax((1, 2)).clamp_min(float(unit)))
    loss.backward()
    assert loss.isfinite() and kspace.grad.isfinite().all()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert gradients and not [name for name, gradient in gradients.items() if not gradient.isfinite().all()]


@pytest.mark.parametrize("method", CLASSICAL)
@pytest.mark.parametrize("name", HOSTILE)
def test_classical_methods_are_finite(name: str, method: type):
    kspace = HOSTILE[name]
    acs = acs_lines_of(kspace)
    assert method()(kspace, uniform_mask(kspace.shape[-1], 2, acs), acs).isfinite().all()


@pytest.mark.parametrize("method", ["varnet", "image_skip_only"])
def test_a_matrix_that_vanishes_is_refused(method: str):
    with pytest.raises(InputError, match="1 x 1 is too small"):
        network(method)(scan(1, 1, acs=1), torch.ones(1, 1, 1, 1, dtype=torch.bool), 1)
    with pytest.raises(InputError, match=r"16 x 9 is too small for a U-Net with 4 pooling layers"):
        NormUnet(chans=2, pools=4)(complex_noise(1, 16, 9))
    assert NormUnet(chans=2, pools=4)(complex_noise(1, 17, 9)).shape == (1, 17, 9)


@pytest.mark.parametrize("method", NETWORKS)
@pytest.mark.parametrize("power", [-40, -20, -1, 20, 40])
@torch.no_grad()
def test_networks_scale_with_kspace_to_the_last_bit(method: str, power: int):
    """A power of two changes exponents alone, so that from 1e-12 to 1e12 not a bit may depend on the unit."""
    net, kspace = network(method), scan(40, 33)
    image = net(kspace, uniform_mask(33, 2, ACS), ACS)
    scaled = net(kspace * 2.0**power, uniform_mask(33, 2, ACS), ACS)
    assert torch.equal(scaled, image * 2.0**power)


@pytest.mark.parametrize("method", CLASSICAL)
@pytest.mark.parametrize("angle", [0.1, 2.0, torch.pi])
def test_a_global_phase_changes_no_magnitude(method: type, angle: float):
    kspace = scan(40, 33)
    turned = kspace * torch.polar(torch.ones(()), torch.tensor(angle))
    image, other = (method()(data, uniform_mask(33, 2, ACS), ACS) for data in (kspace, turned))
    torch.testing.assert_close(other, image, rtol=1e-3, atol=1e-4 * float(image.max()))


@pytest.mark.parametrize("method", NETWORKS)
@torch.no_grad()
def test_the_order_of_coils_does_not_matter(method: str):
    net, kspace = network(method), scan(coils=5)
    image, other = (
        net(data, uniform_mask(PHASE, 2, ACS), ACS) for data in (kspace, kspace.roll(2, 1).flip(1))
    )
    torch.testing.assert_close(other, image, rtol=1e-3, atol=1e-4 * float(image.max()))


SPACE = HybridSpace(5)
MAPS = complex_noise(1, 2, 4, 5, dtype=torch.complex128, seed=1)
LINES = uniform_mask(5, 2, 1)
OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "fft2c": fft2c,
    "ifft2c": ifft2c,
    "enter hybrid space": SPACE.enter,
    "leave hybrid space": SPACE.leave,
    "hybrid space to image": SPACE.to_image,
    "hybrid space from image": SPACE.from_image,
    "reduce": lambda coils: reduce(coils, MAPS),
    "expand": lambda coils: expand(coils[:, 0], MAPS),
    "expand, by its maps": lambda maps: expand(MAPS[:, 0], maps),
    "reduce, by its maps": lambda maps: reduce(MAPS, maps),
    "rss": rss,
    "cascade": lambda kspace: Cascade(torch.nn.Identity()).double()(kspace, MAPS, LINES, MAPS),
    "undecimated Haar transform": lambda image: analyse(image, 2)[1][1],
    "its adjoint": lambda image: synthesise(image, [torch.stack([image, 2 * image, image])]),
    "soft threshold": lambda image: soft_threshold(torch.view_as_real(image).movedim(-1, 0), 0.1),
    "percentiles": lambda image: torch.cat(magnitude_range(image[0], (0.1, 0.9))),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_of_operators_are_right_in_float64(name: str):
    kspace = complex_noise(1, 2, 4, 5, dtype=torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(OPERATORS[name], kspace)
