"""Interrupted training ends, bit for bit, where the uninterrupted one does."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer

from fm_unroll.cli import main
from fm_unroll.data.sampler import EqualShapeBatchSampler
from fm_unroll.errors import InputError
from fm_unroll.training.run_folder import latest_checkpoint
from training_runs import config_for, same_weights
from warm_processes import start

pytestmark = pytest.mark.slow

RECIPE_CALLBACKS = [
    {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/ssim", "mode": "max", "patience": 5},
    },
    {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"monitor": "val/ssim", "mode": "max", "filename": "best"},
    },
    # after every step
    {"class_path": "fm_unroll.training.callbacks.LastCheckpoint", "init_args": {"minutes": 0}},
]


@pytest.fixture(scope="module")
def uninterrupted(synthetic, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    main(["fit", "--config", str(config_for(synthetic, run_dir))])
    return run_dir


def resume_and_compare(run_dir: Path, uninterrupted: Path) -> None:
    main(["fit", "--resume", str(run_dir)])
    for name in ("last.ckpt", "best.ckpt"):
        assert same_weights(run_dir / "checkpoints" / name, uninterrupted / "checkpoints" / name)
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (run_dir, uninterrupted)
    ]
    for name in ("lr_schedulers", "epoch", "global_step"):
        assert states[0][name] == states[1][name]
    early = [
        next(value for key, value in state["callbacks"].items() if key.startswith("EarlyStopping"))
        for state in states
    ]
    assert early[0]["wait_count"] == early[1]["wait_count"]
    assert torch.equal(early[0]["best_score"], early[1]["best_score"])


def steps_done(run_dir: Path) -> int:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_after_sigkill_within_an_epoch(synthetic, uninterrupted, tmp_path):
    run_dir = tmp_path / "killed"
    config = config_for(synthetic, run_dir, callbacks=RECIPE_CALLBACKS)
    process = start(["fit", "--config", str(config), "--data.num_workers", "1"])
    try:
        wait_for((run_dir / "checkpoints" / "last.ckpt").exists)
    finally:
        process.kill()
        process.join()
    per_epoch = steps_done(uninterrupted) // 2
    assert 0 < steps_done(run_dir) < 2 * per_epoch, "killed while it was training"
    resume_and_compare(run_dir, uninterrupted)


def test_after_sigterm_within_an_epoch(synthetic, uninterrupted, tmp_path):
    run_dir = tmp_path / "terminated"
    config = config_for(synthetic, run_dir)
    before = signal.getsignal(signal.SIGTERM)

    def terminate():
        wait_for(lambda: signal.getsignal(signal.SIGTERM) != before)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config)])
    thread.join()
    per_epoch = steps_done(uninterrupted) // 2
    assert steps_done(run_dir) < per_epoch
    resume_and_compare(run_dir, uninterrupted)
    logs = [pd.read_csv(folder / "metrics.csv") for folder in (run_dir, uninterrupted)]
    for name in ("train/loss", "train/loss_step"):
        losses = [log[["step", name]].dropna(ignore_index=True) for log in logs]
        pd.testing.assert_frame_equal(*losses)


def test_a_torn_checkpoint_is_passed_over(uninterrupted, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    for name in ("best.ckpt", "last.ckpt"):
        (checkpoints / name).write_bytes((uninterrupted / "checkpoints" / name).read_bytes())
    assert latest_checkpoint(tmp_path) == checkpoints / "last.ckpt"
    with (checkpoints / "last.ckpt").open("r+b") as file:
        file.truncate(5000)
    with pytest.warns(UserWarning, match=r"last\.ckpt cannot be read.*passed over"):
        assert latest_checkpoint(tmp_path) == checkpoints / "best.ckpt"
    (checkpoints / "best.ckpt").unlink()
    with pytest.warns(UserWarning), pytest.raises(InputError, match="no checkpoint to go on from"):
        latest_checkpoint(tmp_path)


def test_nothing_is_saved_between_the_last_step_and_validation(synthetic, tmp_path, monkeypatch):
    """Lightning would leave that validation out of a run that is resumed there."""
    run_dir = tmp_path / "steps"
    saved = []

    def note(trainer, path, *options, **named):
        save(trainer, path, *options, **named)
        if Path(path).name == "last.ckpt":
            saved.append(trainer.global_step)

    save = Trainer.save_checkpoint
    monkeypatch.setattr(Trainer, "save_checkpoint", note)
    main(["fit", "--config", str(config_for(synthetic, run_dir, callbacks=RECIPE_CALLBACKS, max_epochs=1))])
    steps = steps_done(run_dir)
    assert saved == [*range(1, steps), steps], "after every step but the last, and once at the end"


@pytest.mark.parametrize("num_replicas", [1, 3])
@pytest.mark.parametrize("given", [0, 1, 4])
def test_the_sampler_goes_on_within_an_epoch(num_replicas, given):
    keys = ["a"] * 17 + ["b"] * 9

    def sampler(rank):
        return EqualShapeBatchSampler(keys, 2, shuffle=True, seed=3, num_replicas=num_replicas, rank=rank)

    for rank in range(num_replicas):
        whole, resumed = sampler(rank), sampler(rank)
        whole.set_epoch(5)
        assert resumed.resume(epoch=5, given=given * num_replicas) == given
        assert list(resumed) == list(whole)[given:]
        assert len(resumed) == len(whole)
        for epoch_sampler in (whole, resumed):
            epoch_sampler.set_epoch(6)
        assert list(resumed) == list(whole), "later epochs are whole"


def test_a_run_that_max_steps_ended_within_an_epoch_goes_on_with_its_rest(
    synthetic, uninterrupted, tmp_path, capsys
):
    run_dir = tmp_path / "cut"
    steps = steps_done(uninterrupted)
    main(["fit", "--config", str(config_for(synthetic, run_dir, max_steps=steps - 1))])
    assert steps_done(run_dir) == steps - 1
    resume = ["fit", "--resume", str(run_dir), "--trainer.max_steps", "-1"]
    main(resume)
    assert "nothing is left to train" not in capsys.readouterr().out
    cut, whole = (folder / "checkpoints/last.ckpt" for folder in (run_dir, uninterrupted))
    assert steps_done(run_dir) == steps and same_weights(cut, whole)
    main(resume)
    assert "has finished its 2 epochs: nothing is left to train" in capsys.readouterr().out
