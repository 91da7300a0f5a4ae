"""A file is there whole, or as it was before; what JSON files hold comes back."""

import subprocess
from pathlib import Path

import pytest

from fm_unroll.errors import InputError
from fm_unroll.files import at_home, file_sha256, matching, read_json, visible, whole_file, write_json


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


def test_an_object_comes_back_from_its_json_file(tmp_path: Path):
    content = {"name": "müller", "numbers": [1, 2.5], "none": None}
    write_json(tmp_path / "new" / "a.json", content)
    assert read_json(tmp_path / "new" / "a.json") == content
    assert read_json(tmp_path / "absent.json") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not a json file .* give the command that writes it again"),
        (b"\xff", "not a json file"),
        (b"[1]", "holds a list, expected an object"),
    ],
)
def test_a_file_that_holds_no_object_is_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.json: {message}"):
        read_json(path)


def test_the_hash_is_that_of_sha256sum(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 4096)
    stated = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert stated.split()[0] == file_sha256(path)


def test_a_path_may_begin_with_a_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert [at_home(path) for path in ("~/x.h5", Path("~"), "a/~/b", "/~")] == [
        *(Path("/home/anna/x.h5"), Path("/home/anna"), Path("a/~/b"), Path("/~"))
    ]
    with pytest.raises(InputError, match="~nobody_here/x: no home folder is known for ~nobody_here"):
        at_home("~nobody_here/x")


def test_a_star_stands_for_nothing_hidden(tmp_path: Path, monkeypatch):
    for name in ("b/x.ckpt", "a/x.ckpt", "a/._x.ckpt", ".old/x.ckpt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert matching(f"{tmp_path}/*/*.ckpt") == [tmp_path / "a/x.ckpt", tmp_path / "b/x.ckpt"]
    assert matching(f"{tmp_path}/.old/*.ckpt") == [tmp_path / ".old/x.ckpt"]
    monkeypatch.chdir(tmp_path)
    assert matching("*/x.ckpt") == [Path("a/x.ckpt"), Path("b/x.ckpt")]
    assert visible(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert visible(tmp_path / "a", ".ckpt") == [tmp_path / "a/x.ckpt"] and visible(tmp_path / "c") == []
    (tmp_path / "c").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"c: No such file or directory \(a link to nowhere\)"):
        visible(tmp_path / "c")
