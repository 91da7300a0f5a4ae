"""A file is there whole, or as it was before."""

from pathlib import Path

import pytest

from fm_unroll.files import whole_file


def test_a_file_comes_whole_into_a_new_folder(tmp_path: Path):
    path = tmp_path / "new" / "a.csv"
    with whole_file(path) as part:
        part.write_text("first")
        assert not path.exists() and not list(path.parent.glob("*.csv"))
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), whole_file(path) as part:
        part.write_text("hal")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
