"""Copies of scans in which every slice is contiguous and has a checksum.

MATLAB compresses its arrays, in chunks that often span several slices. The copy is a file of the same layout,
with the same name, attributes and companions, read by the same reader. HDF5 stores it in another way:

- arrays that hold one entry per image (k-space, stored reconstructions) have one chunk per image, are not
  compressed, and carry HDF5's own checksum (Fletcher-32);
- the file's structure is that of HDF5 1.10, whose headers and indices have checksums as well.

An attribute of the copy says which state of the source it was made from.
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fm_unroll.data.examination import Claims, conclude
from fm_unroll.data.index import examine_volume, stamp
from fm_unroll.data.readers.hdf5 import open_file, reading
from fm_unroll.data.readers.reader import HDF5Reader, Reader
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.files import whole_file

VERSION = 1  # to be raised whenever copies are written in another way
ATTRIBUTE = "packed_from"
LIBRARY = ("v110", "v110")


def pack_volume(volume: Volume, root: Path, reader: Reader[Any], folder: Path) -> Volume:
    """Copy a volume's file and its companions, unless the copy is there and nothing in it is damaged.

    Args:
        volume: as the index of the source lists it.
        root: the source's folder.
        reader: the layout.
        folder: where the copy goes, under the same relative path.

    Returns:
        The volume with what its slices tell: all of them were read.

    Raises:
        InputError: the source cannot be used.
    """
    source, copy = root / volume.path, folder / volume.path
    if not isinstance(reader, HDF5Reader):
        raise InputError(f"{source}: {reader.name} files are not HDF5: they are read as fast as they can be")
    if copy.parent.resolve() == source.parent.resolve():
        raise InputError(f"{copy.parent}: a link to the source's own folder, which stays as it is; remove it")
    made_from = json.dumps([VERSION, *stamp(source, reader)])
    for companion in reader.companions(source):
        with whole_file(folder / companion.relative_to(root)) as part:
            shutil.copy2(companion, part)
    with suppress(InputError):  # a copy that is missing, damaged or out of date is written below
        require_copy(copy, volume, folder, reader, made_from)
        return examine_volume(volume, folder, reader, every_slice=True)
    with whole_file(copy) as part:
        return write_copy(source, part, volume, reader, made_from)


def packed_bytes(volume: Volume) -> int:
    """Size of a volume's k-space without compression."""
    return 8 * volume.num_images * volume.num_coils * volume.readout * volume.phase


def require_copy(path: Path, volume: Volume, folder: Path, reader: HDF5Reader, made_from: str) -> None:
    """Make sure that a file is the copy of a volume, by its headers.

    Raises:
        InputError: the file is missing, was copied from another state of the source, or is damaged.
    """
    with reading(path), open_file(path) as file:
        if file.attrs.get(ATTRIBUTE) != made_from:
            raise InputError(f"{path} is out of date")
    if reader.describe(path, folder) != replace(volume, maximum=None, contradictions=(), remarks=()):
        raise InputError(f"{path} is damaged")


def write_copy(source: Path, target: Path, volume: Volume, reader: HDF5Reader, made_from: str) -> Volume:
    """Copy a file, and check every slice on the way.

    Returns:
        As :func:`pack_volume`.

    Raises:
        InputError: a slice cannot be used.
    """
    with reading(source), closing(reader.open(source)) as file:
        held = reader.hold(file)  # chunks that span slices are unpacked once as long as this lives
        size = file.userblock_size
        with h5py.File(target, "w", libver=LIBRARY, userblock_size=size) as copy:
            copy_attributes(file, copy)
            copy.attrs[ATTRIBUTE] = made_from
            samples = copy_slices(file, copy, volume, reader, source)
            examined = conclude(volume, samples, Claims.of(reader, file, volume), source)
        del held
    if size:
        with source.open("rb") as original, target.open("r+b") as written:
            written.write(original.read(size))
    return examined


def copy_slices(
    file: h5py.File, copy: h5py.File, volume: Volume, reader: HDF5Reader, source: Path
) -> Iterator[KSpaceSample]:
    """Copy all arrays of a file, image by image where they hold one entry per image.

    Yields:
        Every slice, as the reader reads it from the source, before it is copied.
    """
    pairs = []
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            continue  # links are not followed
        axes = image_axes(file[name], volume.num_images)
        if axes is None:
            file.copy(file[name], copy, name)
        else:
            pairs.append((file[name], create_like(copy, name, file[name], axes), axes))
    for image in range(volume.num_images):
        frame, slice_ = divmod(image, volume.num_slices)
        kspace, stored = reader.read(file, volume, slice_, frame)
        yield KSpaceSample.checked(kspace, stored, volume, slice_, frame, source)
        for original, copied, axes in pairs:
            where = np.unravel_index(image, original.shape[:axes]) if axes else ()
            copied[where] = original[where]


def image_axes(entry: h5py.Dataset | h5py.Group, images: int) -> int | None:
    """The number of leading axes that count the images of a volume; None if the array has no such axes."""
    if not isinstance(entry, h5py.Dataset) or entry.ndim < 2 or entry.dtype.hasobject:
        return None
    axes = (axes for axes in range(entry.ndim - 1) if math.prod(entry.shape[:axes]) == images)
    return next(axes, None)


def create_like(copy: h5py.File, name: str, original: h5py.Dataset, axes: int) -> h5py.Dataset:
    """An empty array of the same type, shape and attributes, with one chunk per image."""
    chunks = (1,) * axes + original.shape[axes:]
    copied = copy.create_dataset(name, original.shape, original.dtype, chunks=chunks, fletcher32=True)
    copy_attributes(original, copied)
    return copied


def copy_attributes(original: h5py.HLObject, copied: h5py.HLObject) -> None:
    """Copy all attributes with their types."""
    for name, value in original.attrs.items():
        kind = original.attrs.get_id(name)
        copied.attrs.create(name, value, shape=kind.shape, dtype=kind.dtype)
