"""The cross-domain run on real files of the tiny data set."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fastmri import evaluate

from fm_unroll.cli import main
from fm_unroll.data import CMRxReconData, FastMRIBrainData, FastMRIKneeData
from fm_unroll.evaluation.methods import Method
from fm_unroll.evaluation.protocol import Condition, TestSet, cross_domain, score_volumes
from fm_unroll.evaluation.records import read_records, volume_table
from fm_unroll.physics import EquispacedSampling, ifft2c, rss

SPLIT = (0.5, 0.25, 0.25)


def test_sets(root: Path) -> list[TestSet]:
    return [
        TestSet("heart", CMRxReconData(root, acs_lines=8, split=SPLIT, num_workers=0), [8]),
        TestSet("knee", FastMRIKneeData(root / "knee", num_workers=0), [0.2, 0.1]),
        TestSet("brain", FastMRIBrainData(root / "brain", num_workers=0), [0.2]),
    ]


test_sets.__test__ = False


def run(root: Path, output: Path, **options) -> pd.DataFrame:
    options = {"checkpoints": (), "accelerations": (2, 4), "num_workers": 0, "pictured": 1} | options
    cross_domain(test_sets=test_sets(root), output=output, **options)
    return read_records(output / "records.csv")


@pytest.fixture(scope="module")
def checkpoint(synthetic, tmp_path_factory) -> Path:
    """A network after one epoch."""
    run_dir = tmp_path_factory.mktemp("runs") / "none"
    data = {"root": str(synthetic), "acceleration": 4, "acs_lines": 8, "split": list(SPLIT), "num_workers": 0}
    model = {
        "method": "none",
        "num_cascades": 1,
        "decoder_widths": [4, 4, 4, 4],
        "sens_chans": 2,
        "sens_pools": 2,
    }
    trainer = {"max_epochs": 1, "default_root_dir": str(run_dir), "accelerator": "cpu", "logger": False}
    trainer |= {"enable_progress_bar": False, "limit_train_batches": 2, "limit_val_batches": 1}
    content = {"model": model, "data": {"class_path": "CMRxReconData", "init_args": data}, "trainer": trainer}
    config = run_dir.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(content))
    main(["fit", "--config", str(config)])
    return run_dir / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def records(synthetic, checkpoint, tmp_path_factory) -> pd.DataFrame:
    return run(synthetic, tmp_path_factory.mktemp("results"), checkpoints=[str(checkpoint)])


def test_every_slice_of_every_condition_has_one_row(records, synthetic):
    slices = 0
    for test_set in test_sets(synthetic):
        test_set.data.setup()
        volumes = test_set.data.volumes("test")
        slices += sum(v.num_slices * v.num_frames for v in volumes) * len(test_set.centers)
    zero_filled = records[records.method == "zero_filled"]
    assert len(zero_filled) == slices * 2
    # trained for x4, so evaluated at x4 alone
    assert set(records[records.method == "none"].acceleration) == {4}
    assert len(records[records.method == "none"]) == slices
    assert records.synthetic.all() and (records.status == "ok").all()


def test_all_methods_see_the_same_masks_and_none_of_the_training_subjects(records, checkpoint):
    at_four = records[records.acceleration == 4]
    assert (
        at_four.groupby(["anatomy", "center", "volume", "slice", "frame"]).mask_sha256.nunique() == 1
    ).all()
    seen = torch.load(checkpoint, weights_only=True)["fm_unroll"]["subjects"]
    tested = set(records[records.anatomy == "cardiac"].subject)
    assert tested == set(seen["test"]) and not tested & {*seen["train"], *seen["val"]}


def test_volume_metrics_equal_fastmri_on_the_files_themselves(records, synthetic):
    table = volume_table(records)
    path = sorted((synthetic / "knee").rglob("*.h5"))[0]
    with h5py.File(path) as file:
        kspace, target = torch.from_numpy(file["kspace"][()]), file["reconstruction_rss"][()]
    mask = EquispacedSampling(4, 0.1)(kspace.shape[-1], path.stem)
    image = rss(ifft2c(kspace * mask.lines)).numpy()
    rows, columns = target.shape[1:]
    top, left = (image.shape[1] - rows) // 2, (image.shape[2] - columns) // 2
    image = image[:, top : top + rows, left : left + columns]
    row = table[(table.volume == path.stem) & (table.method == "zero_filled") & (table.center == "0.10")]
    row = row[row.acceleration == 4].squeeze()
    assert row.ssim == pytest.approx(float(evaluate.ssim(target, image)[0]), abs=1e-5)
    assert row.psnr_volume == pytest.approx(float(evaluate.psnr(target, image)), abs=1e-4)
    assert row.nmse_volume == pytest.approx(float(evaluate.nmse(target, image)), rel=1e-4)
    assert row.true_acceleration == mask.true_acceleration


class Interruption(Exception):
    """Stands for a killed process."""


def test_interrupted_run_goes_on_to_the_same_bytes(synthetic, tmp_path, monkeypatch):
    run(synthetic, tmp_path / "whole")
    from fm_unroll.evaluation import protocol

    finished = []

    def interrupted_write(path, rows):
        if len(finished) in {3, 7, 11}:
            finished.append(None)
            path.with_suffix(".part").write_text("torn")
            raise Interruption
        finished.append(path)
        protocol_write(path, rows)

    protocol_write = protocol.write_part
    monkeypatch.setattr(protocol, "write_part", interrupted_write)
    for _ in range(3):
        with pytest.raises(Interruption):
            run(synthetic, tmp_path / "parts")
    run(synthetic, tmp_path / "parts")
    written = [path for path in finished if path is not None]
    assert len(written) == len(set(written)), "nothing is done twice"
    assert (tmp_path / "parts/records.csv").read_bytes() == (tmp_path / "whole/records.csv").read_bytes()


def test_processes_share_the_work(synthetic, tmp_path):
    run(synthetic, tmp_path / "alone")
    sets = [
        ("heart", "CMRxReconData", {"root": str(synthetic), "acs_lines": 8, "split": list(SPLIT)}, [8]),
        ("knee", "FastMRIKneeData", {"root": str(synthetic / "knee")}, [0.2, 0.1]),
        ("brain", "FastMRIBrainData", {"root": str(synthetic / "brain")}, [0.2]),
    ]
    content = {
        "test_sets": [
            {"name": name, "data": {"class_path": class_path, "init_args": init_args}, "centers": centers}
            for name, class_path, init_args, centers in sets
        ],
        "checkpoints": [],
        "accelerations": [2, 4],
        "output": str(tmp_path / "shared"),
        "num_workers": 0,
    }
    config = tmp_path / "protocol.yaml"
    config.write_text(yaml.safe_dump(content))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "fm_unroll", "cross-domain", "--config", str(config)]
    subprocess.run(command, check=True, capture_output=True)
    alone, shared = (read_records(tmp_path / name / "records.csv") for name in ("alone", "shared"))
    pd.testing.assert_frame_equal(alone, shared)


def test_pictures_hold_every_method(synthetic, checkpoint, tmp_path):
    run(synthetic, tmp_path, checkpoints=[str(checkpoint)], accelerations=(4,))
    for path in (tmp_path / "images").rglob("*.npz"):
        with np.load(path) as picture:
            assert {"target", "zero_filled", "none", "volume", "slice"} <= set(picture)
            assert picture["target"].shape == picture["none"].shape
    assert len(list((tmp_path / "images").rglob("*.npz"))) == 4


def test_training_subjects_in_the_test_set_are_refused(synthetic, checkpoint, tmp_path, capsys):
    leaking = TestSet("heart", CMRxReconData(synthetic, acs_lines=8, split=(0, 0, 1), num_workers=0), [8])
    with pytest.raises(ValueError, match="trained on 4 test subjects of heart"):
        cross_domain(test_sets=[leaking], checkpoints=[str(checkpoint)], output=tmp_path)


def test_empty_test_set_and_absent_checkpoints_are_refused(synthetic, tmp_path):
    empty = TestSet("heart", CMRxReconData(synthetic, split=(0.5, 0.5, 0), num_workers=0), [8])
    with pytest.raises(ValueError, match="heart has no test subjects"):
        cross_domain(test_sets=[empty], checkpoints=(), output=tmp_path)
    with pytest.raises(ValueError, match="no checkpoint at nowhere"):
        run(synthetic, tmp_path, checkpoints=["nowhere/*.ckpt"])
    with pytest.raises(ValueError, match="unknown baseline 'bart'"):
        run(synthetic, tmp_path, baselines=["bart"])


def test_a_nan_image_is_recorded_as_failed(synthetic):
    class Broken(torch.nn.Module):
        def forward(self, kspace, mask, num_acs):
            return rss(ifft2c(kspace)) * float("nan")

    knee = test_sets(synthetic)[1]
    knee.data.setup()
    condition = Condition(knee, EquispacedSampling(4, 0.1))
    method = Method("broken", Broken)
    volume = knee.data.volumes("test")[0]
    ((scored, rows),) = score_volumes(Broken(), method, condition, [volume], 2, 0, torch.device("cpu"))
    assert scored == volume and len(rows) == volume.num_slices
    for record, _, _ in rows:
        assert record.status == "failed" and np.isnan(record.ssim) and np.isnan(record.squared_error)
        assert record.target_energy > 0


def test_real_scans_are_reconstructed_the_right_way_up(shared, checkpoint, tmp_path):
    """Both real files, masked x4, through a trained network: the image lies where the stored one does."""
    brain = FastMRIBrainData(shared / "data/fastmri_brain", num_workers=0)
    heart = CMRxReconData(shared / "data/cmrxrecon", split=(0, 0, 1), num_workers=0)
    # the real heart's placeholder id is also that of a phantom the network was trained on
    sets = [TestSet("real brain", brain, [0.08]), TestSet("real heart", heart, [24])]
    for test_set, checkpoints in zip(sets, ([str(checkpoint)], []), strict=True):
        cross_domain(
            test_sets=[test_set],
            checkpoints=checkpoints,
            accelerations=[4],
            output=tmp_path / test_set.data.anatomy,
            num_workers=0,
            pictured=1,
        )
    records = read_records(tmp_path / "brain" / "records.csv")
    assert len(records) == 8 and not records.synthetic.any() and (records.status == "ok").all()
    for path in tmp_path.rglob("*.npz"):
        with np.load(path) as picture:
            target = torch.from_numpy(picture["target"])
            for method in {"zero_filled", "none"} & set(picture):
                image = torch.from_numpy(picture[method])
                rows, columns = (size // 2 for size in image.shape)
                displaced = [image.flip(0), image.flip(1), image.roll(rows, 0), image.roll(columns, 1)]
                likeness = [correlation(other, target) for other in (image, *displaced)]
                assert likeness[0] > 0.9 and likeness[0] > max(likeness[1:]) + 0.1


def correlation(image: torch.Tensor, other: torch.Tensor) -> float:
    """Pearson's correlation of two images."""
    return torch.corrcoef(torch.stack([image.flatten(), other.flatten()]))[0, 1].item()
