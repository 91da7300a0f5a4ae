"""What stands where on sheets of pictures: pixels, frames, texts and scales, for images made for it."""

from itertools import groupby

import numpy as np
import pytest

from fake_records import arm
from fm_unroll.evaluation.selection import Extreme, Place
from fm_unroll.report import panels, sheet
from fm_unroll.report.pictures import StoredSlice

PLACE = Place("Phantom knee", "knee", "0.08", 8.0, "K000", "K000/a", 3, 0)
ZERO_FILLED, VARNET, CLIP, RANDOM = map(arm, ("zero_filled", "varnet", "clip", "random"))
SSIM = {ZERO_FILLED: 0.5, VARNET: 0.6, CLIP: 0.85, RANDOM: np.nan}


def stored(target, images) -> StoredSlice:
    images = {method: image.astype(np.float32) for method, image in images.items()}
    return StoredSlice(PLACE, "PD", target.astype(np.float32), images, SSIM, True)


def differing(shape, box) -> StoredSlice:
    """Networks miss the target in a box, and each other and the floor elsewhere; one network failed."""
    row, column, side = box
    target = np.random.default_rng(0).uniform(0.2, 0.8, shape)
    images = {method: target.copy() for method in (ZERO_FILLED, VARNET, CLIP, RANDOM)}
    for method in (VARNET, CLIP):
        images[method][row : row + side, column : column + side] += 0.5
    images[CLIP][:side, -side:] += 0.3
    images[ZERO_FILLED][:side, :side] += 2
    images[RANDOM][0, 0] = np.nan
    return stored(target, images)


def by_column(axis) -> list[list]:
    """Its images, column by column from the left and each from the top."""
    pictures = sorted(axis.images, key=lambda picture: (round(picture.get_extent()[0], 6), top(picture)))
    return [
        list(column) for _, column in groupby(pictures, key=lambda picture: round(picture.get_extent()[0], 6))
    ]


def top(picture) -> float:
    return min(picture.get_extent()[2:])


def in_words(axis) -> str:
    return " ".join(" ".join(text.get_text() for text in axis.texts).split())


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        *[
            ((40, 64), (22, 11, 10)),
            ((64, 40), (11, 22, 10)),
            ((36, 52), (25, 12, 9)),
            ((20, 30), (9, 13, 8)),
        ],
        ((40, 64), (30, 54, 10)),  # in the last corner
    ],
)
def test_the_detail_is_where_networks_miss_the_target(shape, box):
    assert sheet.detail_box(differing(shape, box)) == box


def test_frames_are_where_the_details_are_from():
    row, column, side = box = (22, 11, 10)
    item = differing((40, 64), box)
    axis = panels.panel(item).axes[0]
    images, errors, *_ = by_column(axis)
    below, above = axis.get_ylim()
    assert below > above  # inches from the upper edge
    frames = sorted(axis.patches, key=lambda patch: (round(patch.get_x(), 6), patch.get_y()))
    for picture, frame in zip(images + errors, frames, strict=True):
        left, right, bottom, upper = picture.get_extent()
        pixel = (right - left) / 64
        assert picture.origin == "upper" and bottom - upper == pytest.approx(40 * pixel) and pixel > 0
        corner = (frame.get_x() - left, frame.get_y() - upper, frame.get_width(), frame.get_height())
        assert np.divide(corner, pixel) == pytest.approx((column, row, side, side))


def test_rows_show_an_image_its_error_and_the_details_of_both():
    item = differing((40, 64), (22, 11, 10))
    images, errors, details, detail_errors = by_column(panels.panel(item).axes[0])
    arms = [ZERO_FILLED, VARNET, CLIP, RANDOM]
    whole = [item.target, *(item.images[method] for method in arms)]
    for picture, detail, image in zip(images, details, whole, strict=True):
        shown = np.minimum(image, item.white)
        np.testing.assert_array_equal(picture.get_array().filled(np.nan), shown)
        np.testing.assert_array_equal(detail.get_array().filled(np.nan), shown[22:32, 11:21])
        assert top(picture) == top(detail) and detail.get_extent()[2] > detail.get_extent()[3]
    for picture, detail, method in zip(errors, detail_errors, arms, strict=True):
        shown = np.minimum(item.error(method), picture.get_clim()[1])
        np.testing.assert_array_equal(picture.get_array(), shown)
        np.testing.assert_array_equal(detail.get_array(), shown[22:32, 11:21])


@pytest.mark.parametrize(("missed", "gained"), [(0.125, 0.5), (0.5, 0.125)])
def test_a_case_shows_target_floor_baseline_and_method_and_both_errors_on_one_scale(missed, gained):
    target = np.arange(1001.0).reshape(77, 13)  # 998 is white
    offsets = {ZERO_FILLED: 0.0, VARNET: -missed * 998, CLIP: gained * 998}
    item = stored(target, {method: target + offset for method, offset in offsets.items()})
    figure = panels.extreme_cases([(Extreme("best", CLIP, VARNET, PLACE), item)], 7)
    axis, bar = figure.axes
    shown = [picture for (picture,) in by_column(axis)]
    images, errors = shown[:4], shown[4:]
    for picture, offset in zip(images, (0, *offsets.values()), strict=True):
        np.testing.assert_allclose(picture.get_array(), np.minimum(target + offset, 998), atol=1e-3)
        assert picture.get_clim() == pytest.approx((0, 998))
    for picture, error in zip(errors, (missed, gained), strict=True):
        np.testing.assert_allclose(picture.get_array(), error, atol=1e-4)
        assert picture.get_clim() == pytest.approx((0, 0.5), abs=1e-4)
    assert bar.get_xlim() == pytest.approx((0, 0.5), abs=1e-4)
    scores = {text.get_text(): text.get_position()[0] for text in axis.texts}
    for picture, score in zip(images[1:], ("SSIM 0.500", "SSIM 0.600", "SSIM 0.850"), strict=True):
        left, right = picture.get_extent()[:2]
        assert left < scores[score] < right
    assert "best: +0.250" in in_words(axis)


def test_images_that_failed_are_not_counted_as_white():
    target = np.ones((20, 20))
    quarter, failed = np.zeros((20, 20)), np.full((20, 20), 5.0)
    quarter[:10, :10], failed[0, 0] = 2, np.nan
    axis = panels.panel(stored(target, {VARNET: quarter, RANDOM: failed})).axes[0]
    assert "(at most 25 % of a reconstruction)" in in_words(axis)
