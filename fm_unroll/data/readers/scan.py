"""One file of any kind that is understood, recognised by what is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import Dataset

from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.readers import cmrxrecon
from fm_unroll.data.readers import numpy as array
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader, Header
from fm_unroll.data.readers.geometry import Geometry
from fm_unroll.data.readers.hdf5 import open_file, reading
from fm_unroll.data.readers.ismrmrd import ISMRMRDDataset, find_group
from fm_unroll.data.readers.numpy import NumPyDataset
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.volume import Reader, Volume
from fm_unroll.errors import InputError

# fastMRI's acquisition names: axial brains, coronal knees
FASTMRI_ANATOMIES = {"AX": "brain", "CORPD": "knee"}


@dataclass(frozen=True)
class Scan:
    """One file, ready to be read slice by slice.

    Attributes:
        kind: ``CMRxRecon``, ``fastMRI``, ``ISMRMRD`` or ``NumPy``.
        volume: what its headers say.
        slices: every slice of every frame, frames outermost.
        anatomy: ``cardiac``, ``knee`` or ``brain``; None where the file does not say.
        geometry: size and place of a voxel; None where the file does not say.
        notes: what the reader left out, a line each.
    """

    kind: str
    volume: Volume
    slices: Dataset[KSpaceSample]
    anatomy: str | None
    geometry: Geometry | None = None
    notes: tuple[str, ...] = ()


def open_scan(path: Path, axes: Sequence[str] = ()) -> Scan:
    """Recognise a file by its content and describe it.

    Args:
        path: the file.
        axes: order of a NumPy array's axes, see :class:`~fm_unroll.data.readers.numpy.NumPyDataset`.

    Raises:
        InputError: no such file, of no known kind, or not usable; axes are given for a file that states its
            own order.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    with path.open("rb") as file:
        is_array = file.read(len(array.MAGIC)) == array.MAGIC
    if is_array:
        dataset = NumPyDataset(path, axes)
        return Scan("NumPy", dataset.volume, dataset, anatomy=None)
    if axes:
        raise InputError(f"{path} is no NumPy file and states the order of its axes: leave out --axes")
    with reading(path), open_file(path) as file:
        keys = set(file)
        is_raw = find_group(file) is not None
    if is_raw:
        dataset = ISMRMRDDataset(path)
        notes = ()
        if dataset.left_out:
            notes = (f"{dataset.left_out} readouts of a separate calibration scan are left out",)
        return Scan("ISMRMRD", dataset.volume, dataset, dataset.anatomy, dataset.geometry, notes)
    if keys & {*cmrxrecon.KSPACE_NAMES}:
        volume, slices = _read_with(CMRxReconReader(), path)
        return Scan("CMRxRecon", volume, slices, anatomy="cardiac")
    if "kspace" in keys:
        volume, slices = _read_with(FastMRIReader(), path)
        return Scan("fastMRI", volume, slices, _fastmri_anatomy(volume), _fastmri_geometry(path))
    raise InputError(
        f"{path}: neither fastMRI (kspace), CMRxRecon ({', '.join(cmrxrecon.KSPACE_NAMES)}) nor ISMRMRD "
        f"(dataset/xml, dataset/data); its keys are {', '.join(sorted(keys)[:10]) or 'none'}"
    )


def _read_with(reader: Reader, path: Path) -> tuple[Volume, SliceDataset]:
    path = path.absolute()
    volume = reader.describe(path, path.parent)
    return volume, SliceDataset(path.parent, reader, [volume])


def _fastmri_anatomy(volume: Volume) -> str | None:
    names = (anatomy for prefix, anatomy in FASTMRI_ANATOMIES.items() if volume.contrast.startswith(prefix))
    return next(names, None)


def _fastmri_geometry(path: Path) -> Geometry | None:
    with reading(path), open_file(path) as file:
        voxel_mm = Header.parse(file).voxel_mm
    return Geometry.upright(voxel_mm) if voxel_mm else None
