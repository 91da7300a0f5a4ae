"""What a folder holds: files are recognised by their content, not by their names."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fm_unroll.curation.tree import Tree
from fm_unroll.data.index import Index, build_index
from fm_unroll.data.parallel import each_watched
from fm_unroll.data.readers.reader import Reader
from fm_unroll.data.readers.registry import UnknownLayoutError, list_readers, recognise
from fm_unroll.errors import InputError
from fm_unroll.files import passing_over, reached_again

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MATLAB_USER_BLOCK = 512
PATIENCE = 120  # seconds for the headers of a file; HDF5 never returns from some damaged ones


@dataclass(frozen=True)
class DataSet:
    """One part of a data set, as one reader sees it.

    Attributes:
        reader: the reader of this part.
        index: what the part holds.
    """

    reader: Reader[Any]
    index: Index

    @property
    def name(self) -> str:
        """The reader's layout and the part of it."""
        return self.reader.title


@dataclass
class Survey:
    """What was found in a folder.

    Attributes:
        data_sets: parts that a reader can read.
        problems: one line for each file that should be a scan and cannot be used.
        ignored: one line for each HDF5 file that is no scan of a data set.
        folders: the folders that were looked at.
        left_out: one line for each folder, link or file that was not looked at or does not count, with the
            reason.
    """

    data_sets: list[DataSet] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def survey(folder: Path) -> Survey:
    """Look at the headers of every file below a folder, through links.

    Raises:
        InputError: there is no such folder, or no file in it could be a scan.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    folder = folder.resolve()
    tree = Tree.below(folder)
    found = Survey(problems=tree.unreadable, folders=tree.folders)
    scans: dict[Path, Reader[Any]] = {}
    others: dict[Path, str] = {}
    tried = candidates(tree)
    for path, kind in each_watched(recognise, tried, PATIENCE, "files"):
        place = expected_by_place(path)
        if place is not None:
            scans[path] = place
        if isinstance(kind, InputError) and not isinstance(kind, UnknownLayoutError):
            found.problems.append(str(kind))
        elif place is not None:
            continue
        elif isinstance(kind, UnknownLayoutError):
            others[path] = str(kind)
        elif kind.suffixes:
            scans[path] = kind
        else:
            others[path] = f"{path}: a scan of {kind.name}, {kind.misplaced}"
    if not (scans or others or found.problems):
        layouts = " or ".join(reader.name for reader in list_readers() if reader.suffixes)
        raise InputError(f"{folder}: holds no HDF5 file; give the folder of a {layouts} data set")
    reached = add_data_sets(found, scans)
    found.problems += [
        f"{path}: a {reader.name} scan by its content, {reader.misplaced}"
        for path, reader in scans.items()
        if path not in reached
    ]
    found.ignored = [line for path, line in others.items() if path not in reached]
    reached.update(tried)
    found.left_out += [f"{path}: {why}" for path, why in tree.left_out.items() if path not in reached]
    count_once(found)
    return found


def add_data_sets(found: Survey, scans: dict[Path, Reader[Any]]) -> set[Path]:
    """Index every part of a data set that holds some of the scans.

    Args:
        found: the survey to which the parts, and what in them cannot be used, are added.
        scans: files, and the readers that recognise them.

    Returns:
        The files that were reached, with their companions.
    """
    reached: set[Path] = set()
    for root, reader in parts(scans):
        try:
            with passing_over():  # the tree has named such folders
                files = reader.find(root)[0]
        except InputError:
            continue
        reached.update(files, *map(reader.companions, files))
        try:
            index = build_index(root, reader, strict=False, patience=PATIENCE, complete=False)
        except InputError as error:
            found.problems.append(str(error))
            continue
        found.data_sets.append(DataSet(reader, index))
        found.problems += [problem for problem in index.problems if problem not in found.problems]
        found.left_out += index.left_out
    return reached


def count_once(found: Survey) -> None:
    """Leave out of a data set what another one holds as well, by a link; within one, its index does so."""
    indices = [data_set.index for data_set in found.data_sets]
    files = [index.root / volume.path for index in indices for volume in index.volumes]
    again = reached_again(files, Path(files[0].anchor)) if files else {}
    found.left_out += [f"{file}: the same file as {first}, by a link" for file, first in again.items()]
    for number, data_set in enumerate(found.data_sets):
        index = data_set.index
        volumes = [volume for volume in index.volumes if index.root / volume.path not in again]
        found.data_sets[number] = replace(data_set, index=replace(index, volumes=volumes))


def copy_of(root: Path, kind: str, output: Path | None) -> Path:
    """The folder of a copy of a data set.

    Args:
        root: the data set's folder.
        kind: what is said of the copy, such as ``packed``.
        output: the folder that was asked for; None: ROOT_KIND beside the data set.

    Raises:
        InputError: it lies in the data set's own folder.
    """
    output = output or root.with_name(f"{root.name}_{kind}")
    if output.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{output} lies in the data set's own folder: give another --output")
    return output


def candidates(tree: Tree) -> list[Path]:
    """HDF5 files, and files and folders with the suffix of a scan."""
    suffixes = {suffix for reader in list_readers() for suffix in reader.suffixes}
    return [path for path in tree.entries if path.suffix.lower() in suffixes or has_hdf5_signature(path)]


def has_hdf5_signature(path: Path) -> bool:
    """Whether a file begins as HDF5 does, with or without MATLAB's user block."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(MATLAB_USER_BLOCK + len(HDF5_SIGNATURE))
    except OSError:
        return False
    return start.startswith(HDF5_SIGNATURE) or start.endswith(HDF5_SIGNATURE)


def expected_by_place(path: Path) -> Reader[Any] | None:
    """The reader that would take a file for a scan, by its place alone."""
    return next((reader for reader in list_readers() if reader.belongs(path)), None)


def parts(scans: dict[Path, Reader[Any]]) -> Iterator[tuple[Path, Reader[Any]]]:
    """Root folders and readers whose data sets may hold some of the scans."""
    for reader in list_readers():
        own = [path for path, kind in scans.items() if kind.name == reader.name]
        if own:
            yield from reader.parts(own)
