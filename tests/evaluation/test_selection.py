import numpy as np
import pandas as pd
import pytest

from fake_records import arm, fake_records
from fm_unroll.evaluation.alignment import align
from fm_unroll.evaluation.records import CONDITION, volume_table
from fm_unroll.evaluation.selection import PLACE, best_classical, extremes, pictured, shown_runs, typical


@pytest.fixture(scope="module")
def shown() -> pd.DataFrame:
    return shown_runs(fake_records(("varnet", "clip", "random", "zero_filled"), subjects=5))


def test_every_arm_is_shown_by_its_lowest_seed(shown):
    assert not shown.duplicated(["arm", *PLACE]).any()
    assert (
        set(shown[shown.method == "clip"].seed) == {0}
        and shown[shown.method == "zero_filled"].seed.isna().all()
    )


def test_models_are_shown_at_the_training_acceleration_of_the_tables():
    records = fake_records(("varnet",), anatomies=("knee",), subjects=2, seeds=1, accelerations=(8.0,))
    other = records.assign(train_acceleration=4.0, checkpoint_sha256="other")
    assert set(shown_runs(pd.concat([records, other], ignore_index=True)).train_acceleration) == {8}
    assert set(shown_runs(other).train_acceleration) == {4}


def test_the_general_network_keeps_no_other_off():
    """It was trained for x4 as for all; a network for x8 is still the nearest one there is at x4."""
    records = fake_records(("varnet", "clip"), subjects=3, seeds=1, accelerations=(4.0,))
    general = records[records.method == "clip"].assign(
        method="general", encoder="", encoder_weights="", checkpoint_sha256="general"
    )
    both = pd.concat([records.assign(train_acceleration=8.0), general], ignore_index=True)
    shown = shown_runs(both)
    assert set(shown.method) == {"varnet", "clip", "general"}
    (found, *_) = align(volume_table(both))
    assert {arm.method for arm in found.values} == {"varnet", "clip", "general"}
    assert found.train_acceleration == 8 and not found.missing


def test_the_typical_slice_has_the_median_ssim_of_the_baseline(shown):
    chosen = typical(shown)
    assert len(chosen) == 5 * 3 and [p.anatomy for p in [*chosen][::6]] == ["cardiac", "knee", "brain"]
    for place in chosen:
        rows = shown[(shown[list(PLACE[:4])] == list(place[:4])).all(axis=1) & (shown.method == "varnet")]
        ssim = rows[(rows[list(PLACE)] == list(place)).all(axis=1)].ssim.item()
        assert (rows.ssim < ssim).sum() in (len(rows) // 2 - 1, len(rows) // 2)
    assert set(chosen.values()) == {arm("varnet")}
    zero_filled = typical(shown[shown.method != "varnet"])
    assert set(zero_filled.values()) == {arm("zero_filled")}
    assert len(zero_filled) == len(chosen) and zero_filled != chosen


def test_the_extremes_are_those_of_all_slices(shown):
    best, worst, *others = extremes(shown)
    assert (best.kind, worst.kind) == ("best", "worst")
    assert best.arm == worst.arm == arm("clip") and best.baseline == worst.baseline == arm("varnet")
    assert [case.arm for case in others] == [arm("random")] * 2
    table = shown.pivot(index=list(PLACE), columns="method", values="ssim")
    gain = table["clip"] - table["varnet"]
    assert gain[best.place] == gain.max() and gain[worst.place] == gain.min()


def test_failed_slices_are_not_shown_as_extreme_or_typical(shown):
    best, *_ = extremes(shown)
    here = (shown[list(PLACE)] == list(best.place)).all(axis=1)
    failed = shown.assign(ssim=shown.ssim.mask(here, np.nan), status=shown.status.mask(here, "failed"))
    assert extremes(failed)[0].place != best.place
    assert best.place not in typical(failed)


def test_without_another_trained_method_or_a_baseline_there_are_no_extremes(shown):
    assert extremes(shown[shown.method != "varnet"]) == []
    assert extremes(shown[shown.method.isin(["varnet", "zero_filled"])]) == []


def test_extremes_are_differences_to_the_baseline_of_the_same_training_data(shown):
    other = shown.assign(training_data="elsewhere")
    alike = [shown[shown.method != "varnet"], other[other.method == "varnet"]]
    assert extremes(pd.concat(alike)) == []


def test_every_place_is_pictured_once(shown):
    places = pictured(shown)
    assert len(places) == len(set(places)) and {*typical(shown), *(e.place for e in extremes(shown))} == set(
        places
    )


def test_the_best_without_training_is_classical_and_has_a_mean():
    here, there = ("Phantom knee", "knee", "0.08", 4.0), ("Phantom knee", "knee", "0.08", 8.0)
    rows = [
        (*here, arm("varnet"), "ssim", 0.99),
        (*here, arm("zero_filled"), "ssim", 0.95),
        (*here, arm("wavelet"), "ssim", 0.8),
        (*here, arm("cg_sense"), "ssim", 0.7),
        (*here, arm("cg_sense"), "psnr", 40.0),
        (*there, arm("varnet"), "ssim", 0.9),
        (*there, arm("cg_sense"), "ssim", np.nan),
    ]
    means = pd.DataFrame(rows, columns=[*CONDITION, "arm", "metric", "mean"])
    assert best_classical(means) == {here: arm("wavelet")}
