"""How numbers are printed, and sentences about tables that are written by hand."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from fake_records import arm, fake_records
from fm_unroll.evaluation.endpoint import Endpoint
from fm_unroll.report import sentences
from fm_unroll.report.analysis import analyse, main_means
from fm_unroll.report.notices import BACKGROUND
from fm_unroll.report.notices import notices as all_notices

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
            "baseline": arm("varnet"),
            "metric": "ssim",
            "synthetic": False,
            "difference": differences,
            "low": [value - 0.001 for value in differences],
            "high": [value + 0.001 for value in differences],
            "p_value": 0.04,
            "p_holm": 0.04,
            "clear": True,
            "covers_seeds": True,
            "subjects": subjects,
        }
    )


def crossings(*found: tuple[object, str, float, str]) -> pd.DataFrame:
    rows = [("fastMRI", "knee", *row) for row in found]
    table = pd.DataFrame(rows, columns=["dataset", "anatomy", "arm", "course", "crossing", "center"])
    return table.assign(low=table.crossing - 0.5, high=table.crossing + 0.5)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.01, 0.03, -0.04], "largest gain CLIP +0.0300 [+0.0290, +0.0310] at x5"),
        ([-0.03, -0.01, -0.04], "smallest loss CLIP -0.0100 [-0.0110, -0.0090] at x5"),
    ],
)
def test_the_best_of_a_domain_is_a_gain_or_a_loss(differences, expected):
    said = sentences.headline([CLIP], comparisons(differences), crossings())
    printed = said[1].replace("\N{MINUS SIGN}", "-").replace("\N{MULTIPLICATION SIGN}", "x")
    assert printed == f"Knee (fastMRI): {expected}, center fraction 0.08."


@pytest.mark.parametrize(
    ("synthetic", "words"),
    [
        ([True, True], "On phantoms, frozen"),
        ([False, True], "On phantoms and scans, frozen"),
        ([False, False], "Frozen"),
    ],
)
def test_phantoms_are_named_where_comparisons_are_of_them(synthetic, words):
    said = sentences.headline([CLIP], comparisons([0.01, 0.02]).assign(synthetic=synthetic), crossings())
    assert said[0].startswith(words)


def test_the_prior_that_overtakes_first_is_named():
    both = pd.concat([comparisons([0.01]), comparisons([0.02]).assign(arm=DINOV2)], ignore_index=True)
    found = [(CLIP, "overtakes", 6.3, "0.08"), (DINOV2, "overtakes", 4.2, "0.04")]
    others = [(arm("varnet_wide"), "overtakes", 2.0, "0.08"), (CLIP, "not clear", math.nan, "0.04")]
    last = sentences.headline([CLIP, DINOV2], both, crossings(*found, *others))[1]
    first = (
        "DINOv2 is the first to overtake, from a true acceleration of 4.2 [3.7, 4.7] on"
        " (center fraction 0.04)."
    )
    assert last.endswith(first)
    ahead = crossings(*found, (CLIP, "ahead", math.nan, "0.08"))
    last = sentences.headline([CLIP, DINOV2], both, ahead)[1]
    assert last.endswith("CLIP is ahead from the lowest acceleration on (center fraction 0.08).")


def test_what_is_not_clear_is_said_to_be_so():
    table = comparisons([0.01, 0.03]).assign(clear=[True, False], p_holm=[0.04, 0.2])
    said = sentences.headline([CLIP], table, crossings())
    assert "better in 1, worse in 0 of 2 comparisons beyond chance" in said[0]
    assert said[1].endswith("center fraction 0.08, which is not clear.")


def test_one_seed_says_nothing_of_chance():
    table = comparisons([0.01, 0.03, -0.02]).assign(covers_seeds=[False, True, False])
    said = sentences.headline([CLIP], table, crossings())[0]
    assert "better in 1, worse in 1 of 2 comparisons, for these networks; better in 1" in said
    alone = sentences.headline([CLIP], table[~table.covers_seeds], crossings())
    assert not any("chance" in sentence for sentence in alone)


def test_the_first_sentence_counts_what_is_above_the_best_without_training():
    methods = ("varnet", "clip", "zero_filled", "cg_sense")
    records = fake_records(methods, anatomies=("knee",), subjects=4, seeds=1)
    means = records.groupby(["center", "acceleration", "method"]).ssim.mean().unstack()
    floor = means[["zero_filled", "cg_sense"]].max(axis=1)
    counts = {name: int((means[name] > floor).sum()) for name in ("varnet", "clip")}
    (said,) = sentences.floor_headline(main_means(records))
    assert said == (
        "Conditions in which the mean SSIM is above the best of Zero-filled, CG-SENSE:"
        f" E2E-VarNet {counts['varnet']} of 6, CLIP {counts['clip']} of 6."
    )
    lifted = records.assign(ssim=records.ssim.mask(records.method == "zero_filled", 0.999))
    assert "E2E-VarNet 0 of 6, CLIP 0 of 6." in sentences.floor_headline(main_means(lifted))[0]
    (none,) = sentences.floor_headline(main_means(records[records.method == "varnet"]))
    assert none.startswith("No method without training is among the records")


def said_of(endpoint: Endpoint, records: pd.DataFrame, late: bool = False) -> list[str]:
    found = analyse(records, endpoint)
    provenance = {"protocol": {"primary": endpoint.content() | {"after_results": late}}}
    return [
        sentence.replace("\N{MINUS SIGN}", "-")
        for sentence in sentences.endpoint_headline(endpoint, found.answers, provenance)
    ]


def test_the_primary_endpoint_is_answered_with_its_margin_and_power():
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=8, seeds=3)
    endpoint = Endpoint("clip", accelerations=(10,))
    (given,) = analyse(records, endpoint).answers
    (said,) = said_of(endpoint, records)
    estimate = given.found.estimate
    assert said.startswith(
        "Primary endpoint, named before the results: CLIP against E2E-VarNet, gain in SSIM"
    )
    assert f"over 1 data set, 8 subjects: +{estimate.value:.4f} [+{estimate.low:.4f}," in said
    assert "p < 0.001 for no difference at all: better, by what matters (what matters: 0.0100)." in said
    assert said.endswith(f"would find a difference of {estimate.detectable:.4f}.")
    assert "these networks" not in said
    assert "named when results were there already" in said_of(endpoint, records, late=True)[0]
    assert "for these networks, p" in said_of(endpoint, records[records.seed == 0])[0]
    few = records[records.subject < "K002"]
    assert said_of(endpoint, few)[0].endswith("not tested (fewer than 3 subjects in one of them).")
    (absent,) = said_of(Endpoint("dinov2"), records)
    assert absent.endswith("SSIM of DINOv2 against E2E-VarNet is not among the records.")
    assert sentences.endpoint_headline(None, [], {}) == []


@pytest.mark.parametrize(
    ("high", "p_value", "said_so"), [(-0.002, 0.107, True), (-0.002, 0.04, False), (0.001, 0.107, False)]
)
def test_a_p_value_beside_an_interval_without_zero_is_explained(high, p_value, said_so):
    """Of few seeds the p-value is raised, the interval not: -0.030 [-0.059, -0.002] may have p = 0.107."""
    endpoint = Endpoint("clip", accelerations=(10,))
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=8, seeds=3)
    (given,) = analyse(records, endpoint).answers
    estimate = replace(given.found.estimate, value=-0.03, low=-0.059, high=high, p_value=p_value)
    answer = replace(given, found=replace(given.found, estimate=estimate), verdict="open")
    provenance = {"protocol": {"primary": endpoint.content()}}
    (said,) = sentences.endpoint_headline(endpoint, [answer], provenance)
    assert f"p = {p_value:.3f} for no difference at all" in said
    assert ("because few seeds tell little of their variance): open" in said) is said_so


def test_several_comparisons_of_one_name_are_not_called_the_one():
    both = [fake_records(("varnet", "clip"), encoder_weights=weights) for weights in ("pretrained", "file:a")]
    said = said_of(Endpoint("clip"), pd.concat(both).drop_duplicates())
    assert len(said) == 2 and all("one of 2 that bear its name" in sentence for sentence in said)


def test_a_lower_error_is_better():
    lower = comparisons([-0.01]).assign(metric="nmse_volume").iloc[0]
    assert sentences.differs(lower) == "better"
    assert sentences.differs(comparisons([-0.01]).iloc[0]) == "worse"


def notices(records: pd.DataFrame) -> str:
    return " ".join(all_notices(records, main_means(records)))


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
    assert (BACKGROUND in notices(fake_records((method,), **SMALL))) is expected
