"""A run on a GPU from the command line: what it writes, and that a CPU finds the same metrics."""

import json

import pytest
import torch
import yaml

from fm_unroll.cli import main
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.entrants import Entrant
from fm_unroll.evaluation.scoring import origin_of_rows
from fm_unroll.models.classical import ZeroFilled
from fm_unroll.provenance import provenance
from training_runs import config_for

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("exact")]


def test_a_cpu_validates_what_a_gpu_has_trained(device, synthetic, tmp_path):
    run_dir = tmp_path / "run"
    config = config_for(synthetic, run_dir, accelerator="gpu", max_epochs=1, limit_train_batches=2, devices=1)
    main(["fit", "--config", str(config)])
    assert json.loads((run_dir / "provenance.json").read_text())["gpus"][0] == torch.cuda.get_device_name()
    settled = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert settled["trainer"]["precision"] in ("bf16-mixed", "32-true")
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    tensors = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert tensors and {tensor.device.type for tensor in tensors.values()} <= {"cpu", device.type}
    scores = {}
    for accelerator in ("gpu", "cpu"):
        output = tmp_path / accelerator
        data = ["--data", "CMRxReconData", "--data.root", str(synthetic), "--data.acceleration", "4"]
        data += ["--data.acs_lines", "8", "--data.num_workers", "0", "--ckpt_path", str(checkpoint)]
        trainer = ["--trainer.accelerator", accelerator, "--trainer.default_root_dir", str(output)]
        main(["validate", *data, *trainer, "--trainer.devices", "1"])
        scores[accelerator] = json.loads((output / "validate.json").read_text())
    metrics = {accelerator: found["metrics"] for accelerator, found in scores.items()}
    assert {"val/ssim", "val/psnr", "val/nmse", "val/loss"} <= metrics["cpu"].keys()
    assert metrics["gpu"] == pytest.approx(metrics["cpu"], rel=1e-4)


def test_records_name_the_gpu_and_its_arithmetic(device, monkeypatch):
    entrant = Entrant(Arm("zero_filled"), ZeroFilled)
    origin = origin_of_rows(entrant, device)
    assert origin["device"] == torch.cuda.get_device_name(device) in provenance()["gpus"]
    assert origin["precision"] == "float32"
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    rounds = torch.cuda.get_device_capability(device)[0] >= 8
    assert origin_of_rows(entrant, device)["precision"] == ("tf32" if rounds else "float32")
