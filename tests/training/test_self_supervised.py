"""Training on undersampled files alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from fm_unroll.cli import main
from fm_unroll.data import CMRxReconData
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.models.self_supervision import HELD_OUT, kspace_loss, leave_out, predict_kspace
from fm_unroll.training.losses import build_loss, needs_targets
from fm_unroll.training.recipe import class_of, complete_callbacks, recipe_callbacks
from simulate import random_kspace, write_matlab
from training_runs import TRAINER

ACS = 4
VARNET = {"num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}
FILES = {"subset": "ValidationSet", "acquisition": "AccFactor04", "contrasts": ["cine_sax"], "num_workers": 0}


def write_undersampled(root: Path, number: int, lines: int = 32) -> None:
    """A heart of which every other line was measured, and the centre."""
    sampled = np.zeros(lines, bool)
    sampled[::2] = sampled[(lines - ACS) // 2 : (lines + ACS) // 2] = True
    kspace = random_kspace(16, lines, 2, 1, 1, seed=number)
    kspace[:, ~sampled] = 0
    path = root / f"MultiCoil/Cine/ValidationSet/AccFactor04/P{number:03}/cine_sax.mat"
    write_matlab(path, kspace_sub04=kspace)


def all_slices(root: Path, part: str, split: tuple[float, float, float]) -> KSpaceBatch:
    """Every slice of a part of the split."""
    data = CMRxReconData(root, 2, ACS, split=split, **FILES)
    data.setup()
    slices = data.slices(data.volumes(part))
    return KSpaceBatch.collate([slices[item] for item in range(len(slices))])


@pytest.fixture(scope="module")
def undersampled(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("undersampled")
    for number in range(1, 5):
        write_undersampled(root, number)
    return root


def config_for(root: Path, run_dir: Path, **model) -> Path:
    data = {"root": str(root), "acceleration": 2, "acs_lines": ACS, "split": [0.5, 0.5, 0], **FILES}
    content = {
        "model": {"method": "varnet", "loss": "self_supervised", **VARNET, **model},
        "data": {"class_path": "CMRxReconData", "init_args": data},
        "trainer": {**TRAINER, "default_root_dir": str(run_dir)},
    }
    path = run_dir.parent / f"{run_dir.name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_network_is_trained_on_undersampled_files_and_the_best_epoch_chosen_by_lines_held_out(
    undersampled, tmp_path
):
    run_dir = tmp_path / "run"
    config = config_for(undersampled, run_dir)
    main(["fit", "--config", str(config)])
    logged = pd.read_csv(run_dir / "metrics.csv")
    losses = logged["val/loss"].dropna().tolist()
    assert len(losses) == 2 and all(0 < loss < 2 for loss in losses)
    assert not [name for name in logged if name.startswith(("val/ssim", "val/psnr"))]
    best = run_dir / "checkpoints" / "best.ckpt"
    assert read_checkpoint(best)["epoch"] == int(np.argmin(losses))
    # 18 of 32 lines, of which 5 about the centre are contiguous: what the files have, not what is told
    seen = read_checkpoint(best)["fm_unroll"]["trained_on"]
    assert seen["acs_lines"] == [5, 5] and seen["true_acceleration"] == [32 / 18, 32 / 18]
    # the weights of the best epoch are those that give its loss
    batch = all_slices(undersampled, "val", (0.5, 0.5, 0))
    with torch.no_grad():
        found = build_loss("self_supervised").of_validation(load_network(best), batch)
    assert found.mean().item() == pytest.approx(min(losses), rel=1e-4)
    assert not (run_dir / "panels").exists()
    # the config that the run has written chooses likewise
    main(["fit", "--resume", str(run_dir), "--trainer.max_epochs", "3"])
    assert len(pd.read_csv(run_dir / "metrics.csv")["val/loss"].dropna()) == 3


def test_losses_with_targets_still_refuse_undersampled_files(undersampled, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config_for(undersampled, tmp_path / "run", loss="ssim"))])
    assert "--model.loss self_supervised" in capsys.readouterr().err


def test_a_scan_of_too_few_lines_is_refused_before_the_first_step(tmp_path, capsys):
    for number in range(1, 5):
        write_undersampled(tmp_path / "data", number, lines=16)  # 4 ACS lines and 6 others
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config_for(tmp_path / "data", tmp_path / "run"))])
    assert "alone takes 8" in capsys.readouterr().err


def test_the_loss_of_validation_is_that_of_the_lines_held_out_the_same_every_time(undersampled):
    batch = all_slices(undersampled, "test", (0, 0, 1))
    torch.manual_seed(0)
    network = build_model("varnet", **VARNET).eval()
    loss = build_loss("self_supervised")
    assert not needs_targets("self_supervised") and needs_targets("ssim")
    with torch.no_grad():
        first, again = (loss.of_validation(network, batch) for _ in range(2))
        assert torch.equal(first, again) and first.shape == (len(batch),)
        # every slice for itself, whatever else is in its batch
        alone = torch.cat([loss.of_validation(network, batch[row]) for row in range(len(batch))])
        torch.testing.assert_close(alone, first)
    torch.manual_seed(1)
    value = loss(network, batch)
    torch.manual_seed(1)
    given, predicted = leave_out(batch.mask, batch.num_acs, 2 * HELD_OUT)
    prediction = predict_kspace(network, batch.kspace, given, batch.num_acs)
    torch.testing.assert_close(value, kspace_loss(prediction, batch.kspace, predicted).mean())
    value.backward()
    assert all(parameter.grad is not None for parameter in network.cascades.parameters())


def test_callbacks_go_by_the_loss_where_there_are_no_targets():
    """In a config that lists none, in one that a run has written, and of the user's own."""
    for given in (None, recipe_callbacks(), complete_callbacks(None, (), targets=False)):
        completed = complete_callbacks(given, (), targets=False)
        names = [class_of(callback).__name__ for callback in completed]
        assert len(names) == len(set(names)) and "ImagePanels" not in names
        by = {
            (options.monitor, options.mode)
            for callback in completed
            if (options := callback.get("init_args")) and options.get("monitor")
        }
        assert by == {("val/loss", "min")}
    with pytest.raises(InputError, match="leave_out"):
        complete_callbacks(None, ["Nothing"], targets=False)
