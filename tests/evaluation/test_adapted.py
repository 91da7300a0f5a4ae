"""Networks that are adapted to each volume, as arms beside the same ones as they were trained."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from fm_unroll.cli import main
from fm_unroll.commands.cross_domain import cross_domain
from fm_unroll.data import CMRxReconData
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import undersample
from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import LOOKS, Arm
from fm_unroll.evaluation.records import read_records
from fm_unroll.evaluation.scoring import TestSet
from fm_unroll.files import read_json
from fm_unroll.metrics import score_slices
from fm_unroll.models.checkpoints import load_network
from fm_unroll.physics import Center, UniformSampling
from fm_unroll.reconstruction.adaptation import Adaptation, adapted, spread
from fm_unroll.reconstruction.engine import reconstruct
from fm_unroll.report.analysis import analyse

SPLIT = (0.5, 0.25, 0.25)


def hearts(root: Path) -> TestSet:
    data = CMRxReconData(root, acs_lines=8, split=SPLIT, contrasts=["cine_sax"], num_workers=0)
    return TestSet("heart", data, [Center(lines=8)])


@pytest.fixture(scope="module")
def checkpoint(synthetic, tmp_path_factory) -> Path:
    """A network after two steps."""
    run_dir = tmp_path_factory.mktemp("runs") / "varnet"
    data = {"root": str(synthetic), "acceleration": 2, "acs_lines": 8, "split": list(SPLIT), "num_workers": 0}
    model = {"method": "varnet", "num_cascades": 1, "chans": 2, "pools": 1, "sens_chans": 2, "sens_pools": 1}
    trainer = {"max_epochs": 1, "default_root_dir": str(run_dir), "accelerator": "cpu", "logger": False}
    trainer |= {"enable_progress_bar": False, "limit_train_batches": 2, "limit_val_batches": 1}
    content = {"model": model, "data": {"class_path": "CMRxReconData", "init_args": data}, "trainer": trainer}
    config = run_dir.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(content))
    main(["fit", "--config", str(config)])
    return run_dir / "checkpoints" / "best.ckpt"


def run(synthetic: Path, output: Path, checkpoint: Path, **options) -> pd.DataFrame:
    options = {"checkpoints": [str(checkpoint)], "accelerations": [2], "num_workers": 0} | options
    cross_domain(test_sets=[hearts(synthetic)], output=output, **options)
    return read_records(output / "records.csv")


def test_an_adapted_network_is_an_arm_beside_itself(synthetic, checkpoint, tmp_path, capsys):
    plain = run(synthetic, tmp_path / "plain", checkpoint)
    both = run(synthetic, tmp_path / "both", checkpoint, adapt=True)
    assert "E2E-VarNet, adapted" in capsys.readouterr().out
    ours = {method: both[both.method == method] for method in ("varnet", "adapted/varnet", "zero_filled")}
    assert {len(rows) for rows in ours.values()} == {len(plain) // 2}
    # whatever it was adapted to, the network as it was trained scores as it does alone
    of_plain = plain[plain.method == "varnet"]
    assert ours["varnet"].ssim.tolist() == of_plain.ssim.tolist()
    assert set(ours["adapted/varnet"].checkpoint_sha256) == set(of_plain.checkpoint_sha256)
    facts = read_json(tmp_path / "both" / "provenance.json")["protocol"]
    assert "steps=" in facts["adapted"]["adapted/varnet"] and len(facts["checkpoints"]) == 1
    # rows of an adapted network stay, as others do, and with them what came of each adaptation
    outcomes = read_json(tmp_path / "both" / "adaptations.json")
    again = run(synthetic, tmp_path / "both", checkpoint, checkpoints=(), baselines=["cg_sense"])
    assert (again.method == "adapted/varnet").sum() == len(ours["varnet"])
    assert read_json(tmp_path / "both" / "adaptations.json") == outcomes
    ((name, of_volumes),) = outcomes.items()
    assert name == f"adapted/varnet, sha256 {of_plain.checkpoint_sha256.iloc[0]}"
    assert not (tmp_path / "plain" / "adaptations.json").exists()

    # by hand: each volume on its own
    network, test_set = load_network(checkpoint), hearts(synthetic)
    test_set.data.setup()
    pattern, scores, expected = UniformSampling(2, acs_lines=8), [], {}
    for volume in test_set.data.volumes("test"):
        slices = test_set.data.slices([volume])
        with adapted(network, spread(slices, pattern, torch.device("cpu")), Adaptation()) as outcome:
            expected[f"heart/cardiac/8 ACS lines_x2/{volume.name}"] = outcome
            for item in range(len(slices)):
                batch = undersample(KSpaceBatch.collate([slices[item]]), pattern)
                image = reconstruct(network, batch)
                scores.append(score_slices(image, batch.target, batch.data_range)["ssim"].item())
    np.testing.assert_allclose(sorted(scores), sorted(ours["adapted/varnet"].ssim), atol=1e-4)
    assert set(of_volumes) == set(expected)
    for name, outcome in expected.items():
        assert of_volumes[name]["step_chosen"] == outcome.chosen
        assert of_volumes[name]["error_before"] == pytest.approx(outcome.error(0), rel=1e-4)
        assert of_volumes[name]["error_after"] == pytest.approx(outcome.error(outcome.chosen), rel=1e-4)

    # paired with itself as it was trained
    pairs = analyse(both).controls
    found = {(str(row.arm), str(row.baseline)) for row in pairs.itertuples()}
    assert ("adapted/varnet", "varnet") in found


def test_what_cannot_be_adapted_is_refused_before_anything_is_scored(synthetic, checkpoint, tmp_path):
    with pytest.raises(InputError, match="give networks"):
        run(synthetic, tmp_path, checkpoint, checkpoints=(), adapt=True)
    with pytest.raises(InputError, match="alone takes 8"):
        run(synthetic, tmp_path, checkpoint, accelerations=[12], matched=False, adapt=True)
    assert not (tmp_path / "records.csv").exists()


def test_adapted_arms_stand_behind_their_own_and_differ_from_them_in_one_thing():
    general = Arm("adapted/general")
    assert general.label == f"{LOOKS['general'].label}, adapted" == "General, embedded, adapted"
    assert general.unadapted == Arm("general") and Arm("general").unadapted is None
    clip = Arm("clip", encoder="clip", weights="pretrained", physics="anchored")
    own = Arm("adapted/clip", encoder="clip", weights="pretrained", physics="anchored")
    assert own.label == f"{clip.label}, adapted" and str(own) == "adapted/clip [anchored]"
    assert own.usual_weights and own.kind == "control" and own.comparable(clip)
    arms = [Arm("varnet"), Arm("adapted/varnet"), clip, own, Arm("general"), general, Arm("zero_filled")]
    assert sorted(set(arms)) == arms
