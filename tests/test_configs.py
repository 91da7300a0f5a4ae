"""Every shipped config is parsed and takes one step of training and validation."""

import re
from pathlib import Path

import pytest
import yaml

from fm_unroll.cli import main
from fm_unroll.encoders import list_encoders

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
SHIPPED = [*CONFIGS.rglob("*.yaml"), *(ROOT / "experiments/physics_first").glob("*.yaml")]
# of those that differ in the acceleration alone, one; of those for a range, one
ALIKE = [
    path for path in SHIPPED if path.stem.endswith(("_x4", "_x10", "_x2-10")) and "unet_x2" not in path.stem
]
GENERAL = CONFIGS / "general.yaml"  # of several data sets, which have roots of their own
FIT = sorted(p for p in {*SHIPPED} - {*ALIKE, GENERAL} if "model" in yaml.safe_load(p.read_text()))


@pytest.mark.parametrize("config", FIT, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_takes_a_step(config, synthetic, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = {
        "--data.root": synthetic,
        "--data.num_workers": 0,
        # ACS lines of the real matrices do not fit into the tiny ones
        "--data.acs_lines": 8,
        # one cascade has every part that twelve have
        "--model.num_cascades": 1,
        "--trainer.accelerator": "cpu",
        "--trainer.devices": 1,
        "--trainer.strategy": "auto",
        "--trainer.fast_dev_run": "true",
        "--trainer.enable_progress_bar": "false",
    }
    if yaml.safe_load(config.read_text())["model"]["method"] in [*list_encoders(), "mixed"]:
        # published weights cannot be had on every machine
        arguments["--model.pretrained"] = "false"
    main(["fit", "--config", str(config), *(str(word) for pair in arguments.items() for word in pair)])
    assert not any(tmp_path.iterdir()), "a trial run leaves nothing behind"


def test_the_general_network_takes_a_step(synthetic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/general").symlink_to(synthetic)
    options = ["--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu", "--data.num_workers", "0"]
    main(["fit", "--config", str(GENERAL), *options])


def test_configs_state_the_memory_they_need():
    stated = {}
    for config in CONFIGS.glob("*_x*.yaml"):
        found = re.match(
            r"# A training step takes ([\d.]+) GiB, with .*_cascades all ([\d.]+) \(", config.read_text()
        )
        assert found, config
        stated.setdefault(config.stem.rpartition("_x")[0], set()).add(found.groups())
    assert len(stated) == 16 and all(len(figures) == 1 for figures in stated.values())


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*_x8.yaml")), ids=lambda path: path.stem)
def test_configs_of_a_family_differ_in_the_acceleration_of_their_names(config):
    for name in ("x4", "x8", "x10"):
        other = config.with_stem(config.stem.replace("x8", name))
        written = config.read_text().replace("acceleration: 8", f"acceleration: {name[1:]}")
        assert other.read_text() == written
    assert "acceleration: 8" in config.read_text()


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*_x2-10.yaml")), ids=lambda path: path.stem)
def test_one_network_for_all_differs_in_its_accelerations_alone(config):
    content = yaml.safe_load(config.read_text())
    single = yaml.safe_load(config.with_stem(config.stem.replace("x2-10", "x8")).read_text())
    assert content.pop("model") == single.pop("model")
    assert single["data"]["init_args"].pop("acceleration") == 8
    drawn = content["data"]["init_args"].pop("sampling")["init_args"]
    # of the data set's own pattern and centre
    assert drawn == {"accelerations": [2, 10], "centers": [24, 24], "patterns": ["UniformSampling"]}
    assert content == single


def test_the_networks_of_the_study_of_physics_differ_in_their_denoiser_alone():
    contents = [yaml.safe_load(path.read_text()) for path in FIT if path.parent.name == "physics_first"]
    denoiser = {"method", "chans", "pools", "pretrained", "blocks", "decoder_widths"}
    denoiser |= {"encoder_gradient", "encoder_image_size"}
    shared = [{k: v for k, v in content.pop("model").items() if k not in denoiser} for content in contents]
    assert len(contents) == 4 and all(content == contents[0] for content in contents)
    assert all(model == shared[0] and model["loss"] == "ssim_l1" for model in shared)
