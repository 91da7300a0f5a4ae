import importlib
import warnings

import pytest
import torch

from fake_records import fake_records
from fm_unroll import metrics
from fm_unroll.errors import InputError
from fm_unroll.evaluation import metric_table
from fm_unroll.evaluation.metric_table import METRICS, measures, metrics_of, register_metric
from fm_unroll.evaluation.records import columns, volume_table
from fm_unroll.evaluation.scoring import deciding_code
from fm_unroll.provenance import source_sha256


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 32, 32, generator=generator)
    return target + 0.1 * torch.rand(3, 32, 32, generator=generator), target, target.amax((-2, -1))


def test_every_column_is_the_metric_of_its_name(images):
    slices, challenge = (measure(*images) for measure in measures()[:2])
    for name, function in (("ssim", metrics.ssim), ("psnr", metrics.psnr), ("nmse", metrics.nmse)):
        torch.testing.assert_close(slices[name], function(*images).double())
    torch.testing.assert_close(challenge, metrics.challenge_scores(*images[:2]))


def test_metrics_that_share_work_are_measured_once():
    found = measures()
    assert len(found) == len(set(found)) == 7
    assert [measure.columns for measure in found[2:]] == [
        *(("ssim_body",), ("nmse_body",), ("haarpsi",), ("lpips",), ("ssim_half",))
    ]
    assert metrics_of("main") == ["ssim", "psnr_volume", "nmse_volume"]


def test_the_columns_of_records_are_those_of_version_3():
    assert list(columns())[22:] == [
        *("data_range", "ssim", "psnr", "nmse", "squared_error", "target_energy", "pixels"),
        *("challenge_ssim", "challenge_psnr", "challenge_nmse", "status"),
        *("code", "commit", "device", "precision", "training_data", "hyper_parameters"),
        *("physics", "besides_physics", "train_anatomy", "epoch", "chosen_epoch"),
        *("ssim_body", "nmse_body", "haarpsi", "lpips", "ssim_half"),
    ]


def test_a_measure_from_elsewhere_and_the_settings_of_an_entrant_decide_rows(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metric_table, "METRICS", dict(METRICS))
    source = tmp_path / "own_measure.py"
    source.write_text("def error(prediction, target, data_range):\n    return prediction[:, 0, 0]\n")
    function = importlib.import_module("own_measure").error
    codes = [deciding_code("a"), deciding_code("b")]
    register_metric("error", label="error")(function)
    codes.append(deciding_code("a"))
    source.write_text(source.read_text() + "# edited\n")
    source_sha256.cache_clear()
    codes.append(deciding_code("a"))
    assert len(set(codes)) == 4 and codes[-1] == deciding_code("a")


@pytest.mark.parametrize("name", ["ssim", "psnr_volume", "squared_error"])
def test_a_name_is_given_once(name):
    with pytest.raises(InputError, match=f"metric '{name}' is registered already"):
        register_metric(name, label="again")
    assert len(METRICS) == 13


def test_which_values_are_better():
    assert {name: metric.higher_is_better for name, metric in METRICS.items()} == {
        "ssim": True,
        "psnr_volume": True,
        "nmse_volume": False,
        "psnr_slice": True,
        "nmse_slice": False,
        "challenge_ssim": True,
        "challenge_psnr": True,
        "challenge_nmse": False,
        "ssim_body": True,
        "nmse_body": False,
        "haarpsi": True,
        "lpips": False,
        "ssim_half": True,
    }


def test_an_empty_volume_raises_nothing():
    records = fake_records(("varnet",), anatomies=("knee",), subjects=1, seeds=1, accelerations=(4.0,))
    records[["data_range", "target_energy"]] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = volume_table(records)
    assert (table.psnr_volume == -float("inf")).all() and (table.nmse_volume == float("inf")).all()
