"""Whether gains survive another physics: against SciPy, and against the effects put in."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fake_records import arm, fake_records, gain, true_acceleration
from fm_unroll.evaluation.alignment import align
from fm_unroll.evaluation.by_physics import CHANGE, OUT_OF_DOMAIN, gains_by_physics, survival
from fm_unroll.evaluation.inference import holm
from fm_unroll.evaluation.records import volume_table

BOTH = ("paper", "anchored")
METHODS = ("varnet", "varnet_zero", "clip")


def study(methods: tuple[str, ...] = METHODS, **options: object) -> pd.DataFrame:
    asked = {"anatomies": ("cardiac", "knee"), "subjects": 6, "seeds": 1, "physics": BOTH} | options
    return fake_records(methods, **asked)


def found_in(records: pd.DataFrame) -> pd.DataFrame:
    volumes = volume_table(records)
    return gains_by_physics(align(volumes), sorted(set(volumes.arm)))


def test_gains_and_their_change_are_those_of_paired_tests():
    records = study()
    found = found_in(records)
    places = found.drop_duplicates(["dataset", "anatomy"])
    assert places.dataset.to_list() == [OUT_OF_DOMAIN, "Phantom heart", "Phantom knee"]
    outside = found[found.dataset == OUT_OF_DOMAIN].set_index("of")
    assert outside.index.to_list() == ["paper", "anchored", CHANGE] and set(outside.subjects) == {6}
    knees = records[records.anatomy == "knee"].groupby(["subject", "physics", "method"]).ssim.mean()
    by = knees.unstack(["physics", "method"])
    gains = {kind: by[kind, "clip"] - by[kind, "varnet_zero"] for kind in BOTH}
    gains[CHANGE] = gains["anchored"] - gains["paper"]
    for of, expected in gains.items():
        test = stats.ttest_1samp(expected, 0)
        assert outside.difference[of] == pytest.approx(expected.mean())
        assert outside.p_value[of] == pytest.approx(test.pvalue)
        assert (outside.low[of], outside.high[of]) == pytest.approx(test.confidence_interval(0.95))
    # knees alone are out of domain here
    pd.testing.assert_series_equal(
        outside.difference, found[found.anatomy == "knee"].set_index("of").difference
    )


def test_the_baseline_of_each_physics_is_its_own_u_net():
    (paper, anchored, _) = found_in(study(anatomies=("knee",)))[:3].itertuples()
    assert (paper.method, paper.baseline) == (arm("clip"), arm("varnet_zero"))
    assert (anchored.method, anchored.baseline) == (
        arm("clip", physics="anchored"),
        arm("varnet_zero", physics="anchored"),
    )


def test_the_effects_put_in_come_out_with_several_seeds_and_data_sets():
    found = found_in(study(anatomies=("cardiac", "knee", "brain"), subjects=8, seeds=3))
    outside = found[found.dataset == OUT_OF_DOMAIN].set_index("of")
    assert set(outside.test_sets) == {2} and outside.covers_seeds.all() and set(outside.subjects) == {16}
    places = [(c, a) for c in ("0.08", "0.04") for a in (4.0, 8.0, 10.0)]
    truth = {
        kind: np.mean([gain("clip", kind, t) - gain("varnet_zero", kind, t) for t in true])
        for kind in BOTH
        if (true := [true_acceleration(acceleration, center) for center, acceleration in places])
    }
    truth[CHANGE] = truth["anchored"] - truth["paper"]
    for of, value in truth.items():
        assert outside.low[of] - 0.002 < value < outside.high[of] + 0.002
        assert outside.difference[of] == pytest.approx(value, abs=0.004)


def test_the_change_holds_the_seeds_of_all_four_networks():
    """Seeds of one network that lie further apart widen its gain and the change, and not the other gain."""
    records = study(anatomies=("knee",), seeds=3)
    u_net = (records.method == "varnet_zero") & (records.physics == "anchored")
    spread = records.assign(ssim=records.ssim + 0.02 * (records.seed - 1) * u_net)
    near, far = (found_in(each)[:3].set_index("of").eval("high - low") for each in (records, spread))
    assert far["paper"] == pytest.approx(near["paper"])
    assert far["anchored"] > 2 * near["anchored"] and far[CHANGE] > 1.5 * near[CHANGE]


@pytest.mark.parametrize("other", ["besides_physics", "training_data"])
def test_no_change_is_estimated_where_more_than_the_physics_differs(other):
    records = study(anatomies=("knee",))
    records[other] = records[other].where(records.physics != "anchored", "other")
    if other == "training_data":
        records[other] = records[other].where(records.physics != "paper", "hearts")
    paper, anchored, change = found_in(records)[:3].itertuples()
    assert np.isfinite([paper.difference, anchored.difference]).all()
    assert np.isnan([change.difference, change.low, change.p_value, change.p_holm]).all()


def test_without_a_zero_head_the_paper_s_u_net_is_another_one():
    records = study(anatomies=("knee",))
    found = found_in(records[(records.method != "varnet_zero") | (records.physics == "anchored")])
    assert found.baseline[0] == arm("varnet") and np.isfinite(found.difference[0])
    assert np.isnan(found.difference[2])
    assert found_in(records[records.method != "varnet_zero"]).empty  # none in the anchored physics
    assert found_in(study(physics=("paper",))).empty


def test_what_was_trained_on_is_known_or_nothing_is_out_of_domain():
    records = study(anatomies=("knee",)).assign(train_anatomy="")
    assert OUT_OF_DOMAIN not in set(found_in(records).dataset)
    assert OUT_OF_DOMAIN not in set(found_in(records.assign(train_anatomy="knee")).dataset)


def test_changes_are_corrected_among_themselves():
    found = found_in(study((*METHODS, "dinov2", "random")))
    changes = found[found.of == CHANGE]
    outside = changes.dataset == OUT_OF_DOMAIN
    for family in (changes[outside], changes[~outside]):
        assert family.p_holm.to_numpy() == pytest.approx(holm(family.p_value.to_numpy()))
    assert found[found.of != CHANGE].p_holm.isna().all()
    assert set(changes.arm) == {arm("clip"), arm("dinov2"), arm("random")}


@pytest.mark.parametrize(
    ("before", "after", "change", "expected"),
    [
        ((1, 2), (1, 2), (-1, 1), "kept"),
        ((1, 2), (1, 2), (np.nan, np.nan), "kept"),
        ((1, 2), (3, 4), (1, 2), "larger"),
        ((3, 4), (1, 2), (-3, -1), "smaller"),
        ((3, 4), (-1, 1), (-4, -2), "lost"),
        ((1, 2), (-1, 1), (-2, 1), "open"),
        ((1, 2), (-1, 1), (np.nan, np.nan), "open"),
        ((1, 2), (-2, -1), (-4, -2), "reversed"),
        ((-1, 1), (-1, 1), (-1, 1), "none"),
        ((-2, -1), (-1, 1), (1, 2), "none"),
        ((-1, 1), (1, 2), (-1, 1), "appears"),
        ((-2, -1), (1, 2), (1, 3), "appears"),
        ((np.nan, np.nan), (1, 2), (1, 3), "not tested"),
        ((1, 2), (np.nan, np.nan), (1, 3), "not tested"),
    ],
)
def test_what_becomes_of_a_gain(before, after, change, expected):
    assert survival(pd.DataFrame([before, after, change], columns=["low", "high"])) == expected
