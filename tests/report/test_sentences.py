"""How numbers are printed, and sentences about tables that are written by hand."""

import math

import pandas as pd
import pytest

from fake_records import arm, fake_records
from fm_unroll.report import sentences
from fm_unroll.report.analysis import main_means

SMALL = {"anatomies": ("knee",), "subjects": 1, "slices": 1, "accelerations": (4.0, 8.0)}
CLIP, DINOV2 = arm("clip"), arm("dinov2")


@pytest.mark.parametrize(
    ("p_value", "expected"),
    [
        (0.05, ""),
        (0.0499, "*"),
        (0.01, "*"),
        (0.0099, "**"),
        (0.001, "**"),
        (0.0009, "***"),
        (math.nan, ""),
    ],
)
def test_stars(p_value, expected):
    assert sentences.stars(p_value) == expected


@pytest.mark.parametrize(("p_value", "expected"), [(0.005, "0.005"), (0.001, "0.001"), (0.0005, "< 0.001")])
def test_small_p_values(p_value, expected):
    assert sentences.p_text(p_value, 10) == expected


def test_what_rounds_to_zero_has_no_minus():
    assert sentences.signed(-1e-9, 4) == "+0.0000"


def comparisons(differences: list[float], subjects: int = 12) -> pd.DataFrame:
    """Comparisons of CLIP with the baseline on knees, one for each difference, at accelerations 4, 5, ..."""
    return pd.DataFrame(
        {
            "dataset": "fastMRI",
            "anatomy": "knee",
            "center": "0.08",
            "acceleration": [4.0 + place for place in range(len(differences))],
            "arm": CLIP,
            "metric": "ssim",
            "difference": differences,
            "low": [value - 0.001 for value in differences],
            "high": [value + 0.001 for value in differences],
            "p_value": 0.04,
            "p_holm": 0.04,
            "clear": True,
            "subjects": subjects,
        }
    )


def crossings(*found: tuple[object, float, str]) -> pd.DataFrame:
    rows = [("fastMRI", "knee", *row) for row in found]
    return pd.DataFrame(rows, columns=["dataset", "anatomy", "arm", "crossing", "center"])


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.01, 0.03, -0.04], "largest gain CLIP +0.0300 [+0.0290, +0.0310] at x5"),
        ([-0.03, -0.01, -0.04], "smallest loss CLIP -0.0100 [-0.0110, -0.0090] at x5"),
    ],
)
def test_the_best_of_a_domain_is_a_gain_or_a_loss(differences, expected):
    said = sentences.headline([CLIP], comparisons(differences), crossings(), synthetic=False)
    printed = said[1].replace("\N{MINUS SIGN}", "-").replace("\N{MULTIPLICATION SIGN}", "x")
    assert printed == f"Knee (fastMRI): {expected}, center fraction 0.08."


def test_the_prior_that_overtakes_first_is_named():
    both = pd.concat([comparisons([0.01]), comparisons([0.02]).assign(arm=DINOV2)], ignore_index=True)
    found = crossings((CLIP, 6.3, "0.08"), (DINOV2, 4.2, "0.04"), (arm("varnet_wide"), 2.0, "0.08"))
    last = sentences.headline([CLIP, DINOV2], both, found, synthetic=False)[1]
    first = "DINOv2 is the first to overtake, from a true acceleration of 4.2 (center fraction 0.04)."
    assert last.endswith(first)


@pytest.mark.parametrize(
    ("tests", "subjects", "hopeless"),
    [
        (1, 6, 0),  # 2 / 2^6 = 0.031
        (2, 6, 2),  # twice that: 0.063
        (3, 7, 0),  # 3 * 2 / 2^7 = 0.047
        (4, 7, 4),  # 4 * 2 / 2^7 = 0.063
    ],
)
def test_tests_that_no_difference_could_pass_are_counted(tests, subjects, hopeless):
    table = comparisons([0.01] * tests, subjects)
    said = sentences.headline([CLIP], table, crossings(), synthetic=False)[0]
    if hopeless:
        assert f"; in {hopeless} there are too few subjects" in said
    else:
        assert "too few subjects" not in said


def notices(records: pd.DataFrame) -> str:
    return " ".join(sentences.notices(records, main_means(records)))


def test_it_is_said_where_a_network_was_trained_for_another_acceleration():
    records = fake_records(("varnet", "zero_filled"), seeds=1, **SMALL)
    assert "no model was trained for the one tested" not in notices(records)
    at_four = records[(records.acceleration == 4) & (records.method == "varnet")].checkpoint_sha256.iloc[0]
    at_eight = (records.acceleration == 8) & (records.method == "varnet")
    records.loc[at_eight, ["train_acceleration", "checkpoint_sha256"]] = 4.0, at_four
    assert "no model was trained for the one tested: the nearest is used" in notices(records)


def test_numbers_of_seeds_that_differ_are_a_range():
    made = [fake_records((name,), seeds=seeds, **SMALL) for name, seeds in (("varnet", 1), ("clip", 3))]
    assert "1 to 3 training seeds per method" in notices(pd.concat(made, ignore_index=True))


@pytest.mark.parametrize(("method", "expected"), [("wavelet", True), ("cg_sense", True), ("varnet", False)])
def test_what_darkens_the_background_is_said(method, expected):
    assert (sentences.BACKGROUND in notices(fake_records((method,), **SMALL))) is expected
