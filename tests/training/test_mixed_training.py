"""Mixed denoisers and denoisers in turn from the command line: start, logs, checkpoints, interruption."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from fm_unroll.cli import main
from fm_unroll.errors import InputError
from fm_unroll.models.checkpoints import load_network, read_checkpoint, start_from
from fm_unroll.training.run import check
from fm_unroll.training.task import ReconstructionTask
from simulate import disc_scan
from training_runs import MODEL, config_for, same_weights

TINY_VIT = MODEL["method"]
UNET = {"method": "varnet", "num_cascades": 2, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
MIXED = {**MODEL, **UNET, "method": "mixed", "prior": TINY_VIT, "encoder_image_size": 32}
FEW = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1}


@pytest.fixture(scope="module")
def unet(synthetic: Path, tmp_path_factory) -> Path:
    """A trained network of U-Nets."""
    folder = tmp_path_factory.mktemp("runs") / "unet"
    main(["fit", "--config", str(config_for(synthetic, folder, UNET, **FEW))])
    return folder / "checkpoints/last.ckpt"


def fit(root: Path, folder: Path, model: dict, *words: str) -> Path:
    main(["fit", "--config", str(config_for(root, folder, model, **FEW)), *words])
    return folder / "checkpoints/last.ckpt"


def test_a_mixed_network_starts_from_trained_u_nets_and_goes_on_without_their_file(unet, synthetic, tmp_path):
    own = tmp_path / "moved.ckpt"
    own.write_bytes(unet.read_bytes())
    model = MIXED | {"unet_from": str(own), "branch_dropout": 0.5}
    whole = fit(synthetic, tmp_path / "whole", model, "--trainer.max_epochs", "2")
    after = load_network(whole).state_dict()
    for name, tensor in load_network(unet).state_dict().items():
        # four steps of Adam away, where other U-Nets would be as far as their weights are large
        placed = name.replace(".denoiser.", ".denoiser.unet.")
        torch.testing.assert_close(after[placed], tensor, rtol=0, atol=5e-3, msg=name)
    # an interrupted run draws the branches that it would have drawn, and needs the U-Nets no more
    fit(synthetic, tmp_path / "begun", model)
    own.unlink()
    main(["fit", "--resume", str(tmp_path / "begun"), "--trainer.max_epochs", "2"])
    assert same_weights(whole, tmp_path / "begun/checkpoints/last.ckpt")
    assert read_checkpoint(whole)["fm_unroll"]["subjects"] == read_checkpoint(unet)["fm_unroll"]["subjects"]
    logged = pd.read_csv(tmp_path / "whole/metrics.csv")
    gates = [cascade.denoiser.mean_gate.item() for cascade in load_network(whole).cascades]
    last = [logged[f"gate/cascade_{number}"].dropna().iloc[-1] for number in (1, 2)]
    assert last == pytest.approx(gates, abs=1e-6) and all(gates)


def test_denoisers_in_turn_are_trained_logged_and_brought_back(synthetic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    method = f"varnet x 1, {TINY_VIT} x 2"
    model = MODEL | {"method": method, "chans": 2, "pools": 2}
    del model["num_cascades"]
    config = config_for(synthetic, tmp_path / "given", model, **FEW)
    main(["fit", "--config", str(config), "--trainer.default_root_dir", "null"])
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert run_dir.name == "varnet-x-1-timm-vit_tiny_patch16_224-x-2_x4"
    checkpoint = read_checkpoint(run_dir / "seed0/checkpoints/last.ckpt")
    assert checkpoint["hyper_parameters"]["num_cascades"] == 3
    assert checkpoint["hyper_parameters"]["method"] == method
    network = load_network(run_dir / "seed0/checkpoints/last.ckpt")
    (encoder,) = network.encoders
    facts = {"name": TINY_VIT, "sha256": encoder.compute_sha256(), "weights": "random"}
    assert [{name: each[name] for name in facts} for each in checkpoint["fm_unroll"]["encoders"]] == [facts]
    logged = pd.read_csv(run_dir / "seed0/metrics.csv")
    fusion = {name.partition("_block")[0] for name in logged if name.startswith("fusion")}
    assert fusion == {"fusion/cascade_2", "fusion/cascade_3"}


def test_a_network_that_starts_from_u_nets_is_theirs(unet):
    task = ReconstructionTask(**MIXED)
    start_from(task.network, dict(task.hparams), unet)
    trained, scan = load_network(unet), disc_scan(readout=24, phase=32, acs_lines=8).measured
    torch.testing.assert_close(task.network.eval()(*scan), trained(*scan))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"chans": 3}, "chans is 2 there, 3 here: give the same"),
        ({"num_cascades": 3}, "num_cascades is 2 there, 3 here"),
        ({"sens_pools": 1}, "sens_pools is 2 there, 1 here"),
        ({"zero_head": True}, "zero_head is False there, True here"),
        (
            {"physics": "anchored", "maps": "learned", "zero_head": True},
            "physics is paper there, anchored here",
        ),
    ],
)
def test_u_nets_of_another_network_are_refused(changed, words, unet):
    task = ReconstructionTask(**MIXED | changed)
    with pytest.raises(InputError, match=f"last.ckpt: .*{words}"):
        start_from(task.network, dict(task.hparams), unet)


def test_what_has_no_u_nets_is_refused(unet, synthetic, tmp_path, capsys):
    plain = ReconstructionTask(**UNET)
    with pytest.raises(InputError, match="method 'varnet' does not take it, mixed does"):
        start_from(plain.network, dict(plain.hparams), unet)
    task = ReconstructionTask(**MIXED)
    content = torch.load(unet, weights_only=True)
    for method in (TINY_VIT, "varnet x 1, varnet_zero x 1", "mixed"):
        content["hyper_parameters"]["method"] = method
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(InputError, match=f"of method '{method}', give one of a U-Net"):
            start_from(task.network, dict(task.hparams), tmp_path / "other.ckpt")
    config = config_for(synthetic, tmp_path / "run", MIXED | {"unet_from": "nowhere.ckpt"}, **FEW)
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config)])
    assert "checkpoint nowhere.ckpt is not a file" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"model\.unet_from nowhere\.ckpt is not a file"):
        check(["fit", "--config", str(config)])  # as a sweep does before its first run


def test_subjects_that_the_u_nets_have_seen_are_not_scored(unet, synthetic, tmp_path, capsys):
    model = MIXED | {"unet_from": str(unet)}
    config = config_for(synthetic, tmp_path / "run", model, **FEW)
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config), "--data.split_seed", "5"])
    assert "last.ckpt" in capsys.readouterr().err
