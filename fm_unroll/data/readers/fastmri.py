"""Reader of the fastMRI layout (knee and brain, multi-coil).

::

    multicoil_{train,val,test,test_full}/file1000001.h5
        kspace               complex64 (slice, coil, readout, phase)
        reconstruction_rss   float32 (slice, rows, columns)            not in test files
        mask                 (phase,)                                  only in undersampled files
        ismrmrd_header       XML: encoded and reconstructed matrix, encoding limits
        attributes           max, norm, patient_id, acquisition

Source: https://github.com/facebookresearch/fastMRI, ``fastmri/data/mri_data.py``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from fm_unroll.data.lines import lines_of_mask
from fm_unroll.data.readers.geometry import Geometry
from fm_unroll.data.readers.hdf5 import get_dataset, get_kspace, get_text, masks_in, to_complex64
from fm_unroll.data.readers.matrix_header import MatrixHeader
from fm_unroll.data.readers.reader import HDF5Reader, Images, Published
from fm_unroll.data.readers.registry import register_reader
from fm_unroll.data.undersampling import center_crop
from fm_unroll.data.volume import Volume, sampled_lines
from fm_unroll.errors import InputError, UnsupportedError
from fm_unroll.files import visible
from fm_unroll.subjects.population import Population
from fm_unroll.subjects.split import Split

FOLDERS = ("multicoil_train", "multicoil_val", "multicoil_test_full")
OTHERS = ("multicoil_test", "multicoil_challenge", "singlecoil_")  # how others begin
# by how the names of acquisitions begin: brains are axial, knees coronal
ANATOMIES = {"AX": "brain", "CORPD": "knee"}
# volumes of the published sets (https://arxiv.org/abs/1811.08839, section 4), without those of
# the challenges, with which the brains are 6970
PUBLISHED = {
    "knee": {"multicoil_train": 973, "multicoil_val": 199, "multicoil_test": 118},
    "brain": {"multicoil_train": 4469, "multicoil_val": 1378, "multicoil_test": 558},
}
AXES = {4: "slice, coil, readout, phase"}


@register_reader
@dataclass(frozen=True)
class FastMRIReader(HDF5Reader):
    """A folder of fastMRI files.

    Attributes:
        folder: subfolder of the root to read, such as ``multicoil_test``. None: the ``.h5`` files in the root
            itself and in those of ``multicoil_train``, ``multicoil_val`` and ``multicoil_test_full`` that
            exist: all fully sampled scans.
    """

    folder: str | None = None

    name: ClassVar[str] = "fastMRI"
    keys: ClassVar[str] = "kspace"
    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")
    misplaced: ClassVar[str] = (
        "but not where its reader looks, or its name does not end in .h5; expected "
        "multicoil_val/file1000001.h5"
    )

    @property
    def part(self) -> str:
        """The folder."""
        return self.folder or ""

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """The ``.h5`` files, sorted. None counts as missing: no list says which scans a subject has."""
        if not root.is_dir():
            raise InputError(f"{root}: no such folder")
        folders = ("", *FOLDERS) if self.folder is None else (self.folder,)
        files = [file for name in folders for file in visible(root / name, ".h5")]
        if not files:
            example = root / (self.folder or "multicoil_val") / "file1000001.h5"
            raise InputError(f"{root}: no fastMRI files; expected {example}")
        return sorted(files), []

    def recognises(self, file: h5py.File) -> bool:
        """Whether the file holds ``kspace``."""
        return "kspace" in file

    def parts(self, scans: Sequence[Path]) -> Iterator[tuple[Path, "FastMRIReader"]]:
        """Every folder that holds scans."""
        for folder in sorted({path.parent for path in scans}):
            yield folder.parent, FastMRIReader(folder.name)

    def belongs(self, path: Path) -> bool:
        """In a folder called ``multicoil_...``."""
        return path.suffix == ".h5" and path.parent.name.startswith("multicoil_")

    def part_of(self, path: Path) -> str:
        """The folder called ``multicoil_...``, whether the root holds it or is it."""
        return path.parent.name if self.belongs(path) else self.part

    def of_another_part(self, place: Path) -> bool:
        """In another folder; by default in one of undersampled or single-coil scans."""
        top = place.parts[0]
        return top != self.folder if self.folder else top.startswith(OTHERS) and top not in FOLDERS

    def published(self, volumes: Sequence[Volume], missing: Sequence[str]) -> Published | None:
        """The number of volumes of a folder of knees or of brains."""
        anatomies = {"brain" if volume.contrast.startswith("AX") else "knee" for volume in volumes}
        number = PUBLISHED[anatomies.pop()].get(self.part) if len(anatomies) == 1 else None
        return None if number is None else Published("volumes", number, len(volumes))

    def stated_anatomy(self, volume: Volume) -> str | None:
        """The anatomy that the name of the acquisition stands for."""
        names = (anatomy for prefix, anatomy in ANATOMIES.items() if volume.contrast.startswith(prefix))
        return next(names, None)

    def population(self, path: Path, volume: Volume) -> Population:
        """Knees or brains. Patients' ids are hashes and file names numbers, both unique over all folders."""
        return Population(self.name, edition=self.stated_anatomy(volume) or "", synthetic=volume.synthetic)

    def geometry(self, file: h5py.File) -> Geometry | None:
        """The voxel's size; orientation is not in the header."""
        voxel_mm = MatrixHeader.parse(file).voxel_mm
        return Geometry(voxel_mm) if voxel_mm else None

    def parse(self, file: h5py.File, path: Path) -> Volume:
        """The volume in a file."""
        if getattr(file.get("kspace"), "ndim", 4) == 3:
            raise UnsupportedError(f"{path}: single-coil k-space, which is not supported")
        slices, coils, readout, phase = get_kspace(file, ["kspace"], AXES).shape
        header = MatrixHeader.parse(file)
        acquired = header.acquired(phase)
        mask = _get_mask(file, readout, phase)
        if mask is not None:
            mask[: acquired[0]] = mask[acquired[1] :] = False
        target = _get_target(file, slices)
        # image and stored target are both cropped to the smaller of their sizes, as in fastMRI's validation
        crop = (
            header.crop(readout, phase)
            if target is None
            else (min(readout, target.shape[1]), min(phase, target.shape[2]))
        )
        sampled, num_acs = sampled_lines(mask, path)
        return Volume(
            path=path.name,
            name=path.stem,
            subject=get_text(file, "patient_id", default=path.stem),
            contrast=get_text(file, "acquisition", default="unknown"),
            num_slices=slices,
            num_frames=1,
            num_coils=coils,
            readout=readout,
            phase=phase,
            crop=crop,
            acquired=acquired,
            sampled=sampled,
            num_acs=num_acs,
            synthetic=bool(file.attrs.get("synthetic", False)),
            reference_seed=path.name,
        )

    def read(self, file: h5py.File, volume: Volume, slice: int, frame: int) -> Images:
        """One slice, with the stored reconstruction where there is one."""
        kspace = to_complex64(get_kspace(file, ["kspace"], AXES)[slice])
        stored = _get_target(file, volume.num_slices) if volume.fully_sampled else None
        if stored is None:
            return kspace, None
        target = torch.from_numpy(stored[slice].astype(np.float32))
        return kspace, center_crop(target, volume.crop).contiguous().numpy()

    def stored_images(self, file: h5py.File, volume: Volume) -> Iterator[NDArray[np.float32]] | None:
        """``reconstruction_rss``."""
        stored = _get_target(file, volume.num_slices)
        return None if stored is None else (image.astype(np.float32) for image in stored)

    def stated_maximum(self, file: h5py.File) -> float | None:
        """The attribute ``max``."""
        stated = file.attrs.get("max")
        if stated is None:
            return None
        maximum = np.asarray(stated)
        return float(maximum.item()) if maximum.size == 1 and maximum.dtype.kind in "iuf" else math.nan


def split_by_folder(volumes: Sequence[Volume], root: Path) -> Split:
    """The split that the data set was published with: its folders for training, validation and test.

    Args:
        volumes: those of a root that holds these folders.
        root: the root, for messages.

    Raises:
        InputError: a file is in none of the folders, or a subject in two.
    """
    folders: dict[str, str] = {}
    for volume in volumes:
        folder = Path(volume.path).parent.name
        if folder not in FOLDERS:
            raise InputError(f"{root / volume.path}: published_split needs it in {' or '.join(FOLDERS)}")
        if (other := folders.setdefault(volume.subject, folder)) != folder:
            raise InputError(
                f"{root}: subject {volume.subject} is in {other} and in {folder}: move it into one"
            )
    train, val, test = (tuple(sorted(s for s in folders if folders[s] == folder)) for folder in FOLDERS)
    return Split(train, val, test)


def _get_mask(file: h5py.File, readout: int, phase: int) -> NDArray[np.bool_] | None:
    """Sampled lines of an undersampled file, bool, ``(phase,)``; None if it has no mask."""
    if others := [name for name in masks_in(file) if name != "mask"]:
        raise InputError(
            f"{file.filename}: holds {others[0]}, which is not read: call it mask if it says which lines "
            "were sampled, else by a name without this word"
        )
    dataset = get_dataset(file, "mask")
    if dataset is None:
        return None
    where = f"{file.filename}: mask"
    # as fastMRI writes it; with axes of length 1, as it is multiplied; or for every sample
    of_samples = dataset.shape == (readout, phase)
    if not (of_samples or math.prod(dataset.shape) == phase) or dataset.dtype.kind not in "buif":
        raise InputError(f"{where} is {dataset.dtype} {dataset.shape}, expected numbers ({phase},)")
    return lines_of_mask(dataset[()].reshape(1, readout if of_samples else 1, phase), where)


def _get_target(file: h5py.File, slices: int) -> h5py.Dataset | None:
    """The stored reconstructions ``(slice, rows, columns)``, or None."""
    dataset = get_dataset(file, "reconstruction_rss", axes=2)
    if dataset is None:
        return None
    if dataset.ndim != 3 or dataset.shape[0] != slices or 0 in dataset.shape or dataset.dtype.kind != "f":
        raise InputError(
            f"{file.filename}: reconstruction_rss is {dataset.dtype} {dataset.shape}, "
            f"expected floats ({slices}, rows, columns)"
        )
    return dataset
