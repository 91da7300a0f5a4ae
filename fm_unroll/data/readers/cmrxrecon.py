"""Reader of the CMRxRecon layout (cardiac cine and mapping, 2023 and 2024).

2023::

    MultiCoil/{Cine,Mapping}/{TrainingSet,ValidationSet,TestSet}/
        FullSample/P001/{cine_sax,cine_lax,T1map,T2map}.mat                          kspace_full
        AccFactor{04,08,10}/P001/{cine_sax,...}.mat, {cine_sax,...}_mask.mat         kspace_sub04, mask04, ...

2024 (task 1; the fully sampled part is that of 2023)::

    MultiCoil/{Cine,Mapping}/ValidationSet/
        UnderSample_Task1/P001/cine_sax_kus_Uniform{4,8,10}.mat                      kus
        Mask_Task1/P001/cine_sax_mask_Uniform{4,8,10}.mat                            mask

Sources: ``ChallengeDataFormat`` in https://github.com/CmrxRecon/CMRxRecon and
https://github.com/CmrxRecon/CMRxRecon2024. Task 2 of 2024 has masks that change from frame to frame, which
this package does not model.

Files are MATLAB v7.3. MATLAB's order (kx, ky, coil, z, t) is reversed in HDF5, and MATLAB drops trailing
dimensions of size 1, which are the leading ones here: 5 dimensions are [t, z, coil, ky, kx], 4 are one frame,
3 are one slice of one frame. Fewer are refused, because they come from a single coil. Phase encoding is ky.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from fm_unroll.data.readers.hdf5 import get_kspace, open_file, reading, require_dataset, to_complex64
from fm_unroll.data.readers.reader import HDF5Reader, Images, Published
from fm_unroll.data.readers.registry import register_reader
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError

CATEGORIES = {"cine_sax": "Cine", "cine_lax": "Cine", "T1map": "Mapping", "T2map": "Mapping"}
SUBSETS = {"TrainingSet": 120, "ValidationSet": 60, "TestSet": 120}  # with the subjects of 2023, P001 on
FOLDERS = {
    "FullSample": "FullSample",
    "AccFactor04": "AccFactor04",
    "AccFactor08": "AccFactor08",
    "AccFactor10": "AccFactor10",
    "Uniform4": "UnderSample_Task1",
    "Uniform8": "UnderSample_Task1",
    "Uniform10": "UnderSample_Task1",
}
SUBJECT = re.compile(r"P\d+")
KSPACE_NAMES = ("kspace_full", "kspace_sub04", "kspace_sub08", "kspace_sub10", "kus")
MASK_NAMES = ("mask04", "mask08", "mask10", "mask")
SUBJECT_DEPTH = 4  # Cine/TrainingSet/FullSample/P001 below the root, or below MultiCoil
AXES = {5: "t, z, coil, ky, kx", 4: "z, coil, ky, kx", 3: "coil, ky, kx"}


@register_reader
@dataclass(frozen=True)
class CMRxReconReader(HDF5Reader):
    """One part of a CMRxRecon tree.

    Attributes:
        contrasts: which files of each subject: ``cine_sax``, ``cine_lax``, ``T1map``, ``T2map``.
        subset: ``TrainingSet``, ``ValidationSet`` or ``TestSet``.
        sampling: ``FullSample``; the undersampled ``AccFactor04``, ``AccFactor08``, ``AccFactor10`` of 2023;
            or ``Uniform4``, ``Uniform8``, ``Uniform10`` of 2024.
    """

    contrasts: tuple[str, ...] = tuple(CATEGORIES)
    subset: str = "TrainingSet"
    sampling: str = "FullSample"

    name: ClassVar[str] = "CMRxRecon"
    keys: ClassVar[str] = ", ".join(KSPACE_NAMES)
    suffixes: ClassVar[tuple[str, ...]] = (".mat",)
    misplaced: ClassVar[str] = (
        "but not where its reader looks; expected "
        "MultiCoil/{Cine,Mapping}/SUBSET/FullSample/P001/{cine_sax,cine_lax,T1map,T2map}.mat"
    )

    def __post_init__(self) -> None:
        """Refuse names that the layout does not have."""
        for contrast in self.contrasts:
            _require(contrast, CATEGORIES, "contrast")
        _require(self.subset, SUBSETS, "subset")
        _require(self.sampling, FOLDERS, "sampling")

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """The files of this part, sorted, and ``P007/T1map``, ... where a subject lacks a contrast.

        ``root`` holds ``MultiCoil``, or is it.
        """
        if not root.is_dir():
            raise InputError(f"{root}: no such folder")
        folders = {contrast: self._folder(root, CATEGORIES[contrast]) for contrast in self.contrasts}
        names = {folder: _list_subjects(folder) for folder in set(folders.values())}
        files, missing = [], []
        for subject in sorted(set().union(*names.values())):
            for contrast, folder in folders.items():
                file = self._file(contrast)
                if file in names[folder].get(subject, ()):
                    files.append(folder / subject / file)
                else:
                    missing.append(f"{subject}/{contrast}")
        if not files:
            contrast, folder = next(iter(folders.items()))
            raise InputError(f"{root}: no CMRxRecon files; expected {folder / 'P001' / self._file(contrast)}")
        return sorted(files), missing

    def companions(self, path: Path) -> list[Path]:
        """The file with the sampling mask of an undersampled scan, if there is one."""
        return [] if self.sampling == "FullSample" else _mask_files(path)

    @property
    def part(self) -> str:
        """``TrainingSet/FullSample``, ..."""
        return f"{self.subset}/{self.sampling}"

    def recognises(self, file: h5py.File) -> bool:
        """Whether the file holds k-space under a name of this layout."""
        return not set(KSPACE_NAMES).isdisjoint(file)

    def parts(self, scans: Sequence[Path]) -> Iterator[tuple[Path, "CMRxReconReader"]]:
        """Every subset and sampling of every root."""
        roots = {path.parents[SUBJECT_DEPTH] for path in scans if len(path.parents) > SUBJECT_DEPTH}
        for root in sorted(root.parent if root.name == "MultiCoil" else root for root in roots):
            for subset in SUBSETS:
                for sampling in FOLDERS:
                    yield root, CMRxReconReader(subset=subset, sampling=sampling)

    def belongs(self, path: Path) -> bool:
        """Whether the file is called as a contrast and lies in a subject's folder."""
        in_subject = path.suffix == ".mat" and SUBJECT.fullmatch(path.parent.name) is not None
        return in_subject and path.stem.split("_kus_")[0] in CATEGORIES

    def published(self, volumes: Sequence[Volume], missing: Sequence[str]) -> Published:
        """The subjects of 2023, from ``P001`` on; those that lack a contrast count as found."""
        found = {volume.subject for volume in volumes} | {name.split("/")[0] for name in missing}
        subjects = [f"P{number:03}" for number in range(1, SUBSETS[self.subset] + 1)]
        absent = tuple(subject for subject in subjects if subject not in found)
        return Published("subjects", len(subjects), len(found), absent)

    def anatomy(self, file: h5py.File, volume: Volume) -> str:
        """The heart, for every file of this layout."""
        return "cardiac"

    def parse(self, file: h5py.File, path: Path) -> Volume:
        """The volume in a file. Without a mask file, the lines that are not zero are the sampled ones."""
        contrast = path.stem.split("_kus_")[0]
        dataset = get_kspace(file, KSPACE_NAMES, AXES)
        frames, slices, coils, phase, readout = (1,) * (5 - dataset.ndim) + dataset.shape
        return Volume.of_array(
            path,
            (frames, slices, coils, readout, phase),
            None if dataset.name == "/kspace_full" else _sampled_lines(path, file, dataset),
            name=f"{path.parent.name}/{contrast}",
            subject=path.parent.name,
            contrast=contrast,
            synthetic=bool(file.attrs.get("synthetic", False)),
        )

    def read(self, file: h5py.File, volume: Volume, slice: int, frame: int) -> Images:
        """One slice of one frame. No reconstruction is stored."""
        dataset = get_kspace(file, KSPACE_NAMES, AXES)
        kspace = to_complex64(dataset[(frame, slice)[5 - dataset.ndim :]])
        return np.ascontiguousarray(kspace.swapaxes(-1, -2)), None

    def _folder(self, root: Path, category: str) -> Path:
        """The folder whose subfolders are subjects."""
        multicoil = root / "MultiCoil"
        return (multicoil if multicoil.is_dir() else root) / category / self.subset / FOLDERS[self.sampling]

    def _file(self, contrast: str) -> str:
        """The name of a contrast's file."""
        return f"{contrast}_kus_{self.sampling}.mat" if "Uniform" in self.sampling else f"{contrast}.mat"


def _sampled_lines(path: Path, file: h5py.File, dataset: h5py.Dataset) -> NDArray[np.bool_]:
    """The sampled lines of an undersampled file, bool, ``(phase,)``."""
    shape = dataset.shape[-2:]
    lines = _mask_lines(file, shape)
    for mask_file in _mask_files(path) if lines is None else []:
        with reading(mask_file), open_file(mask_file) as opened:
            lines = _mask_lines(opened, shape)
        if lines is None:
            raise InputError(f"{mask_file}: holds no {' or '.join(MASK_NAMES)}")
    if lines is None:
        first_slice = to_complex64(dataset[(0,) * (dataset.ndim - 3)])
        lines = np.asarray(first_slice.any(axis=(0, 2)))
    return lines


def _mask_files(path: Path) -> list[Path]:
    """Where the sampling mask of an undersampled file lies: beside it (2023), or in another folder (2024)."""
    if "_kus_" in path.name:
        subset = path.parents[2] if len(path.parents) > 2 else path.parent
        mask = subset / "Mask_Task1" / path.parent.name / path.name.replace("_kus_", "_mask_")
    else:
        mask = path.with_name(f"{path.stem}_mask.mat")
    return [mask] if mask.is_file() else []


def _list_subjects(folder: Path) -> dict[str, set[str]]:
    """The subjects in a folder, with the names of their files."""
    if not folder.is_dir():
        return {}
    try:
        subjects = [entry for entry in folder.iterdir() if SUBJECT.fullmatch(entry.name)]
        return {subject.name: {file.name for file in subject.iterdir()} for subject in subjects}
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error


def _mask_lines(file: h5py.File, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Sampled lines of the mask [ky, kx] in a file, or None if it holds no mask."""
    name = next((name for name in MASK_NAMES if name in list(file)), None)
    if name is None:
        return None
    mask = require_dataset(file, name)
    where = f"{file.filename}: {name}"
    if mask.shape != shape or mask.dtype.kind not in "buif":
        raise InputError(f"{where} is {mask.dtype} {mask.shape}, expected numbers (ky, kx) = {shape}")
    values = mask[()] != 0
    if (values != values[:, :1]).any():
        raise InputError(f"{where} varies along kx; only masks of whole lines (ky) are supported")
    return np.asarray(values[:, 0])


def _require(value: str, allowed: Collection[str], what: str) -> None:
    if value not in allowed:
        raise InputError(f"unknown {what} {value!r}: choose from {', '.join(allowed)}")
