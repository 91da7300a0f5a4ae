"""Paths as users write them, the cache folder, files written whole or not at all, JSON files, hashes."""

import errno
import glob
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import platformdirs

from fm_unroll.errors import InputError

_PASSED: ContextVar[list[str] | None] = ContextVar("passed", default=None)


def at_home(path: Path | str) -> Path:
    """A path as a user gives it, with ``~`` and ``~anna`` standing for home folders, as in a shell.

    Raises:
        InputError: nobody's home folder is known by that name.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        whose = Path(path).parts[0]
        raise InputError(f"{path}: no home folder is known for {whose}, give the whole path") from None


def cache_folder() -> Path:
    """Where runs keep what later ones need again: ``FM_UNROLL_CACHE``, else the user's cache folder."""
    return at_home(os.environ.get("FM_UNROLL_CACHE") or platformdirs.user_cache_path("fm_unroll"))


def is_hidden(path: Path) -> bool:
    """Whether a name is hidden, as ``.DS_Store`` and the ``._scan.h5`` that macOS writes beside files."""
    return path.name.startswith(".")


def visible(folder: Path, suffix: str = "") -> list[Path]:
    """What lies in a folder and is not hidden, sorted; nothing where there is no such folder, or link.

    Args:
        folder: the folder; links are followed.
        suffix: only names that end so, such as ``.h5``.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return sorted(
            path for path in folder.iterdir() if path.suffix.endswith(suffix) and not is_hidden(path)
        )
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_symlink():
            return []
        _pass_over(folder, error)
        return []


def _pass_over(folder: Path, error: OSError) -> None:
    """Note a folder that cannot be read, or refuse it outside of :func:`passing_over`."""
    passed, line = _PASSED.get(), f"{folder}: {unopened(folder, error)}"
    if passed is None:
        raise InputError(line) from error
    passed.append(line)


@contextmanager
def passing_over() -> Iterator[list[str]]:
    """Within this, folders that cannot be read are named in a list, and nothing is found in them."""
    passed: list[str] = []
    token = _PASSED.set(passed)
    try:
        yield passed
    finally:
        _PASSED.reset(token)


def files_below(root: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Every file below a folder that is not hidden and ends so, in whatever case; none is looked at.

    Links are followed, after everything else, so that a folder goes by its own name where it has one. None
    is entered twice.

    Args:
        root: the folder.
        suffixes: such as ``.h5``.

    Raises:
        InputError: a folder cannot be read.
    """
    endings = tuple(suffix.lower() for suffix in suffixes)
    entered: set[tuple[int, int]] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            _pass_over(folder, error)
            continue
        for entry in entries:
            path = Path(entry.path)
            if is_hidden(path):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and path.is_dir():
                links.append(path)
            elif entry.name.lower().endswith(endings):
                yield path


def matching(pattern: str) -> list[Path]:
    """Files that match a shell's pattern, sorted; ``*`` stands for no hidden file or folder."""
    # not Path.glob, which finds hidden ones too
    return sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207


def unopened(path: Path, error: OSError) -> str:
    """Why a file or folder cannot be opened; of a link also where it leads."""
    return f"{error.strerror} (a link to {path.readlink()})" if path.is_symlink() else str(error.strerror)


def require_file(path: Path) -> os.stat_result:
    """Refuse what is no file before it is opened: whoever opens a pipe waits for somebody to write to it.

    Raises:
        InputError: there is none, a link leads nowhere, or it is something else.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {unopened(path, error)}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = os.strerror(errno.EISDIR) if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise InputError(f"{path}: {kind}, no file; rename or remove it")
    return status


def reached_again(files: Sequence[Path], root: Path) -> dict[Path, Path]:
    """Those files that are another one of them, by a link, each with that other one.

    Of several paths to one file, the first without a link below the root stands for it, if there is one.
    """
    paths: dict[tuple[int, int], list[Path]] = {}
    for file in files:
        with suppress(OSError):
            status = file.stat()
            paths.setdefault((status.st_dev, status.st_ino), []).append(file)
    real_root = root.resolve()
    again = {}
    for same in paths.values():
        if len(same) > 1:
            by_link = {file: file.resolve() != real_root / file.relative_to(root) for file in same}
            first = min(same, key=lambda file: (by_link[file], file.is_symlink()))
            again.update({file: first for file in same if file != first})
    return again


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
