from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from fm_unroll.errors import InputError
from fm_unroll.metrics import psnr
from fm_unroll.models.classical import CGSense, WaveletCS, ZeroFilled
from fm_unroll.models.classical.calibration import KERNEL, _is_signal, estimate_sensitivities
from fm_unroll.models.classical.cg_sense import conjugate_gradients
from fm_unroll.models.classical.sense import SenseProblem
from fm_unroll.models.classical.wavelet import analyse, synthesise
from fm_unroll.physics import EquispacedSampling, expand, fft2c, ifft2c, rss
from fm_unroll.physics.sampling import locate_acs
from simulate import coil_maps, complex_noise, disc_scan, uniform_mask

METHODS = [CGSense, WaveletCS]


def known_maps(kspace: torch.Tensor, mask: torch.Tensor, num_acs: int, maps: torch.Tensor) -> SenseProblem:
    """The problem with the true maps in place of the estimated ones."""
    problem = SenseProblem.calibrate(kspace, mask, num_acs)
    return replace(problem, sensitivities=maps.expand_as(kspace), slices=None)


def test_noiseless_object_is_recovered_from_half_of_the_lines():
    scan = disc_scan(acceleration=2)
    problem = known_maps(*scan.measured, scan.maps)
    solution = conjugate_gradients(problem.normal, problem.adjoint(), 200, 1e-6) * problem.scale
    assert (solution - scan.image).norm() / scan.image.norm() < 1e-4


def test_solution_is_that_of_dense_least_squares():
    maps = torch.from_numpy(coil_maps(3, 8, 9))
    mask = uniform_mask(9, 3, acs_lines=1)
    kspace = complex_noise(1, *maps.shape) * mask
    problem = known_maps(kspace, mask, 1, maps)
    penalty, floor = 30.0, 0.2
    assert 20 * problem.noise.item() ** 2 < penalty, "more than the noise asks for"

    pixels = torch.eye(72, dtype=torch.complex64).reshape(72, 8, 9)
    system = (fft2c(expand(pixels, maps)) * mask).flatten(1).mT
    weight = penalty / (problem.low_resolution + floor)
    system = np.concatenate([system.numpy(), np.diag(weight.flatten().sqrt().numpy())])
    right_side = np.concatenate([(kspace / problem.scale).flatten().numpy(), np.zeros(72)])
    expected = np.linalg.lstsq(system.astype(complex), right_side)[0].reshape(1, 8, 9)

    solution = CGSense(penalty, floor, max_iterations=200, tolerance=1e-6).solve(problem)
    np.testing.assert_allclose(solution.numpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_maps_are_the_true_ones_up_to_a_common_phase():
    scan = disc_scan()
    estimated = estimate_sensitivities(scan.kspace, locate_acs(scan.mask, scan.num_acs))
    torch.testing.assert_close(rss(estimated), torch.ones(scan.image.shape))
    # |<estimated, true>| is 1 where they differ by a common phase
    agreement = (estimated.conj() * scan.maps).sum(1).abs()[scan.image.abs() > 0]
    assert agreement.min() > 0.99 and agreement.mean() > 0.999


@pytest.mark.parametrize("acs_lines, agreement", [(3, 0.999), (5, 0.9995), (8, 0.9995)])
def test_few_acs_lines_give_maps_close_to_the_true_ones(acs_lines, agreement):
    scan = disc_scan(acs_lines=acs_lines)
    estimated = estimate_sensitivities(scan.kspace, locate_acs(scan.mask, scan.num_acs))
    found = (estimated.conj() * scan.maps).sum(1).abs()[scan.image.abs() > 0]
    assert found.mean() > agreement


def test_directions_of_patches_are_signal_by_their_singular_values():
    energies = torch.tensor([0.04, 0.06, 1.0]).square()
    assert _is_signal(energies, KERNEL, KERNEL).tolist() == [False, True, True]
    # beside few ACS lines half of all count, but for what is nothing but rounding
    energies = torch.tensor([*5 * [1e-9], 0.2, 0.5, 1.0])
    assert _is_signal(energies, KERNEL, 3).tolist() == 5 * [False] + 3 * [True]
    assert _is_signal(energies[-1:], 1, 1).tolist() == [True]


def test_maps_have_a_phase_of_their_own_that_no_order_of_coils_and_no_device_decides():
    scan = disc_scan()
    acs = locate_acs(scan.mask, scan.num_acs)
    maps = estimate_sensitivities(scan.kspace, acs)
    turned = estimate_sensitivities(scan.kspace.roll(2, 1).flip(1), acs)
    inside = scan.image.abs() > 0
    difference = (turned.flip(1).roll(-2, 1) - maps).norm(dim=1)[inside]
    assert difference.max() < 1e-3


def test_their_phase_is_relative_to_the_strongest_combination_of_coils():
    """In which the strongest coil has none; by NumPy's singular value decomposition of the ACS samples."""
    scan = disc_scan(batch=1)
    acs = locate_acs(scan.mask, scan.num_acs)
    combination = np.linalg.svd(scan.kspace[0][..., acs.flatten()].flatten(1).numpy(), full_matrices=False)[0]
    strongest = combination[:, 0] * np.exp(-1j * np.angle(combination[np.abs(combination[:, 0]).argmax(), 0]))
    maps = estimate_sensitivities(scan.kspace, acs)[0].numpy()
    combined = np.einsum("c,crp->rp", strongest.conj(), maps)[scan.image[0].abs() > 0]
    assert np.abs(np.angle(combined[np.abs(combined) > 0.1])).max() < 1e-3


@pytest.mark.parametrize("first", [18, 19])
def test_maps_are_estimated_from_the_acs_lines_wherever_they_lie(first):
    """8 of 45 lines, by the challenge's rule and by fastMRI's."""
    scan = disc_scan(acceleration=1)
    mask = torch.zeros_like(scan.mask)
    mask[..., first : first + 8] = True
    alone = SenseProblem.calibrate(scan.kspace * mask, mask, 8)
    image = rss(ifft2c(scan.kspace * mask))
    torch.testing.assert_close(alone.low_resolution, image / image.amax((1, 2), keepdim=True))
    agreement = (alone.sensitivities.conj() * scan.maps).sum(1).abs()[scan.image.abs() > 0]
    assert agreement.min() > 0.95
    mask[..., ::3] = True
    among_others = SenseProblem.calibrate(scan.kspace * mask, mask, 8)
    torch.testing.assert_close(among_others.sensitivities, alone.sensitivities)


def test_image_over_the_maps_is_the_rss_image():
    kspace, mask, _ = disc_scan(acceleration=1).measured
    problem = SenseProblem.calibrate(kspace, mask, 15)
    combined = (problem.adjoint() * problem.scale).abs()
    target = rss(ifft2c(kspace))
    assert (combined - target).norm() / target.norm() < 1e-2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("readout, phase", [(48, 45), (33, 64)])
def test_undersampled_object_is_found(method, readout, phase):
    scan = disc_scan(readout=readout, phase=phase)
    target, peak = scan.image.abs(), scan.image.abs().amax()
    gain = psnr(method()(*scan.measured), target, peak) - psnr(ZeroFilled()(*scan.measured), target, peak)
    assert (gain > 3).all()


@pytest.mark.parametrize("method", METHODS)
def test_measured_lines_are_explained_better_than_by_the_zero_filled_image(method):
    kspace, mask, num_acs = disc_scan().measured
    problem = SenseProblem.calibrate(kspace, mask, num_acs)

    def misfit(image: torch.Tensor) -> torch.Tensor:
        predicted = fft2c(expand(image, problem.sensitivities)) * mask
        return (predicted - kspace / problem.scale[:, None]).flatten(1).norm(dim=1)

    assert (misfit(method().solve(problem)) < 0.3 * misfit(problem.adjoint())).all()


@pytest.mark.parametrize("method", [ZeroFilled, *METHODS])
def test_fully_sampled_scan_gives_its_rss_image(method):
    kspace, mask, _ = disc_scan(acceleration=1).measured
    torch.testing.assert_close(method()(kspace, mask, 45), rss(ifft2c(kspace)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-24, 1e-5, 1e4, 1e24])
def test_image_scales_with_kspace(method, scale):
    kspace, mask, num_acs = disc_scan().measured
    image = method()(kspace, mask, num_acs)
    assert (method()(scale * kspace, mask, num_acs) / scale - image).norm() / image.norm() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_order_of_coils_does_not_matter(method):
    kspace, mask, num_acs = disc_scan().measured
    image = method()(kspace, mask, num_acs)
    assert (method()(kspace.flip(1), mask, num_acs) - image).norm() / image.norm() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_batch_gives_what_single_slices_give(method):
    kspace, mask, num_acs = disc_scan(batch=3).measured
    kspace[1] *= 1e-3
    kspace[2] = kspace[2].flip(-2)
    masks = mask.repeat(3, 1, 1, 1)
    masks[1, ..., 2] = True
    together = method()(kspace, masks, num_acs)
    for slice_ in range(3):
        alone = method()(kspace[slice_, None], masks[slice_, None], num_acs)
        torch.testing.assert_close(together[slice_, None], alone, rtol=1e-3, atol=1e-4 * alone.max().item())


@pytest.mark.parametrize("method", METHODS)
def test_silence_gives_silence_and_leaves_its_neighbours_alone(method):
    kspace, mask, num_acs = disc_scan().measured
    kspace[0] = 0
    image = method()(kspace, mask, num_acs)
    assert image[0].eq(0).all() and image[1].isfinite().all() and image[1].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num_acs", [1, 2, 15])
def test_one_coil_and_few_acs_lines_are_enough(method, num_acs):
    kspace, mask, _ = disc_scan().measured
    assert method()(kspace[:, :1], mask, num_acs).isfinite().all()
    assert method()(kspace, mask, num_acs).isfinite().all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coils", [1, 2, 3, 8])
@pytest.mark.parametrize("num_acs", [1, 2])
def test_too_few_acs_lines_for_maps_are_no_worse_than_none(method, coils, num_acs):
    scan = disc_scan(coils=coils, acceleration=2, acs_lines=num_acs)
    target, peak = scan.image.abs(), scan.image.abs().amax()
    gain = psnr(method()(*scan.measured), target, peak) - psnr(ZeroFilled()(*scan.measured), target, peak)
    assert (gain > -0.1).all()


@pytest.mark.parametrize("method", METHODS)
def test_wrong_input_is_refused(method):
    kspace, mask, num_acs = disc_scan().measured
    with pytest.raises(InputError, match="mask must be bool"):
        method()(kspace, mask.float(), num_acs)


@pytest.mark.parametrize("readout, phase", [(16, 24), (13, 7)])
def test_wavelet_transform_keeps_the_energy_and_is_undone(readout, phase):
    image = complex_noise(2, readout, phase)
    smooth, details = analyse(image, 3)
    energy = smooth.norm() ** 2 + sum(band.norm() ** 2 for bands in details for band in bands)
    torch.testing.assert_close(energy, image.norm() ** 2)
    torch.testing.assert_close(synthesise(smooth, details), image)


def test_one_level_of_shrinkage_is_cycle_spinning():
    """The orthogonal Haar transform on all four shifts, written out."""
    image = complex_noise(1, 12, 10)
    haar = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    spun = torch.zeros_like(image)
    for shift in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        blocks = image.roll(shift, (-2, -1)).unfold(-2, 2, 2).unfold(-2, 2, 2).flatten(-2)
        coefficients = blocks @ haar.to(blocks.dtype)
        details = coefficients[..., 1:]
        coefficients[..., 1:] = details.sgn() * (details.abs() - 0.6).clamp_min(0)
        blocks = (coefficients @ haar.to(blocks.dtype).mT).unflatten(-1, (2, 2))
        back = blocks.transpose(-3, -2).reshape(image.shape)
        spun += back.roll((-shift[0], -shift[1]), (-2, -1)) / 4
    # coefficients of the undecimated transform are half as long
    torch.testing.assert_close(WaveletCS(levels=1).shrink(image, torch.full((1, 1, 1), 0.3)), spun)


def test_steps_are_those_of_fista():
    """With (t[k] - 1) / t[k + 1] for t = 1, 1.618..., 2.193..., 2.749... by Beck and Teboulle's recursion."""
    problem = SenseProblem.calibrate(*disc_scan(1, 3, 16, 18, acs_lines=4).measured)
    method, threshold = WaveletCS(threshold=0.01, iterations=4), torch.full((1, 1, 1), 0.01)
    image = previous = target = problem.adjoint()
    for factor in (0, 0, 0.2817536, 0.4340428):
        ahead = image + factor * (image - previous)
        previous, image = image, method.shrink(ahead - problem.normal(ahead) + target, threshold)
    torch.testing.assert_close(method.solve(problem), image, rtol=1e-5, atol=1e-6)
    assert (image - previous).norm() > 1e-2 * image.norm(), "not there yet"


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, acceleration, center_fraction, gain",
    [(CGSense, 4, 0.08, 2.5), (CGSense, 8, 0.04, 2.5), (WaveletCS, 4, 0.08, 5)],
)
def test_real_brain_beats_zero_filled(shared, method, acceleration, center_fraction, gain):
    name = "file_brain_vfa_13coil"
    with h5py.File(shared / f"data/fastmri_brain/multicoil_val/{name}.h5") as file:
        kspace, target = torch.from_numpy(file["kspace"][:]), torch.from_numpy(file["reconstruction_rss"][:])
    mask = EquispacedSampling(acceleration, center_fraction)(kspace.shape[-1], f"{name}.h5")
    measured = kspace * mask.lines, mask.lines[None, None, None], mask.num_acs
    quality = psnr(method()(*measured), target, target.max())
    assert (quality - psnr(ZeroFilled()(*measured), target, target.max())).mean() > gain
