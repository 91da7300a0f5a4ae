"""What lies in a folder, whatever it is called: files are recognised by their content."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fm_unroll.data.index import Index, build_index
from fm_unroll.data.parallel import each_watched
from fm_unroll.data.readers.cmrxrecon import (
    CATEGORIES,
    KSPACE_NAMES,
    MASK_NAMES,
    SUBJECT,
    SUBSETS,
    CMRxReconReader,
)
from fm_unroll.data.readers.cmrxrecon import FOLDERS as CMRXRECON_FOLDERS
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.readers.hdf5 import open_file, reading
from fm_unroll.data.volume import Reader
from fm_unroll.errors import InputError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MATLAB_USER_BLOCK = 512
SUFFIXES = {".h5", ".hdf5", ".mat"}  # files that should be scans, even if their content is not
PATIENCE = 120  # seconds for the headers of a file; HDF5 never returns from some that are damaged
CMRXRECON_DEPTH = 4  # Cine/TrainingSet/FullSample/P001 below the root, or below MultiCoil


@dataclass(frozen=True)
class DataSet:
    """One part of a data set, as one reader sees it.

    Attributes:
        name: the reader's layout and the part of it.
        reader: reads it.
        index: what it holds.
    """

    name: str
    reader: Reader
    index: Index


@dataclass
class Survey:
    """What was found in a folder.

    Attributes:
        data_sets: parts that a reader can read.
        problems: one line for each file that should be a scan and cannot be used.
        ignored: one line for each HDF5 file without k-space that any reader knows.
    """

    data_sets: list[DataSet] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def survey(folder: Path) -> Survey:
    """Look at every file below a folder, from headers.

    Raises:
        InputError: there is no such folder, or no file in it could be a scan.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    folder = folder.resolve()
    found = Survey()
    scans: dict[Path, str] = {}
    for path, kind in each_watched(recognise, sorted(candidates(folder)), PATIENCE, "files"):
        if place := expected_by_place(path):
            scans[path] = place
        if isinstance(kind, InputError):
            found.problems.append(str(kind))
        elif place:
            continue
        elif kind in {"CMRxRecon", "fastMRI"}:
            scans[path] = kind
        elif kind != "CMRxRecon mask":
            found.ignored.append(f"{path}: {kind}")
    if not (scans or found.problems or found.ignored):
        raise InputError(f"{folder}: holds no HDF5 file; give the folder of a CMRxRecon or fastMRI data set")
    reached: set[Path] = set()
    for root, reader, part in parts(scans):
        try:
            files = reader.find(root)[0]
        except InputError:
            continue
        reached.update(files)
        try:
            index = build_index(root, reader, strict=False, patience=PATIENCE)
        except InputError as error:
            found.problems.append(str(error))
            continue
        found.data_sets.append(DataSet(part, reader, index))
        found.problems += [problem for problem in index.problems if problem not in found.problems]
    found.problems += [f"{path}: {misplaced(kind)}" for path, kind in scans.items() if path not in reached]
    return found


def candidates(folder: Path) -> Iterator[Path]:
    """Whatever is HDF5 or is called as if it were, folders too; folders that are links are not followed."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in [*folders, *files]):
            if path.suffix.lower() in SUFFIXES or has_hdf5_signature(path):
                yield path


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


def recognise(path: Path) -> str:
    """``CMRxRecon``, ``CMRxRecon mask``, ``fastMRI``, or in words what the file is instead.

    Raises:
        InputError: the file cannot be opened.
    """
    with reading(path), open_file(path) as file:
        keys = set(file)
    if keys & set(KSPACE_NAMES):
        return "CMRxRecon"
    if "kspace" in keys:
        return "fastMRI"
    if keys & set(MASK_NAMES):
        return "CMRxRecon mask"
    return f"holds no k-space that is known here; its keys are {', '.join(sorted(keys)[:10]) or 'none'}"


def expected_by_place(path: Path) -> str | None:
    """The layout whose reader would take a file for a scan, whatever is in it."""
    if path.suffix == ".h5" and path.parent.name.startswith("multicoil_"):
        return "fastMRI"
    if path.suffix == ".mat" and SUBJECT.fullmatch(path.parent.name):
        return "CMRxRecon" if path.stem.split("_kus_")[0] in CATEGORIES else None
    return None


def parts(scans: dict[Path, str]) -> Iterator[tuple[Path, Reader, str]]:
    """Roots and readers that may find some scans, with the names of the parts they read."""
    hearts = [path for path, kind in scans.items() if kind == "CMRxRecon"]
    roots = {path.parents[CMRXRECON_DEPTH] for path in hearts if len(path.parents) > CMRXRECON_DEPTH}
    for root in sorted(root.parent if root.name == "MultiCoil" else root for root in roots):
        for subset in SUBSETS:
            for sampling in CMRXRECON_FOLDERS:
                reader = CMRxReconReader(subset=subset, sampling=sampling)
                yield root, reader, f"CMRxRecon {subset}/{sampling}"
    for folder in sorted({path.parent for path, kind in scans.items() if kind == "fastMRI"}):
        yield folder.parent, FastMRIReader(folder.name), f"fastMRI {folder.name}"


def misplaced(kind: str) -> str:
    """Why no reader finds a scan."""
    if kind == "fastMRI":
        return "a fastMRI scan by its content, but its name does not end in .h5; rename it"
    return (
        "a CMRxRecon scan by its content, but not where its reader looks; expected "
        "MultiCoil/{Cine,Mapping}/SUBSET/FullSample/P001/{cine_sax,cine_lax,T1map,T2map}.mat"
    )
