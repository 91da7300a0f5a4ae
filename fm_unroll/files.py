"""Files written whole or not at all, JSON files and hashes of files."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fm_unroll.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` once all went well; else ``path`` stays as it was.

    Its suffix is ``.part``, so that nobody who looks for files like ``path`` takes half of one.

    Raises:
        InputError: the folder cannot be made, because a file has its place.
    """
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        InputError: a file has the place of one of them.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: a file lies where a folder is to be made; give another path") from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as readable JSON, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file; empty where there is no file.

    Raises:
        InputError: the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not a json file ({error}); delete it and give the command that writes it again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected an object")
    return content


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
