"""Reader of the CMRxRecon layouts (cardiac MRI, challenges of 2023, 2024 and 2025).

:mod:`~fm_unroll.data.readers.cmrxrecon_tree` says where their files lie. Sampling by whole lines that are the
same in every frame is read. The k-t sampling of 2024's second task and of 2025 changes its lines from frame
to frame, which this package does not model: such files are named for what they are.

Files are MATLAB v7.3. MATLAB's order (kx, ky, coil, z, t) is reversed in HDF5, and MATLAB drops trailing
dimensions of size 1, which are the leading ones here: 5 dimensions are [t, z, coil, ky, kx], 4 are one frame,
3 are one slice of one frame. Fewer are refused, because they come from a single coil. Phase encoding is ky.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from fm_unroll.data.lines import find_lines, lines_of_mask, masks_beside
from fm_unroll.data.readers.cmrxrecon_tree import (
    SAMPLING,
    SUBJECT,
    SUBSETS,
    Place,
    category_of,
    edition,
    home,
    in_another_part,
    in_file_names,
    mask_places,
    multicoil,
    sampling_folders,
    subject_folders,
)
from fm_unroll.data.readers.hdf5 import (
    get_kspace,
    masks_in,
    open_file,
    reading,
    require_dataset,
    to_complex64,
)
from fm_unroll.data.readers.reader import HDF5Reader, Images, Published
from fm_unroll.data.readers.registry import register_reader
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError, UnsupportedError
from fm_unroll.files import reached_again, visible
from fm_unroll.physics import crop_readout
from fm_unroll.subjects.population import Population

CATEGORIES = {"cine_sax": "Cine", "cine_lax": "Cine", "T1map": "Mapping", "T2map": "Mapping"}  # of 2023
SUBJECTS = {"TrainingSet": 120, "ValidationSet": 60, "TestSet": 120}  # of 2023, P001 on
FULL_NAMES = ("kspace_full", "kspace")
KSPACE_NAMES = (*FULL_NAMES, "kspace_sub04", "kspace_sub08", "kspace_sub10", "kus")
SUB_NAME = re.compile(r"kspace_sub\d\d")  # `data undersample` writes other accelerations as well
KT_SAMPLING = {
    "ktUniform": "k-t sampling of regular lines",
    "ktGaussian": "k-t sampling of random lines",
    "ktRadial": "pseudo-radial k-t sampling",
}
AXES = {5: "t, z, coil, ky, kx", 4: "z, coil, ky, kx", 3: "coil, ky, kx"}


@register_reader
@dataclass(frozen=True)
class CMRxReconReader(HDF5Reader):
    """One part of a CMRxRecon tree.

    Attributes:
        contrasts: which files of each subject: ``cine_sax``, ``cine_lax``, ``T1map``, ``T2map``; of 2024 and
            2025 others as well, by the names of their files; empty: every one there is.
        subset: ``TrainingSet``, ``ValidationSet`` or ``TestSet``.
        sampling: ``FullSample``; the undersampled ``AccFactor04``, ``AccFactor08``, ``AccFactor10`` of 2023;
            or ``Uniform4``, ``Uniform8``, ... of 2024 and 2025.
        readout_crop: share of the field of view along the readout that is read, about its middle. The scanner
            sampled the readout twice as densely as the object needs, and files hold all of it: 0.5 keeps the
            object's half.
    """

    contrasts: tuple[str, ...] = tuple(CATEGORIES)
    subset: str = "TrainingSet"
    sampling: str = "FullSample"
    readout_crop: float = 1.0

    name: ClassVar[str] = "CMRxRecon"
    keys: ClassVar[str] = ", ".join(KSPACE_NAMES)
    suffixes: ClassVar[tuple[str, ...]] = (".mat",)
    misplaced: ClassVar[str] = (
        "but not where its reader looks; expected MultiCoil/Cine/SUBSET/FullSample/P001/cine_sax.mat or, of "
        "2025, .../FullSample/Center001/SCANNER/P001/cine_sax.mat"
    )

    def __post_init__(self) -> None:
        """Refuse names that the layout does not have."""
        for contrast in self.contrasts:
            if category_of(contrast) is None:
                raise InputError(
                    f"unknown contrast {contrast!r}: choose from {', '.join(CATEGORIES)}, "
                    "or another file's name, such as cine_lvot, aorta_sag or tagging"
                )
        if self.subset not in SUBSETS:
            raise InputError(f"unknown subset {self.subset!r}: choose from {', '.join(SUBSETS)}")
        if not SAMPLING.fullmatch(self.sampling):
            raise InputError(
                f"unknown sampling {self.sampling!r}: choose from FullSample, AccFactor04, AccFactor08, "
                "AccFactor10, Uniform4, Uniform8, ..."
            )
        if not 0 < self.readout_crop <= 1:
            raise InputError(
                f"readout_crop is {self.readout_crop:g}: give the share of the readout's field of view that "
                "is kept, above 0 and at most 1"
            )

    def with_readout_crop(self, share: float) -> Self:
        """See :meth:`Reader.with_readout_crop`."""
        return replace(self, readout_crop=share)

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """The files of this part, sorted, and ``P007/T1map``, ... where a subject lacks a contrast.

        Without contrasts asked for by name, that is one of 2023 in a tree of 2023 or 2024: no list says what
        there should be besides.
        """
        if not root.is_dir():
            raise InputError(f"{root}: no such folder")
        files: list[Path] = []
        held: dict[str, set[str]] = {}
        for subject, folder in self._subjects(root, self.contrasts):
            if not subject:
                files.append(folder)
                continue
            wanted = ((self._wanted(path), path) for path in visible(folder, ".mat"))
            scans = {place.contrast: path for place, path in wanted if place}
            files += scans.values()
            held.setdefault(subject, set()).update(scans)
        named = self.contrasts or tuple(CATEGORIES)
        if not files:
            raise InputError(f"{root}: no CMRxRecon files; expected {self._expected(root, named[0])}")
        for contrast in named:
            if contrast not in CATEGORIES and not any(contrast in contrasts for contrasts in held.values()):
                found = ", ".join(sorted(set().union(*held.values())))
                raise InputError(f"{root}: no subject has {contrast} in {self.part}; found are {found}")
        by_name = bool(self.contrasts)
        missing = [
            f"{subject}/{contrast}"
            for subject in sorted(held)
            for contrast in named
            if (by_name or not in_file_names(self.sampling))
            and contrast not in held[subject]
            and (by_name or "/" not in subject)
        ]
        return sorted(files), missing

    def companions(self, path: Path) -> list[Path]:
        """The files with the sampling mask of a scan, if there are any."""
        return _mask_files(path)

    @property
    def part(self) -> str:
        """``TrainingSet/FullSample``, ..."""
        return f"{self.subset}/{self.sampling}"

    def recognises(self, file: h5py.File) -> bool:
        """Whether the file holds k-space under a name of this layout; ``kspace`` only as MATLAB writes it."""
        if any(name in ("kspace_full", "kus") or SUB_NAME.fullmatch(name) for name in file):
            return True
        if not isinstance(file.get("kspace", getlink=True), h5py.HardLink):
            return False
        return isinstance(file["kspace"], h5py.Dataset) and file["kspace"].dtype.names == ("real", "imag")

    def parts(self, scans: Sequence[Path]) -> Iterator[tuple[Path, "CMRxReconReader"]]:
        """Every subset and sampling of every root that holds some of the scans."""
        homes = {found for path in scans if (found := home(path))}
        by_size = sorted(homes, key=lambda home: (home[0], SUBSETS.index(home[1]), len(home[2]), home[2]))
        for root, subset, sampling in by_size:
            yield root, CMRxReconReader((), subset, sampling)

    def belongs(self, path: Path) -> bool:
        """Whether the file is called as a contrast and lies in a subject's folder."""
        in_subject = path.suffix == ".mat" and SUBJECT.fullmatch(path.parent.name) is not None
        return in_subject and category_of(Place.of(path).contrast) is not None

    def of_another_part(self, place: Path) -> bool:
        """In the folders of another subset or sampling, or of another contrast than those that are named.

        Masks lie beside scans or in folders of their own.
        """
        named = self.contrasts != tuple(CATEGORIES)
        return in_another_part(place, self.subset, self.sampling) or (named and self.unasked(place) != "")

    def unasked(self, place: Path) -> str:
        """The contrast of a subject's file that is not among those that are read."""
        contrast = Place.of(place).contrast
        return contrast if self.belongs(place) and contrast not in self.contrasts else ""

    def published(self, volumes: Sequence[Volume], missing: Sequence[str]) -> Published | None:
        """The subjects of 2023, from ``P001`` on; those that lack a contrast count as found.

        None where a contrast or a scanner is of another year.
        """
        others = any(volume.contrast not in CATEGORIES or "/" in volume.subject for volume in volumes)
        if others or not volumes:  # none is read where all are left out
            return None
        found = {volume.subject for volume in volumes} | {name.split("/")[0] for name in missing}
        subjects = [f"P{number:03}" for number in range(1, SUBJECTS[self.subset] + 1)]
        absent = tuple(subject for subject in subjects if subject not in found)
        if not found <= set(subjects):
            return None  # of 2024, which has more
        return Published("subjects", len(subjects), len(found), absent)

    def subjects(self, root: Path, volumes: Sequence[Volume]) -> set[str]:
        """Those with a file of any contrast: the split does not depend on which contrasts are read.

        A subject whose files are all another's, by links, is nobody.
        """
        folders = self._subjects(root, ())
        owners = {file: subject for subject, folder in folders if subject for file in visible(folder, ".mat")}
        again = reached_again(list(owners), root)
        own = {subject for file, subject in owners.items() if file not in again}
        return own | super().subjects(root, volumes)

    def population(self, path: Path, volume: Volume) -> Population:
        """Subset and year: ``P001`` is given anew in each."""
        found = home(path)
        if found is None:
            return super().population(path, volume)
        root, subset, _ = found
        return Population(self.name, edition(root), subset, volume.synthetic)

    def names_subject(self, volume: Volume) -> bool:
        """Whether the file lies in the folder of a subject."""
        return SUBJECT.fullmatch(volume.subject.rpartition("/")[2]) is not None

    def anatomy(self, file: h5py.File, volume: Volume) -> str:
        """The heart, for every file of this layout."""
        return "cardiac"

    def parse(self, file: h5py.File, path: Path) -> Volume:
        """The volume in a file. Where no mask is published, the lines that hold data are the sampled ones.

        Raises:
            UnsupportedError: its lines change from frame to frame, or are not whole; or it is of one coil.
        """
        place = Place.of(path)
        if any(name.startswith("kspace_single") for name in file):
            raise UnsupportedError(f"{path}: single-coil k-space, which is not supported")
        dataset = _get_kspace(file)
        frames, slices, coils, phase, readout = (1,) * (5 - dataset.ndim) + dataset.shape
        # the mask of a single frame has nothing to change to, but a radial one is not of lines
        if place.pattern in KT_SAMPLING and (frames > 1 or place.pattern == "ktRadial"):
            raise UnsupportedError(f"{path}: {KT_SAMPLING[place.pattern]}, which is not supported")
        fully_sampled = dataset.name.strip("/") in FULL_NAMES and not place.pattern
        return Volume.of_array(
            path,
            (frames, slices, coils, self._kept(readout), phase),
            _sampled_lines(path, file, dataset, fully_sampled),
            name=f"{place.subject}/{place.contrast}",
            subject=place.subject,
            contrast=place.contrast,
            synthetic=bool(file.attrs.get("synthetic", False)),
        )

    def read(self, file: h5py.File, volume: Volume, slice: int, frame: int) -> Images:
        """One slice of one frame. No reconstruction is stored."""
        kspace = torch.from_numpy(_read_slice(_get_kspace(file), slice, frame))
        return crop_readout(kspace, volume.readout).numpy(), None

    def notes(self, file: h5py.File) -> tuple[str, ...]:
        """What is left of the readout, where it is cropped."""
        if self.readout_crop == 1:
            return ()
        rows = _get_kspace(file).shape[-1]
        return (f"of the readout's field of view the middle {self._kept(rows)} of {rows} rows are read",)

    def _kept(self, readout: int) -> int:
        """How many of the readout's samples are kept."""
        return max(1, round(self.readout_crop * readout))

    def _subjects(self, root: Path, contrasts: Sequence[str]) -> Iterator[tuple[str, Path]]:
        """The subjects of this part with their folders, one of each category of some contrasts, or of all."""
        wanted = {category_of(contrast) for contrast in contrasts}
        for category in visible(multicoil(root)):
            if (category.name in wanted or not wanted) and category.is_dir():
                for folder in sampling_folders(category / self.subset, self.sampling):
                    yield from subject_folders(folder)

    def _wanted(self, path: Path) -> Place | None:
        """What a file's path says, if the file belongs to this part."""
        place = Place.of(path)
        sampling = f"{place.pattern}{place.acceleration}"
        of_part = sampling == (self.sampling if in_file_names(self.sampling) else "")
        chosen = place.contrast in self.contrasts if self.contrasts else category_of(place.contrast)
        return place if of_part and chosen else None

    def _expected(self, root: Path, contrast: str) -> Path:
        """Where the first subject's file of a contrast would lie, in the tree of 2023 or 2024."""
        subset = multicoil(root) / str(category_of(contrast)) / self.subset
        if in_file_names(self.sampling):
            return subset / "UnderSample_Task1" / "P001" / f"{contrast}_kus_{self.sampling}.mat"
        return subset / self.sampling / "P001" / f"{contrast}.mat"


def _get_kspace(file: h5py.File) -> h5py.Dataset:
    """The k-space of an open file, at whatever acceleration."""
    others = [name for name in file if SUB_NAME.fullmatch(name) and name not in KSPACE_NAMES]
    return get_kspace(file, [*KSPACE_NAMES, *others], AXES)


def _read_slice(dataset: h5py.Dataset, slice: int, frame: int) -> NDArray[np.complex64]:
    """One slice of one frame: complex64, ``(coil, readout, phase)``."""
    kspace = to_complex64(dataset[(frame, slice)[5 - dataset.ndim :]])
    return np.ascontiguousarray(kspace.swapaxes(-1, -2))


def _sampled_lines(
    path: Path, file: h5py.File, dataset: h5py.Dataset, full: bool
) -> NDArray[np.bool_] | None:
    """The sampled lines of a file, bool, ``(phase,)``; None for a fully sampled one.

    Args:
        path: where its masks are looked for.
        file: the open file.
        dataset: its k-space.
        full: whether its names call it fully sampled.
    """
    frames, slices, *_, phase, readout = (1,) * (5 - dataset.ndim) + dataset.shape
    masks = _masks(file, (phase, readout))
    for mask_file in _mask_files(path):
        with reading(mask_file), open_file(mask_file) as opened:
            found = _masks(opened, (phase, readout))
        if not found:
            raise InputError(
                f"{mask_file}: holds no mask04, mask08, mask10 or mask; if it says nothing of the sampling, "
                "move it elsewhere"
            )
        masks |= found
    if masks:
        first, lines = next(iter(masks.items()))
        for where, others in masks.items():
            if (others != lines).any():
                raise InputError(f"{where}: not the mask that {first} holds; keep the one that is {path}'s")
        return None if full and lines.all() else lines
    if full:
        return None
    ends = dict.fromkeys([(0, 0), (0, min(1, frames - 1)), (0, frames - 1), (slices - 1, 0)])
    return find_lines(((slice_, frame, _read_slice(dataset, slice_, frame)) for slice_, frame in ends), path)


def _mask_files(path: Path) -> list[Path]:
    """The published masks of a scan: in folders of masks (2024, 2025), and beside it."""
    return [mask for mask in dict.fromkeys(mask_places(path)) if mask.exists()] + masks_beside(path)


def _masks(file: h5py.File, shape: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
    """Sampled lines of every mask [ky, kx] or [t, ky, kx] in a file, by its place."""
    masks = {}
    for name in masks_in(file):
        mask = require_dataset(file, name)
        where = f"{file.filename}: {name}"
        if mask.shape[-2:] != shape or mask.ndim > 3 or mask.dtype.kind not in "buif":
            raise InputError(f"{where} is {mask.dtype} {mask.shape}, expected numbers (ky, kx) = {shape}")
        # those of 2025 have one mask a frame, be they the same
        masks[where] = lines_of_mask(mask[()].reshape(-1, *shape).swapaxes(-1, -2), where)
    return masks
