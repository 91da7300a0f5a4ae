"""The first picture of the page: which slices and methods it shows, and that each picture is in its place."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fake_records import arm
from fm_unroll.evaluation.selection import Place
from fm_unroll.report.overview import METHODS, overview, overview_arms, overview_slices
from fm_unroll.report.pictures import StoredSlice

METHODS_SHOWN = ("zero_filled", "wavelet", "varnet", "clip", "dinov2", "random")
ZERO_FILLED, WAVELET, VARNET, CLIP, DINOV2, RANDOM = map(arm, METHODS_SHOWN)
CG_SENSE, BIOMEDCLIP, WIDE = map(arm, ("cg_sense", "biomedclip", "varnet_wide"))


def stored(
    anatomy: str = "knee", acceleration: float = 8, shape=(48, 32), arms=(ZERO_FILLED, WAVELET, VARNET, CLIP)
):
    random = np.random.default_rng(int(acceleration))
    target = random.uniform(0.1, 1, shape).astype(np.float32)
    images = {method: target + random.normal(0, 0.1, shape).astype(np.float32) for method in arms}
    place = Place("phantoms", anatomy, "0.08", acceleration, "S1", "S1/volume", 3, 0)
    ssim = {method: 0.5 + 0.05 * number for number, method in enumerate(arms)}
    return StoredSlice(place, "PD", target, images, ssim, True)


def with_arm(*items: StoredSlice):
    return [(VARNET, item) for item in items]


def test_every_anatomy_is_shown_at_its_highest_acceleration():
    items = [
        stored("cardiac", 4),
        stored("cardiac", 8),
        stored("knee", 8),
        stored("knee", 4),
        stored("brain", 4),
    ]
    chosen = [item.place for _, item in overview_slices(with_arm(*items))]
    assert [(place.anatomy, place.acceleration) for place in chosen] == [
        ("cardiac", 8),
        ("knee", 8),
        ("brain", 4),
    ]
    assert overview_slices([]) == []


def test_methods_are_the_floor_the_baseline_and_the_best():
    arms = (ZERO_FILLED, CG_SENSE, WAVELET, VARNET, WIDE, CLIP, DINOV2, BIOMEDCLIP, RANDOM)
    item = stored(arms=arms)
    ssim = {VARNET: 0.1, WIDE: 0.8, CLIP: 0.7, DINOV2: 0.9, BIOMEDCLIP: np.nan, RANDOM: 0.2}
    item = replace(item, ssim=item.ssim | ssim)
    shown = overview_arms([item], WAVELET)
    assert len(shown) == METHODS
    assert shown == [ZERO_FILLED, WAVELET, *[a for a in item.images if a in (VARNET, WIDE, CLIP, DINOV2)]]


def test_a_method_without_a_picture_somewhere_is_left_out():
    items = [stored("knee"), stored("brain", arms=(ZERO_FILLED, VARNET))]
    assert overview_arms(items, WAVELET) == [ZERO_FILLED, VARNET]


@pytest.mark.parametrize("shapes", [[(48, 32)], [(32, 48), (40, 40), (48, 32)]])
def test_pictures_are_of_the_same_part_in_the_order_of_the_methods(shapes):
    names = ("cardiac", "knee", "brain")
    items = [stored(name, shape=shape) for name, shape in zip(names, shapes, strict=False)]
    figure = overview(with_arm(*items), WAVELET)
    axis = figure.axes[0]
    pictures = [(picture.get_extent(), np.asarray(picture.get_array())) for picture in axis.images]
    for row, item in enumerate(items):
        first = row * (1 + 2 * len(item.images))
        target = pictures[first][1]
        np.testing.assert_array_equal(target, np.minimum(item.target, item.white))
        ends = []
        for column, (method, image) in enumerate(item.images.items()):
            extent, shown = pictures[first + 1 + 2 * column]
            below, error = pictures[first + 2 + 2 * column]
            side = shown.shape[0]
            assert shown.shape == error.shape == (min(item.target.shape) // 2,) * 2
            clipped = np.minimum(image, item.white)
            windows = np.lib.stride_tricks.sliding_window_view(clipped, (side, side))
            assert (windows == shown).all((2, 3)).any(), method
            expected = np.abs(image - item.target) / item.white
            windows = np.lib.stride_tricks.sliding_window_view(expected, (side, side))
            assert np.isclose(windows, error, atol=1e-6).all((2, 3)).any() or error.max() < expected.max()
            assert extent[0] == below[0] and extent[2] <= below[3]  # the error is below its image
            ends.append(extent)
        assert all(a[1] <= b[0] for a, b in pairwise(ends))  # side by side, from the left
        assert pictures[first][0][1] <= ends[0][0]  # the target on the left of all
        assert ends[-1][1] <= figure.get_figwidth()
    texts = [text.get_text() for text in axis.texts]
    assert all(f"{ssim:.3f}" in texts for item in items for ssim in item.ssim.values())


def test_a_method_that_failed_is_said_to_have():
    item = stored()
    images = item.images | {CLIP: np.full_like(item.target, np.nan)}
    item = replace(item, images=images, ssim=item.ssim | {CLIP: np.nan})
    assert "failed" in [text.get_text() for text in overview(with_arm(item)).axes[0].texts]
