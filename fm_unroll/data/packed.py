"""Packed volumes: a copy of a data set that can be read at the speed of the disk.

MATLAB compresses its arrays, in chunks of its own choosing that often span several slices. A packed volume is
one HDF5 file in which every slice is one stretch of bytes, in the order of axes that a sample has::

    kspace       complex64 (frame, slice, coil, readout, phase), or
                 float16 (frame, slice, coil, readout, phase, 2): real and imaginary part over the scale
    scale        float32 (frame, slice)                              with float16 only: a power of two
    target       float32 (frame, slice, rows, columns)               where the source stores a reconstruction
    checksum     uint32 (frame, slice): CRC-32 of the slice's bytes in the arrays above
    attributes   those of :class:`Header`

The source stays the authority: the index, masks and splits are made from it, and a packed volume is used only
while sizes and modification times of its source are what they were.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import torch

from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import Stamp, require_signal, stamp, target_image
from fm_unroll.data.readers.hdf5 import get_dataset, open_file, reading
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.volume import Reader, Volume
from fm_unroll.errors import InputError
from fm_unroll.files import whole_file

VERSION = 1
ARRAYS = ("kspace", "scale", "target")

Precision = Literal["complex64", "float16"]


@dataclass(frozen=True)
class Header:
    """The attributes of a packed file.

    Attributes:
        version: of this format.
        volume: :func:`description` of the volume.
        source: the stamp of its source, as JSON.
        precision: what k-space is stored in.
        relative_error: of k-space as it is stored: root of the summed squared errors over that of the summed
            squares; 0 in the original precision.
        maximum: of the source's target, in image units; 0 without a target.
    """

    version: int
    volume: str
    source: str
    precision: Precision
    relative_error: float
    maximum: float


@dataclass(frozen=True)
class PackedReader:
    """Reads slices of packed volumes."""

    def read(self, file: h5py.File, volume: Volume, slice: int, frame: int) -> KSpaceSample:
        """One slice of one frame, if its checksum is right."""
        where = (frame, slice)
        arrays = {name: array[where] for name in ARRAYS if (array := get_dataset(file, name)) is not None}
        if checksum(arrays) != get_dataset(file, "checksum")[where]:
            raise InputError(
                f"{file.filename}: slice {slice}, frame {frame}: damaged (wrong checksum); "
                "run `data pack` again"
            )
        target = torch.from_numpy(arrays["target"]) if "target" in arrays else None
        return volume.to_sample(to_complex64(arrays), target, slice, frame, file.filename)


def packed_volumes(folder: Path, volumes: Sequence[Volume], root: Path, reader: Reader) -> list[Volume]:
    """The same volumes, with the paths of their packed files relative to ``folder``.

    Args:
        folder: where ``data pack`` wrote.
        volumes: as the index of the source lists them.
        root: the source's folder, links resolved.
        reader: the source's layout.

    Raises:
        InputError: a volume is not packed, its source has changed since, or its packed file is truncated, of
            another version, or holds something else.
    """
    for volume in volumes:
        require_packed(folder / packed_path(volume), volume, stamp(root / volume.path, root, reader))
    return [replace(volume, path=packed_path(volume)) for volume in volumes]


def packed_path(volume: Volume) -> str:
    """Path of a volume's packed file, relative to the folder of packed files."""
    return Path(volume.path).with_suffix(".h5").as_posix()


def packed_bytes(volume: Volume, precision: Precision) -> int:
    """Size of a volume's packed k-space."""
    values = volume.num_frames * volume.num_slices * volume.num_coils * volume.readout * volume.phase
    return values * (8 if precision == "complex64" else 4)


def require_packed(path: Path, volume: Volume, source: Stamp) -> Header:
    """Make sure, from the headers, that a file is the packed form of a volume.

    Args:
        path: the packed file.
        volume: the volume.
        source: the stamp that its source has now.

    Raises:
        InputError: it is not; the message says why, and what to do.
    """
    if not path.is_file():
        raise InputError(f"{path}: {volume.name} is not packed; run `data pack`")
    try:
        with reading(path), open_file(path) as file:
            return read_header(file, volume, source)
    except InputError as error:
        raise InputError(f"{error}; run `data pack` again") from error


def read_header(file: h5py.File, volume: Volume, source: Stamp) -> Header:
    """The header of an open file.

    Raises:
        InputError: the file is no packed form, of this version, of the volume as its source is now.
    """
    header = Header(**file.attrs)
    kspace, sums = get_dataset(file, "kspace"), get_dataset(file, "checksum")
    if header.version != VERSION:
        raise InputError(f"{file.filename} is of packed format {header.version}, this is {VERSION}")
    if json.loads(header.source) != source:
        raise InputError(f"{file.filename} is out of date: {volume.path} has changed since it was packed")
    if header.volume != description(volume):
        raise InputError(f"{file.filename} is out of date: {volume.path} was described otherwise before")
    if kspace is None or sums is None or kspace.shape[:2] != (volume.num_frames, volume.num_slices):
        raise InputError(f"{file.filename} is damaged: it lacks slices")
    return header


def pack_volume(volume: Volume, root: Path, reader: Reader, folder: Path, precision: Precision) -> Header:
    """Write the packed file of a volume, unless it is there and right to the last byte.

    Args:
        volume: as the index of the source lists it.
        root: the source's folder, links resolved.
        reader: the source's layout.
        folder: where packed files go.
        precision: what k-space is stored in.

    Raises:
        InputError: the source cannot be used.
    """
    packed = replace(volume, path=packed_path(volume))
    path, source = folder / packed.path, stamp(root / volume.path, root, reader)
    slices = SliceDataset(root, reader, [volume])
    with suppress(InputError):  # what is not there, or not right, is written
        header = require_packed(path, volume, source)
        if header.precision == precision:
            for _ in SliceDataset(folder, PackedReader(), [packed]):
                pass  # to read a slice is to check it
            return header
    maximum, energy, squared_error = 0.0, 0.0, 0.0
    # the latest format of HDF5 protects its own structures by checksums, too
    with whole_file(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        shape = (volume.num_frames, volume.num_slices)
        sums = file.create_dataset("checksum", shape, np.uint32)
        for sample in slices:
            where, kspace = (sample.frame, sample.slice), sample.kspace.numpy()
            arrays = {"kspace": kspace} if precision == "complex64" else to_float16(kspace)
            energy += energy_of(kspace)
            squared_error += energy_of(kspace - to_complex64(arrays))
            if volume.fully_sampled:
                maximum = max(maximum, float(target_image(sample).max()))
            if sample.target is not None:
                arrays["target"] = sample.target.numpy()
            for name, array in arrays.items():
                file.require_dataset(name, shape + array.shape, array.dtype)[where] = array
            sums[where] = checksum(arrays)
        if volume.fully_sampled:
            require_signal(maximum, root / volume.path)
        header = Header(
            version=VERSION,
            volume=description(volume),
            source=json.dumps(source),
            precision=precision,
            relative_error=(squared_error / energy) ** 0.5,
            maximum=maximum if volume.maximum is None else volume.maximum,
        )
        file.attrs.update(vars(header))
    return header


def description(volume: Volume) -> str:
    """A volume as text, without its maximum, which may become known later."""
    return json.dumps(vars(replace(volume, maximum=None)))


def to_float16(kspace: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays ``kspace`` and ``scale`` of a slice in half precision.

    A float16 is precise to 11 bits between 6e-5 and 65504. The scale puts the largest value at the upper end
    of that, so that what is nine orders of magnitude smaller still has them all.
    """
    parts = kspace[..., None].view(np.float32)
    _, exponent = np.frexp(np.abs(parts).max())
    scale = np.ldexp(np.float32(1), max(exponent - 15, -126))
    return {"kspace": (parts / scale).astype(np.float16), "scale": scale}


def to_complex64(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The k-space of a slice, complex64 ``(coil, readout, phase)``, whichever way it is stored."""
    if "scale" not in arrays:
        return arrays["kspace"]
    return (arrays["kspace"] * arrays["scale"]).view(np.complex64)[..., 0]


def checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """CRC-32 of a slice's arrays, one after the other."""
    value = 0
    for name in ARRAYS:
        if name in arrays:
            value = zlib.crc32(arrays[name], value)
    return value


def energy_of(values: np.ndarray) -> float:
    """Sum of squared magnitudes."""
    return float(np.vdot(values, values).real)
