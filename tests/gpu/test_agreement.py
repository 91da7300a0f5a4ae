"""CPU and GPU give the same numbers in float32."""

import copy

import pytest
import torch

from fm_unroll.data.undersampling import rss_image, undersample
from fm_unroll.metrics import challenge_scores, score_slices, ssim_map, volume_metrics
from fm_unroll.models.anchored import solve
from fm_unroll.models.classical import CGSense, WaveletCS, ZeroFilled
from fm_unroll.models.classical.calibration import estimate_sensitivities
from fm_unroll.models.classical.sense import SenseProblem
from fm_unroll.physics import EquispacedSampling, RandomSampling, UniformSampling
from fm_unroll.physics.sampling import locate_acs
from fm_unroll.reconstruction.engine import reconstruct
from fm_unroll.training.losses import SSIMLoss
from simulate import complex_noise
from small_networks import TINY_VIT

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("exact")]

IN_FLOAT32 = {"encoder_precision": "float32"}
NETWORKS = [
    ("varnet", {}),
    ("image_skip_only", {}),
    (TINY_VIT, IN_FLOAT32),
    (TINY_VIT, IN_FLOAT32 | {"encoder_input": "magnitude_phase"}),
    ("trained_embedding", {}),
    *(
        ("varnet_zero", {"physics": "anchored", "start": start})
        for start in ("zero_filled", "cg_sense", "wavelet")
    ),
    ("varnet_zero", {"physics": "anchored", "maps": "learned"}),
    (TINY_VIT, IN_FLOAT32 | {"physics": "anchored"}),
]


def on(device, measured):
    kspace, mask, num_acs = measured
    return kspace.to(device), mask.to(device), num_acs


@pytest.mark.parametrize("method, options", NETWORKS)
def test_images_and_gradients_of_networks(
    device, scan, build, assert_same, assert_same_gradients, method, options
):
    measured, network = scan.measured, build(method, **options)
    there = copy.deepcopy(network).to(device)
    image, found = network(*measured), there(*on(device, measured))
    assert found.device.type == device.type
    assert_same(found, image.detach())
    image.square().mean().backward()
    found.square().mean().backward()
    assert_same_gradients(there, network)


def test_evaluation_is_in_float32_whatever_the_encoder_is_trained_in(device, build, assert_same, slices):
    network = build(TINY_VIT)
    assert network.encoders[0].precision == "auto"  # bfloat16 in training on a GPU
    batch = undersample(slices, UniformSampling(3, acs_lines=8))
    expected = reconstruct(network, batch)
    with torch.autocast(device.type, torch.bfloat16):
        found = reconstruct(network.to(device), batch.to(device))
    assert_same(found, expected)


@pytest.mark.parametrize("method", [ZeroFilled, CGSense, WaveletCS])
def test_classical_methods(device, scan, assert_same, method):
    assert_same(method()(*on(device, scan.measured)), method()(*scan.measured))


def test_espirit_maps_and_noise_level(device, scan, assert_same):
    acs = locate_acs(scan.mask, scan.num_acs)
    maps = estimate_sensitivities(scan.kspace, acs)
    inside = scan.image.abs()[:, None] > 0
    assert_same(
        estimate_sensitivities(*(t.to(device) for t in (scan.kspace, acs))).cpu() * inside, maps * inside
    )
    noisy = scan.kspace + 0.02 * scan.mask * complex_noise(*scan.kspace.shape)
    measured = noisy, scan.mask, scan.num_acs
    problem, on_device = (SenseProblem.calibrate(*each) for each in (measured, on(device, measured)))
    assert_same(on_device.noise, problem.noise)


def test_the_solution_of_a_cascade_and_its_gradients(device, scan, assert_same):
    """The linear solver with its implicit gradient, by right side and by what the operator holds."""
    problem = SenseProblem.calibrate(*scan.measured)
    on_device = SenseProblem.calibrate(*on(device, scan.measured))
    results = []
    for sense in (problem, on_device):
        maps = sense.sensitivities
        right_side = complex_noise(*scan.image.shape).to(maps.device).requires_grad_()
        strength = torch.full((1,), 0.1, device=maps.device, requires_grad=True)
        solution = solve(lambda x, s=sense, weight=strength: s.normal(x) + weight * x, right_side, 8)
        weights = complex_noise(*scan.image.shape, seed=1).to(maps.device)
        (solution * weights).real.sum().backward()
        results.append((solution.detach(), right_side.grad, strength.grad))
    for expected, found in zip(*results, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize(
    "pattern", [UniformSampling(3, acs_lines=8), EquispacedSampling(4, 0.2), RandomSampling(2, 0.2)]
)
def test_undersampling(device, assert_same, slices, pattern):
    expected = undersample(slices, pattern, ["a", "b", "c"])
    found = undersample(slices.to(device), pattern, ["a", "b", "c"])
    assert torch.equal(found.mask.cpu(), expected.mask) and torch.equal(found.kspace.cpu(), expected.kspace)
    assert found.true_acceleration == expected.true_acceleration and found.num_acs == expected.num_acs
    assert_same(found.target, expected.target)
    assert_same(rss_image(found.kspace, (20, 30)), rss_image(expected.kspace, (20, 30)))


def test_metrics_and_loss(device, assert_same):
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 40, 33, generator=generator)
    image = target + 0.1 * torch.randn(target.shape, generator=generator)
    data_range = target.amax().expand(3)
    scored, there = [tuple(t.to(d) for t in (image, target, data_range)) for d in ("cpu", device)]
    image, target, data_range = scored
    image_there, target_there, range_there = there
    assert_same(ssim_map(image_there, target_there, range_there), ssim_map(image, target, data_range))
    expected = score_slices(image, target, data_range)
    found = score_slices(image_there, target_there, range_there)
    challenge = challenge_scores(image, target)
    found_challenge = challenge_scores(image_there, target_there)
    volume, found_volume = volume_metrics(expected), volume_metrics(found)
    pairs = ((expected, found), (challenge, found_challenge), (volume, found_volume))
    for those, these in pairs:
        assert these.keys() == those.keys()
        for name, values in those.items():
            assert these[name].device.type == "cpu"
            torch.testing.assert_close(these[name], values, rtol=1e-4, atol=0)
    gradients = []
    for prediction, truth, maximum in ((image, target, data_range), (image_there, target_there, range_there)):
        prediction = prediction.clone().requires_grad_()
        loss = SSIMLoss()(prediction, truth, maximum)
        loss.backward()
        gradients.append((loss.detach().cpu(), prediction.grad))
    assert gradients[1][0] == pytest.approx(float(gradients[0][0]), rel=1e-4)
    assert_same(gradients[1][1], gradients[0][1])
