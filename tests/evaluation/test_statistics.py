"""Means and paired differences of records: against pandas and SciPy, and against the effects put in."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fake_records import EFFECTS, arm, fake_records, true_acceleration
from fm_unroll.evaluation import statistics
from fm_unroll.evaluation.alignment import align
from fm_unroll.evaluation.inference import holm
from fm_unroll.evaluation.records import volume_table
from fm_unroll.evaluation.statistics import Term, contrast

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
    assert compared.p_holm.ge(compared.p_value).all() and compared.covers_seeds.all()


def test_with_one_seed_the_differences_are_those_of_a_paired_t_test():
    records = fake_records(
        ("varnet", "clip"), subjects=7, seeds=1, anatomies=("brain",), accelerations=(8.0,)
    )
    row = compare(align(volume_table(records)), "varnet", ["clip"]).iloc[1]
    by_subject = records[records.center == row.center].groupby(["method", "subject"]).ssim.mean().unstack(0)
    expected = stats.ttest_rel(by_subject["clip"], by_subject["varnet"])
    assert row.difference == pytest.approx((by_subject["clip"] - by_subject["varnet"]).mean())
    assert row.p_value == pytest.approx(expected.pvalue)
    assert (row.low, row.high) == pytest.approx(expected.confidence_interval(0.95))
    assert row.cohens_dz == pytest.approx(expected.statistic / np.sqrt(7))
    assert row.baseline_mean == pytest.approx(by_subject["varnet"].mean())
    assert not row.covers_seeds


def test_with_several_seeds_their_variance_is_in_the_interval():
    records = fake_records(
        ("varnet", "clip"), subjects=9, seeds=4, anatomies=("cardiac",), accelerations=(8.0,)
    )
    row = compare(align(volume_table(records)), "varnet", ["clip"]).iloc[0]
    means = records.groupby(["method", "seed", "subject"]).ssim.mean().unstack("subject")
    differences = means.loc["clip"].mean() - means.loc["varnet"].mean()
    seeds = means.mean(axis=1)
    variances = [differences.var() / 9, seeds["clip"].var() / 4, seeds["varnet"].var() / 4]
    freedom = sum(variances) ** 2 / sum(v**2 / f for v, f in zip(variances, (8, 3, 3), strict=True))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(variances))
    assert (row.high - row.low) / 2 == pytest.approx(half) and row.covers_seeds
    assert (row.low + row.high) / 2 == pytest.approx(row.difference) == pytest.approx(differences.mean())


def test_with_one_seed_on_one_side_the_interval_is_over_subjects():
    records = fake_records(
        ("varnet", "clip", "zero_filled"), subjects=9, seeds=4, anatomies=("cardiac",), accelerations=(8.0,)
    )
    alone = records[(records.method != "clip") | (records.seed == 0)]
    row = compare(align(volume_table(alone)), "varnet", ["clip"]).iloc[0]
    by_subject = alone.groupby(["method", "subject"]).ssim.mean().unstack(0)
    expected = stats.ttest_rel(by_subject["clip"], by_subject["varnet"]).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx(expected) and not row.covers_seeds
    # what is not trained has no seeds to cover
    assert compare(align(volume_table(records)), "zero_filled", ["clip"]).covers_seeds.all()


def test_subjects_count_alike_however_many_volumes_they_have():
    records = fake_records(("varnet", "clip"), subjects=6, seeds=1, anatomies=("knee",), accelerations=(8.0,))
    records = records[records.center == "0.08"]
    twice = records[records.subject == "K001"].assign(volume="K001/again")
    both = pd.concat([records, twice, twice.assign(slice=twice.slice + 2)], ignore_index=True)
    means = describe(align(volume_table(both)), ["varnet", "clip"], ["ssim"]).set_index("arm")
    by_subject = records.groupby(["method", "subject"]).ssim.mean().unstack(0).mean()
    over_slices = both.groupby("method").ssim.mean()
    assert means["mean"].to_dict() == pytest.approx(by_subject.to_dict())
    assert means["slice_mean"].to_dict() == pytest.approx(over_slices.to_dict())
    assert means.slice_mean["clip"] != pytest.approx(means["mean"]["clip"], rel=1e-6)
    row = compare(align(volume_table(both)), "varnet", ["clip"]).iloc[0]
    assert row.difference == pytest.approx(by_subject["clip"] - by_subject["varnet"])
    assert (row.subjects, row.volumes) == (6, 7)


def test_fewer_than_three_subjects_are_not_tested_however_many_volumes():
    records = fake_records(("varnet", "clip"), subjects=10, anatomies=("knee",))
    records["subject"] = "S" + (records.subject.str[1:].astype(int) // 5).astype(str)
    compared = compare(align(volume_table(records)), "varnet", ["clip"])
    assert (compared.subjects == 2).all() and (compared.volumes == 10).all()
    assert compared[["p_value", "p_holm", "low", "high"]].isna().all(axis=None) and not compared.clear.any()
    assert compared.difference.notna().all()


def test_a_contrast_pairs_subjects_within_a_data_set_and_adds_variances_between():
    records = fake_records(("varnet", "clip"), subjects=8, seeds=1, anatomies=("cardiac", "knee"))
    found = align(volume_table(records))
    places = {(c.anatomy, c.center, c.acceleration): c for c in found}
    four, eight = (places["cardiac", "24 ACS lines", a] for a in (4, 8))
    terms = [
        Term(sign, condition, arm(method))
        for sign, condition, method in (
            *((1, eight, "clip"), (-1, eight, "varnet"), (-1, four, "clip"), (1, four, "varnet")),
        )
    ]
    ssim = records.groupby(["anatomy", "center", "acceleration", "method", "subject"]).ssim.mean()
    gain = ssim.unstack("method").eval("clip - varnet")
    hearts = gain["cardiac", "24 ACS lines"].unstack("acceleration")
    expected = stats.ttest_1samp(hearts[8] - hearts[4], 0)
    within = contrast(terms, "ssim")
    assert within.estimate.value == pytest.approx((hearts[8] - hearts[4]).mean())
    assert within.estimate.p_value == pytest.approx(expected.pvalue) and within.subjects == 8

    knee = places["knee", "0.08", 8]
    between = contrast([*terms[:2], Term(-1, knee, arm("clip")), Term(1, knee, arm("varnet"))], "ssim")
    knees = gain["knee", "0.08", 8.0]
    welch = stats.ttest_ind(hearts[8], knees, equal_var=False).confidence_interval(0.95)
    assert (between.estimate.low, between.estimate.high) == pytest.approx((welch.low, welch.high))
    assert between.subjects == 16


@pytest.mark.parametrize("for_a_range", [False, True])
def test_a_network_at_two_conditions_is_one_network(for_a_range):
    """What a network adds at both cancels in their difference: its seed adds no variance there."""
    records = fake_records(
        ("varnet", "clip"), subjects=8, seeds=3, anatomies=("cardiac",), accelerations=(4.0, 8.0)
    )
    four, eight = align(volume_table(records))
    terms = [Term(1, eight, arm("clip")), Term(-1, four, arm("clip"))]
    apart = contrast(terms, "ssim").estimate
    one = records.assign(
        train_acceleration=records.acceleration if for_a_range else 8.0,
        checkpoint_sha256=records.method + records.seed.astype(str),
    )
    shift = one.seed.map({0.0: 0.0, 1.0: 0.1, 2.0: -0.1})  # of each seed, at both accelerations
    same = align(volume_table(one.assign(ssim=one.ssim + shift)))
    together = contrast([Term(1, same[1], arm("clip")), Term(-1, same[0], arm("clip"))], "ssim").estimate
    plain = align(volume_table(one))
    without = contrast([Term(1, plain[1], arm("clip")), Term(-1, plain[0], arm("clip"))], "ssim").estimate
    assert (together.low, together.high) == pytest.approx((without.low, without.high))
    assert together.value == pytest.approx(apart.value)
    # a table adds the degrees of freedom of each network once
    pairs = [
        statistics.paired(condition, arm("clip"), arm("varnet"), "ssim")
        for condition in (*plain, four, eight)
    ]
    trainings = [pair.training for pair in pairs]
    assert trainings[0] == trainings[1] and len(set(trainings[2:])) == 2


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
    records.loc[trained, "checkpoint_sha256"] = records.method + records.train_acceleration.astype(str)
    four, eight, ten = align(volume_table(records))
    assert (four.train_acceleration, eight.train_acceleration, ten.train_acceleration) == (4, 8, 8)
    varnet, clip, zero_filled = map(arm, ("varnet", "clip", "zero_filled"))
    assert four.missing == {varnet: "no model trained at x4"} and set(four.values) == {clip, zero_filled}
    assert set(eight.values) == {varnet, clip, zero_filled} and not eight.missing
    assert ten.missing == {clip: "no model trained at x8"}


def test_methods_that_were_trained_on_different_data_are_not_compared():
    records = fake_records(("varnet", "clip", "zero_filled"), subjects=4, seeds=1, anatomies=("knee",))
    trained = records.method != "zero_filled"
    for theirs, compared in (("hearts", True), ("", True), ("others", False)):
        ways = {"varnet": "hearts", "clip": theirs, "zero_filled": ""}
        found = align(volume_table(records.assign(training_data=records.method.map(ways))))
        assert bool(len(compare(found, "varnet", ["clip"]))) is compared
        assert len(compare(found, "zero_filled", ["clip"])) == 6 and trained.any()


def test_the_order_is_the_papers():
    found = align(volume_table(fake_records(("varnet",), subjects=2, seeds=1)))
    places = [(c.anatomy, c.center, c.acceleration) for c in found]
    assert places[:4] == [("cardiac", "24 ACS lines", a) for a in (4, 8, 10)] + [("knee", "0.08", 4)]
    assert places[-1] == ("brain", "0.04", 10)


def test_methods_without_training_stand_beside_and_cost_the_trained_ones_nothing():
    methods, floors = ["clip", "dinov2"], ["zero_filled", "wavelet"]
    records = fake_records(("varnet", *methods, *floors), anatomies=("knee",))
    found = align(volume_table(records))
    both, alone = (compare(found, "varnet", arms) for arms in (methods + floors, methods))
    own = both[both.arm.isin(set(alone.arm))].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone)
    beside = both[~both.arm.isin(set(alone.arm))]
    assert len(beside) == 2 * 2 * 3 and (beside.difference < 0).all()
    smallest = beside.loc[beside.p_value.idxmin()]
    assert smallest.p_holm == pytest.approx(len(beside) * smallest.p_value)


def test_holm_corrects_over_one_data_set_anatomy_and_metric_with_floors_apart():
    """Two data sets of knees, and a data set of knees and heads: no family is told by one name alone."""
    methods, floors = ("clip", "dinov2"), ("zero_filled", "wavelet")
    records = fake_records(("varnet", *methods, *floors), seeds=1, accelerations=(4.0, 8.0))
    records["dataset"] = records.dataset.replace("Phantom head", "Phantom knee")
    knees = records[records.anatomy == "knee"]
    others = knees.assign(dataset="Other knees", ssim=knees.ssim + 0.01 * (knees["slice"] - 0.5))
    found = align(volume_table(pd.concat([records, others], ignore_index=True)))
    table = statistics.compare(
        found, arm("varnet"), [arm(name) for name in methods + floors], ("ssim", "psnr_volume")
    )
    floor = table.arm.map(str).isin([str(arm(name)) for name in floors])
    domains = table[["dataset", "anatomy"]].drop_duplicates().itertuples(index=False, name=None)
    counted = 0
    for dataset, anatomy in domains:
        for metric in ("ssim", "psnr_volume"):
            for apart in (False, True):
                rows = table[
                    (table.dataset == dataset)
                    & (table.anatomy == anatomy)
                    & (table.metric == metric)
                    & (floor == apart)
                ]
                assert len(rows) == 2 * 2 * (1 if anatomy == "cardiac" else 2)
                assert rows.p_holm.to_numpy() == pytest.approx(holm(rows.p_value.to_list()))
                counted += len(rows)
    assert counted == len(table) == (4 + 3 * 8) * 2 * 2


def test_what_subjects_add_is_what_is_compared():
    """In another metric, with failures of both sides, several seeds, and a method of other training data."""
    records = fake_records(("varnet", "clip", "dinov2", "wavelet"), seeds=3, anatomies=("cardiac",))
    at_eight = records.acceleration == 8
    for method, subject in (("clip", "C003"), ("varnet", "C005")):
        fail(records, (records.method == method) & (records.subject == subject) & at_eight)
    ways = {"varnet": "hearts", "clip": "hearts", "dinov2": "others", "wavelet": ""}
    records["training_data"] = records.method.map(ways)
    volumes = volume_table(records)
    arms = [arm(name) for name in ("varnet", "clip", "dinov2", "wavelet")]
    found = align(volumes)
    added = statistics.subject_differences(found, arm("varnet"), arms, "psnr_volume")
    compared = statistics.compare(found, arm("varnet"), arms, ("psnr_volume",)).set_index(
        ["acceleration", "arm"]
    )
    groups = added.groupby(["acceleration", "arm"]).difference
    assert groups.mean().to_dict() == pytest.approx(compared.difference.to_dict())
    assert groups.size().to_dict() == compared.subjects.to_dict() and added.difference.notna().all()
    assert compared.subjects[8, arm("clip")] == 6 and compared.subjects[8, arm("wavelet")] == 7
    means = (
        volumes[volumes.acceleration == 4].groupby(["method", "subject"], observed=True).psnr_volume.mean()
    )
    expected = means["clip"] - means["varnet"]
    mine = added[(added.acceleration == 4) & (added.arm == arm("clip"))].set_index("subject").difference
    assert mine.to_dict() == pytest.approx(expected.to_dict())
    assert set(added.metric) == {"psnr_volume"} and set(added.arm) == {arm("clip"), arm("wavelet")}
