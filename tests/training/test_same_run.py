"""What a run has seen and how it was configured holds for every verb that comes after it."""

import json
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from fm_unroll.cli import main
from fm_unroll.phantoms.write import write_cmrxrecon_undersampled
from training_runs import config_for

pytestmark = pytest.mark.slow

SMALL = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}


@pytest.fixture(scope="module")
def finished(synthetic, tmp_path_factory) -> Path:
    """A run of one epoch of one step."""
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    main(["fit", "--config", str(config_for(synthetic, run_dir, SMALL, max_epochs=1, limit_train_batches=1))])
    return run_dir


@pytest.fixture
def run_dir(finished, tmp_path) -> Path:
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def refused(capsys, *args: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(list(args))
    assert exit_.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def on_checkpoint(verb: str, run_dir: Path, root: Path, output: Path, *options: str) -> list[str]:
    data = ["--data", "CMRxReconData", "--data.root", str(root), "--data.acceleration", "4"]
    data += ["--data.acs_lines", "8", "--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    checkpoint = ["--ckpt_path", str(run_dir / "checkpoints/best.ckpt")]
    return [verb, *data, *checkpoint, "--trainer.default_root_dir", str(output), *options]


@pytest.mark.parametrize("verb, part", [("test", "test"), ("validate", "val")])
def test_the_split_comes_from_the_checkpoint_and_what_was_scored_is_listed(
    verb, part, run_dir, synthetic, tmp_path
):
    """No split is given here, and the data set's own is another one than the run's."""
    main(on_checkpoint(verb, run_dir, synthetic, tmp_path))
    written = json.loads((tmp_path / f"{verb}.json").read_text())
    assert written["subjects"] == json.loads((run_dir / "split.json").read_text())[part]
    assert written["population"] == "CMRxRecon TrainingSet (synthetic)"


def test_another_seed_and_more_subjects_are_refused_by_every_verb(run_dir, synthetic, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(synthetic, moved)
    for verb in ("test", "validate"):
        command = on_checkpoint(verb, run_dir, moved, tmp_path, "--data.split_seed", "1")
        assert "was trained: leave out data.split" in refused(capsys, *command)
    full = moved / "MultiCoil/Cine/TrainingSet/FullSample"
    shutil.copytree(full / "P001", full / "P077")
    for verb in ("test", "validate"):
        assert "P077 came to the data" in refused(capsys, *on_checkpoint(verb, run_dir, moved, tmp_path))
    going_on = ["fit", "--resume", str(run_dir), "--data.root", str(moved), "--trainer.max_epochs", "2"]
    assert "P077 came to the data" in refused(capsys, *going_on)
    before = (run_dir / "split.json").read_text()
    main([*going_on, "--data.split", "null", "--data.split_file", str(run_dir / "split.json")])
    after = json.loads((run_dir / "split.json").read_text())
    assert after == json.loads(before)
    assert torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 1


def test_a_prediction_says_whom_it_takes(run_dir, synthetic, tmp_path, capsys):
    main(on_checkpoint("predict", run_dir, synthetic, tmp_path))
    out = capsys.readouterr().out
    assert "predict: 2 of 6 subjects of CMRxRecon TrainingSet (synthetic)" in out
    assert f"reconstructions are in {tmp_path / 'reconstructions/TrainingSet/FullSample'}\n" in out
    main(on_checkpoint("predict", run_dir, synthetic, tmp_path / "all", "--data.split", "[0,0,1]"))
    assert "predict: all 6 subjects" in (out := capsys.readouterr().out)
    assert "4 of these were seen in training or selection" in out
    assert len(list((tmp_path / "all/reconstructions/TrainingSet/FullSample").glob("P*"))) == 6


@pytest.fixture(scope="module")
def undersampled(synthetic, tmp_path_factory) -> Path:
    """Two hearts of the challenge's validation set, at two accelerations."""
    root = tmp_path_factory.mktemp("undersampled")
    for place in ("P001/cine_sax.mat", "P002/cine_sax.mat"):
        full = synthetic / "MultiCoil/Cine/TrainingSet/FullSample" / place
        for factor in (4, 8):
            path = root / f"MultiCoil/Cine/ValidationSet/AccFactor{factor:02}" / place
            write_cmrxrecon_undersampled(path, full, factor, acs_lines=8)
    return root


def predictions_of(run_dir: Path, root: Path, output: Path, acquisition: str) -> list[str]:
    options = ["--data.subset", "ValidationSet", "--data.acquisition", acquisition]
    return on_checkpoint("predict", run_dir, root, output, *options, "--data.contrasts", "[cine_sax]")


def test_predictions_of_two_acquisitions_lie_apart(run_dir, undersampled, tmp_path):
    for acquisition in ("AccFactor04", "AccFactor08", "AccFactor04"):
        main(predictions_of(run_dir, undersampled, tmp_path, acquisition))
    folder = tmp_path / "reconstructions/ValidationSet"
    written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.h5")}
    assert sorted(written) == [
        f"AccFactor{factor}/{subject}/cine_sax.h5" for factor in ("04", "08") for subject in ("P001", "P002")
    ]
    assert len(set(written.values())) == 4
    said = json.loads((folder / "AccFactor08/predict.json").read_text())
    assert said["data"] == str(undersampled.resolve()) and said["sampling"] is None


def test_predictions_of_other_data_checkpoint_or_masks_do_not_mix(
    run_dir, synthetic, undersampled, tmp_path, capsys
):
    main(predictions_of(run_dir, undersampled, tmp_path, "AccFactor04"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("reconstructions/**/*.h5")}
    shutil.copytree(undersampled, tmp_path / "other")
    line = refused(capsys, *predictions_of(run_dir, tmp_path / "other", tmp_path, "AccFactor04"))
    assert f"ValidationSet/AccFactor04 is of other reconstructions: data is '{undersampled}' there" in line
    checkpoint = run_dir / "checkpoints/best.ckpt"
    torch.save(torch.load(checkpoint, weights_only=True) | {"epoch": 7}, checkpoint)
    line = refused(capsys, *predictions_of(run_dir, undersampled, tmp_path, "AccFactor04"))
    assert "checkpoint_sha256 is " in line and "give another --trainer.default_root_dir" in line
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("reconstructions/**/*.h5")}
    main(on_checkpoint("predict", run_dir, synthetic, tmp_path))
    line = refused(capsys, *on_checkpoint("predict", run_dir, synthetic, tmp_path), "--data.acs_lines", "4")
    assert "sampling.init_args.acs_lines is 8 there and 4 here" in line


def test_of_a_volume_that_is_predicted_in_part_nothing_is_written(run_dir, undersampled, tmp_path):
    command = predictions_of(run_dir, undersampled, tmp_path, "AccFactor04")
    with pytest.warns(UserWarning, match=r"P001/cine_sax: \d of \d slices were not predicted: it is not"):
        main([*command, "--trainer.fast_dev_run", "true", "--data.batch_size", "1"])
    assert not list(tmp_path.rglob("*.h5"))


def test_predictions_of_fastmri_lie_by_the_folders_of_the_scans(run_dir, synthetic, tmp_path):
    command = on_checkpoint("predict", run_dir, synthetic / "knee", tmp_path)
    command = [arg.replace("CMRxReconData", "FastMRIKneeData") for arg in command]
    at = command.index("--data.acs_lines")
    main([*command[:at], *command[at + 2 :]])
    (scans,) = (synthetic / "knee").glob("multicoil_*")
    written = (tmp_path / "reconstructions" / scans.name).glob("*.h5")
    assert sorted(path.name for path in written) == sorted(path.name for path in scans.glob("*.h5"))


def test_a_run_goes_on_by_its_own_config_only(run_dir, capsys):
    line = refused(capsys, "fit", "--resume", str(run_dir), "--model.learning_rate", "0.1")
    assert "model.learning_rate is 0.001 there and 0.1 here" in line
    line = refused(
        capsys, "fit", "--resume", str(run_dir), "--seed_everything", "7", "--data.batch_size", "2"
    )
    assert "data.init_args.batch_size is 4 there and 2 here; seed_everything is 0 there and 7 here" in line


def test_a_run_that_goes_on_names_the_files_that_were_replaced(run_dir, synthetic, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(synthetic, moved)
    began = (run_dir / "volumes.json").read_bytes()
    subject, *_ = json.loads((run_dir / "split.json").read_text())["train"]
    file = moved / f"MultiCoil/Cine/TrainingSet/FullSample/{subject}/cine_sax.mat"
    going_on = ["fit", "--resume", str(run_dir), "--data.root", str(moved), "--trainer.max_epochs"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "changed since")
        main([*going_on, "2"])
    other = shutil.copy(file, tmp_path)  # the run may still hold the file
    with h5py.File(other, "r+") as opened:
        kspace = opened["kspace_full"]
        for index in np.ndindex(kspace.shape[:2]):
            values = kspace[index]
            for part in ("real", "imag"):
                values[part] *= 1.5
            kspace[index] = values
    shutil.move(other, file)
    with pytest.warns(UserWarning, match=f"changed since the run began: {subject}/cine_sax; it goes on"):
        main([*going_on, "3"])
    assert (run_dir / "volumes.json").read_bytes() == began


def test_a_run_in_an_agent_s_sweep_goes_on_and_another_config_does_not(run_dir, monkeypatch, capsys):
    command = ["fit", "--config", str(run_dir / "config.yaml"), "--trainer.default_root_dir", str(run_dir)]
    monkeypatch.setenv("WANDB_RUN_ID", run_dir.name)
    assert "already holds a run" in refused(capsys, *command)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert "seed_everything is 0 there and 7 here" in refused(capsys, *command, "--seed_everything", "7")
    main(command)
    assert "has finished its 1 epochs: nothing is left to train" in capsys.readouterr().out
    main([*command, "--trainer.max_epochs", "2"])
    assert torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 1


def test_resume_without_a_folder_begins_a_run_or_goes_on_with_it(synthetic, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = config_for(synthetic, tmp_path / "mine", SMALL, limit_train_batches=1)
    content = yaml.safe_load(config.read_text())
    del content["trainer"]["default_root_dir"]
    config.write_text(yaml.safe_dump(content))
    for epochs in (1, 2):
        main(["fit", "--resume", "--config", str(config), "--trainer.max_epochs", str(epochs)])
        last = torch.load("runs/e2e_varnet_x4/seed0/checkpoints/last.ckpt", weights_only=True)
        assert last["epoch"] == epochs - 1
    line = refused(capsys, "fit", "--resume", "--config", str(config), "--model.learning_rate", "0.1")
    assert "model.learning_rate is 0.001 there and 0.1 here" in line
    assert "give --ckpt_path instead of --resume" in refused(capsys, "test", "--resume")


def test_a_checkpoint_from_elsewhere_does_not_open_a_folder_that_holds_a_run(run_dir, finished, capsys):
    command = ["fit", "--config", str(run_dir / "config.yaml"), "--trainer.default_root_dir", str(run_dir)]
    elsewhere = ["--ckpt_path", str(finished / "checkpoints/last.ckpt")]
    assert "already holds a run" in refused(capsys, *command, *elsewhere)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--trainer.max_steps", "1"], "trainer.max_steps is 1, but validation comes after"),
        (["--trainer.val_check_interval", "1000"], "trainer.val_check_interval is 1000, but an epoch has"),
        (
            ["--trainer.val_check_interval", "1000", "--trainer.check_val_every_n_epoch", "null"],
            "validation comes after 1000: the best epoch could not be chosen",
        ),
        (
            [
                "--trainer.logger=false",
                "--trainer.callbacks+=lightning.pytorch.callbacks.LearningRateMonitor",
            ],
            "these options do not go together: Cannot use `LearningRateMonitor`",
        ),
        (["--trainer.limit_val_batches", "0.0001"], "these options do not go together"),
        (["--leave_out", "[Nobody]"], "leave_out Nobody: the recipe has EarlyStopping"),
        (["--data.subset", "ValidationSet"], "no CMRxRecon files"),
        (["--data.contrasts", "[T2map]", "--data.split", "[0.9,0.1,0]"], None),
    ],
)
def test_what_cannot_be_done_is_one_line_before_the_first_step(options, words, synthetic, tmp_path, capsys):
    config = config_for(synthetic, tmp_path / "new", SMALL, max_epochs=1)
    command = ["fit", "--config", str(config), *options]
    if words is None:
        main([*command, "--trainer.limit_train_batches", "1"])
        return
    assert words in refused(capsys, *command)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_run_without_checkpoints_has_to_be_asked_for(synthetic, tmp_path):
    config = config_for(synthetic, tmp_path / "none", SMALL, max_epochs=1, limit_train_batches=1)
    main(["fit", "--config", str(config), "--trainer.enable_checkpointing", "false"])
    assert not list(tmp_path.rglob("*.ckpt")) and (tmp_path / "none/panels").exists()
