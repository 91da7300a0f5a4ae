import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fake_records import EFFECTS, arm, fake_records, true_acceleration
from fm_unroll.evaluation import statistics
from fm_unroll.evaluation.inference import bootstrap_interval, holm, signed_rank
from fm_unroll.evaluation.records import volume_table
from fm_unroll.evaluation.statistics import align, crossing, crossings

METRIC_COLUMNS = ["ssim", "psnr", "nmse", "squared_error"]


def fail(records, rows):
    records.loc[rows, METRIC_COLUMNS] = np.nan
    records.loc[rows, "status"] = "failed"


def compare(found, baseline, methods):
    """The comparisons in SSIM, with the text of each arm."""
    table = statistics.compare(found, arm(baseline), [arm(method) for method in methods])
    return table.assign(arm=table.arm.map(str))


def describe(found, methods, metrics):
    """The means, with the text of each arm."""
    table = statistics.describe(found, [arm(method) for method in methods], metrics)
    return table.assign(arm=table.arm.map(str))


# --- intervals


def test_with_one_seed_and_many_subjects_the_interval_is_that_of_students_t():
    values = np.random.default_rng(1).normal(0.8, 0.05, (1, 60))
    low, high = bootstrap_interval(values, np.arange(60), resamples=40000)
    expected = stats.t.interval(0.95, 59, loc=values.mean(), scale=stats.sem(values[0]))
    assert (low, high) == pytest.approx(expected, abs=0.06 * (expected[1] - expected[0]))


def test_volumes_of_one_subject_are_not_independent():
    values = np.random.default_rng(2).normal(size=(1, 12))
    once = bootstrap_interval(values, np.arange(12))
    repeated = bootstrap_interval(np.repeat(values, 10, axis=1), np.repeat(np.arange(12), 10))
    assert repeated == pytest.approx(once)


def test_pairing_removes_what_methods_share():
    rng = np.random.default_rng(3)
    baseline = rng.normal(0, 5, (1, 20))
    assert bootstrap_interval(baseline + 0.25, np.arange(20), baseline) == pytest.approx((0.25, 0.25))


def test_seeds_are_a_source_of_variation_of_their_own():
    of_seed = np.random.default_rng(4).normal(size=(40, 1))
    values = np.broadcast_to(of_seed, (40, 50))  # subjects do not vary at all
    low, high = bootstrap_interval(values, np.arange(50), resamples=40000)
    half_width = stats.t.ppf(0.975, 49) * stats.sem(of_seed[:, 0])
    assert high - low == pytest.approx(2 * half_width, rel=0.06)
    assert bootstrap_interval(values[:1], np.arange(50)) == pytest.approx((of_seed[0, 0], of_seed[0, 0]))


def test_one_subject_gives_no_interval():
    assert np.isnan(bootstrap_interval(np.ones((3, 4)), np.zeros(4))).all()


@pytest.mark.parametrize(("seeds", "subjects"), [(1, 8), (1, 25), (6, 12)])
def test_intervals_cover_the_truth_as_often_as_they_say(seeds, subjects):
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        arms = [
            rng.normal(0, 0.3 if seeds > 1 else 0, (seeds, 1)) + rng.normal(0, 0.5, (seeds, 2 * subjects))
            for _ in range(2)
        ]
        of_subject = np.repeat(
            rng.normal(0, 1, subjects), 2
        )  # two volumes a subject share an effect of the method
        low, high = bootstrap_interval(
            arms[0] + of_subject + 0.7, np.repeat(np.arange(subjects), 2), arms[1], resamples=1000
        )
        hits += low <= 0.7 <= high
    assert 0.92 <= hits / 400 <= 0.985  # three standard errors about 0.95, a little more room above


# --- test and effect sizes


def test_signed_rank_is_wilcoxons():
    differences = np.random.default_rng(6).normal(0.4, 1, 15)
    result = signed_rank(differences)
    reference = stats.wilcoxon(differences)
    assert result.p_value == pytest.approx(reference.pvalue)
    positive = stats.wilcoxon(differences, alternative="greater").statistic  # the sum of the positive ranks
    assert result.rank_biserial == pytest.approx(2 * positive / (15 * 16 / 2) - 1)
    t_statistic = stats.ttest_1samp(differences, 0).statistic
    assert result.cohens_dz == pytest.approx(t_statistic / np.sqrt(15))


def test_effect_size_by_hand():
    # ranks of |d|: 1, 2, 3.5, 3.5, 5, 6; positive: 2 + 3.5 + 3.5 + 5 + 6 = 20 of 21
    assert signed_rank(np.array([-1, 2, 3, 3, 4, 5.0])).rank_biserial == pytest.approx((20 - 1) / 21)


def test_few_subjects_ties_and_equality_are_said():
    assert np.isnan(signed_rank(np.arange(1, 6.0)).p_value)
    assert signed_rank(np.arange(1, 7.0)).p_value == pytest.approx(2 * 0.5**6)
    half = signed_rank(np.array([0, 0, 0, 1, 2, 3.0]))
    assert half.ties == 3 and half.p_value == pytest.approx(2 * 0.5**3)
    equal = signed_rank(np.zeros(8))
    assert (equal.p_value, equal.rank_biserial, equal.ties) == (1.0, 0.0, 8) and np.isnan(equal.cohens_dz)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_closed_testing_with_bonferroni(p_values):
    """A hypothesis is rejected if every intersection that contains it is; Holm's steps shorten that."""
    everything = range(len(p_values))
    subsets = [set(s) for size in everything for s in itertools.combinations(everything, size + 1)]
    bonferroni = [min(1, len(s) * min(p_values[i] for i in s)) for s in subsets]
    closed = [max(p for p, s in zip(bonferroni, subsets, strict=True) if i in s) for i in everything]
    np.testing.assert_allclose(holm(p_values), closed, atol=1e-12)


def test_holm_by_hand_and_without_the_untested():
    assert holm([0.04, np.nan, 0.01, 0.03]) == pytest.approx([0.06, np.nan, 0.03, 0.06], nan_ok=True)


# --- crossing


def test_crossing_is_where_the_line_meets_zero():
    assert crossing([2, 4, 8], [-1, -0.5, 0.5]) == pytest.approx(6)
    assert crossing([2, 4, 8], [-1, 0, 0.5]) == pytest.approx(4)
    assert np.isnan(crossing([2, 4, 8], [0.1, 0.2, 0.3]))
    assert np.isnan(crossing([2, 4, 8], [-0.1, -0.2, -0.3]))
    assert crossing([2, 4, 8, 9], [-1, 1, -1, 1]) == pytest.approx(3)  # the first of two


# --- from volumes to comparisons


def test_the_effects_put_in_come_out():
    records = fake_records(("varnet", "clip", "dinov2"), subjects=16, seeds=3, anatomies=("knee",))
    compared = compare(align(volume_table(records)), "varnet", ["varnet", "clip", "dinov2"])
    assert len(compared) == 2 * 3 * 2 and (compared.subjects == 16).all() and (compared.seeds == 3).all()
    for row in compared.itertuples():
        slope, origin = EFFECTS[row.arm]
        truth = slope * (true_acceleration(row.acceleration, row.center) - origin)
        assert row.low - 0.004 <= truth <= row.high + 0.004  # the few seeds drawn here are off by about 0.002
        assert row.difference == pytest.approx(truth, abs=0.006)
    assert compared.p_holm.ge(compared.p_value).all()
    found = crossings(compared[compared.arm == "clip"])
    assert found.crossing.to_list() == pytest.approx([3.9, 3.9], abs=0.45)
    assert found.clear.all()


def test_the_differences_are_those_of_numpy():
    records = fake_records(
        ("varnet", "clip"), subjects=7, seeds=2, anatomies=("brain",), accelerations=(8.0,)
    )
    row = compare(align(volume_table(records)), "varnet", ["clip"]).iloc[1]
    chosen = records[records.center == row.center]
    by_subject = chosen.groupby(["method", "subject"]).ssim.mean().unstack(0)
    differences = by_subject["clip"] - by_subject["varnet"]
    assert row.difference == pytest.approx(differences.mean())
    assert row.p_value == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert row.baseline_mean == pytest.approx(by_subject["varnet"].mean())


def test_fewer_than_six_subjects_are_not_tested_however_many_volumes():
    records = fake_records(("varnet", "clip"), subjects=10, anatomies=("knee",))
    records["subject"] = "S" + (records.subject.str[1:].astype(int) // 2).astype(str)
    compared = compare(align(volume_table(records)), "varnet", ["clip"])
    assert (compared.subjects == 5).all() and (compared.volumes == 10).all()
    assert compared[["p_value", "p_holm"]].isna().all(axis=None) and not compared.clear.any()
    assert compared[["low", "high", "difference"]].notna().all(axis=None)


def test_a_failed_volume_leaves_the_comparison_for_both_and_is_counted():
    records = fake_records(("varnet", "clip", "dinov2"), subjects=8, seeds=1, anatomies=("cardiac",))
    fail(records, (records.method == "clip") & (records.subject == "C003") & (records.acceleration == 8))
    found = align(volume_table(records))
    compared = compare(found, "varnet", ["clip", "dinov2"]).set_index(["acceleration", "arm"])
    assert compared.loc[(8, "clip"), "excluded"] == 1 and compared.loc[(8, "clip"), "volumes"] == 7
    assert compared.loc[(8, "dinov2"), "excluded"] == 0
    without = records[(records.subject != "C003") & (records.acceleration == 8)].groupby("method").ssim.mean()
    assert compared.loc[(8, "clip"), "difference"] == pytest.approx(without["clip"] - without["varnet"])
    means = describe(found, ["varnet", "clip", "dinov2"], ["ssim"]).set_index(["acceleration", "arm"])
    assert means.loc[8, "mean"].to_dict() == pytest.approx(
        without.to_dict()
    )  # the same volumes for all three
    assert (means.loc[8, "excluded"] == 1).all() and (means.loc[4, "excluded"] == 0).all()
    assert means.loc[(8, "clip"), "failed"] == 1


def test_a_method_that_fails_mostly_does_not_take_the_others_with_it():
    records = fake_records(
        ("varnet", "clip"), subjects=4, seeds=1, anatomies=("cardiac",), accelerations=(8.0,)
    )
    fail(records, (records.method == "clip") & (records.subject != "C003"))
    means = describe(align(volume_table(records)), ["varnet", "clip"], ["ssim"]).set_index("arm")
    assert means.status.to_dict() == {"varnet": "ok", "clip": "failed"}
    assert means.loc["varnet", "volumes"] == 4 and np.isnan(means.loc["clip", "mean"])


def test_what_is_incomplete_is_missing_and_never_a_mean_over_less():
    records = fake_records(
        ("varnet", "clip"), subjects=4, seeds=2, anatomies=("cardiac",), accelerations=(4.0, 8.0)
    )
    clip, at_eight = records.method == "clip", records.acceleration == 8
    records = records[~(clip & at_eight)]
    records = records[~((records.method == "clip") & (records.seed == 1) & (records.slice == 1))]
    found = align(volume_table(records))
    means = describe(found, ["varnet", "clip"], ["ssim"]).set_index(["acceleration", "arm"])
    assert means.loc[(8, "clip"), "status"] == "missing" and means.loc[(8, "clip"), "note"] == "not run"
    assert means.loc[(4, "clip"), "seeds"] == 1
    assert means.loc[(4, "clip"), "note"] == "seed 1: 0 of 4 volumes complete"
    assert compare(found, "varnet", ["clip"]).acceleration.to_list() == [4]


def test_trained_methods_are_compared_at_one_training_acceleration():
    records = fake_records(("varnet", "clip", "zero_filled"), subjects=3, seeds=1, anatomies=("cardiac",))
    trained = records.train_acceleration.notna()
    records.loc[trained & (records.method == "varnet"), "train_acceleration"] = 8.0
    records.loc[trained & (records.method == "clip") & (records.acceleration == 10), "train_acceleration"] = (
        4.0
    )
    four, eight, ten = align(volume_table(records))
    assert (four.train_acceleration, eight.train_acceleration, ten.train_acceleration) == (4, 8, 8)
    varnet, clip, zero_filled = map(arm, ("varnet", "clip", "zero_filled"))
    assert four.missing == {varnet: "no model trained at x4"} and set(four.values) == {clip, zero_filled}
    assert set(eight.values) == {varnet, clip, zero_filled} and not eight.missing
    assert ten.missing == {clip: "no model trained at x8"}


def test_the_order_is_the_papers():
    found = align(volume_table(fake_records(("varnet",), subjects=2, seeds=1)))
    places = [(c.anatomy, c.center, c.acceleration) for c in found]
    assert places[:4] == [("cardiac", "24 ACS lines", a) for a in (4, 8, 10)] + [("knee", "0.08", 4)]
    assert places[-1] == ("brain", "0.04", 10)
