"""Scans of pictures obey Fourier and noise physics, and are as various as their options say."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fm_unroll.errors import InputError
from fm_unroll.phantoms.picture_scans import PictureScans, enlarged, resolved

SHAPE = (3, 24, 36)


def inverse(kspace: np.ndarray) -> np.ndarray:
    """Centred orthonormal inverse transform, by NumPy."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes), norm="ortho"), axes)


def test_a_wave_that_the_matrix_resolves_is_sampled_and_a_finer_one_is_lost():
    y, x = np.meshgrid(np.arange(48) / 2, np.arange(72) / 2, indexing="ij")  # in pixels of the matrix
    coarse = 1 + np.cos(2 * np.pi * (3 * y / 24 + 5 * x / 36))
    fine = np.cos(2 * np.pi * (14 * y / 24)) + np.cos(2 * np.pi * (20 * x / 36))
    image = resolved(torch.from_numpy((coarse + fine).astype(np.float32)))
    np.testing.assert_allclose(image, coarse[::2, ::2], atol=1e-5)


def test_without_noise_coil_images_are_the_picture_times_what_the_coils_see():
    rng = np.random.default_rng(0)
    scanner = replace(PictureScans().scanner(rng, SHAPE), noise_std=0.0)
    picture = rng.random((48, 72), np.float32)
    images = inverse(scanner.acquire(rng, picture, (0, 36)).numpy())
    middle = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(picture), norm="ortho"))[12:36, 18:54]
    expected = scanner.weights.numpy() * inverse(middle) / 2
    np.testing.assert_allclose(images, expected, atol=1e-5 * np.abs(expected).max())


def test_lines_that_are_not_acquired_are_zero_and_the_others_hold_noise_of_the_stated_std():
    scans = PictureScans(noise=(0.01, 0.01))
    scanner = scans.scanner(np.random.default_rng(0), (4, 128, 96))
    kspace = scanner.acquire(np.random.default_rng(1), np.zeros((256, 192), np.float32), (5, 90)).numpy()
    assert kspace.dtype == np.complex64 and kspace.shape == (4, 128, 96)
    assert not kspace[..., :5].any() and not kspace[..., 90:].any()
    noise = kspace[..., 5:90].reshape(4, -1)
    np.testing.assert_allclose(noise.std(1), scanner.noise_std, rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(noise), scanner.coils.noise_covariance, atol=0.04)
    # a hundredth of what the coils together see in the middle
    seen = np.linalg.norm(scanner.weights[:, 64, 48])
    np.testing.assert_allclose(scanner.noise_std, 0.01 * seen, rtol=0.05)


def test_noise_levels_are_uniform_in_their_logarithm():
    scans = PictureScans(noise=(0.001, 0.1))
    scanners = [scans.scanner(np.random.default_rng(seed), (2, 16, 16)) for seed in range(60)]
    levels = [s.noise_std / np.linalg.norm(s.weights[:, 8, 8]) for s in scanners]
    assert min(levels) < 0.002 < 0.05 < max(levels)
    assert 15 < sum(level < 0.01 for level in levels) < 45


def test_coils_see_smoothly_and_differently_with_a_smooth_phase():
    weights = PictureScans().scanner(np.random.default_rng(4), (6, 64, 96)).weights.numpy()
    assert weights.dtype == np.complex64
    assert np.abs(np.diff(weights, n=2, axis=-1)).max() < 0.02 * np.abs(weights).max()
    flat = weights.reshape(6, -1) / np.linalg.norm(weights.reshape(6, -1), axis=1, keepdims=True)
    assert (np.abs(flat @ flat.conj().T) - np.eye(6)).max() < 0.97
    # of the same geometry: the image's phase goes when there is none
    still = PictureScans(phase=0).scanner(np.random.default_rng(4), (6, 64, 96)).weights.numpy()
    np.testing.assert_allclose(np.abs(still), np.abs(weights), rtol=1e-4)
    turned = (weights * still.conj()) / np.abs(still) ** 2
    np.testing.assert_allclose(turned, np.broadcast_to(turned[:1], turned.shape), atol=1e-3)
    assert np.ptp(np.unwrap(np.angle(turned[0]))) > 0.1


@pytest.mark.parametrize("coils", [1, 2])
def test_a_few_coils_see_the_whole_field(coils):
    """The darkest place is a tenth as bright as the brightest one, not a fiftieth."""
    scanners = [PictureScans().scanner(np.random.default_rng(seed), (coils, 16, 16)) for seed in range(8)]
    seen = [np.linalg.norm(scanner.weights, axis=0) for scanner in scanners]
    assert np.median([each.min() / each.max() for each in seen]) > 0.1


def test_cubic_functions_are_enlarged_exactly_ends_upon_ends():
    def cubic(y, x):
        return y**3 - 2 * y * x**2 + x

    few = cubic(*np.ogrid[0:1:6j, 0:1:5j])
    np.testing.assert_allclose(
        enlarged(torch.from_numpy(few), (23, 40)), cubic(*np.ogrid[0:1:23j, 0:1:40j]), atol=1e-5
    )


def test_matrices_and_coils_are_within_their_ranges_and_reach_the_ends():
    scans = PictureScans(matrix=(30, 36), coils=(2, 5))
    rng = np.random.default_rng(0)
    coils, readouts, phases = (
        set(values) for values in np.array([scans.draw_shape(rng) for _ in range(300)]).T.tolist()
    )
    assert coils == {2, 3, 4, 5} and readouts == phases == {30, 32, 34, 36}


def test_padded_scans_lack_lines_at_both_ends_alike_or_at_one():
    rng = np.random.default_rng(0)
    ends = [PictureScans(padded=1).draw_acquired(rng, 100) for _ in range(200)]
    both = [(first, last) for first, last in ends if first and last < 100]
    assert all(first == 100 - last and 3 <= first <= 15 for first, last in both)
    assert 60 < len(both) < 140
    at_one = [(first, last) for first, last in ends if (first, last) not in both]
    assert all(70 <= last - first <= 90 for first, last in at_one)
    assert {first == 0 for first, _ in at_one} == {True, False}
    assert {PictureScans(padded=0).draw_acquired(rng, 100) for _ in range(20)} == {(0, 100)}


def test_air_lies_around_the_picture_which_stays_as_it_is_within_a_rim():
    picture = np.full((80, 120), 0.9, np.float32)
    rims = 0
    for seed in range(40):
        around = PictureScans(air=1).surround(np.random.default_rng(seed), picture)
        body = around > 0
        assert 0.25 < body.mean() < 0.98
        assert (
            np.ptp(np.flatnonzero(body.any(1))) > 0.45 * 80
            and np.ptp(np.flatnonzero(body.any(0))) > 0.45 * 120
        )
        kept = around == np.float32(0.9)
        rims += (body & ~kept).any()
        assert kept.sum() > 0.7 * body.sum()
        assert len(np.unique(around[body & ~kept])) <= 1
    assert 4 < rims < 24
    assert PictureScans(air=0).surround(np.random.default_rng(0), picture) is picture
    kept = [PictureScans(air=0.5).surround(np.random.default_rng(s), picture) is picture for s in range(60)]
    assert 15 < sum(kept) < 45


@pytest.mark.parametrize(
    "options, words",
    [
        ({"matrix": (14, 96)}, r"scans.matrix is \[14, 96\]: give two numbers from 16 on, in order"),
        ({"matrix": (96, 64)}, r"scans.matrix is \[96, 64\]"),
        ({"matrix": (95, 96)}, "give even numbers"),
        ({"coils": (0, 4)}, r"scans.coils is \[0, 4\]: give two numbers from 1 on"),
        ({"shapes": 0}, "scans.shapes is 0: give 1 or more"),
        ({"air": 1.1}, "scans.air is 1.1: give a share from 0 to 1"),
        ({"padded": -0.1}, "scans.padded is -0.1: give a share"),
        ({"phase": -1.0}, "scans.phase is -1: give 0 or more radians"),
        ({"phase": math.nan}, "scans.phase is nan: give 0 or more radians"),
        ({"phase": math.inf}, "scans.phase is inf"),
        ({"shapes": math.nan}, "scans.shapes is nan"),
        ({"coils": (1, math.inf)}, r"scans.coils is \[1, inf\]"),
        ({"noise": (0.1, math.inf)}, r"scans.noise is \[0.1, inf\]"),
        ({"noise": (0.0, 0.1)}, r"scans.noise is \[0.0, 0.1\]: give two numbers above 0"),
    ],
)
def test_what_cannot_be_scanned_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        PictureScans(**options)
