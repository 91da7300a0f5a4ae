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

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
import torch

from fm_unroll.data.readers.hdf5 import (
    get_dataset,
    get_document,
    get_kspace,
    get_text,
    open_file,
    reading,
    to_complex64,
)
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.undersampling import center_crop
from fm_unroll.data.volume import Volume, num_acs_lines
from fm_unroll.errors import InputError

FOLDERS = ("multicoil_train", "multicoil_val", "multicoil_test_full")
# volumes of the published sets (https://arxiv.org/abs/1811.08839, section 4), without those of
# the challenges, with which the brains are 6970
PUBLISHED = {
    "knee": {"multicoil_train": 973, "multicoil_val": 199, "multicoil_test": 118},
    "brain": {"multicoil_train": 4469, "multicoil_val": 1378, "multicoil_test": 558},
}
AXES = {4: "slice, coil, readout, phase"}


@dataclass(frozen=True)
class FastMRIReader:
    """A folder of fastMRI files.

    Attributes:
        folder: subfolder of the root to read, such as ``multicoil_test``. None: the ``.h5`` files in the root
            itself or, where it has none, in those of ``multicoil_train``, ``multicoil_val`` and
            ``multicoil_test_full`` that exist: all fully sampled scans.
    """

    folder: str | None = None

    layout = "fastmri"

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """The ``.h5`` files, sorted. None is ever missing: subjects have whatever scans they have."""
        if not root.is_dir():
            raise InputError(f"{root}: no such folder")
        if self.folder is not None:
            files = list((root / self.folder).glob("*.h5"))
        else:
            files = list(root.glob("*.h5")) or [
                path for name in FOLDERS for path in (root / name).glob("*.h5")
            ]
        if not files:
            example = root / (self.folder or "multicoil_val") / "file1000001.h5"
            raise InputError(f"{root}: no fastMRI files; expected {example}")
        return sorted(files), []

    def companions(self, path: Path) -> list[Path]:
        """None: everything is in the one file."""
        return []

    def describe(self, path: Path, root: Path) -> Volume:
        """The volume in a file."""
        with reading(path), open_file(path) as file:
            dataset = get_kspace(file, ["kspace"], AXES)
            slices, coils, readout, phase = dataset.shape
            header = Header.parse(file)
            acquired = header.acquired(phase)
            mask = _get_mask(file, phase)
            sampled = None
            if mask is not None:
                mask[: acquired[0]] = mask[acquired[1] :] = False
                sampled = tuple(np.flatnonzero(mask).tolist())
            rows, columns = header.crop(readout, phase)
            target = _get_target(file, slices)
            if target is not None:
                rows, columns = min(rows, target.shape[1]), min(columns, target.shape[2])
            return Volume(
                path=path.relative_to(root).as_posix(),
                name=path.stem,
                subject=get_text(file, "patient_id", default=path.stem),
                contrast=get_text(file, "acquisition", default="unknown"),
                num_slices=slices,
                num_frames=1,
                num_coils=coils,
                readout=readout,
                phase=phase,
                crop=(rows, columns),
                acquired=acquired,
                sampled=sampled,
                num_acs=0 if mask is None else num_acs_lines(mask, path),
                maximum=_get_maximum(file) if mask is None else None,
                synthetic=bool(file.attrs.get("synthetic", False)),
            )

    def read(self, file: h5py.File, volume: Volume, slice: int, frame: int) -> KSpaceSample:
        """One slice, with the stored reconstruction where there is one."""
        kspace = to_complex64(get_kspace(file, ["kspace"], AXES)[slice])
        stored = _get_target(file, volume.num_slices) if volume.fully_sampled else None
        target = None
        if stored is not None:
            target = center_crop(torch.from_numpy(stored[slice].astype(np.float32)), volume.crop).contiguous()
        return volume.to_sample(kspace, target, slice, frame, file.filename)


@dataclass(frozen=True)
class Header:
    """What the ISMRMRD header says about the matrix.

    Attributes:
        file: the file's name, for messages.
        encoded_lines: phase-encoding lines of the encoded matrix.
        recon_size: rows and columns of the reconstructed matrix.
        center: index of the central line among the acquired ones.
        last: index of the last acquired line.
        voxel_mm: size of a row, a column and a slice in mm; None where the header does not give it.
    """

    file: str
    encoded_lines: int
    recon_size: tuple[int, int]
    center: int
    last: int
    voxel_mm: tuple[float, float, float] | None

    @classmethod
    def parse(cls, file: h5py.File) -> "Header":
        """Read the header of a file.

        A document type declaration is refused: headers have none, and nothing else in XML can define
        entities, so there is nothing to expand or fetch.

        Raises:
            InputError: there is no header, it is no XML, or it lacks a number.
        """
        text = get_document(file, "ismrmrd_header")
        where = f"{file.filename}: ismrmrd_header"
        if text is None:
            raise InputError(f"{where} is missing; the file's keys are {', '.join(list(file)[:10])}")
        if "<!DOCTYPE" in text:
            raise InputError(f"{where} has a document type declaration, which may define entities: refused")
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise InputError(f"{where} is no valid XML ({error})") from error

        def number(*tags: str, least: int) -> int:
            text = root.findtext("/".join(f"{{*}}{tag}" for tag in ("encoding", *tags)), default="").strip()
            if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
                raise InputError(f"{where}: {'/'.join(tags)} is {text!r}, expected a whole number >= {least}")
            return int(text)

        def voxel(axis: str) -> float:
            space = "{*}encoding/{*}encodedSpace"
            field = root.findtext(f"{space}/{{*}}fieldOfView_mm/{{*}}{axis}", default="")
            matrix = root.findtext(f"{space}/{{*}}matrixSize/{{*}}{axis}", default="")
            try:
                return float(field) / int(matrix)
            except (ValueError, ZeroDivisionError):
                return 0.0

        voxel_mm = (voxel("x"), voxel("y"), voxel("z"))
        return cls(
            file=file.filename,
            encoded_lines=number("encodedSpace", "matrixSize", "y", least=1),
            recon_size=(
                number("reconSpace", "matrixSize", "x", least=1),
                number("reconSpace", "matrixSize", "y", least=1),
            ),
            center=number("encodingLimits", "kspace_encoding_step_1", "center", least=0),
            last=number("encodingLimits", "kspace_encoding_step_1", "maximum", least=0),
            voxel_mm=voxel_mm if min(voxel_mm) > 0 and np.isfinite(voxel_mm).all() else None,
        )

    def acquired(self, phase: int) -> tuple[int, int]:
        """First and one-past-last acquired line of ``phase``, by fastMRI's rule.

        Raises:
            InputError: they lie outside of the matrix.
        """
        first = self.encoded_lines // 2 - self.center
        if not 0 <= first < phase:
            raise InputError(
                f"{self.file}: ismrmrd_header puts the first acquired line at {first}, k-space has {phase}"
            )
        return first, min(first + self.last + 1, phase)

    def crop(self, readout: int, phase: int) -> tuple[int, int]:
        """Rows and columns of the image that count, by fastMRI's rule.

        The header's reconstruction size; where the matrix is narrower than that (203 lines in some FLAIR
        scans), a square as wide as the matrix.
        """
        rows, columns = self.recon_size
        if phase < columns:
            rows = columns = phase
        return min(rows, readout), columns


def _get_mask(file: h5py.File, phase: int) -> np.ndarray | None:
    """Sampled lines of an undersampled file, bool, ``(phase,)``; None if it has no mask."""
    dataset = get_dataset(file, "mask")
    if dataset is None:
        return None
    if dataset.shape != (phase,) or dataset.dtype.kind not in "buif":
        raise InputError(
            f"{file.filename}: mask is {dataset.dtype} {dataset.shape}, expected numbers ({phase},)"
        )
    return dataset[()] != 0


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


def _get_maximum(file: h5py.File) -> float | None:
    """The maximum of the stored reconstructions, if the file states it."""
    maximum = file.attrs.get("max")
    if maximum is None:
        return None
    if not np.isscalar(maximum) or not np.isfinite(maximum) or maximum <= 0:
        raise InputError(f"{file.filename}: attribute max is {maximum!r}, expected a positive number")
    return float(maximum)
