"""Every shipped config is parsed and takes one step of training and validation."""

import re
from pathlib import Path

import pytest
import yaml

from fm_unroll.cli import main
from fm_unroll.encoders import list_encoders

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[1] / "configs"
FIT = sorted(path for path in CONFIGS.rglob("*.yaml") if "model" in yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("config", FIT, ids=lambda path: str(path.relative_to(CONFIGS)))
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
    if yaml.safe_load(config.read_text())["model"]["method"] in list_encoders():
        # published weights cannot be had on every machine
        arguments["--model.pretrained"] = "false"
    main(["fit", "--config", str(config), *(str(word) for pair in arguments.items() for word in pair)])
    assert not any(tmp_path.iterdir()), "a trial run leaves nothing behind"


def test_configs_state_the_memory_they_need():
    stated = {}
    for config in CONFIGS.glob("*_x*.yaml"):
        found = re.match(
            r"# A training step takes ([\d.]+) GiB, with .*_cascades all ([\d.]+) \(", config.read_text()
        )
        assert found, config
        stated.setdefault(config.stem.rpartition("_x")[0], set()).add(found.groups())
    assert len(stated) == 9 and all(len(figures) == 1 for figures in stated.values())


@pytest.mark.parametrize("config", CONFIGS.glob("*_x*.yaml"), ids=lambda path: path.stem)
def test_config_trains_for_the_acceleration_in_its_name(config):
    content = yaml.safe_load(config.read_text())
    assert config.stem.endswith(f"_x{content['data']['init_args']['acceleration']}")
