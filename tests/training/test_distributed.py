"""Several processes train, validate and predict as one does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from fm_unroll.cli import main
from fm_unroll.data import CMRxReconData, FastMRIKneeData
from fm_unroll.data.sampler import EqualShapeBatchSampler
from fm_unroll.data.undersampling import undersample
from fm_unroll.encoders import build_encoder
from fm_unroll.errors import InputError
from fm_unroll.models.checkpoints import load_network
from fm_unroll.physics import RandomSampling
from fm_unroll.reconstruction.engine import reconstruct
from fm_unroll.training.losses import SSIMLoss
from fm_unroll.training.task import ReconstructionTask
from training_runs import DATA, MODEL, config_for, weights
from warm_processes import run_together

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("checkout")]


TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
THREE = ["--trainer.devices", "3", "--trainer.strategy", "ddp"]


@pytest.fixture(scope="module")
def run_dir(synthetic, tmp_path_factory) -> Path:
    """A run of one epoch by two processes, under torchrun, as on a cluster."""
    run_dir = tmp_path_factory.mktemp("distributed") / "two"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    config = config_for(synthetic, run_dir, max_epochs=1)
    command = [sys.executable, *torchrun, "-m", "fm_unroll", "fit", "--config", str(config), *TWO]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return run_dir


SLOW_PROCESS = """
import sys, time
from datetime import timedelta
from lightning.pytorch.strategies import DDPStrategy
from fm_unroll.cli import main
from fm_unroll.data import CMRxReconData

# torch's 30 minutes are three seconds here
DDPStrategy.__init__.__defaults__ = tuple(
    timedelta(seconds=3) if isinstance(value, timedelta) else value
    for value in DDPStrategy.__init__.__defaults__
)

def slowly(method, rank):
    def wait(self, **options):
        if self.trainer.global_rank == rank:
            time.sleep(8)
        return method(self, **options)
    return wait

CMRxReconData.prepare_data = slowly(CMRxReconData.prepare_data, 0)
CMRxReconData.setup = slowly(CMRxReconData.setup, 1)
main(sys.argv[1:])
"""


def test_processes_wait_for_one_that_indexes_for_long(synthetic, tmp_path):
    config = config_for(synthetic, tmp_path / "run", max_epochs=1)
    arguments = ["fit", "--config", str(config), *TWO, "--trainer.limit_train_batches", "1"]
    run_together(2, arguments, tmp_path, SLOW_PROCESS)
    assert (tmp_path / "run/checkpoints/last.ckpt").is_file()


def verb(name: str, run_dir: Path, output: Path) -> list[str]:
    checkpoint = str(run_dir / "checkpoints" / "last.ckpt")
    config = ["--config", str(run_dir / "config.yaml"), "--ckpt_path", checkpoint]
    return [name, *config, "--trainer.default_root_dir", str(output)]


def test_metrics_of_two_and_three_processes_are_those_of_one(run_dir, tmp_path):
    one_process = ["--trainer.devices", "1", "--trainer.strategy", "auto"]
    main([*verb("validate", run_dir, tmp_path / "one"), *one_process])
    run_together(3, [*verb("validate", run_dir, tmp_path / "three"), *THREE], tmp_path)
    one, three = (
        json.loads((tmp_path / name / "validate.json").read_text())["metrics"] for name in ("one", "three")
    )
    two = pd.read_csv(run_dir / "metrics.csv").dropna(subset="val/ssim").iloc[-1]
    assert one.keys() == three.keys() and len(one) == 7
    for name, value in one.items():
        assert three[name] == pytest.approx(value, rel=1e-6)
        assert two[name] == pytest.approx(value, rel=1e-6)


def test_the_encoder_stays_frozen_in_all_processes(run_dir):
    network = load_network(run_dir / "checkpoints" / "last.ckpt")
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    fresh = build_encoder(
        "timm/vit_tiny_patch16_224",
        pretrained=False,
        blocks=[1, 2, 3],
        image_size=MODEL["encoder_image_size"],
    )
    assert checkpoint["fm_unroll"]["encoders"][0]["sha256"] == fresh.compute_sha256()
    assert network.encoders[0].compute_sha256() == fresh.compute_sha256()
    assert not any("encoder" in name for name in weights(run_dir / "checkpoints" / "last.ckpt"))


def test_every_constant_is_left_out_of_what_processes_exchange():
    task = ReconstructionTask("random", num_cascades=1, sens_chans=2, sens_pools=2, fusion="mean")
    left_out = set(task._ddp_params_and_buffers_to_ignore)
    trained = {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in task.named_buffers()}
    assert buffers <= left_out and not trained & left_out
    assert {name for name, _ in task.named_parameters()} == trained | (left_out - buffers)


def test_processes_predict_whole_volumes_together(run_dir, tmp_path):
    main(
        [*verb("predict", run_dir, tmp_path / "one"), "--trainer.devices", "1", "--trainer.strategy", "auto"]
    )
    run_together(3, [*verb("predict", run_dir, tmp_path / "three"), *THREE], tmp_path)
    found = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.h5"))
    assert found == sorted(
        path.relative_to(tmp_path / "three") for path in (tmp_path / "three").rglob("*.h5")
    )
    assert found
    for path in found:
        with h5py.File(tmp_path / "one" / path) as one, h5py.File(tmp_path / "three" / path) as three:
            expected, image = one["reconstruction"][()], three["reconstruction"][()]
        assert np.isfinite(image).all()
        np.testing.assert_allclose(image, expected, rtol=0, atol=1e-5 * expected.max())


def test_training_masks_differ_between_slices_and_validation_masks_do_not_between_runs(synthetic):
    """What a process draws depends on the slice alone, so processes with other slices draw other masks."""
    data = FastMRIKneeData(synthetic / "knee", sampling=RandomSampling(4, 0.1))
    masks = {
        seed: data.sampling(num_lines=128, seed=seed).lines.numpy().tobytes()
        for seed in ("0/3/file1/0/0", "0/3/file1/1/0", "0/3/file2/0/0", "0/4/file1/0/0", "file1")
    }
    assert len(set(masks.values())) == len(masks)


def test_more_processes_than_slices_is_one_clear_line():
    with pytest.raises(InputError, match=re.escape("2 slices are too few for 3 process(es)")):
        EqualShapeBatchSampler(["a", "a"], 1, shuffle=True, seed=0, num_replicas=3)


SMALL = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}

# A process of `fit` that notes the slices it trains on and, where told so, ends after some steps.
NOTED = """
import os, sys
from pathlib import Path
from fm_unroll.cli import main
from fm_unroll.training.task import ReconstructionTask
train, steps = ReconstructionTask.training_step, int(sys.argv.pop(1))
def noted(self, batch, batch_idx):
    if self.global_step == steps:
        os._exit(0)
    with Path(os.environ["NOTES"]).open("a") as file:
        for key in zip(batch.volume, batch.slice, batch.frame):
            file.write(f"{key}\\n")
    return train(self, batch, batch_idx)
ReconstructionTask.training_step = noted
main(sys.argv[1:])
"""


def test_a_run_goes_on_with_another_number_of_processes(synthetic, tmp_path, monkeypatch):
    """Two processes are stopped within an epoch and one goes on: the epoch has every slice, once."""
    monkeypatch.setenv("NOTES", str(tmp_path / "notes.txt"))
    run_dir = tmp_path / "fewer"
    always = {"class_path": "fm_unroll.training.callbacks.LastCheckpoint", "init_args": {"minutes": 0}}
    config = config_for(synthetic, run_dir, model=SMALL, max_epochs=1, callbacks=[always])
    run_together(2, ["3", "fit", "--config", str(config), *TWO], tmp_path, NOTED)
    state = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)
    assert (state["global_step"], state["CMRxReconData"]) == (3, {"given": 6})

    one = ["--trainer.devices", "1", "--trainer.strategy", "auto"]
    run_together(1, ["-1", "fit", "--resume", str(run_dir), *one], tmp_path, NOTED)
    seen = (tmp_path / "notes.txt").read_text().splitlines()
    data = CMRxReconData(synthetic, **DATA | {"batch_size": 1})
    data.setup()
    slices = sum(volume.num_slices * volume.num_frames for volume in data.volumes("train"))
    assert len(seen) == len(set(seen)) == slices


def test_logged_losses_are_means_over_the_slices_of_an_epoch(synthetic, tmp_path):
    """Batches of unequal size, one and two processes: what a loop over the slices gives."""
    for processes in (1, 2):
        run_dir = tmp_path / f"by{processes}"
        # a learning rate that leaves the weights as they are
        model = {**SMALL, "learning_rate": 1e-12}
        config = config_for(synthetic, run_dir, model=model, max_epochs=1, precision="32-true")
        arguments = ["fit", "--config", str(config), "--data.batch_size", "3"]
        devices = ["--trainer.devices", str(processes), "--trainer.strategy", "ddp"]
        run_together(processes, [*arguments, *devices], tmp_path)
        network = load_network(run_dir / "checkpoints" / "last.ckpt")
        data = CMRxReconData(synthetic, **DATA | {"batch_size": 1})
        data.setup()
        losses = []
        for batch in data.val_dataloader():
            batch = undersample(batch, data.sampling, batch.volume)
            with torch.no_grad():
                losses.append(SSIMLoss()(reconstruct(network, batch), batch.target, batch.data_range).item())
        logged = pd.read_csv(run_dir / "metrics.csv")
        assert logged["val/loss"].dropna().item() == pytest.approx(np.mean(losses), rel=1e-5)
        steps = logged["train/loss_step"].dropna()
        assert logged["train/loss"].dropna().size == 1 and len(steps) > 1
        assert steps.min() < logged["train/loss"].dropna().item() < steps.max()
