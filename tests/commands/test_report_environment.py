"""A report of a fault: the facts, and nothing private."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml

from fm_unroll.commands.report_environment import without_private

ROOT = Path(__file__).parents[2]
PRIVATE = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_verysecrettoken",
    "WANDB_PROJECT": "unpublished_idea",
    "WANDB_ENTITY": "secret_lab",
}
CONFIG = """
seed_everything: 7
model:
  method: timm/vit_tiny_patch16_224
  physics: anchored
  weights: /data/secret_lab/weights.safetensors
  unet_from: secret_runs/best.ckpt
  num_cascades: 3
  blocks: [1, 2]
  pretrained: false
data:
  class_path: fm_unroll.data.modules.CMRxReconData
  init_args:
    weights: [5, 2]
    root: patients_of_secret_lab
    acceleration: 8.0
    contrasts: [cine_sax, secret_contrast]
    release: secret_hospital
    split_file: secret_split.json
trainer:
  default_root_dir: ~/secret_runs
  precision: bf16-mixed
  logger:
    class_path: lightning.pytorch.loggers.WandbLogger
    init_args:
      project: unpublished_idea
      entity: secret_lab
      name: secret_run
      api_key: 12345
      save_dir: C:\\secret
      passwd: hunter_secret
      auth: 67890
  callbacks:
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: val/ssim, anything: secret_word}
"""


def report(*options: str, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "fm_unroll", "report-environment", *options],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "secret" not in done.stdout and "unpublished" not in done.stdout
    for value in environment.values():
        assert value not in done.stdout
    assert str(Path.home()) not in done.stdout and platform.node() not in done.stdout
    return yaml.safe_load(done.stdout)


@pytest.fixture(scope="module")
def facts(tmp_path_factory) -> dict:
    config = tmp_path_factory.mktemp("secret_folder") / "config.yaml"
    config.write_text(CONFIG)
    return report("--config", str(config), **PRIVATE)


def test_it_says_what_runs_where(facts):
    assert facts["python"] == platform.python_version()
    assert facts["packages"]["torch"] == version("torch") and facts["packages"]["h5py"] == version("h5py")
    assert "mkdocs" not in facts["packages"]  # only what is needed to run
    assert len(facts["gpus"]) == torch.cuda.device_count()
    total = (
        int(Path("/proc/meminfo").read_text().split()[1]) / 2**20 if Path("/proc/meminfo").exists() else None
    )
    assert total is None or facts["memory_gib"] == pytest.approx(total, abs=0.1)


def test_what_decides_a_training_stays_in_the_config(facts):
    config = facts["config"]
    assert config["seed_everything"] == 7
    model = {
        "method": "timm/vit_tiny_patch16_224",
        "physics": "anchored",
        "num_cascades": 3,
        "pretrained": False,
    }
    assert model.items() <= config["model"].items() and config["model"]["blocks"] == [1, 2]
    assert config["data"]["class_path"] == "fm_unroll.data.modules.CMRxReconData"
    assert config["data"]["init_args"]["acceleration"] == 8
    assert config["data"]["init_args"]["weights"] == [5, 2]
    assert config["data"]["init_args"]["contrasts"] == ["cine_sax", "<left out>"]
    assert config["trainer"]["precision"] == "bf16-mixed"


def test_private_values_are_named_as_left_out(facts):
    logger = facts["config"]["trainer"]["logger"]["init_args"]
    assert set(logger.values()) == {"<left out>"} and len(logger) == 7
    assert facts["config"]["data"]["init_args"]["root"] == "<left out>"
    (callback,) = facts["config"]["trainer"]["callbacks"]
    assert callback["init_args"] == {"monitor": "val/ssim", "anything": "<left out>"}


def test_the_name_of_a_network_of_ones_own_is_left_out():
    private = {"method": "hospital.networks:Net", "class_path": "hospital.Data"}
    assert set(without_private(private).values()) == {"<left out>"}
    known = {"method": "varnet x 2, clip x 1", "class_path": "FastMRIKneeData", "loss": "ssim"}
    assert without_private(known) == known


def test_harmless_settings_are_told():
    assert report()["environment"]["OMP_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"]
