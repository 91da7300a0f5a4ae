"""One training on several data sets, each with a range of accelerations and with augmentation."""

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from fm_unroll.cli import main
from fm_unroll.data import CMRxReconData
from fm_unroll.evaluation.entrants import trained
from fm_unroll.files import read_json
from training_runs import TRAINER

pytestmark = pytest.mark.slow

MODEL = {"method": "varnet", "num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
SAMPLING = {"class_path": "VariedSampling", "init_args": {"accelerations": [2, 6], "centers": [4, 8]}}


@pytest.fixture(scope="module")
def run_dir(synthetic, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "diverse"
    hearts = {
        "root": str(synthetic),
        "contrasts": ["T1map"],
        "split": [0.5, 0.25, 0.25],
        "sampling": SAMPLING,
    }
    knees = {"root": str(synthetic / "knee"), "split": [0.5, 0.5, 0.0], "acceleration": 8}
    augmentation = {"flips": True, "coil_subset": [1, 3], "contrast": [0.5, 2]}
    parts = [
        {"class_path": "CMRxReconData", "init_args": hearts | {"augmentation": augmentation}},
        {"class_path": "FastMRIKneeData", "init_args": knees | {"center_fraction": 0.08}},
    ]
    data = {"parts": parts, "weights": [2, 1], "batch_size": 4, "num_workers": 0}
    content = {
        "model": MODEL,
        "data": {"class_path": "MixedData", "init_args": data},
        "trainer": TRAINER | {"max_epochs": 1, "default_root_dir": str(run_dir)},
    }
    config = run_dir.parent / "diverse.yaml"
    config.write_text(yaml.safe_dump(content))
    main(["fit", "--config", str(config), "--seed_everything", "3"])
    return run_dir


def test_a_run_on_several_data_sets_says_what_each_was(run_dir, synthetic):
    facts = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)["fm_unroll"]
    hearts, knees = facts["parts"]
    assert (hearts["anatomy"], hearts["acceleration"], hearts["weight"]) == ("cardiac", [2, 6], 2)
    assert (knees["anatomy"], knees["acceleration"], knees["augmentation"]) == ("knee", 8, {})
    assert hearts["trained_on"]["coils"] == [1, 3] and hearts["trained_on"]["acs_lines"] == [4, 8]
    assert hearts["contrasts"] == ["T1map"] and facts["seed"] == 3
    for number, part in enumerate((hearts, knees), start=1):
        assert read_json(run_dir / f"split_{number}.json") == part["subjects"]
    volumes = read_json(run_dir / "volumes.json")
    assert {name.partition("/")[0] for name in volumes} == {"1", "2"}
    logged = pd.read_csv(run_dir / "metrics.csv").dropna(subset="val/ssim").iloc[-1]

    assert min(logged["val/ssim_1"], logged["val/ssim_2"]) <= logged["val/ssim"]
    assert logged["val/ssim"] <= max(logged["val/ssim_1"], logged["val/ssim_2"])


def test_its_network_takes_part_at_every_acceleration_and_never_with_whom_it_has_seen(run_dir, synthetic):
    entrant = trained(run_dir / "checkpoints/best.ckpt")
    assert entrant.train_accelerations == (2, 8) and entrant.train_anatomy == "cardiac+knee"
    data = CMRxReconData(synthetic, num_workers=0)
    data.serve("cross-domain", [entrant.seen])
    data.setup()
    seen = {subject for each in entrant.seen for subject in (*each.split.train, *each.split.val)}
    assert data.subjects["test"] and seen.isdisjoint(data.subjects["test"])
