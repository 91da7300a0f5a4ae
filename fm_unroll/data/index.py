"""Which volumes a folder holds, from headers only, remembered between runs.

What is remembered of a data set is one JSON file, keyed by relative path, size and modification time, so that
changed, new and deleted files are noticed. It carries a hash of the code that read them: what other readers
found is not used. It lies in the user's cache folder (``FM_UNROLL_CACHE`` names another one), because data
are often on read-only storage.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.examination import examine
from fm_unroll.data.parallel import each, each_watched
from fm_unroll.data.readers.reader import Reader
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError, UnsupportedError
from fm_unroll.files import at_home, cache_folder, files_below, passing_over, reached_again, require_file
from fm_unroll.provenance import source_sha256

# what decides a description and what slices tell, besides the module of a reader that lies elsewhere
DECIDING = ("fm_unroll.data", "fm_unroll.physics")
SAVE_EVERY_SECONDS = 60
MIN_FILES_FOR_WORKERS = 2000  # headers take a millisecond each: fewer are read before processes have started

log = logging.getLogger(__name__)

Stamp = list[int]


@dataclass(frozen=True)
class Index:
    """What a data set holds.

    Attributes:
        root: the data set's folder.
        volumes: usable volumes, in the order of their paths.
        missing: names of volumes without a file, which the subjects that were found should have.
        problems: one line for each file that cannot be used.
        left_out: one line for each file that is correct and does not count, with the reason.
        stamps: by a volume's path, in which state its files were when they were described.
        unasked: contrasts that are there and were not asked for.
    """

    root: Path
    volumes: list[Volume]
    missing: list[str]
    problems: list[str]
    left_out: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    unasked: list[str] = field(default_factory=list)

    @property
    def contradictions(self) -> list[str]:
        """One line for each contradiction between a file and its data, as far as volumes are examined."""
        return [f"{self.root / v.path}: {line}" for v in self.volumes for line in v.contradictions]

    @property
    def remarks(self) -> list[str]:
        """One line for each remark on a file's data, likewise."""
        return [f"{self.root / v.path}: {line}" for v in self.volumes for line in v.remarks]


def build_index(
    root: Path | str,
    reader: Reader[Any],
    workers: int = 0,
    strict: bool = True,
    patience: float = 0,
    complete: bool = True,
) -> Index:
    """Describe every file of a data set, from memory where the file is unchanged.

    Args:
        root: the data set's folder. Links are followed; a file that is reached twice counts once.
        reader: the layout.
        workers: processes that read headers when there are many to read.
        strict: raise if a file cannot be used; otherwise such files are listed in ``Index.problems``.
        patience: seconds to wait for a header, which another process reads then; 0: wait without limit.
        complete: name files like scans that the reader does not take; ``data check``, which looks at every
            file itself, does without.

    Raises:
        InputError: nothing was found, two files share one name, or (``strict``) a file cannot be used.
    """
    root = at_home(root).absolute()
    cache = IndexCache(root, reader)
    unread: AbstractContextManager[list[str]] = nullcontext([]) if strict else passing_over()
    with unread as unreadable:
        files, missing = reader.find(root)
    again = reached_again(files, root)
    left_out = [f"{file}: the same file as {first}, by a link" for file, first in again.items()]
    stamps, problems = stamp_all([file for file in files if file not in again], root, reader)
    problems = unreadable + problems
    new = {path: stamp for path, stamp in stamps.items() if cache.get(path, stamp) is None}
    for error in _describe(new, cache, reader, workers, patience):
        (left_out if isinstance(error, UnsupportedError) else problems).append(str(error))
    found = [cache.get(path, stamp) for path, stamp in stamps.items()]
    volumes = [volume for volume in found if volume is not None]
    if strict:
        _refuse(problems if volumes or problems else left_out)
    _refuse(_repeated_names(root, volumes))
    overlooked, unasked = overlook(root, reader, files) if complete else ([], [])
    return Index(root, volumes, missing, problems, left_out + overlooked, stamps, unasked)


def _describe(
    new: dict[str, Stamp], cache: "IndexCache", reader: Reader[Any], workers: int, patience: float
) -> Iterator[InputError]:
    """Read the headers of files and remember what they say; what cannot be used is returned."""
    unread = [cache.root / path for path in new]
    describe = partial(reader.describe, root=cache.root)
    if patience:
        outcomes = each_watched(describe, unread, patience, "index")
    else:
        workers = workers if len(new) >= MIN_FILES_FOR_WORKERS else 0
        outcomes = each(describe, unread, workers, "index", bundle=32)
    with cache:
        for (path, stamp), (_, outcome) in zip(new.items(), outcomes, strict=True):
            if isinstance(outcome, InputError):
                yield outcome
            else:
                cache.put(path, stamp, outcome)


def overlook(root: Path, reader: Reader[Any], files: Sequence[Path]) -> tuple[list[str], list[str]]:
    """What lies below a root, ends as scans do, and is not among those that a reader takes; none is opened.

    Args:
        root: the data set's folder.
        reader: the layout.
        files: those that the reader takes.

    Returns:
        One line for each such file, and the contrasts of scans that were not asked for.
    """
    taken = set(files)
    with passing_over() as unreadable:
        others = [
            path
            for path in files_below(root, reader.suffixes)
            if path not in taken and not reader.of_another_part(path.relative_to(root))
        ]
    again = reached_again([*files, *others], root) if others else {}
    reached = {again.get(file, file) for file in files}  # files by whichever name stands for them
    others = [path for path in others if path not in again and path not in reached]
    unasked = {path: reader.unasked(path.relative_to(root)) for path in others}
    why = f"looks like a scan of {reader.name}, {reader.misplaced}"
    lines = [f"{path}: {why}" for path in others if not unasked[path]]
    return unreadable + lines, sorted(set(unasked.values()) - {""})


def measure_maxima(index: Index, reader: Reader[Any], workers: int = 0, strict: bool = True) -> Index:
    """Measure the maximum of every target volume, and compare what its file says of itself with its data.

    Of a file that stores its images they are read, and one slice of k-space; of others all slices, which
    takes a while on hundreds of gigabytes. Whatever is found is remembered at once: an interrupted run goes
    on where it stopped.

    Args:
        index: the index. Undersampled volumes have no target and stay as they are.
        reader: the layout.
        workers: processes that read.
        strict: raise if a file cannot be used; otherwise it moves from the volumes to the problems.

    Raises:
        InputError: (``strict``) a file cannot be used.
    """
    cache = IndexCache(index.root, reader)
    unknown = [volume for volume in index.volumes if volume.fully_sampled and volume.maximum is None]
    volumes = {volume.name: volume for volume in index.volumes}
    problems = []
    with cache:
        measure = partial(examine_volume, root=index.root, reader=reader)
        for volume, outcome in each(measure, unknown, workers, "target maxima"):
            if isinstance(outcome, InputError):
                problems.append(str(outcome))
                del volumes[volume.name]
            else:
                volumes[volume.name] = outcome
                cache.update(outcome)
    if strict:
        _refuse(problems)
    return replace(index, volumes=list(volumes.values()), problems=index.problems + problems)


def examine_volume(volume: Volume, root: Path, reader: Reader[Any], every_slice: bool = False) -> Volume:
    """The volume with its target's maximum, contradictions and remarks, see :func:`examine`.

    Args:
        volume: the volume.
        root: the data set's folder.
        reader: the layout.
        every_slice: read all slices, even where fewer tell the maximum.

    Raises:
        InputError: a slice cannot be used, or the stored images are empty.
    """
    slices = SliceDataset(root, reader, [volume])
    return examine(slices, range(len(slices)) if every_slice else None)


class IndexCache:
    """What earlier runs found out about the files of one data set.

    As a context manager it is saved about once a minute, and at the end, even after an exception.
    """

    def __init__(self, root: Path, reader: Reader[Any]) -> None:
        """Load what is known about the data set in ``root`` of a reader's layout."""
        cropped = "" if reader.readout_crop == 1 else f":{reader.readout_crop!r}"
        digest = hashlib.sha256(f"{reader.name.lower()}{cropped}:{root.resolve()}".encode()).hexdigest()[:16]
        self.root = root
        self.code = source_sha256(*DECIDING, type(reader).__module__)
        self.file = cache_folder() / f"index-{digest}.json"
        self._known = self._load()
        self._fresh: dict[str, tuple[Stamp, Volume]] = {}
        self._saved = time.monotonic()

    def get(self, path: str, stamp: Stamp) -> Volume | None:
        """The volume in a file; None if it is not known, or if the file has another stamp now."""
        known_stamp, volume = self._known.get(path, (None, None))
        return volume if known_stamp == stamp else None

    def put(self, path: str, stamp: Stamp, volume: Volume) -> None:
        """Remember the volume in a file."""
        self._known[path] = self._fresh[path] = (stamp, volume)
        if time.monotonic() - self._saved > SAVE_EVERY_SECONDS:
            self._save()

    def update(self, volume: Volume) -> None:
        """Replace what is remembered about a file whose volume is known better now."""
        if volume.path in self._known:
            self.put(volume.path, self._known[volume.path][0], volume)

    def __enter__(self) -> "IndexCache":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._fresh:
            self._save()

    def _load(self) -> dict[str, tuple[Stamp, Volume]]:
        """What the file holds; nothing if it is missing, damaged or of other code."""
        try:
            content = json.loads(self.file.read_text())
            if content["code"] != self.code:
                return {}
            return {key: (stamp, _from_json(fields)) for key, (stamp, fields) in content["files"].items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return {}

    def _save(self) -> None:
        """Write what the file holds by now and what is new, without files that are gone, in one step."""
        entries = {
            key: (stamp, vars(volume))
            for key, (stamp, volume) in (self._load() | self._fresh).items()
            if (self.root / key).exists()
        }
        content = json.dumps({"code": self.code, "root": str(self.root), "files": entries})
        draft = self.file.with_suffix(f".{os.getpid()}")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(content)
            draft.replace(self.file)
        except OSError as error:
            log.warning("%s: index not remembered (%s); set FM_UNROLL_CACHE", self.file, error.strerror)
            with suppress(OSError):
                draft.unlink()
        self._saved = time.monotonic()


def _from_json(fields: dict[str, Any]) -> Volume:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return Volume(**values)


def stamp(path: Path, reader: Reader[Any]) -> Stamp:
    """Sizes and modification times of a file and its companions: as long as they stay, the file is the same.

    Raises:
        InputError: one of them is missing, is a link that leads nowhere, or is no file.
    """
    stamp = []
    for file in [path, *reader.companions(path)]:
        status = require_file(file)
        stamp += [status.st_size, status.st_mtime_ns]
    return stamp


def stamp_all(files: Sequence[Path], root: Path, reader: Reader[Any]) -> tuple[dict[str, Stamp], list[str]]:
    """The stamp of each file by its path relative to the root, and one line for each that has none."""
    prefix = f"{root.as_posix().rstrip('/')}/"
    stamps: dict[str, Stamp] = {}
    problems: list[str] = []
    for file in files:
        try:
            stamps[file.as_posix().removeprefix(prefix)] = stamp(file, reader)
        except InputError as error:
            problems.append(str(error))
    return stamps, problems


def _refuse(problems: Sequence[str]) -> None:
    """Raise the first of some problems and say how many there are."""
    if problems:
        raise InputError(first_of(problems))


def first_of(lines: Sequence[str], lister: str = "data check") -> str:
    """The first of some lines, how many there are besides, and the command that lists them."""
    others = f" (and {len(lines) - 1} more; `{lister}` lists them)" if len(lines) > 1 else ""
    return lines[0] + others


def _repeated_names(root: Path, volumes: Sequence[Volume]) -> list[str]:
    first: dict[str, Volume] = {}
    return [
        f"{root}: {first[volume.name].path} and {volume.path} are both called {volume.name}; keep one of them"
        for volume in volumes
        if first.setdefault(volume.name, volume) is not volume
    ]
