"""Inputs at the edge of what floats can hold: every method stays finite, forwards and backwards."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from fm_unroll.errors import InputError
from fm_unroll.models import build_model, registry
from fm_unroll.models.anchored import AnchoredNetwork
from fm_unroll.models.classical import CGSense, WaveletCS, ZeroFilled
from fm_unroll.models.classical.wavelet import analyse, soft_threshold, synthesise
from fm_unroll.models.denoisers.foundation import magnitude_range
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.paper import Cascade, PaperNetwork
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.physics import expand, fft2c, ifft2c, reduce, rss
from fm_unroll.physics.fourier import HybridSpace
from fm_unroll.physics.sampling import center_lines
from fm_unroll.training.losses import SSIMAndL1Loss, SSIMLoss
from simulate import complex_noise, disc_scan, noise_scan, uniform_mask
from small_networks import TINY_VIT, with_espirit

READOUT, PHASE, ACS = 20, 17, 5
SIZES = {"num_cascades": 2, "sens_chans": 2, "sens_pools": 2}
UNET = {**SIZES, "chans": 4, "pools": 2}
DECODER = {**SIZES, "decoder_widths": (8, 8, 8, 8)}
PRIOR = {**DECODER, "pretrained": False, "blocks": (1, 2, 3), "encoder_image_size": 32}
EMBEDDING = {"embedding_width": 24, "embedding_patch": 8, "blocks": (1, 2, 3), "encoder_image_size": 32}
# one of each function that builds denoisers; other names are the same functions with other defaults
DENOISERS = {
    "varnet": UNET,
    "drunet": {**SIZES, "widths": (4, 6)},
    "image_skip_only": DECODER,
    "trained_embedding": DECODER | EMBEDDING,
    TINY_VIT: PRIOR,
    "mixed": {**UNET, **PRIOR, "prior": TINY_VIT},
}
PHYSICS = {"paper": {}, "anchored": {"physics": "anchored", "start": "cg_sense", "maps": "learned"}}
ESPIRIT = {"physics": "anchored", "start": "cg_sense"}
NETWORKS = ("varnet", "image_skip_only", TINY_VIT, "drunet", "drunet, anchored", "drunet, espirit")
CLASSICAL = (ZeroFilled, CGSense, WaveletCS)


@cache
def network(name: str, std: float = 0.1) -> torch.nn.Module:
    """A small network of which every part does something, as after some training: heads start at zero."""
    torch.manual_seed(0)
    method, _, physics = name.partition(", ")
    head = {"zero_head": True} if physics == "anchored" and method in {"varnet", "mixed"} else {}
    chosen = (PHYSICS | {"espirit": ESPIRIT})[physics or "paper"]
    small = with_espirit(DENOISERS[method]) if chosen is ESPIRIT else DENOISERS[method]
    net = build_model(method, **small, **chosen, **head)
    for parameter_name, parameter in net.named_parameters():
        at_zero = parameter.requires_grad and not parameter.any() and not parameter_name.endswith("bias")
        if at_zero:
            torch.nn.init.normal_(parameter, std=std)
    return net


def scan(readout: int = READOUT, phase: int = PHASE, coils: int = 3, acs: int = ACS) -> Tensor:
    return noise_scan(2, coils, readout, phase, acceleration=2, acs_lines=acs)[0]


def with_changed(change: Callable[[Tensor], None]) -> Tensor:
    kspace = scan()
    change(kspace)
    return kspace


def all_but_a_few(kspace: Tensor) -> None:
    """Leave three samples of a slice: two coils of one within the ACS lines, and one outside of them."""
    kept = torch.zeros(kspace.shape[1:], dtype=torch.bool)
    kept[:2, 9, PHASE // 2] = kept[2, 4, 2] = True
    kspace[1].masked_fill_(~kept, 0)


def impulse(row: int, coils: slice = slice(None)) -> Tensor:
    """One sample of the central line: at the centre an image without any variation."""
    kspace = torch.zeros(2, 3, READOUT, PHASE, dtype=torch.complex64)
    kspace[:, coils, row, PHASE // 2] = 1
    return kspace


HOSTILE = {
    "one slice is zero": with_changed(lambda kspace: kspace[1].zero_()),
    "all is zero": torch.zeros_like(scan()),
    "no signal in the ACS lines": with_changed(lambda k: k[..., center_lines(PHASE, ACS)].zero_()),
    "a slice that is zero apart from a few samples": with_changed(all_but_a_few),
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


def test_every_function_that_builds_denoisers_is_among_these():
    builders = {registry.find_denoiser(method).build for method in registry.list_methods()}
    assert builders == {registry.find_denoiser(method).build for method in DENOISERS}
    assert PHYSICS.keys() == registry.list_physics().keys()


LOW = {torch.bfloat16: 5e-2, torch.float16: 1e-2}  # and how far an image may move by its rounding


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("physics", PHYSICS)
@pytest.mark.parametrize("method", DENOISERS)
def test_every_denoiser_trains_in_low_precision_whatever_the_unit(method, physics, precision, scale):
    """Images are near those in float32, in any unit; gradients are unscaled before they are looked at."""
    net = network(f"{method}, {physics}", std=0.02).train()
    kspace, mask, acs = (scanned := disc_scan(2, 3, READOUT, 24, acs_lines=8)).measured
    target = scanned.image.abs() * scale
    # the scale that Lightning's comes down to, after some steps that it leaves out
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=precision == torch.float16)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad])
    optimizer.zero_grad()
    torch.manual_seed(1)  # mixed denoisers draw branches
    with torch.no_grad():
        expected = net(kspace, mask, acs)
    torch.manual_seed(1)
    with torch.autocast("cpu", precision):
        image = net(kspace * scale, mask, acs)
        loss = SSIMAndL1Loss()(image, target, target.amax((1, 2)))
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    assert image.dtype == loss.dtype == torch.float32 and loss.isfinite()
    assert (image / scale - expected).norm() < LOW[precision] * expected.norm()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
    assert not [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    own = ["step_size"] if physics == "paper" else ["pulls", "log_strengths"]
    for part in ("sensitivity", "denoiser", *own):
        assert any(gradient.any() for name, gradient in gradients.items() if part in name), part


class Halve(torch.nn.Module):
    """A denoiser or maps without any operation that autocast would take in low precision."""

    def forward(self, image: Tensor) -> Tensor:
        return 0.5 * image


class MapsByRSS(torch.nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images / rss(images)[:, None]


def physics_alone(name: str) -> UnrolledNetwork:
    """Physics in which nothing but the physics computes; its own parameters are as after some training."""
    if name == "paper":
        net = PaperNetwork(MapsByRSS(), [Halve(), Halve()])
    else:
        net = AnchoredNetwork([Halve(), Halve()], start="wavelet" if name == "wavelet" else "cg_sense")
    for number, parameter in enumerate(net.parameters()):
        parameter.data += 0.037 * complex_noise(*parameter.shape, seed=number).real
    return net


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("name", ["paper", "cg_sense", "wavelet"])
def test_autocast_changes_no_bit_of_physics_and_loss(name, precision):
    """Maps, starts, transforms, data consistency, solver, strengths and pulls, and all gradients."""
    measured = (scanned := disc_scan()).measured
    target = scanned.image.abs()
    net, found = physics_alone(name), []
    for low in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", precision, enabled=low):
            images = net.coil_images(*measured)
            loss = SSIMAndL1Loss()(rss(images), target, target.amax((1, 2)))
        loss.backward()
        found.append([images, loss, *(parameter.grad for parameter in net.parameters())])
    assert len(found[0]) == 2 + 2 * (1 if name == "paper" else 2)
    for expected, other in zip(*found, strict=True):
        assert other.dtype == expected.dtype and torch.equal(other, expected)


@pytest.mark.parametrize("precision", LOW)
@torch.no_grad()
def test_learned_maps_have_unit_energy_in_low_precision_too(precision):
    images = ifft2c(scan())
    with torch.autocast("cpu", precision):
        maps = network("varnet").sensitivity(images)
    assert maps.dtype == torch.complex64
    torch.testing.assert_close(rss(maps), torch.ones(2, READOUT, PHASE), rtol=1e-6, atol=0)


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
