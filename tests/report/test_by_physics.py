"""What the report says of several physics, and that it compares within one."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from fake_records import arm, fake_records
from fm_unroll.evaluation.by_physics import CHANGE, OUT_OF_DOMAIN
from fm_unroll.evaluation.selection import extremes, shown_runs
from fm_unroll.report import by_physics, published, sentences
from fm_unroll.report.analysis import Analysis, analyse
from fm_unroll.report.notices import notices
from fm_unroll.report.style import line_styles

METHODS = ("varnet", "varnet_zero", "clip", "random", "zero_filled")


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    return fake_records(
        METHODS,
        anatomies=("cardiac", "knee"),
        subjects=4,
        slices=1,
        accelerations=(8.0,),
        physics=("paper", "anchored"),
    )


@pytest.fixture(scope="module")
def found(records) -> Analysis:
    return analyse(records)


def test_the_sentence_says_both_gains_their_change_and_what_it_means(found):
    (said,) = by_physics.headline(found.survival)
    of = found.survival[(found.survival.dataset == OUT_OF_DOMAIN) & (found.survival.arm == arm("clip"))]
    paper, anchored, change = (
        f"{sentences.difference(row.difference, 'ssim')} "
        f"{sentences.interval(row.low, row.high, 'ssim', sentences.difference)}"
        for row in of.itertuples()
    )
    assert said == (
        "Does the gain survive the anchored physics? Out of domain (1 data set, 4 subjects, on phantoms) the"
        f" gain of CLIP in SSIM over VarNet, zero head is {paper} in the paper's physics, and over"
        f" U-Net (anchored) {anchored} in the anchored one; a change of {change}: the gain does not survive."
    )


def test_what_is_of_these_networks_or_of_more_than_the_physics_is_said(records):
    one = records[~(records.seed > 0)]
    (said,) = by_physics.headline(analyse(one).survival)
    assert said.endswith(", for these networks.")
    unlike = records.assign(besides_physics=records.besides_physics + records.physics)
    found = analyse(unlike)
    (said,) = by_physics.headline(found.survival)
    assert "; the change is not estimated, because more than the physics differs: whether the gain" in said
    told = notices(unlike, found.means, found.apart)
    expected = "CLIP (anchored) and CLIP differ in more than their physics (data, loss, recipe or options)"
    assert f"{expected}: they are not compared." in told
    assert found.physics.empty and "nan" not in by_physics.survival_table(found.survival)[0].markdown()


def test_networks_are_compared_within_their_physics(found):
    compared = pd.concat([found.comparisons, found.controls])
    trained = compared[[each.kind != "classical" for each in compared.arm]]
    assert all(row.arm.physics == row.baseline.physics for row in trained.itertuples())
    assert set(found.comparisons.baseline) == {arm("varnet"), arm("varnet_zero", physics="anchored")}
    assert set(found.controls.baseline) == {
        *(arm("random", physics=physics) for physics in ("paper", "anchored")),
        arm("varnet_zero"),  # a control in the paper's physics alone
    }
    classical = found.comparisons[found.comparisons.arm == arm("zero_filled")]
    assert set(classical.baseline) == set(found.comparisons.baseline)


def test_physics_are_compared_within_a_method(found):
    assert set(found.physics.baseline) == {arm("varnet_zero"), arm("clip"), arm("random")}
    for row in found.physics.itertuples():
        assert row.arm.of_any_training == row.baseline and row.arm.physics == "anchored"
        assert row.difference > 0  # as was put in


def test_every_row_of_the_table_names_its_networks(found):
    (table,) = by_physics.survival_table(found.survival)
    texts = [tuple(cell.text for cell in row[:3]) for row in table.body[:3]]
    assert texts[:2] == [("Out of domain", "CLIP", "paper"), ("", "CLIP (anchored)", "anchored")]
    assert texts[2] == ("", "", "change")
    assert [row[3].small for row in table.body[:3]] == ["over VarNet, zero head", "over U-Net (anchored)", ""]
    assert len(table.body) == 3 * 3 * 2  # places and methods
    assert table.body[2][6].text == "the gain does not survive"
    assert by_physics.survival_table(found.survival[:0]) == []


def test_the_figure_shows_every_gain_by_the_marker_of_its_physics(found):
    figure: Figure = by_physics.survival_figure(found.survival)
    gains = found.survival[found.survival.of != CHANGE]
    shown = [
        (line.get_marker(), round(line.get_xdata()[0], 9))
        for axis in figure.axes
        for line in axis.lines
        if line.get_marker() in "os" and len(line.get_xdata()) == 1
    ]
    markers = {"paper": "o", "anchored": "s"}
    assert sorted(shown) == sorted((markers[row.of], round(row.difference, 9)) for row in gains.itertuples())


def test_markers_tell_physics_apart_where_there_are_several():
    clip, anchored = arm("clip"), arm("clip", physics="anchored")
    both = line_styles([clip, anchored, arm("dinov2"), arm("zero_filled")])
    assert both[clip]["color"] == both[anchored]["color"] != both[arm("dinov2")]["color"]
    assert both[clip]["marker"] == both[arm("dinov2")]["marker"] != both[anchored]["marker"]
    one = line_styles([clip, arm("dinov2"), arm("zero_filled")])
    assert one[clip]["marker"] != one[arm("dinov2")]["marker"]
    assert one[arm("zero_filled")] == both[arm("zero_filled")]
    spare = line_styles([arm("mine"), arm("mine", physics="anchored"), arm("yours")])
    assert spare[arm("mine")]["color"] == spare[arm("mine", physics="anchored")]["color"]
    assert spare[arm("yours")]["color"] != spare[arm("mine")]["color"]


def test_every_physics_has_its_own_sentence_or_misses_its_baseline(records, found):
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    said = " ".join(sentences.headline(found.priors, ssim, found.crossings))
    assert "priors against E2E-VarNet in SSIM" in said and "priors against U-Net (anchored) in SSIM" in said
    alone = analyse(records[(records.method != "varnet_zero") | (records.physics == "paper")])
    ssim = alone.comparisons[alone.comparisons.metric == "ssim"]
    *_, last = sentences.headline(alone.priors, ssim, alone.crossings)
    assert last == "The records hold no U-Net (anchored) that a prior could be compared with."


def test_the_published_figures_stand_beside_the_paper_s_physics(found):
    for table in published.published_tables(found.means, published.read_published()):
        assert {each.physics for each in table.data.arm} == {"paper"} and len(table.data)


def test_extreme_cases_are_against_the_baseline_of_their_physics(records):
    cases = extremes(shown_runs(records))
    assert {case.arm.physics for case in cases} == {"paper", "anchored"}
    assert all(case.arm.physics == case.baseline.physics for case in cases)
