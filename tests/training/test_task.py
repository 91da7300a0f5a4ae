"""Training from the command line to the checkpoint and back."""

import importlib.metadata
import json
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from fm_unroll.cli import main
from fm_unroll.data import CMRxReconData
from fm_unroll.data.undersampling import undersample
from fm_unroll.errors import InputError
from fm_unroll.metrics import score_slices, volume_metrics
from fm_unroll.models.anchored import AnchoredNetwork
from fm_unroll.models.checkpoints import load_network
from fm_unroll.precision import default_precision
from fm_unroll.reconstruction.engine import reconstruct
from fm_unroll.training.task import require_finite
from training_runs import DATA, config_for, same_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_dir(synthetic, tmp_path_factory) -> Path:
    """A finished run of two epochs."""
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    main(["fit", "--config", str(config_for(synthetic, run_dir))])
    return run_dir


def test_a_run_leaves_all_that_is_needed_to_repeat_it(run_dir, synthetic):
    resolved = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert resolved["seed_everything"] == 0
    assert resolved["model"]["learning_rate"] == 1e-3
    assert resolved["data"]["init_args"]["root"] == str(synthetic)
    provenance = json.loads((run_dir / "provenance.json").read_text())
    assert provenance["packages"]["torch"] == importlib.metadata.version("torch")
    split = json.loads((run_dir / "split.json").read_text())
    parts = [set(split[part]) for part in ("train", "val", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 6
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert len(list((run_dir / "panels").glob("epoch_*.png"))) == 2


def test_networks_of_every_second_epoch_are_kept_without_what_a_run_goes_on_from(synthetic, tmp_path):
    every = {"class_path": "fm_unroll.training.callbacks.EpochCheckpoints", "init_args": {"every": 2}}
    small = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
    options = {"max_epochs": 4, "limit_train_batches": 1, "limit_val_batches": 1, "callbacks": [every]}
    main(["fit", "--config", str(config_for(synthetic, tmp_path / "run", small, **options))])
    files = sorted((tmp_path / "run/epochs").iterdir())
    kept = [torch.load(path, weights_only=True) for path in files]
    assert [content["epoch"] + 1 for content in kept] == [2, 4]
    assert [path.name for path in files] == ["epoch_001.ckpt", "epoch_003.ckpt"]
    assert not any("optimizer_states" in content for content in kept)


def test_training_lowers_the_loss(synthetic, tmp_path):
    config = config_for(synthetic, tmp_path / "long", max_epochs=6)
    left_out = "--leave_out=[EarlyStopping,ModelCheckpoint,LastCheckpoint,ImagePanels]"
    main(["fit", "--config", str(config), "--model.learning_rate", "0.003", left_out])
    losses = pd.read_csv(tmp_path / "long" / "metrics.csv")["train/loss"].dropna().to_numpy()
    assert len(losses) == 6 and losses[-1] < 0.97 * losses[0]
    assert not list((tmp_path / "long").rglob("*.ckpt")) and not (tmp_path / "long" / "panels").exists()


def test_logged_metrics_are_those_of_the_checkpoint(run_dir, synthetic):
    """Recomputed without Lightning: every volume from its slices, then the mean over volumes."""
    logged = pd.read_csv(run_dir / "metrics.csv").dropna(subset="val/ssim").iloc[-1]
    network = load_network(run_dir / "checkpoints" / "last.ckpt")
    data = CMRxReconData(synthetic, **DATA | {"batch_size": 1})
    data.setup()
    volumes: dict[str, list[dict]] = {}
    for batch in data.val_dataloader():
        batch = undersample(batch, data.sampling)
        with torch.no_grad():
            scores = score_slices(reconstruct(network, batch), batch.target, batch.data_range)
        volumes.setdefault(batch.volume[0], []).append(scores)
    per_volume = [
        volume_metrics({name: torch.cat([score[name] for score in scores]) for name in scores[0]})
        for scores in volumes.values()
    ]
    for name in ("ssim", "psnr", "nmse"):
        expected = torch.stack([volume[name] for volume in per_volume]).mean().item()
        assert logged[f"val/{name}"] == pytest.approx(expected, rel=1e-4)


def test_resumed_run_ends_where_the_uninterrupted_one_does(run_dir, synthetic, tmp_path):
    config = config_for(synthetic, tmp_path / "resumed", max_epochs=1)
    main(["fit", "--config", str(config)])
    main(["fit", "--resume", str(tmp_path / "resumed"), "--trainer.max_epochs", "2"])
    checkpoints = [folder / "checkpoints" / "last.ckpt" for folder in (run_dir, tmp_path / "resumed")]
    assert same_weights(*checkpoints)
    logs = [pd.read_csv(folder / "metrics.csv") for folder in (run_dir, tmp_path / "resumed")]
    for name in (
        "train/loss",
        "train/loss_step",
        "val/ssim",
        "fusion/cascade_1_block_2",
        "step_size/cascade_2",
    ):
        uninterrupted, continued = (log[["step", name]].dropna(ignore_index=True) for log in logs)
        assert len(uninterrupted) >= 2
        pd.testing.assert_frame_equal(uninterrupted, continued)


def test_the_same_command_gives_the_same_weights(run_dir, synthetic, tmp_path):
    main(["fit", "--config", str(config_for(synthetic, tmp_path / "again"))])
    assert same_weights(
        tmp_path / "again" / "checkpoints" / "last.ckpt", run_dir / "checkpoints" / "last.ckpt"
    )


def test_the_frozen_encoder_is_not_in_the_checkpoint_but_named_in_it(run_dir):
    checkpoint = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    assert not any("encoder" in name for name in checkpoint["state_dict"])
    network = load_network(run_dir / "checkpoints" / "best.ckpt")
    assert checkpoint["fm_unroll"]["encoders"] == [
        {
            "name": "timm/vit_tiny_patch16_224",
            "sha256": network.encoders[0].compute_sha256(),
            "weights": "random",
            "untold": {"activation": "gelu", "layer-norm eps": 1e-6, "heads": 3},
        }
    ]
    optimised = sum(len(group["params"]) for group in checkpoint["optimizer_states"][0]["param_groups"])
    assert optimised == len([p for p in network.parameters() if p.requires_grad])
    assert not network.train().encoders[0].training


def test_the_checkpoint_says_what_it_was_trained_on(run_dir, synthetic):
    """As plain numbers, of the training subjects' own headers."""
    checkpoint = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["fm_unroll"]
    coils, readouts, phases = set(), set(), set()
    for subject in checkpoint["subjects"]["train"]:
        for path in synthetic.glob(f"MultiCoil/Cine/TrainingSet/FullSample/{subject}/*.mat"):
            with h5py.File(path, locking=False) as file:
                *_, coil, phase, readout = file["kspace_full"].shape
            coils.add(coil), phases.add(phase), readouts.add(readout)
    trained_on = checkpoint["trained_on"]
    for name, sizes in (("coils", coils), ("readout", readouts), ("phase", phases)):
        assert trained_on[name] == [min(sizes), max(sizes)]
    assert trained_on["acs_lines"] == [8, 8]
    # every fourth line and eight in the centre, of which two are fourth lines
    assert trained_on["true_acceleration"][1] == pytest.approx(max(n / (-(-n // 4) + 6) for n in phases))


def test_a_checkpoint_says_how_its_scans_were_cropped_and_others_are_warned_of(synthetic, tmp_path):
    run_dir = tmp_path / "half"
    config = config_for(synthetic, run_dir, max_epochs=1)
    main(["fit", "--config", str(config), "--data.readout_crop", "0.5"])
    best = run_dir / "checkpoints/best.ckpt"
    facts = torch.load(best, weights_only=True)["fm_unroll"]
    whole = CMRxReconData(synthetic, num_workers=0)
    whole.setup()
    assert facts["readout_crop"] == 0.5
    assert max(facts["trained_on"]["readout"]) == max(v.readout for v in whole.index.volumes) // 2
    options = ["--ckpt_path", str(best), "--trainer.default_root_dir", str(tmp_path / "again")]
    with pytest.warns(UserWarning, match=r"trained with readout_crop 0\.5, the data have 1"):
        main(["validate", "--config", str(config), *options])


def test_another_physics_is_trained_logged_and_brought_back(synthetic, tmp_path):
    model = {"method": "varnet_zero", "chans": 2, "pools": 2, "num_cascades": 2, "physics": "anchored"}
    config = config_for(synthetic, tmp_path / "anchored", model, max_epochs=1)
    main(["fit", "--config", str(config), "--model.start", "cg_sense", "--model.solver_steps", "3"])
    network = load_network(tmp_path / "anchored/checkpoints/best.ckpt")
    assert isinstance(network, AnchoredNetwork) and network.start == "cg_sense"
    assert {cascade.solver_steps for cascade in network.cascades} == {3}
    assert all(cascade.pulls[0].item() != 0 for cascade in network.cascades)
    logged = pd.read_csv(tmp_path / "anchored/metrics.csv")
    last = logged["pull/cascade_1"].dropna().iloc[-1]
    assert last == pytest.approx(network.cascades[0].pulls[0].item(), abs=1e-6)
    assert logged["strength/cascade_1"].dropna().gt(0).all()
    assert not any(name.startswith("step_size") for name in logged)


def test_a_checkpoint_refuses_another_encoder(run_dir, tmp_path):
    checkpoint = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["fm_unroll"]["encoders"][0]["sha256"] = "0" * 64
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="trained over the encoder 000000000000"):
        load_network(tmp_path / "other.ckpt")
    checkpoint["hyper_parameters"]["any_encoder"] = True
    torch.save(checkpoint, tmp_path / "other.ckpt")
    load_network(tmp_path / "other.ckpt")


def test_every_precision_trains_alike_over_the_same_encoder(run_dir, synthetic, tmp_path):
    """On a CPU Lightning takes bfloat16 for ``16-mixed`` too; float16 itself is tested on the networks."""
    before = load_network(run_dir / "checkpoints" / "last.ckpt")
    losses = {}
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        config = config_for(synthetic, tmp_path / precision, precision=precision, max_epochs=1)
        few = ["--trainer.limit_train_batches", "6", "--trainer.limit_val_batches", "1"]
        main(["fit", "--config", str(config), "--model.encoder_gradient", "through", *few])
        network = load_network(tmp_path / precision / "checkpoints" / "last.ckpt")
        assert network.encoders[0].compute_sha256() == before.encoders[0].compute_sha256()
        losses[precision] = (
            pd.read_csv(tmp_path / precision / "metrics.csv")["train/loss_step"].dropna().to_numpy()
        )
    assert len(losses["32-true"]) and np.isfinite(losses["32-true"]).all()
    for precision in ("bf16-mixed", "16-mixed"):
        assert 0 < np.abs(losses[precision] - losses["32-true"]).max() < 0.02


def test_default_precision_is_kept_in_the_config(run_dir):
    resolved = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert resolved["trainer"]["precision"] == default_precision("cpu")


def test_a_run_is_never_trained_over(run_dir, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(run_dir / "config.yaml")])
    assert "already holds a run" in capsys.readouterr().err


def test_test_and_predict_take_a_checkpoint(run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = ["--ckpt_path", str(run_dir / "checkpoints" / "best.ckpt")]
    config = ["--config", str(run_dir / "config.yaml"), "--trainer.default_root_dir", str(tmp_path)]
    main(["test", *config, *checkpoint])
    main(["predict", *config, *checkpoint])
    subject = json.loads((run_dir / "split.json").read_text())["test"][0]
    folder = tmp_path / "reconstructions/TrainingSet/FullSample"
    with h5py.File(folder / subject / "cine_sax.h5") as file:
        assert file["reconstruction"].shape[:2] == (2, 2)
        assert file["reconstruction"].dtype == "float32" and file["reconstruction"][()].max() > 0


def test_checkpoints_that_are_none_are_refused(run_dir, tmp_path):
    torn = tmp_path / "torn.ckpt"
    torn.write_bytes((run_dir / "checkpoints" / "best.ckpt").read_bytes()[:1000])
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    code = tmp_path / "code.ckpt"
    torch.save({"fm_unroll": Path("x").exists}, code)
    for path, words in [
        (torn, "cannot be read"),
        (foreign, "not a checkpoint of fm_unroll"),
        (code, "cannot be read"),
    ]:
        with pytest.raises(InputError, match=words):
            load_network(path)
    with pytest.raises(InputError, match="is not a file"):
        load_network(tmp_path / "nothing.ckpt")


def test_checkpoint_of_another_architecture_is_refused(run_dir, tmp_path):
    checkpoint = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["num_cascades"] = 3
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="of another architecture"):
        load_network(tmp_path / "other.ckpt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_training_and_names_its_slices(value):
    batch = SimpleNamespace(volume=["P001/cine_sax", "P002/T1map"], slice=[3, 0], frame=[0, 2])
    words = "P001/cine_sax slice 3, frame 0, P002/T1map slice 0, frame 2: look at this scan by `data check"
    with pytest.raises(InputError, match=f"^the training loss is {value:g} at {words}"):
        require_finite(torch.tensor(value), batch)
    require_finite(torch.tensor(0.5), batch)
