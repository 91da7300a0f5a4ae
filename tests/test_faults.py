"""What a machine does to a run: a killed reading process, a full disk, a signal. Nothing torn is left."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import pandas as pd
import pytest
import torch
import wandb
import yaml

from fm_unroll.cli import main
from fm_unroll.training import loggers
from wandb_files import logged, wandb_records
from wandb_server import WandbServer
from warm_processes import start

pytestmark = pytest.mark.slow


def protocol(folder: Path, synthetic: Path, **options: object) -> list[str]:
    """The command that scores a classical method on the synthetic hearts."""
    data = {"root": str(synthetic), "split": [0.0, 0.0, 1.0], "num_workers": 0, "contrasts": ["cine_lax"]}
    test_sets = [
        {"name": "hearts", "data": {"class_path": "CMRxReconData", "init_args": data}, "centers": [8]}
    ]
    content = {
        "test_sets": test_sets,
        "checkpoints": [],
        "accelerations": [4],
        "num_workers": 0,
    }
    content |= {"baselines": ["zero_filled"], "output": str(folder / "results"), **options}
    config = folder / "protocol.yaml"
    config.write_text(yaml.safe_dump(content))
    return ["cross-domain", "--config", str(config)]


def training(folder: Path, synthetic: Path, **options: object) -> list[str]:
    """The command that trains a small network for one epoch of two batches."""
    data = {
        "root": str(synthetic),
        "acceleration": 4,
        "acs_lines": 8,
        "num_workers": 0,
        "contrasts": ["cine_sax"],
    }
    content = {
        "model": {"num_cascades": 1, "chans": 4, "pools": 2, "sens_chans": 2, "sens_pools": 2},
        "data": {"class_path": "CMRxReconData", "init_args": {**data, **options}},
        "trainer": {
            **{"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "accelerator": "cpu"},
            **{"enable_progress_bar": False, "enable_model_summary": False},
            "default_root_dir": str(folder / "run"),
        },
    }
    config = folder / "fit.yaml"
    config.write_text(yaml.safe_dump(content))
    return ["fit", "--config", str(config)]


def records(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "records.csv")


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file of this process may grow beyond a size: writing more fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def fails_with(capsys, args: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(args)
    assert exit_.value.code == 1
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    (line,) = (line for line in errors.splitlines() if "error: " in line)
    assert words in line


def test_a_full_disk_under_the_records(synthetic: Path, tmp_path: Path, capsys):
    whole, full = tmp_path / "whole", tmp_path / "full"
    whole.mkdir(), full.mkdir()
    main(protocol(whole, synthetic))
    args = protocol(full, synthetic)
    with small_disk(200):
        fails_with(capsys, args, "the disk is full")
    assert not list(full.rglob("*.csv"))
    main(args)
    pd.testing.assert_frame_equal(records(whole), records(full))


def test_a_full_disk_under_the_checkpoint(synthetic: Path, tmp_path: Path, capsys):
    with small_disk(20_000):
        fails_with(capsys, training(tmp_path, synthetic), "the disk is full")
    for checkpoint in tmp_path.rglob("*.ckpt"):
        torch.load(checkpoint, weights_only=True)


def test_a_full_disk_under_reconstructions(synthetic: Path, tmp_path: Path, capsys):
    args = training(tmp_path, synthetic)
    main(args)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    args = ["predict", *args[1:], "--ckpt_path", str(checkpoint)]
    with small_disk(3000):
        fails_with(capsys, args, "the disk is full")
    assert not list(tmp_path.rglob("reconstructions/**/*.h5"))
    main(args)
    written = list(tmp_path.rglob("reconstructions/**/*.h5"))
    assert written
    for path in written:
        with h5py.File(path) as file:
            assert file["reconstruction"].ndim == 4


def test_a_full_disk_under_the_index(synthetic: Path, tmp_path: Path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("FM_UNROLL_CACHE", str(tmp_path / "cache"))
    with small_disk(100):
        main(["data", "check", str(synthetic)])
    assert "index not remembered" in caplog.text
    assert not list((tmp_path / "cache").iterdir())


def when(condition: Callable[[], object], action: Callable[[], object]) -> threading.Thread:
    """Do something as soon as something holds, beside what runs meanwhile."""

    def wait() -> None:
        give_up = time.monotonic() + 60
        while not condition() and time.monotonic() < give_up:
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_killed_reading_process(synthetic: Path, tmp_path: Path):
    args = protocol(tmp_path, synthetic, num_workers=1, baselines=["wavelet"])
    process = start(args, output=tmp_path / "printed.txt")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def kill_readers() -> None:
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)

    when(lambda: children.read_text() and list(tmp_path.rglob("parts/**/*.csv")), kill_readers).join()
    process.join(60)
    errors = (tmp_path / "printed.txt").read_text()
    assert process.exitcode == 1 and "Traceback" not in errors
    (line,) = (line for line in errors.splitlines() if "error: " in line)
    assert "a reading process was killed" in line
    done = set(tmp_path.rglob("parts/**/*.csv"))
    assert done
    main(args)
    assert done < set(tmp_path.rglob("parts/**/*.csv"))


def test_an_evaluation_that_is_told_to_stop_goes_on(synthetic: Path, tmp_path: Path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir(), stopped.mkdir()
    main(protocol(whole, synthetic, baselines=["wavelet"]))
    args = protocol(stopped, synthetic, num_workers=1, baselines=["wavelet"])
    process = start(args)
    when(lambda: list(stopped.rglob("parts/**/*.csv")), process.terminate).join()
    process.join(60)
    assert process.exitcode == -signal.SIGTERM
    assert not (stopped / "results" / "records.csv").exists()
    main(args)
    pd.testing.assert_frame_equal(records(whole), records(stopped))


@pytest.fixture
def wandb_at(monkeypatch) -> Iterator[Callable[[str], None]]:
    """A function that logs this process in at a W&B server."""

    def log_in(url: str) -> None:
        wandb.teardown()
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_SILENT", "true")

    yield log_in
    wandb.teardown()


def recorded(run_dir: Path) -> set[str]:
    """What W&B's file on the disk knows of a run of one epoch, which ended as it should."""
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert len(pd.read_csv(run_dir / "metrics.csv")["val/ssim"].dropna()) == 1
    rows = [row for records in wandb_records(run_dir) for row in logged(records, "history")]
    return {item.key or item.nested_key[0] for row in rows for item in row.item}


def test_wandb_goes_away_in_mid_run(synthetic: Path, tmp_path: Path, wandb_at, monkeypatch):
    server = WandbServer(leaves_with_first_rows=True)
    wandb_at(server.url)
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "2")
    monkeypatch.setattr(loggers, "WANDB_PATIENCE", 3)
    with pytest.warns(UserWarning) as warnings:
        main(training(tmp_path, synthetic))
    assert server.gone and "val/ssim" in recorded(tmp_path / "run")
    missed = [str(warning.message) for warning in warnings if "not recorded there" in str(warning.message)]
    assert len(missed) == 2 and "val/volumes" in missed[0] and "best.ckpt" in missed[1]


@pytest.mark.parametrize("status", [None, 401], ids=["not there", "refuses the key"])
def test_a_run_without_wandb_is_recorded_offline(
    status, synthetic: Path, tmp_path: Path, wandb_at, monkeypatch
):
    server = WandbServer(status=status or 200)
    if status is None:
        server.leave()
    wandb_at(server.url)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
    with pytest.warns(UserWarning, match="recorded offline, `wandb sync` sends it later"):
        main(training(tmp_path, synthetic))
    assert {"val/ssim", "val/volumes"} <= recorded(tmp_path / "run")
