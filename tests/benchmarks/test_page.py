"""The table says what was aimed at, and whether it was met."""

import pytest

from fm_unroll_benchmarks.page import cells
from fm_unroll_benchmarks.rows import Row
from fm_unroll_benchmarks.timing import Ratio

ROW = Row("a step", "a peer", {"cpu": 1.5, "cuda": None}, lambda setting: None)


@pytest.mark.parametrize(
    ("peer", "device", "expected"),
    [
        ([3.0], "cpu", ("3.00x", "1.5x", "met")),
        ([1.0], "cpu", ("1.00x", "1.5x", "missed by 1.50x")),
        ([1.0, 3.0, 2.0], "cpu", ("2.00x (1.00 to 3.00, 3 rounds)", "1.5x", "met")),
        ([3.0], "cuda", ("3.00x", "-", "-")),
    ],
)
def test_a_ratio_is_held_against_its_aim(peer: list[float], device: str, expected: tuple[str, ...]):
    ratio = Ratio.of(peer, [1.0] * len(peer), "s")
    assert cells(ROW, ratio, device) == expected


def test_what_cannot_be_measured_is_said():
    assert cells(ROW, None, "cpu") == ("not measured", "1.5x", "-")
