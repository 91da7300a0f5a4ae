import numpy as np
import pandas as pd
import pytest

from fake_records import arm, fake_records
from fm_unroll.errors import InputError
from fm_unroll.evaluation.records import (
    KEY,
    check_pairing,
    columns,
    read_records,
    record_arms,
    volume_table,
)

SMALL = {"anatomies": ("knee",), "subjects": 2, "seeds": 1, "accelerations": (4.0,)}


def write(path, records):
    records.to_csv(path, index=False)
    return path


def test_what_is_written_is_read_back_exactly_whatever_the_order_of_rows(tmp_path):
    made = fake_records(("varnet", "image_skip_only", "zero_filled"), **SMALL)
    shuffled = made.sample(frac=1, random_state=0)
    read = read_records(write(tmp_path / "records.csv", shuffled))
    assert tuple(read) == tuple(columns())
    pd.testing.assert_frame_equal(read, read_records(write(tmp_path / "other.csv", made)))
    # to the last digit
    in_order = made.sort_values(list(KEY), kind="stable", ignore_index=True)
    plain = read.astype({name: str for name, kind in columns().items() if kind is str})
    pd.testing.assert_frame_equal(plain, in_order, check_exact=True, check_dtype=False)
    assert read.synthetic.dtype == bool and read.seed.dtype == float and read.slice.dtype == int
    assert set(read.center) == {"0.08", "0.04"} and set(
        read[read.method == "image_skip_only"].checkpoint_sha256
    ) != {""}


def test_optional_metrics_may_be_absent(tmp_path):
    records = fake_records(("varnet",), **SMALL).drop(columns=["haarpsi", "lpips"])
    read = read_records(write(tmp_path / "records.csv", records))
    assert read[["haarpsi", "lpips"]].isna().all(axis=None)


def _two_versions(records):
    records.loc[0, "protocol_version"] = 1


def _no_mask_column(records):
    del records["mask_sha256"], records["ssim"]


def _twice(records):
    records.loc[len(records)] = records.loc[0]


def _word_for_number(records):
    records["ssim"] = records.ssim.astype(object)
    records.loc[1, "ssim"] = "good"


def _fraction_for_integer(records):
    records["slice"] = records["slice"] + 0.5


def _nan_not_failed(records):
    records.loc[0, "ssim"] = np.nan


def _unknown_anatomy(records):
    records.loc[0, "anatomy"] = "liver"


def _unknown_status(records):
    records.loc[0, "status"] = "done"


def _failed_with_metrics(records):
    records.loc[0, "status"] = "failed"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_two_versions, r"mixes protocol versions \[.*1.*2.*\]"),
        (_no_mask_column, "columns missing: mask_sha256, ssim"),
        (_twice, "recorded twice for varnet"),
        (_word_for_number, "line 3: ssim is 'good', expected float"),
        (_fraction_for_integer, "slice is '0.5', expected int"),
        (_nan_not_failed, "status 'ok' contradicts its metrics"),
        (_unknown_anatomy, "unknown anatomy 'liver'; known: cardiac, knee, brain"),
        (_unknown_status, "unknown status 'done'; known: ok, failed"),
        (_failed_with_metrics, "status 'failed' contradicts its metrics"),
    ],
)
def test_bad_records_are_refused_in_one_line(tmp_path, spoil, message):
    records = fake_records(("varnet",), **SMALL)
    spoil(records)
    with pytest.raises(InputError, match=message) as caught:
        read_records(write(tmp_path / "records.csv", records))
    assert "\n" not in str(caught.value) and "records.csv" in str(caught.value)


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_records(tmp_path / "records.csv")
    with pytest.raises(InputError, match="holds no rows"):
        read_records(write(tmp_path / "records.csv", fake_records(("varnet",), **SMALL).iloc[:0]))
    (tmp_path / "records.csv").write_text("")
    with pytest.raises(InputError, match="not a table of records"):
        read_records(tmp_path / "records.csv")


def _slice_records(images, targets):
    """Rows of one volume, every number straight from its definition."""
    template = fake_records(("varnet",), **SMALL).iloc[0].to_dict()
    peak = float(targets.max())
    for i, (image, target) in enumerate(zip(images, targets, strict=True)):
        error, energy = float(((image - target) ** 2).sum()), float((target**2).sum())
        yield template | {
            "slice": i,
            "data_range": peak,
            "squared_error": error,
            "target_energy": energy,
            "pixels": target.size,
            "nmse": error / energy,
            "psnr": 10 * np.log10(peak**2 * target.size / error),
            "ssim": 0.1 * i,
        }


def test_both_conventions_equal_their_references():
    evaluate = pytest.importorskip("fastmri.evaluate")
    from skimage.metrics import peak_signal_noise_ratio

    rng = np.random.default_rng(0)
    targets = rng.uniform(0, 1, (5, 24, 20)) * rng.uniform(0.2, 3, (5, 1, 1))
    images = targets + rng.normal(0, 0.1, targets.shape)
    records = pd.DataFrame(_slice_records(images, targets))
    (volume,) = volume_table(records).itertuples()
    assert volume.psnr_volume == pytest.approx(evaluate.psnr(targets, images), rel=1e-12)
    assert volume.nmse_volume == pytest.approx(float(evaluate.nmse(targets, images)), rel=1e-12)
    slices = [
        peak_signal_noise_ratio(t, i, data_range=targets.max()) for t, i in zip(targets, images, strict=True)
    ]
    assert volume.psnr_slice == pytest.approx(np.mean(slices), rel=1e-12)
    assert volume.ssim == pytest.approx(0.2)
    assert volume.nmse_slice == pytest.approx(
        np.mean(((images - targets) ** 2).sum((1, 2)) / (targets**2).sum((1, 2)))
    )
    assert volume.nmse_slice > 2 * volume.nmse_volume  # the conventions are not interchangeable


def test_a_failed_slice_is_counted_and_never_averaged_away():
    records = fake_records(("varnet", "clip"), **SMALL)
    spoiled = (records.method == "clip") & (records.subject == "K000") & (records.slice == 1)
    records.loc[spoiled, ["ssim", "psnr", "nmse", "squared_error"]] = np.nan
    records.loc[spoiled, "status"] = "failed"
    table = volume_table(records).set_index(["method", "subject", "center"])
    assert table.loc[("clip", "K000", "0.08"), "failed"] == 1
    metrics = ["ssim", "psnr_volume", "nmse_volume", "psnr_slice", "nmse_slice"]
    assert table.loc[("clip", "K000", "0.08"), metrics].isna().all()
    assert (
        table.drop(index=[("clip", "K000", "0.08"), ("clip", "K000", "0.04")])[metrics].notna().all(axis=None)
    )


def test_weights_that_are_not_the_pretrained_ones_are_part_of_the_name():
    records = pd.concat(
        [
            fake_records(("clip", "random"), **SMALL),
            fake_records(("clip",), encoder_weights="random", **SMALL).assign(checkpoint_sha256="other"),
        ]
    )
    arms = set(volume_table(records).arm)
    assert arms == {arm("clip"), arm("clip", "random"), arm("random")}
    assert set(map(str, arms)) == {"clip", "clip [random]", "random"}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("mask_sha256", "x", "share one mask"),
        ("pixels", 1, "one number of pixels"),
        ("target_energy", 9.0, "one target"),
    ],
)
def test_methods_that_saw_different_measurements_are_never_compared(column, value, message):
    records = fake_records(("varnet", "clip"), **SMALL)
    check_pairing(records)
    records.loc[records.index[-1], column] = value
    with pytest.raises(InputError, match=message):
        volume_table(records)


def test_a_volume_has_one_data_range():
    records = fake_records(("varnet",), **SMALL)
    records.loc[0, "data_range"] *= 2
    with pytest.raises(InputError, match="data_range differs"):
        volume_table(records)


@pytest.mark.parametrize(
    ("column", "message"), [("target_energy", "one target"), ("data_range", "data_range differs")]
)
def test_a_difference_of_rounding_is_accepted_and_one_per_cent_is_not(column, message):
    rounded, wrong = (fake_records(("varnet", "clip"), **SMALL) for _ in range(2))
    rounded.loc[rounded.index[-1], column] *= 1 + 1e-4
    volume_table(rounded)
    wrong.loc[wrong.index[-1], column] *= 1.01
    with pytest.raises(InputError, match=message):
        volume_table(wrong)


def test_one_synthetic_slice_marks_its_volume():
    records = fake_records(("varnet",), synthetic=False, **SMALL)
    records.loc[(records.subject == "K001") & (records.slice == 1), "synthetic"] = True
    table = volume_table(records)
    assert set(zip(table.subject, table.synthetic, strict=True)) == {("K000", False), ("K001", True)}


def test_what_was_trained_in_several_ways_is_several_arms():
    records = fake_records(("varnet", "clip", "zero_filled"), **SMALL)
    assert set(record_arms(records)) == {arm("varnet"), arm("clip"), arm("zero_filled")}
    ways = [
        records.assign(training_data="data", hyper_parameters="wide"),
        records[records.method == "varnet"].assign(training_data="data", hyper_parameters="narrow"),
        records[records.method == "varnet"].assign(training_data="other", hyper_parameters="wide"),
        records[records.method == "varnet"],
    ]
    both = pd.concat(ways, ignore_index=True)
    arms = record_arms(both)
    trained = set(arms[both.method == "varnet"])
    assert len(trained) == 4 and {each.of_any_training for each in trained} == {arm("varnet")}
    assert arms.iloc[-1].variant == "unknown"  # as version 0.2 wrote it
    # other methods keep their name, and every row of one way is one arm
    assert set(arms[both.method != "varnet"]) == {arm("clip"), arm("zero_filled")}
    assert both.groupby(["method", "training_data", "hyper_parameters"]).ngroup().nunique() == 4 + 2
    assert (arms.groupby([both.method, both.training_data, both.hyper_parameters]).nunique() == 1).all()
    # seeds and accelerations are no ways of their own
    more = fake_records(("varnet",), anatomies=("knee",), subjects=1, seeds=3)
    assert set(record_arms(more)) == {arm("varnet")}


def test_a_physics_is_an_arm_with_a_name_of_its_own():
    records = fake_records(("varnet", "clip", "zero_filled"), physics=("paper", "anchored"), **SMALL)
    paper = set(map(arm, ("varnet", "clip", "zero_filled")))
    assert set(record_arms(records)) == paper | {arm("clip", physics="anchored")}


def test_records_of_the_time_of_one_physics_are_of_the_paper_s(tmp_path):
    records = fake_records(("varnet", "zero_filled"), **SMALL)
    silent = read_records(write(tmp_path / "silent.csv", records.drop(columns="physics")))
    part = records.assign(physics=np.where(records.center == "0.08", "", records.physics))
    mixed = read_records(write(tmp_path / "mixed.csv", part))
    for read in (silent, mixed):
        assert set(read[read.method == "varnet"].physics) == {"paper"}
        assert set(read[read.method == "zero_filled"].physics) == {""}


def test_two_checkpoints_of_one_training_are_refused_by_their_hashes():
    records = fake_records(("varnet", "clip"), **SMALL)
    last = records[records.method == "clip"].assign(checkpoint_sha256="f" * 64)
    both = pd.concat([records, last], ignore_index=True)
    with pytest.raises(InputError, match=r"and ffffffffffff \(sha256\) are both CLIP with seed 0, .* at x4"):
        volume_table(both)
    for other in ({"seed": 1.0}, {"train_acceleration": 8.0}, {"hyper_parameters": "wide"}):
        assert len(volume_table(pd.concat([records, last.assign(**other)], ignore_index=True)))
