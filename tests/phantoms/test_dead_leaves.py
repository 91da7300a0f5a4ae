"""Dead leaves: radii by the power law, later leaves on top, the same picture for the same seed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fm_unroll.errors import InputError
from fm_unroll.phantoms.dead_leaves import DeadLeaves, coloured, curves, outlines, paint, power_law


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_radii_follow_the_power_law(exponent):
    """The share of radii below r is the integral of x^-exponent, which is known."""
    radii = np.sort(power_law(np.random.default_rng(0), 20_000, exponent, 2.0, 50.0))
    assert radii[0] >= 2 and radii[-1] <= 50
    grid = np.linspace(2, 50, 20_001)
    density = grid**-exponent
    integral = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    shares = np.interp(radii, grid, integral / integral[-1])
    # Kolmogorov's distance, which exceeds 1.63 / sqrt(n) once in a hundred times
    assert np.abs(shares - (np.arange(20_000) + 0.5) / 20_000).max() < 1.63 / np.sqrt(20_000)


def test_leaves_fall_until_their_areas_sum_to_the_given_one():
    leaves = DeadLeaves(most=100_000)
    radii = leaves.radii(np.random.default_rng(0), 2, 50, area=64_000)
    areas = np.pi * radii**2
    assert areas[:-1].sum() <= 64_000 < areas.sum()
    assert len(replace(leaves, most=30).radii(np.random.default_rng(0), 2, 50, area=64_000)) == 30


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def test_later_shapes_cover_earlier_ones():
    painted = paint(np.stack([square(1, 2, 5), square(4, 4, 9)]), (12, 20))
    expected = np.zeros((12, 20), int)
    expected[2:8, 1:7] = 1
    expected[4:12, 4:14] = 2  # and beyond the picture
    assert np.array_equal(painted, expected)


def test_polygons_keep_the_area_of_their_circle_s_share_however_stretched_and_turned():
    shapes = outlines(np.random.default_rng(2), np.full(400, 12.0), (300, 500))
    x, y = shapes[..., 0], shapes[..., 1]
    areas = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)) / 2
    for corners in (3, 4, 5, 6, 24):
        regular = corners / 2 * np.sin(2 * np.pi / corners) * 12**2
        assert 0.05 < np.isclose(areas, regular, rtol=1e-6).mean() < 0.4, corners
    # those of four corners, each of which stands for six points, are rectangles, unless waves bend them
    first, second, _ = np.moveaxis(np.diff(shapes[np.isclose(areas, 288, rtol=1e-6), ::6], axis=1), 1, 0)
    assert np.isclose((first * second).sum(1), 0).mean() > 0.7
    reach = np.hypot(*np.moveaxis(shapes - shapes.mean(1, keepdims=True), -1, 0)).max(1)
    assert reach.max() < 2.3 * 1.25 * 12 and (reach > 1.5 * 12).any()
    centres = shapes.mean(1)
    assert (centres.min(0) > [-0.15 * 500, -0.15 * 300]).all()
    assert (centres.max(0) < [1.15 * 500, 1.15 * 300]).all()
    assert (np.ptp(centres, axis=0) > [1.05 * 500, 1.05 * 300]).all()


def test_curves_are_thin_and_long():
    bands = curves(np.random.default_rng(0), 50, finer=2, shape=(200, 300))
    first, last = bands[:, 0], bands[:, -1]  # the two sides of one end
    width = np.hypot(*(first - last).T)
    assert (width >= 2 * 0.5 - 1e-9).all() and (width <= 2 * 2 + 1e-9).all()
    along = bands[:, 1] - bands[:, 0] + bands[:, -2] - bands[:, -1]
    across = ((first - last) * along).sum(1) / (width * np.hypot(*along.T))
    assert np.abs(across).max() < 0.2  # the end is square, up to the bend
    steps = np.diff(bands[:, : bands.shape[1] // 2], axis=1)
    assert (np.hypot(*np.moveaxis(steps, -1, 0)).sum(1) > 0.05 * 300).all()


def test_the_seed_alone_draws_the_picture():
    leaves = DeadLeaves()
    one, same, other = (leaves.draw(np.random.default_rng(seed), (60, 84), 2) for seed in (5, 5, 6))
    assert one.dtype == np.float32 and one.shape == (60, 84)
    assert one.tobytes() == same.tobytes() != other.tobytes()
    for picture in (one, other):
        assert picture.min() >= 0 and picture.max() == 1


def test_the_last_shapes_are_bright_dots():
    levels = DeadLeaves().levels(np.random.default_rng(0), 400, dots=0)
    assert -0.25 < levels.min() < 0.4 and 0.6 < levels.max() < 1.25
    dots = DeadLeaves().levels(np.random.default_rng(0), 400, dots=100)[300:]
    assert dots.min() >= 0.7 and dots.max() <= 1.3


def test_a_shape_without_texture_has_one_gradient_and_covers_the_ground():
    shapes = square(4, 6, 20)[None]
    labels = paint(shapes, (40, 50))
    values = coloured(np.random.default_rng(0), labels, shapes, np.array([0.8]), np.zeros(1, bool), 1)
    inside = values[6:27, 4:25]
    assert abs(inside.mean() - 0.8) < 0.01 and 0 < np.ptp(inside) < 0.6
    for axis in (0, 1):
        np.testing.assert_allclose(np.diff(inside, 2, axis=axis), 0, atol=1e-6)
    outside = values[labels == 0]
    assert abs(np.median(outside) - 0.5) < 0.3 and values.dtype == np.float32


def test_gamma_raises_the_finished_picture_to_a_power():
    plain, squared = (
        DeadLeaves(gamma=(power, power)).draw(np.random.default_rng(5), (60, 84)) for power in (1.0, 2.0)
    )
    np.testing.assert_allclose(squared, plain**2, atol=1e-5)


def test_untextured_leaves_are_smooth_within():
    """Within a leaf there is nothing but its gradient and the shading: neighbours hardly differ."""

    def roughness(textured: float) -> float:
        leaves = DeadLeaves(textured=textured, smallest=(20, 20), lines=0, dots=0, gamma=(1, 1))
        return np.median(np.abs(np.diff(leaves.draw(np.random.default_rng(1), (128, 128)), 2, axis=0)))

    assert roughness(0) < 1e-3 < 10 * 1e-3 < roughness(1)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"exponent": 1.0}, "leaves.exponent is 1: give a number above 1"),
        ({"largest": 0.0}, "leaves.largest is 0: give a share of the side"),
        ({"largest": 1.1}, "leaves.largest is 1.1: give a share of the side"),
        ({"textured": 1.5}, "leaves.textured is 1.5: give a share"),
        ({"smallest": (0, 2)}, r"leaves.smallest is \[0, 2\]: give two numbers above 0"),
        ({"layers": (2, 1)}, r"leaves.layers is \[2, 1\]: give two numbers above 0, the smaller one first"),
        ({"gamma": (-1, 1)}, "leaves.gamma"),
        ({"most": 0}, "leaves.most is 0: give 1 or more"),
        ({"lines": -1.0}, "leaves.lines is -1: give 0 or more"),
        ({"dots": -1.0}, "leaves.dots is -1: give 0 or more"),
        ({"lines": math.nan}, "leaves.lines is nan"),
        ({"most": math.inf}, "leaves.most is inf"),
        ({"exponent": math.inf}, "leaves.exponent is inf"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        DeadLeaves(**options)
