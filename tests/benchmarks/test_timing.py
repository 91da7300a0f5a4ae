"""What differs is not timed; ratios are those of the rounds."""

import math
import time

import pytest

from fm_unroll_benchmarks.timing import WARM_UP_ROUNDS, Pair, Ratio, median_seconds, time_in_turn


def test_a_pair_that_disagrees_is_not_timed():
    with pytest.raises(AssertionError, match=r"results differ by 1\.00e-03"):
        Pair(lambda: None, lambda: None, difference=1e-3, tolerance=1e-5)
    with pytest.raises(AssertionError):
        Pair(lambda: None, lambda: None, difference=math.nan, tolerance=1e-5)


def test_ratios_are_those_of_the_rounds():
    ratio = Ratio.of([4.0, 9.0, 6.0], [2.0, 3.0, 3.0], "s")
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (2.0, 2.0, 3.0, 3)
    calls = []
    timed = time_in_turn(Pair(lambda: calls.append("ours"), lambda: calls.append("peer"), 0, 0), 0)
    assert timed.rounds == 3 and calls.count("ours") == calls.count("peer") == 3 + WARM_UP_ROUNDS


def test_the_first_calls_do_not_count_unless_there_is_no_other():
    calls = []

    def run():
        calls.append(time.sleep(0.2 if len(calls) < WARM_UP_ROUNDS else 0.01))

    assert median_seconds(run, seconds=5) < 0.1
    calls.clear()
    assert median_seconds(run, seconds=0) > 0.1 and len(calls) == 1
