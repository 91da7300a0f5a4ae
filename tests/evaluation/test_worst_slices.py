import numpy as np
import pytest

from fake_records import arm, fake_records
from fm_unroll.evaluation.alignment import align
from fm_unroll.evaluation.records import volume_table
from fm_unroll.evaluation.worst_slices import worst_slices

METHODS = ("varnet", "clip", "cg_sense")


@pytest.fixture
def records():
    """41 slices a condition, so that the worst 5 % are three; two seeds."""
    made = fake_records(
        METHODS, anatomies=("knee",), subjects=41, slices=1, seeds=2, accelerations=(4.0, 8.0)
    )
    return made.sample(frac=1, random_state=0, ignore_index=True)  # nothing hangs on their order


def found(records):
    volumes = volume_table(records)
    table = worst_slices(records, align(volumes), sorted(volumes.arm.unique()))
    return table.set_index(["center", "acceleration", "arm"])


def test_each_run_has_worst_slices_of_its_own(records):
    """Slices that are set to known values, others in one seed than in the other, are all that counts."""
    here = (records.center == "0.08") & (records.acceleration == 8)
    for method, seed, values in (
        ("clip", 0, [0.1, 0.2, 0.3]),
        ("clip", 1, [0.4, 0.5, 0.0]),
        ("cg_sense", None, [0, 0, 0.3]),
    ):
        rows = records.index[here & (records.method == method) & ((records.seed == seed) | (seed is None))]
        records.loc[rows[7 * (seed or 0) :][: len(values)], "ssim"] = values
    table = found(records)
    assert table.loc[("0.08", 8.0, arm("clip")), "worst"] == pytest.approx((0.2 + 0.3) / 2)
    assert table.loc[("0.08", 8.0, arm("cg_sense")), "worst"] == pytest.approx(0.1)
    assert (table.slices == 41).all() and (table.worst_slices == 3).all()
    untouched = records[
        (records.center == "0.04") & (records.method == "cg_sense") & (records.acceleration == 4)
    ]
    expected = np.partition(untouched.ssim.to_numpy(), 2)[:3].mean()
    assert table.loc[("0.04", 4.0, arm("cg_sense")), "worst"] == pytest.approx(expected)


def test_the_slices_of_a_bad_seed_do_not_stand_for_those_of_a_good_one(records):
    """Six bad slices of one seed are the worst of both together, but no slice of the other."""
    clip = records.method == "clip"
    records.loc[clip, "ssim"] = 0.9
    for _, rows in records[clip & (records.seed == 0)].groupby(["center", "acceleration"]):
        records.loc[rows.index[:6], "ssim"] = 0.1
    worst = found(records).worst.xs(arm("clip"), level="arm")
    assert len(worst) == 4 and worst.to_numpy() == pytest.approx((0.1 + 0.9) / 2)


def test_one_in_twenty_is_rounded_up_and_exact_where_it_is_whole():
    for slices, expected in (
        (1, 1),
        (20, 1),
        (21, 2),
        (140, 7),
    ):  # 0.05 * 140 is more than 7 in floating point
        made = fake_records(
            ("cg_sense",), anatomies=("cardiac",), subjects=1, slices=slices, accelerations=(4.0,)
        )
        assert set(found(made).worst_slices) == {expected}


def test_a_method_that_failed_in_a_slice_has_no_number_and_says_how_many(records):
    rows = records.index[
        (records.method == "clip") & (records.center == "0.08") & (records.acceleration == 4)
    ][:2]
    scores = ["ssim", "psnr", "nmse", "squared_error", "challenge_ssim", "challenge_psnr", "challenge_nmse"]
    records.loc[rows, scores] = np.nan
    records.loc[rows, "status"] = "failed"
    table = found(records)
    failed = table.loc[("0.08", 4.0, arm("clip"))]
    assert np.isnan(failed.worst) and failed.failed == 2 and failed.status == "failed"
    assert table.drop(("0.08", 4.0, arm("clip"))).worst.notna().all()


def test_a_run_that_lacks_slices_is_missing(records):
    gone = (records.method == "clip") & (records.acceleration == 8)
    table = found(records[~(gone & (records.subject == "K003"))])
    missing = table.loc[("0.04", 8.0, arm("clip"))]
    assert missing.status == "missing" and np.isnan(missing.worst)
    assert table.loc[("0.04", 4.0, arm("clip"))].status == "ok"
