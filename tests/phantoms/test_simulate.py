"""The simulated scanner obeys Fourier and noise physics."""

import numpy as np

from fm_unroll.phantoms.shapes import Noise, Plane
from fm_unroll.phantoms.simulate import Acquisition, Scanner, root_sum_of_squares


def gaussian(plane: Plane, x: float, y: float, width: float) -> np.ndarray:
    return np.exp(-((plane.x - x) ** 2 + (plane.y - y) ** 2) / (2 * width**2))


def test_sampling_agrees_with_the_analytic_fourier_transform():
    """A Gaussian's continuous transform is known: F(k) = 2 pi w^2 exp(-2 pi^2 w^2 |k|^2 - 2 pi i k.r)."""
    acquisition = Acquisition((48, 40), (240.0, 160.0))
    width, x, y = 7.0, 21.0, -33.0
    kspace = acquisition.sample(gaussian(acquisition.plane(), x, y, width))
    ky = (np.arange(48) - 24)[:, None] / 240
    kx = (np.arange(40) - 20)[None] / 160
    transform = 2 * np.pi * width**2 * np.exp(-2 * (np.pi * width) ** 2 * (kx**2 + ky**2))
    transform = transform * np.exp(-2j * np.pi * (kx * x + ky * y))
    voxel = (240 / 48) * (160 / 40)
    np.testing.assert_allclose(kspace, transform / voxel / np.sqrt(48 * 40), atol=1e-5)


def test_object_beyond_the_phase_field_wraps_and_image_keeps_its_place_and_scale():
    acquisition = Acquisition((48, 40), (240.0, 160.0))
    plane = acquisition.plane()
    image = root_sum_of_squares(acquisition.sample(gaussian(plane, 88.0, 20.0, 6.0))[None])
    coarse = Plane.grid(48, 40, (240 / 48, 160 / 40))
    wrapped = gaussian(coarse, 88.0, 20.0, 6.0) + gaussian(coarse, 88.0 - 160.0, 20.0, 6.0)
    np.testing.assert_allclose(image, wrapped, atol=1e-3)


def test_simulation_is_not_inverted_by_its_own_grid():
    """A sharp edge drawn on the finer grid rings in the image, as on a scanner."""
    acquisition = Acquisition((48, 40), (240.0, 160.0))
    plane = acquisition.plane()
    image = root_sum_of_squares(acquisition.sample((np.abs(plane.x) < 41.0).astype(np.float32))[None])
    assert 1.05 < image.max() < 1.2


def test_noise_has_the_std_and_the_correlation_that_were_asked_for(coils):
    acquisition = Acquisition((128, 64), (300.0, 200.0), padding=(5, 3))
    scanner = Scanner(
        acquisition, coils, Noise(np.random.default_rng(0), 200), 1.0, scale=1.0, noise_std=2e-6
    )
    plane = acquisition.plane()
    (kspace,) = scanner.acquire([np.zeros_like(plane.x)], plane, np.random.default_rng(1))
    assert not kspace[..., :5].any()
    assert not kspace[..., 61:].any()
    noise = kspace[..., 5:61].reshape(6, -1)
    np.testing.assert_allclose(noise.std(1), 2e-6, rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(noise), coils.noise_covariance, atol=0.04)
    assert np.abs(coils.noise_covariance - np.eye(6)).max() > 0.1
