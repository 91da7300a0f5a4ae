"""The anchored physics against dense algebra, autograd through every step, and the classical methods."""

import math

import pytest
import torch
from torch import nn

from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.anchored import AnchoredCascade, AnchoredNetwork, solve
from fm_unroll.models.classical import CGSense, WaveletCS
from fm_unroll.models.classical.cg_sense import conjugate_gradients
from fm_unroll.models.classical.sense import SenseProblem
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.measurement import describe
from fm_unroll.physics import fft2c, ifft2c, rss
from fm_unroll.training.options import settle_options
from simulate import complex_noise, disc_scan, noise_scan
from small_networks import SMALL_OPTIONS, with_espirit

SMALL = {"num_cascades": 2, "chans": 4, "pools": 2, "physics": "anchored"}
AS_USUAL = torch.tensor([[0.01, 4.0]])  # noise level and acceleration
CLASSICAL = {"cg_sense": CGSense(), "wavelet": WaveletCS()}


class Double(nn.Module):
    """A denoiser that can be worked out by hand."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 2 * image


def scan(readout: int = 24, phase: int = 32, coils: int = 4, batch: int = 1):
    return disc_scan(batch, coils, readout, phase, acs_lines=8).measured


def dense(problem: SenseProblem) -> torch.Tensor:
    """A^H A of the first slice as a matrix, a column for every pixel."""
    shape = problem.sensitivities.shape[-2:]
    columns = []
    for pixel in range(math.prod(shape)):
        image = torch.zeros(1, math.prod(shape), dtype=torch.complex64)
        image[0, pixel] = 1
        columns.append(problem.normal(image.reshape(1, *shape)).flatten())
    return torch.stack(columns, 1)


@pytest.mark.parametrize("method", SMALL_OPTIONS)
@pytest.mark.parametrize("start", ["zero_filled", "cg_sense", "wavelet"])
@torch.no_grad()
def test_an_untrained_network_is_the_method_that_it_starts_from(method, start):
    measured = scan()
    options = with_espirit(SMALL_OPTIONS[method]) | ({"zero_head": True} if method == "varnet" else {})
    network = build_model(method, physics="anchored", start=start, **options)
    found = network(*measured)
    if start == "zero_filled":
        problem = SenseProblem.calibrate(*measured)
        expected = problem.combine(problem.adjoint())
    else:
        expected = CLASSICAL[start](*measured)
    assert (found - expected).norm() < 1e-5 * expected.norm()


@torch.no_grad()
def test_a_cascade_solves_its_equation():
    problem = SenseProblem.calibrate(*scan(readout=8, phase=12))
    cascade = AnchoredCascade(Double(), solver_steps=200)
    cascade.pulls[0] = 0.6
    cascade.log_strengths[0] = math.log(0.3)
    image = complex_noise(1, 8, 12)
    found = cascade(image, problem, AS_USUAL).flatten()
    normal, x = dense(problem), image.flatten()
    # argmin |A x - y|^2 + l |x - z|^2 with z = x - D x and y between A x and what was measured
    data = normal @ x + 0.6 * (problem.adjoint().flatten() - normal @ x)
    weight = 0.3 + 60 * problem.noise.item() ** 2 / (problem.low_resolution.flatten() + 0.01)
    assert 0.9 * weight.max() > 0.3, "the noise has a say"
    expected = torch.linalg.solve(normal + weight.diag(), data + weight * (x - 2 * x))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_gradients_are_those_of_the_exact_solution():
    torch.manual_seed(0)
    factor = torch.randn(2, 6, 6, dtype=torch.complex128)
    matrices = factor @ factor.mH + torch.eye(6)
    right = torch.randn(2, 2, 3, dtype=torch.complex128, requires_grad=True)
    strength = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)

    def solution(right, strength, scale):
        def operator(image):
            product = (matrices @ image.flatten(1)[..., None])[..., 0].reshape(image.shape)
            return scale * product + strength * image

        return solve(operator, right, 60)

    assert torch.autograd.gradcheck(solution, (right, strength, scale))


def test_gradients_are_those_of_autograd_through_all_steps():
    problem = SenseProblem.calibrate(*scan(readout=16, phase=20))
    facts, image = describe(problem), complex_noise(1, 16, 20)
    found = []
    for unrolled in (False, True):
        torch.manual_seed(0)
        cascade = AnchoredCascade(nn.Sequential(NormUnet(4, 2)), solver_steps=40)
        cascade.pulls.data[0] = 0.5
        if unrolled:
            strength = cascade.strength(facts)
            residual = problem.adjoint() - problem.normal(image)
            wanted = cascade.pull(facts) * residual - strength * cascade.denoiser(image)
            result = image + conjugate_gradients(
                lambda x, s=strength: problem.normal(x) + s * x, wanted, 40, 0.0
            )
        else:
            result = cascade(image, problem, facts)
        (result.abs().square().sum()).backward()
        found.append([parameter.grad.clone() for parameter in cascade.parameters()])
    for implicit, explicit in zip(*found, strict=True):
        torch.testing.assert_close(
            implicit, explicit, rtol=2e-3, atol=1e-5 * float(explicit.abs().max()) + 1e-6
        )


def test_steps_beyond_rounding_change_nothing():
    """Not even where the squares of what is left vanish, which some units bring about sooner."""
    right = 2.0 ** -torch.arange(40)[:, None, None] * complex_noise(40, 1, 2)
    torch.testing.assert_close(solve(lambda image: 0.1 * image, right, 8), 10 * right, rtol=1e-5, atol=0)


def test_memory_of_a_step_does_not_grow_with_the_solver_s_steps():
    problem = SenseProblem.calibrate(*scan())
    kept = []
    for steps in (2, 40):
        sizes = []
        cascade = AnchoredCascade(NormUnet(4, 2), steps)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            cascade(problem.adjoint(), problem, describe(problem))
        kept.append(sum(sizes))
    assert kept[0] == kept[1]


def test_learned_maps_are_trained_and_others_are_not():
    measured = scan()
    for maps in ("learned", "espirit"):
        network = build_model("varnet_zero", **SMALL, maps=maps)
        nn.init.normal_(network.cascades[0].denoiser.unet.up_conv[-1][-1].weight, std=0.1)
        for cascade in network.cascades:
            cascade.pulls.data[0] = 0.5
        network(*measured).square().sum().backward()
        trained = {name.partition(".")[0] for name, p in network.named_parameters() if p.grad.abs().sum() > 0}
        assert trained == ({"sensitivity", "cascades"} if maps == "learned" else {"cascades"})


def test_the_start_is_not_differentiated_where_its_maps_are_trained():
    start, problem, facts = build_model("varnet_zero", **SMALL, maps="learned").begin(*scan())
    assert problem.sensitivities.requires_grad and not start.requires_grad and not facts.requires_grad


@torch.no_grad()
def test_the_strength_follows_noise_and_acceleration():
    few, many = (describe(SenseProblem.calibrate(*noise_scan(1, 3, 24, 64, acceleration=r))) for r in (8, 2))
    cascade = AnchoredCascade(Double(), 1)
    before = cascade.strength(few)
    assert before.item() == pytest.approx(0.1) and torch.equal(before, cascade.strength(many))
    cascade.log_strengths.copy_(torch.tensor([0.0, 0.0, 1.0]))
    assert cascade.strength(few).item() > cascade.strength(many).item() > 0.1


@torch.no_grad()
def test_the_pull_towards_the_data_follows_them_too():
    cascade = AnchoredCascade(Double(), 1)
    cascade.pulls.copy_(torch.tensor([0.5, -0.2, 0.3]))
    facts = torch.tensor([[0.01, 4.0], [0.01 * math.e, 4.0], [0.01, 4.0 * math.e]])
    torch.testing.assert_close(cascade.pull(facts).flatten(), torch.tensor([0.5, 0.3, 0.8]))
    # no noise at all is that of QUIETEST, not infinitely far from the usual
    assert cascade.pull(torch.tensor([[0.0, 4.0]])).item() == pytest.approx(0.5 + 0.2 * math.log(100))


@pytest.mark.parametrize("coils", [1, 2, 32])
@torch.no_grad()
def test_any_number_of_coils_and_any_scale(coils):
    kspace, mask, acs = scan(coils=coils)
    network = build_model("varnet_zero", **SMALL)
    for cascade in network.cascades:
        nn.init.normal_(cascade.denoiser.unet.up_conv[-1][-1].weight, std=0.1)
    image = network(kspace, mask, acs)
    assert torch.isfinite(image).all() and image.shape == kspace[:, 0].shape
    scaled = network(2.0**-20 * kspace, mask, acs)
    assert (scaled - 2.0**-20 * image).norm() < 1e-5 * scaled.norm()


@torch.no_grad()
def test_an_empty_slice_is_empty():
    kspace, mask, acs = scan()
    assert build_model("varnet_zero", **SMALL)(torch.zeros_like(kspace), mask, acs).abs().max() == 0


@torch.no_grad()
def test_slices_of_a_batch_do_not_see_each_other():
    kspace, mask, acs = scan()
    network = build_model("varnet_zero", **SMALL)
    for cascade in network.cascades:
        nn.init.normal_(cascade.denoiser.unet.up_conv[-1][-1].weight, std=0.1)
    other = torch.cat([kspace, 50 * kspace.flip(-2)])
    torch.testing.assert_close(
        network(other, mask, acs)[:1], network(kspace, mask, acs), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_gives_numbers(precision):
    network = build_model("varnet_zero", **SMALL)
    for cascade in network.cascades:
        nn.init.normal_(cascade.denoiser.unet.up_conv[-1][-1].weight, std=0.1)
    with torch.autocast("cpu", precision):
        image = network(*scan())
    image.sum().backward()
    assert image.dtype == torch.float32 and torch.isfinite(image).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for every in ("none", "all"):
        torch.manual_seed(0)
        network = build_model("varnet_zero", **SMALL, checkpoint_cascades=every)
        nn.init.constant_(network.cascades[0].denoiser.unet.up_conv[-1][-1].weight, 0.1)
        network(*scan()).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": "wavelet"}, "start is an option of the physics anchored, this is paper"),
        ({"physics": "anchored", "method": "varnet"}, "give zero_head true"),
        ({"physics": "anchored", "solver_steps": 0}, "solver_steps is 0: give 1 or more"),
        ({"physics": "other"}, "unknown physics 'other': choose from paper, anchored"),
        ({"physics": "anchored", "start": "other"}, "start is 'other', expected"),
    ],
)
def test_what_does_not_go_together_is_refused(options, words):
    options = {"method": "varnet_zero", "num_cascades": 1} | options
    with pytest.raises(InputError, match=words):
        build_model(**options)


def test_the_image_is_that_of_its_coil_images():
    network = AnchoredNetwork([Double()], "cg_sense", solver_steps=4)
    images = network.coil_images(*scan())
    torch.testing.assert_close(rss(images), network(*scan()))
    kspace, mask, _ = scan()
    # the measured lines stay as they were measured
    torch.testing.assert_close(fft2c(images) * mask, kspace, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(rss(images), rss(ifft2c(kspace)))


@pytest.mark.parametrize("size", [{"sens_chans": 32}, {"sens_pools": 2}])
def test_sizes_of_maps_that_are_not_learned_are_refused(size):
    (name,) = size
    with pytest.raises(InputError, match=f"^{name} is {size[name]}, and nothing is learned of maps espirit"):
        build_model("varnet_zero", **SMALL, **size)
    with pytest.raises(InputError, match=f"^{name} is {size[name]}, and nothing is learned of maps espirit"):
        settle_options({"method": "varnet_zero", "physics": "anchored", **size})
    settle_options({"method": "varnet_zero", "physics": "anchored", "maps": "learned", **size})
    settle_options({"method": "varnet_zero", **size})
    # what is not given is the default
    settle_options({"method": "varnet_zero", "physics": "anchored", "sens_chans": 8, "sens_pools": 4})
