"""The data set says what it is, depends on its options alone, and is taken up where it was interrupted."""

import json
from pathlib import Path

import h5py
import pytest

from fm_unroll.errors import InputError
from fm_unroll.phantoms import data_set
from fm_unroll.phantoms.data_set import SyntheticData


def contents(root: Path) -> dict[str, bytes]:
    """Every file below the root."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_everything_says_that_it_is_synthetic(root):
    label = json.loads((root / "synthetic.json").read_text())
    assert "nobody was scanned" in label["synthetic"]
    files = [*root.rglob("*.h5"), *root.rglob("*.mat")]
    assert len(files) == 2 * 4 * 3 + 2 + 3
    for path in files:
        with h5py.File(path) as file:
            assert "nobody was scanned" in file.attrs["synthetic"]
            assert file.attrs["generator_version"] == label["generator_version"]


def test_subjects_do_not_depend_on_their_number_and_the_seed_matters(root, tmp_path):
    SyntheticData("tiny", hearts=1, knees=1, heads=1).write(tmp_path / "fewer")
    fewer, all_of_them = contents(tmp_path / "fewer"), contents(root)
    assert len(fewer) == 7
    assert {name: all_of_them[name] for name in fewer} == fewer
    SyntheticData("tiny", hearts=0, knees=1, heads=0, seed=1).write(tmp_path / "other")
    other = contents(tmp_path / "other")
    assert other["knee/multicoil_val/file1000001.h5"] != fewer["knee/multicoil_val/file1000001.h5"]


def test_an_interrupted_run_is_completed_to_the_same_tree(tmp_path, monkeypatch):
    options = {"size": "tiny", "hearts": 1, "knees": 1, "heads": 1, "accelerations": (8,)}
    SyntheticData(**options).write(tmp_path / "whole")
    calls = 0
    write = h5py.Group.create_dataset

    def stop_in_the_third_file(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return write(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(h5py.Group, "create_dataset", stop_in_the_third_file)
        with pytest.raises(KeyboardInterrupt):
            SyntheticData(**options).write(tmp_path / "stopped")
    (first,) = (tmp_path / "stopped").glob("**/FullSample/P001/*.mat")
    written = first.stat().st_mtime_ns
    SyntheticData(**options).write(tmp_path / "stopped")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    assert first.stat().st_mtime_ns == written


def test_refuses_a_root_that_holds_something_else(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not empty"):
        SyntheticData("tiny").write(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        SyntheticData("tiny").write(tmp_path / "file")
    with pytest.raises(InputError, match=r"seed 0 \(asked: 5\)"):
        SyntheticData("tiny", seed=5).write(root)
    with pytest.raises(InputError, match=r"size tiny \(asked: demo\)"):
        SyntheticData().write(root)
    (tmp_path / "synthetic.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        SyntheticData("tiny").write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "synthetic.json"]


def test_a_newer_generator_does_not_mix_with_older_files(root, monkeypatch):
    monkeypatch.setattr(data_set, "GENERATOR_VERSION", data_set.GENERATOR_VERSION + 1)
    with pytest.raises(InputError, match="generator_version"):
        SyntheticData("tiny").write(root)


@pytest.mark.parametrize(
    "options",
    [
        {"size": "huge"},
        {"hearts": -1},
        {"seed": -1},
        {"accelerations": (1,)},
        {"hearts": 0, "knees": 0, "heads": 0},
    ],
)
def test_refuses_bad_options_and_writes_nothing(options, tmp_path):
    with pytest.raises(InputError):
        SyntheticData(**options).write(tmp_path / "new")
    assert not (tmp_path / "new").exists()
