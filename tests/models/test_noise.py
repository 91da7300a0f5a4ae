"""The noise level is that of noise that is added, whatever else is in k-space, and solvers follow it."""

import pytest
import torch

from fm_unroll.metrics import psnr
from fm_unroll.models.checkpoints import load_network
from fm_unroll.models.classical import CGSense, WaveletCS, ZeroFilled
from fm_unroll.models.classical.noise import in_corners, in_patches
from fm_unroll.models.classical.sense import SenseProblem
from fm_unroll.models.measurement import describe
from fm_unroll.models.release import GENERAL
from simulate import DiscScan, coil_maps, complex_noise, disc_scan, to_kspace, uniform_mask

Measured = tuple[torch.Tensor, torch.Tensor, int]


def noisy(scan: DiscScan, deviation: float, rows: int | None = None) -> Measured:
    """A measurement with complex noise whose real and imaginary part have this standard deviation.

    Of the readout so many rows in its middle are measured; None: all.
    """
    noise = 2**0.5 * deviation * complex_noise(*scan.kspace.shape)
    kspace = (scan.kspace + noise) * scan.mask
    if rows is not None:
        outside = (kspace.shape[-2] - rows) // 2
        kspace[..., :outside, :] = kspace[..., -outside:, :] = 0
    return kspace, scan.mask, scan.num_acs


def level(measured: Measured) -> float:
    """The estimate, in the unit of k-space."""
    problem = SenseProblem.calibrate(*measured)
    return (problem.noise * problem.scale.flatten()).item()


@pytest.mark.parametrize("deviation", [0.2, 3.0])
@pytest.mark.parametrize("coils, acs_lines", [(1, 8), (2, 8), (4, 8), (8, 16), (16, 3), (32, 12)])
def test_it_is_that_of_the_noise(coils, acs_lines, deviation):
    scan = disc_scan(1, coils, 96, 96, acceleration=4, acs_lines=acs_lines)
    assert level(noisy(scan, deviation)) == pytest.approx(deviation, rel=0.25)


def test_zero_padding_and_partial_scans_do_not_change_it():
    scan = disc_scan(1, 4, 96, 96, acs_lines=12)
    kspace, mask, acs = noisy(scan, 1.0)
    for cut in (
        (..., slice(30), slice(None)),
        (..., slice(None), slice(30)),
        (..., slice(70, None), slice(None)),
    ):
        part = kspace.clone()
        part[cut] = 0
        assert level((part, mask, acs)) == pytest.approx(1, rel=0.15)
    assert level(noisy(disc_scan(1, 8, 32, 96, acs_lines=12), 1.0, rows=16)) == pytest.approx(1, rel=0.25)
    padded = torch.nn.functional.pad(kspace, (20, 20, 20, 20))
    for said in (False, True):  # whether the mask counts padding as measured
        lines = torch.nn.functional.pad(mask, (20, 20), value=said)
        assert level((padded, lines, acs)) == pytest.approx(1, rel=0.15)


def test_signal_at_the_ends_of_k_space_is_not_taken_for_noise_where_coils_tell_them_apart():
    """White texture: every sample is as strong as the noise would be, but 12 coils see one object."""
    texture = complex_noise(1, 1, 64, 64).numpy()
    mask = uniform_mask(64, 2, 16)
    kspace = torch.from_numpy(to_kspace(texture * coil_maps(12, 64, 64)).astype("complex64")) * mask
    samples = kspace[..., mask.flatten()].real.std().item()
    assert level((kspace, mask, 16)) < 0.1 * samples


@pytest.mark.parametrize("silent", [1, 6])
def test_silent_coils_do_not_change_it(silent):
    scan = disc_scan(1, 4, 96, 96, acs_lines=12)
    kspace, mask, acs = noisy(scan, 1.0)
    kspace = torch.cat([kspace, torch.zeros(1, silent, 96, 96)], dim=1)
    assert level((kspace, mask, acs)) == pytest.approx(1, rel=0.25)


def test_of_the_corners_the_one_without_signal_tells():
    noise = 2**0.5 * complex_noise(4, 80, 60).abs()
    noise[:, :40] *= 20
    noise[:, 40:, :30] *= 20  # one corner is left
    assert in_corners(noise).item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("coils, acs_lines", [(4, 16), (8, 8), (16, 4), (32, 24)])
def test_patches_of_noise_alone_tell_its_level(coils, acs_lines):
    noise = 2**0.5 * complex_noise(coils, 24, acs_lines)
    assert in_patches(noise).item() == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("phase, acs_lines", [(205, 24), (97, 4)])
def test_it_looks_at_the_acs_lines_wherever_the_challenge_puts_them(phase, acs_lines):
    """Of an odd number of lines the challenge takes others than fastMRI; beside them there is nothing."""
    noise = 2**0.5 * complex_noise(1, 8, 64, phase)
    mask = uniform_mask(phase, 8, acs_lines)
    assert level((noise * mask, mask, acs_lines)) == pytest.approx(1, rel=0.25)


def test_slices_of_a_batch_have_masks_of_their_own():
    noise = 2**0.5 * complex_noise(2, 8, 64, 96)
    masks = torch.cat([uniform_mask(96, 4, 8), uniform_mask(96, 8, 8).roll(1, -1) | uniform_mask(96, 96, 8)])
    problem = SenseProblem.calibrate(noise * masks, masks, 8)
    torch.testing.assert_close(problem.noise * problem.scale.flatten(), torch.ones(2), rtol=0.25, atol=0)
    accelerations = describe(problem)[:, 1]
    for row, mask in enumerate(masks):
        lines = mask.flatten().nonzero().flatten()
        span = (lines[-1] - lines[0] + 1).item()
        assert accelerations[row].item() == pytest.approx(span / len(lines))


def test_of_nothing_there_is_none():
    kspace, mask, acs = disc_scan(1, 4, 24, 32).measured
    assert SenseProblem.calibrate(0 * kspace, mask, acs).noise.item() == 0


def test_slices_of_a_batch_have_their_own():
    scan = disc_scan(2, 4, 64, 64)
    quiet, loud = noisy(scan, 0.1)[0][:1], noisy(scan, 1.0)[0][1:]
    both = SenseProblem.calibrate(torch.cat([quiet, loud]), scan.mask, scan.num_acs).noise
    for estimate, alone in zip(both, (quiet, loud), strict=True):
        expected = SenseProblem.calibrate(alone, scan.mask, scan.num_acs).noise[0]
        torch.testing.assert_close(estimate, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("before, behind", [(0, 0), (16, 16), (3, 9)])
def test_lines_beyond_the_measured_ones_are_no_acceleration(before, behind):
    # lines 0 and 32 are measured
    kspace, mask, acs = disc_scan(1, 4, 24, 33, acceleration=4, acs_lines=9).measured
    padded = (torch.nn.functional.pad(each, (before, behind)) for each in (kspace, mask))
    acceleration = describe(SenseProblem.calibrate(*padded, acs))[0, 1].item()
    assert acceleration == pytest.approx(33 / int(mask.sum()))


def test_networks_are_not_told_of_more_noise_than_they_saw():
    scan = disc_scan(1, 4, 48, 48)
    problem = SenseProblem.calibrate(*noisy(scan, 0.5))
    assert problem.noise.item() > 0.1
    assert describe(problem)[0, 0].item() == pytest.approx(0.02)


@pytest.mark.parametrize("deviation", [0.05, 0.1, 0.2])
@torch.no_grad()
def test_the_general_network_stands_noise(deviation):
    """More than it saw in training, with eight coils at x4: not below the measured lines alone."""
    scan = disc_scan(1, 8, 96, 96, acceleration=4, acs_lines=10)
    measured, target = noisy(scan, deviation), scan.image.abs()
    network = load_network(GENERAL).eval()
    found, floor = (psnr(each(*measured), target, target.max()).item() for each in (network, ZeroFilled()))
    assert found > floor - 0.1


@pytest.mark.parametrize(
    "method, weight",
    [
        (lambda value: WaveletCS(threshold=value), lambda noise: 6 * noise**2),
        (lambda value: CGSense(penalty=value), lambda noise: 20 * noise**2),
    ],
)
def test_regularisation_is_what_noise_asks_for_or_what_is_given(method, weight):
    scan = disc_scan(1, 6, 48, 48, acceleration=3, acs_lines=12)
    problem = SenseProblem.calibrate(*noisy(scan, 0.5))
    asked = weight(problem.noise.item())
    solutions = [method(factor * asked).solve(problem) for factor in (0.01, 0.5, 1, 2)]
    for solution in solutions[:2]:
        torch.testing.assert_close(solution, solutions[2])
    assert (solutions[3] - solutions[2]).norm() > 0.05 * solutions[2].norm()


@pytest.mark.parametrize("method", [CGSense, WaveletCS])
@pytest.mark.parametrize("deviation", [0.01, 0.05, 0.1, 0.2])
def test_noise_makes_no_method_worse_than_none(method, deviation):
    scan = disc_scan(1, 8, 64, 64, acceleration=4, acs_lines=10)
    measured, target = noisy(scan, deviation), scan.image.abs()
    best, floor = (psnr(each()(*measured), target, target.max()).item() for each in (method, ZeroFilled))
    assert best > floor - 0.1
