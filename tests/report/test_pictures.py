"""Scales and errors of stored slices, for pixel values whose percentiles are known."""

import numpy as np
import pytest

from fake_records import arm
from fm_unroll.evaluation.selection import Place
from fm_unroll.report.pictures import StoredSlice, brightest_error

PLACE = Place("Phantom knee", "knee", "0.08", 8.0, "K000", "K000/a", 3, 0)
COUNT = np.arange(1001, dtype=np.float32).reshape(77, 13)  # its percentiles are 10, 20, ..., 1000


def stored(target, image) -> StoredSlice:
    return StoredSlice(PLACE, "PD", target, {arm("varnet"): image}, {arm("varnet"): 0.5}, True)


def test_white_and_the_brightest_error_are_just_below_the_largest_values():
    assert stored(COUNT, COUNT).white == pytest.approx(998)
    assert brightest_error([COUNT]) == pytest.approx(995)


@pytest.mark.parametrize("offset", [499, -499])
def test_errors_are_absolute_in_units_of_white_also_above_white(offset):
    error = stored(COUNT, COUNT + np.float32(offset)).error(arm("varnet"))
    assert error == pytest.approx(np.full(COUNT.shape, 0.5))


def test_a_scale_of_zeros_ends_at_one():
    black = np.zeros_like(COUNT)
    item = stored(black, COUNT)
    assert item.white == 1 and item.error(arm("varnet")) == pytest.approx(COUNT)
    assert brightest_error([black]) == 1 and brightest_error([]) == 1


def test_the_largest_finite_error_decides_on_the_scale():
    small, large = np.full_like(COUNT, 0.25), np.full_like(COUNT, 0.75)
    assert brightest_error([small, large]) == brightest_error([large, small]) == 0.75
    for failure in (np.nan, np.inf):
        failed = np.where(COUNT < 500, np.float32(failure), 9)
        assert brightest_error([failed, small]) == brightest_error([small, failed]) == 0.25
