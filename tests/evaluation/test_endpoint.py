"""The primary endpoint and interactions: against SciPy, and against the effects put in."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fake_records import arm, fake_records
from fm_unroll.errors import InputError
from fm_unroll.evaluation.alignment import align
from fm_unroll.evaluation.description import settle_endpoint
from fm_unroll.evaluation.endpoint import Endpoint, answer, interactions, judge
from fm_unroll.evaluation.records import volume_table

ARMS = [arm("varnet"), arm("clip"), arm("dinov2")]


def gains(records: pd.DataFrame) -> pd.DataFrame:
    """SSIM of CLIP minus that of the baseline, by domain, center, acceleration and subject."""
    places = ["anatomy", "center", "acceleration", "subject", "method"]
    by_method = records.groupby(places).ssim.mean().unstack("method")
    return (by_method["clip"] - by_method["varnet"]).rename("gain").reset_index()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.011, 0.02, "better"),
        (0.01, 0.02, "better"),
        (0.001, 0.02, "open"),
        (0.001, 0.009, "slightly better"),
        (-0.009, 0.009, "alike"),
        (-0.011, 0.009, "open"),
        (-0.009, 0.011, "open"),
        (-0.009, -0.001, "slightly worse"),
        (-0.02, -0.001, "open"),
        (-0.02, -0.01, "worse"),
        (np.nan, np.nan, "open"),
    ],
)
def test_an_interval_is_judged_by_the_margin(low, high, verdict):
    assert judge(low, high, 0.01) == verdict


def test_the_answer_is_the_mean_gain_over_what_was_named():
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=9, seeds=1)
    found = align(volume_table(records))
    (given,) = answer(Endpoint("clip", accelerations=(8, 10)), found, ARMS)
    of_subjects = gains(records).query("acceleration > 4").groupby("subject").gain.mean()
    expected = stats.ttest_1samp(of_subjects, 0)
    interval = expected.confidence_interval(0.95)
    estimate = given.found.estimate
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert given.found.estimate.p_value == pytest.approx(expected.pvalue)
    assert (given.arm, given.baseline, given.test_sets) == (arm("clip"), arm("varnet"), 1)
    assert given.verdict == judge(interval.low, interval.high, 0.01)
    assert not given.found.covers_seeds


def test_every_data_set_counts_alike_whatever_its_size():
    records = fake_records(("varnet", "clip"), anatomies=("cardiac", "knee"), subjects=6, seeds=1)
    few = records[(records.anatomy == "knee") | records.subject.isin(["C000", "C001", "C002"])]
    (given,) = answer(Endpoint("clip"), align(volume_table(few)), ARMS)
    by_domain = gains(few).groupby(["anatomy", "center", "acceleration"]).gain.mean()
    expected = by_domain.groupby("anatomy").mean().mean()
    assert given.found.estimate.value == pytest.approx(expected)
    assert given.found.subjects == 3 + 6 and given.test_sets == 2


def test_the_control_with_random_weights_is_not_meant_by_its_methods_name():
    both = [fake_records(("varnet", "clip"), encoder_weights=weights) for weights in ("pretrained", "random")]
    arms = [arm("varnet"), arm("clip"), arm("clip", "random")]
    (given,) = answer(Endpoint("clip"), align(volume_table(pd.concat(both).drop_duplicates())), arms)
    assert given.arm == arm("clip")
    (alone,) = answer(Endpoint("clip"), align(volume_table(both[1])), [arms[0], arms[2]])
    assert alone.arm == arm("clip", "random")


def test_a_lower_error_is_a_gain():
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=6, seeds=1)
    found = align(volume_table(records))
    (by_error,) = answer(Endpoint("clip", metric="nmse_volume", accelerations=(10,)), found, ARMS)
    (by_ssim,) = answer(Endpoint("clip", accelerations=(10,)), found, ARMS)
    assert by_error.found.estimate.value > 0 and by_ssim.found.estimate.value > 0
    (other,) = answer(Endpoint("varnet", baseline="clip", accelerations=(10,)), found, ARMS)
    assert other.found.estimate.value == pytest.approx(-by_ssim.found.estimate.value)


def test_what_was_not_named_does_not_count():
    records = fake_records(("varnet", "clip"), anatomies=("cardiac", "knee"), subjects=6, seeds=1)
    found = align(volume_table(records))
    by_name, by_anatomy = (
        answer(Endpoint("clip", test_sets=[name]), found, ARMS)[0] for name in ("Phantom knee", "knee")
    )
    assert by_name.found.estimate == by_anatomy.found.estimate and by_name.test_sets == 1
    assert answer(Endpoint("clip", test_sets=["brain"]), found, ARMS) == []
    assert answer(Endpoint("biomedclip"), found, ARMS) == []
    assert answer(Endpoint("clip", accelerations=(5,)), found, ARMS) == []


def test_the_baseline_of_an_endpoint_is_of_its_physics():
    methods, physics = ("varnet", "varnet_zero", "clip"), ("paper", "anchored")
    records = fake_records(methods, anatomies=("knee",), subjects=4, seeds=1, physics=physics)
    found, arms = align(volume_table(records)), [arm(m, physics=kind) for m in methods for kind in physics]
    (paper,), (anchored,) = (
        answer(Endpoint("clip", "varnet_zero", physics=kind), found, arms) for kind in physics
    )
    assert paper.arm == arm("clip") and paper.baseline == arm("varnet_zero")
    assert anchored.arm == arm("clip", physics="anchored")
    assert anchored.baseline == arm("varnet_zero", physics="anchored")
    assert answer(Endpoint("clip", physics="anchored"), found, arms) == []  # no E2E-VarNet there
    silent = {name: value for name, value in Endpoint("clip").content().items() if name != "physics"}
    assert Endpoint.of(silent) == Endpoint("clip", physics="paper")


def test_endpoints_that_cannot_be_answered_are_refused():
    with pytest.raises(InputError, match=r"primary\.metric 'sim': choose from ssim"):
        Endpoint("clip", metric="sim")
    for margin in (0, -0.01, np.nan):
        with pytest.raises(InputError, match=r"primary\.margin is"):
            Endpoint("clip", margin=margin)


def test_a_gain_that_grows_with_acceleration_is_an_interaction():
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=9, seeds=1)
    found = interactions(align(volume_table(records)), arm("varnet"), ARMS)
    (row,) = found.itertuples()
    ends = gains(records).groupby(["subject", "acceleration"]).gain.mean().unstack()
    expected = stats.ttest_1samp(ends[10.0] - ends[4.0], 0)
    assert row.difference == pytest.approx((ends[10.0] - ends[4.0]).mean())
    assert row.p_value == pytest.approx(expected.pvalue) == pytest.approx(row.p_holm)
    assert (row.of, row.against, row.subjects) == ("acceleration", "x10 minus x4", 9)


def test_a_gain_that_differs_between_anatomies_is_an_interaction():
    records = fake_records(("varnet", "clip"), subjects=6, seeds=1, accelerations=(8.0,))
    found = interactions(align(volume_table(records)), arm("varnet"), ARMS)
    assert found.of.to_list() == ["anatomy"] * 2 and found.anatomy.to_list() == ["knee", "brain"]
    by_subject = gains(records).groupby(["anatomy", "subject"]).gain.mean()
    welch = stats.ttest_ind(by_subject["knee"], by_subject["cardiac"], equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert (found.low[0], found.high[0]) == pytest.approx((interval.low, interval.high))
    assert found.against[0] == "knee minus cardiac (Phantom heart)" and found.subjects[0] == 12
    assert (found.p_holm >= found.p_value).all()


def test_with_several_seeds_an_interaction_holds_their_variance():
    one, three = (
        interactions(
            align(volume_table(fake_records(("varnet", "clip"), subjects=6, seeds=seeds))),
            arm("varnet"),
            ARMS,
        )
        for seeds in (1, 3)
    )
    assert not one.covers_seeds.any() and three.covers_seeds.all()
    assert len(one) == len(three) == 3 + 2


def test_an_endpoint_is_named_once_and_before_results(tmp_path):
    named = Endpoint("dinov2", test_sets=["knee"], accelerations=[8])
    settled = settle_endpoint(named, tmp_path)
    assert Endpoint.of(settled) == Endpoint("dinov2", test_sets=("knee",), accelerations=(8,))
    assert settled["after_results"] is False
    (tmp_path / "provenance.json").write_text(json.dumps({"unfinished": {"primary": settled}}))
    (tmp_path / "records.csv").touch()
    # the same one again, or none, leave it as it is
    assert settle_endpoint(named, tmp_path) == settle_endpoint(None, tmp_path) == settled
    with pytest.raises(InputError, match=r"names another primary endpoint .* give another --output"):
        settle_endpoint(Endpoint("dinov2", margin=0.02), tmp_path)
    (tmp_path / "provenance.json").write_text(json.dumps({"protocol": {"primary": None}}))
    assert settle_endpoint(None, tmp_path) is None
    assert settle_endpoint(named, tmp_path)["after_results"] is True
