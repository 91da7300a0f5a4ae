"""What commands leave in one folder adds up, and what no longer holds is named."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from fm_unroll.cli import main
from fm_unroll.evaluation import entrants, scoring
from fm_unroll.evaluation.records import read_records
from fm_unroll.evaluation.selection import shown_runs
from fm_unroll.models import build_model
from fm_unroll.models.classical import CGSense
from fm_unroll.report.pictures import read_slices
from simulate import complex_noise

pytestmark = pytest.mark.slow

NETWORK = {
    "method": "image_skip_only",
    "num_cascades": 1,
    "sens_chans": 2,
    "sens_pools": 2,
    "decoder_widths": [4, 4, 4, 4],
}


def checkpoint(path: Path, seed: int = 0) -> Path:
    """An untrained network as ``fit`` would have left it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    content = {
        "epoch": 0,
        "hyper_parameters": NETWORK,
        "state_dict": {f"network.{name}": t for name, t in build_model(**NETWORK).state_dict().items()},
        "fm_unroll": {
            "encoder": {"name": "", "sha256": "", "weights": ""},
            "anatomy": "cardiac",
            "synthetic": True,
            "acceleration": 4.0,
            "sampling": {"class_path": "fm_unroll.physics.sampling.UniformSampling", "init_args": {}},
            "subjects": {"train": ["P900"], "val": ["P901"], "test": []},
            "seed": seed,
        },
    }
    torch.save(content, path)
    return path


class Folder:
    """A protocol of three anatomies and the folder of its results."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder, self.output = folder, folder / "results"
        hearts = {"root": str(root), "acs_lines": 8, "split": [0.7, 0.1, 0.2], "num_workers": 0}
        self.test_sets = {
            "heart": ("CMRxReconData", hearts, [8]),
            "knee": ("FastMRIKneeData", {"root": str(root / "knee"), "num_workers": 0}, [0.2]),
            "brain": ("FastMRIBrainData", {"root": str(root / "brain"), "num_workers": 0}, [0.2]),
        }

    def run(self, *words: str) -> pd.DataFrame:
        content = {
            "test_sets": [
                {"name": name, "data": {"class_path": kind, "init_args": options}, "centers": centers}
                for name, (kind, options, centers) in self.test_sets.items()
            ],
            "accelerations": [4],
            "output": str(self.output),
            "num_workers": 0,
        }
        config = self.folder / "protocol.yaml"
        config.write_text(yaml.safe_dump(content))
        main(["cross-domain", "--config", str(config), *words])
        return self.records

    @property
    def records(self) -> pd.DataFrame:
        return read_records(self.output / "records.csv")

    @property
    def bytes(self) -> bytes:
        return (self.output / "records.csv").read_bytes()


@pytest.fixture
def folder(synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(synthetic, tmp_path)


def test_three_commands_end_with_three_tables(folder, synthetic, capsys):
    """The sequence of docs/reproduction.md, with checkpoints found by themselves below runs/."""
    best = checkpoint(Path("runs/image_skip_only_x4/seed0/checkpoints/best.ckpt"))
    for number, anatomy in enumerate(("cardiac", "knee", "brain"), start=1):
        records = folder.run("--only", f"[{anatomy}]")
        assert records.anatomy.nunique() == number
    three = folder.bytes
    assert "rows of earlier commands stay" in capsys.readouterr().out
    assert set(records.groupby("anatomy").method.nunique()) == {2}
    main(["report", str(folder.output / "records.csv")])
    assert (folder.output / "report.html").is_file()
    # every picture has both methods, as in one run over everything
    slices = read_slices(folder.output / "images", shown_runs(records))
    assert {place.anatomy for place in slices} == {"cardiac", "knee", "brain"}
    assert all(len(item.images) == 2 for item in slices.values())
    assert set(json.loads((folder.output / "priors.json").read_text())) == {"image_skip_only"}
    facts = json.loads((folder.output / "provenance.json").read_text())["protocol"]
    assert [test_set["name"] for test_set in facts["test_sets"]] == ["heart", "knee", "brain"]
    assert list(facts["checkpoints"]) == [str(best)] and facts["baselines"] == ["zero_filled"]

    for words in (["--only", "[brain]"], ["--only", "[cardiac]"], []):
        folder.run(*words)
        assert folder.bytes == three  # as one command over everything gives
    whole = Folder(synthetic, folder.folder / "whole")
    whole.folder.mkdir()
    whole.run()
    assert whole.bytes == three


def test_methods_accelerations_and_checkpoints_add_up(folder):
    first, second = (
        checkpoint(Path(f"runs/image_skip_only_x4/seed{s}/checkpoints/best.ckpt"), s) for s in (0, 1)
    )
    knee = ["--only", "[knee]"]
    rows = len(folder.run(*knee, "--checkpoints", f"[{first}]"))
    records = folder.run(*knee, "--checkpoints", f"[{second}]", "--baselines", "[]")
    assert len(records) == rows * 3 // 2 and records.checkpoint_sha256.nunique() == 3
    records = folder.run(*knee, "--checkpoints", "[]", "--accelerations", "[2]")
    assert len(records) == 2 * rows and set(records.acceleration) == {2.0, 4.0}


def test_rows_of_a_checkpoint_that_changed_or_is_gone_are_left_out_and_named(folder, capsys):
    paths = [checkpoint(Path(f"runs/image_skip_only_x4/seed{s}/checkpoints/best.ckpt"), s) for s in (0, 1)]
    folder.run("--only", "[knee]")
    checkpoint(paths[0], seed=7)
    records = folder.run("--only", "[brain]")
    out = capsys.readouterr().out
    assert f"left out of {folder.output / 'records.csv'}: " in out
    assert f"rows of {paths[0]} (image_skip_only), which has changed or is gone" in out
    assert set(records[records.dataset == "knee"].seed.dropna()) == {1}
    assert set(records[records.dataset == "brain"].seed.dropna()) == {1, 7}

    paths[1].unlink()
    records = folder.run("--only", "[brain]")
    assert f"rows of {paths[1]} (image_skip_only), which has changed or is gone" in capsys.readouterr().out
    assert set(records[records.dataset == "knee"].method) == {"zero_filled"}
    assert set(records[records.dataset == "brain"].seed.dropna()) == {7}
    images = read_slices(folder.output / "images", shown_runs(records))
    assert {len(item.images) for place, item in images.items() if place.anatomy == "knee"} == {1}
    facts = json.loads((folder.output / "provenance.json").read_text())["protocol"]
    assert list(facts["checkpoints"]) == [str(paths[0])]


def test_rows_of_another_checkpoint_of_one_training_are_left_out_and_named(folder, capsys):
    best, last = (
        checkpoint(Path(f"runs/image_skip_only_x4/seed0/checkpoints/{n}.ckpt")) for n in ("best", "last")
    )
    facts = torch.load(last, weights_only=True)
    torch.save(facts | {"epoch": 7}, last)
    knees = folder.run("--only", "[knee]", "--checkpoints", f"[{best}]")
    assert set(knees.seed.dropna()) == {0}
    records = folder.run("--only", "[brain]", "--checkpoints", f"[{last}]")
    assert (
        f"rows of {best} (image_skip_only), of the same training and seed as one" in capsys.readouterr().out
    )
    assert set(records[records.dataset == "knee"].method) == {"zero_filled"}
    assert records.checkpoint_sha256.nunique() == 2  # none, and the last one's


def test_rows_of_a_test_set_that_is_another_one_by_now_are_left_out_and_named(folder, synthetic, capsys):
    none = ["--checkpoints", "[]"]
    folder.run("--only", "[cardiac]", *none)
    folder.run("--only", "[cardiac]", *none, "--baselines", "[cg_sense]")
    # the split of a test set that is not evaluated now
    folder.test_sets["heart"][1]["split_seed"] = 3
    records = folder.run("--only", "[knee]", *none)
    assert "rows of heart, evaluated with another split" in capsys.readouterr().out
    assert set(records.dataset) == {"knee"}
    # of one that is evaluated: what this command does not evaluate again
    folder.run("--only", "[cardiac]", *none, "--baselines", "[cg_sense]")
    before = set(folder.records[folder.records.dataset == "heart"].subject)
    folder.test_sets["heart"][1]["split_seed"] = 0
    records = folder.run("--only", "[cardiac]", *none)
    out = capsys.readouterr().out
    after = set(records[records.dataset == "heart"].subject)
    assert before != after
    assert "rows of volumes of heart that have changed or are not among its test volumes" in out
    assert set(records[records.method == "cg_sense"].subject) <= after


def test_a_file_that_changes_is_scored_anew_and_rows_of_how_it_was_are_left_out(folder, synthetic, capsys):
    """Though its headers, its stored images and its maximum stay."""
    copy = Path(shutil.copytree(synthetic / "knee", folder.folder / "knee"))
    folder.test_sets["knee"][1]["root"] = str(copy)
    words = ["--only", "[knee]", "--checkpoints", "[]"]
    folder.run(*words, "--baselines", "[cg_sense]")
    first = folder.run(*words)
    parts = set((folder.output / "parts").rglob("*.csv"))
    again = folder.run(*words)
    assert again.equals(first) and set((folder.output / "parts").rglob("*.csv")) == parts

    path = sorted(copy.rglob("*.h5"))[0]
    with h5py.File(path, "r+") as file:
        kspace = file["kspace"]
        kspace[-1] += 0.002 * np.abs(kspace[-1]).max() * complex_noise(*kspace.shape[1:]).numpy()
    capsys.readouterr()
    records = folder.run(*words)
    out = capsys.readouterr().out
    of_file = first[first.volume == path.stem]
    number = int((of_file.method == "cg_sense").sum())
    assert f"{number} rows of volumes of knee that have changed or are not among its test volumes" in out
    assert set(records[records.volume == path.stem].method) == {"zero_filled"}
    merged = first.merge(records, on=["volume", "slice", "method"], suffixes=("", "_now"))
    differ = merged[merged.nmse != merged.nmse_now]
    assert set(zip(differ.volume, differ.slice, strict=True)) == {(path.stem, len(of_file) // 2 - 1)}


def test_rows_of_other_code_are_neither_reused_nor_kept(folder, capsys, monkeypatch):
    none = ["--checkpoints", "[]"]
    first = folder.run("--only", "[knee]", *none)
    assert (first.code.str.len() == 12).all() and (first.device == "cpu").all()
    assert (first.precision == "float32").all() and first.commit.nunique() == 1
    monkeypatch.setattr(scoring, "DECIDING", scoring.DECIDING[1:])
    parts = set((folder.output / "parts").rglob("*.csv"))
    records = folder.run("--only", "[brain]", *none)
    assert f"{len(first)} rows made by other code" in capsys.readouterr().out
    assert set(records.dataset) == {"brain"}
    folder.run("--only", "[knee]", *none)
    assert len(set((folder.output / "parts").rglob("*.csv")) - parts) == 4  # two knees, two heads


def test_a_classical_method_with_other_parameters_is_another_one(folder, capsys, monkeypatch):
    words = ["--only", "[knee]", "--checkpoints", "[]", "--baselines", "[mine]"]
    errors = []
    for iterations in (1, 20):
        monkeypatch.setitem(entrants.CLASSICAL, "mine", lambda n=iterations: CGSense(max_iterations=n))
        errors.append(folder.run(*words).nmse)
    assert len(errors[0]) == len(errors[1]) and (errors[0] != errors[1]).any()
    monkeypatch.delitem(entrants.CLASSICAL, "mine")
    records = folder.run("--only", "[knee]", "--checkpoints", "[]")
    assert "rows made by other code" in capsys.readouterr().out
    assert set(records.method) == {"zero_filled"}


def test_records_of_version_0_1_are_named_and_something_else_is_refused(folder, capsys):
    old = Path(__file__).parents[1] / "fixtures/version_0_1/records.csv"
    folder.output.mkdir()
    (folder.output / "records.csv").write_bytes(old.read_bytes())
    records = folder.run("--only", "[knee]", "--checkpoints", "[]")
    assert f"{len(read_records(old))} rows made by other code" in capsys.readouterr().out
    assert set(records.protocol_version) == {scoring.PROTOCOL_VERSION}
    (folder.output / "records.csv").write_text("x,y\n1,2\n")
    with pytest.raises(SystemExit):
        folder.run("--only", "[brain]", "--checkpoints", "[]")
    assert "columns missing" in capsys.readouterr().err
    assert not list((folder.output / "parts").rglob("brain/**/*.csv")), "refused before anything is done"
