"""The page says what was aimed at, whether it was met, and what failed."""

from dataclasses import asdict

import pytest

from fm_unroll_benchmarks.page import cells, judged, markdown
from fm_unroll_benchmarks.timing import Ratio

FACTS = {
    "machine": "a machine",
    "versions": {"torch": "2"},
    "size": {"coils": 1, "readout": 2, "phase": 3, "cascades": 4},
    "physics": {"readout": 5, "phase": 6},
}


@pytest.mark.parametrize(
    ("peer", "least", "expected"),
    [
        ([3.0], 1.5, ("3.00x", "1.5x", "met")),
        ([1.0], 1.5, ("1.00x", "1.5x", "missed by 1.50x")),
        ([1.0, 3.0, 2.0], 1.5, ("2.00x (1.00 to 3.00, 3 rounds)", "1.5x", "met")),
        ([3.0], None, ("3.00x", "-", "-")),
    ],
)
def test_a_ratio_is_held_against_its_aim(peer: list[float], least: float | None, expected: tuple[str, ...]):
    ratio = asdict(Ratio.of(peer, [1.0] * len(peer), "s"))
    assert cells({"least": least, "ratio": ratio}) == expected


def test_what_cannot_be_measured_is_said():
    assert cells({"least": 1.5, "ratio": None}) == ("not measured", "1.5x", "-")
    assert cells({"least": 1.5, "ratio": None, "failed": "OSError: no"}) == ("OSError: no", "1.5x", "-")


def test_a_figure_is_held_against_its_aim_where_one_applies():
    column = judged("value", "{:.1f}", lambda value: value < 8, lambda row: row["batch"] == 1)
    assert column({"value": 7.9, "batch": 1}) == "7.9 met"
    assert column({"value": 8.0, "batch": 1}) == "8.0 missed"
    assert column({"value": 8.0, "batch": 2}) == "8.0"
    assert column({"value": None, "batch": 1}) == "-"


def test_the_page_shows_the_tables_that_there_are_and_the_reason_of_a_failure():
    classical = [{"method": "CG-SENSE", "ms": 1.25}, {"method": "L1-wavelet", "failed": "RuntimeError: full"}]
    page = "\n".join(markdown(FACTS | {"classical": classical}))
    assert "1 coils, 2 x 3, 4 cascades" in page and "metrics at 5 x 6" in page and "- torch: 2" in page
    assert "| CG-SENSE | 1.2 |" in page and "| L1-wavelet | RuntimeError: full |" in page
    assert "Training steps" not in page
