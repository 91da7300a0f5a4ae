"""HDF5 files that others wrote, read without trusting them.

Whatever is wrong with a file ends in an :class:`InputError` of one line that names it, and no file may ask
for more memory than a scan needs: sizes are compared with the file before anything is read.

What this module cannot prevent is what the HDF5 library (2.0) does by itself on damaged metadata, as fuzzing
shows. A damaged length of an attribute's text makes it ask for up to 4 GiB before it reports the damage. A
damaged heap or object header can make it crash or keep it in an endless loop, which Python cannot interrupt.
Truncated files, the common damage, do none of this. Only another process can watch over the library: the verb
``data check`` reads files in one, names the damaged file and goes on.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fm_unroll.data.lines import names_mask
from fm_unroll.errors import InputError
from fm_unroll.files import require_file

CHUNK_CACHE_BYTES = 64 * 2**20  # for each data set held open: several slices of ten coils
MAX_COILS = 128  # no scanner has more channels; a longer axis is another one
MAX_COMPRESSION = 1100  # deflate reaches 1032:1; data that would need more were never written
MAX_IMAGES = 2**16  # slices times frames per file
MAX_BLOCK_BYTES = 2**32  # what is unpacked at once: a slice, and the chunk that holds it
MATLAB_5 = b"MATLAB 5.0 MAT-file"
COMPLEX_SINGLE = np.dtype([("real", np.float32), ("imag", np.float32)])


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn whatever h5py raises on a damaged file into an :class:`InputError` that names the file."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged HDF5 file ({reason})") from error


def open_file(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises:
        InputError: it is missing, unreadable, no file, a MATLAB file older than v7.3, or not HDF5 at all.
    """
    require_file(path)
    try:
        # nothing is ever written here, and network file systems often refuse locks
        return h5py.File(path, "r", locking=False, rdcc_nbytes=CHUNK_CACHE_BYTES)
    except OSError as error:
        if error.errno is not None:
            raise InputError(f"{path}: {os.strerror(error.errno)}") from error
        with path.open("rb") as file:
            start = file.read(len(MATLAB_5))
        if not start:
            raise InputError(f"{path}: an empty file: write or copy it again") from error
        if start == MATLAB_5:
            raise InputError(f"{path}: MATLAB file older than v7.3; save it again with -v7.3") from error
        if path.suffix == ".npz":
            raise InputError(f"{path}: archives of NumPy are not read; save its array as .npy") from error
        raise InputError(f"{path}: truncated or no HDF5 file ({error})") from error


def get_dataset(file: h5py.File, name: str, axes: int = 0) -> h5py.Dataset | None:
    """A data set that is stored in this very file, or None if there is none of that name.

    Args:
        file: an open file.
        name: the data set's name.
        axes: how many of the last axes are read at once; 0: all.

    Raises:
        InputError: the name is a link, or the data lie in another file (external or virtual storage), are
            of another kind, are declared larger than the file can hold, or too large to be unpacked.
    """
    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{file.filename}: {name} is a link; links are not followed")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{file.filename}: {name} is a {type(dataset).__name__}, not a data set")
    if dataset.is_virtual or dataset.external:
        raise InputError(f"{file.filename}: {name} keeps its data in other files; these are not followed")
    stored = min(dataset.id.get_storage_size(), file.id.get_filesize())
    if dataset.nbytes > MAX_COMPRESSION * stored:
        raise InputError(
            f"{file.filename}: {name} declares {dataset.nbytes / 2**20:.3g} MiB, "
            f"but {stored / 2**20:.3g} MiB are stored"
        )
    for what, shape in (("block", dataset.shape and dataset.shape[-axes:]), ("chunk", dataset.chunks)):
        if shape and math.prod(shape) * dataset.dtype.itemsize > MAX_BLOCK_BYTES:
            raise InputError(f"{file.filename}: {name} has a {what} of {shape}, larger than any scan's")
    return dataset


def require_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A data set that must be there; otherwise as :func:`get_dataset`.

    Raises:
        InputError: there is none of that name, or it cannot be used.
    """
    dataset = get_dataset(file, name)
    if dataset is None:
        raise InputError(f"{file.filename}: {name} is listed but cannot be found: the file is damaged")
    return dataset


def get_document(file: h5py.File, name: str) -> str | None:
    """A text that is stored as a data set of its own, or None if there is none of that name.

    Raises:
        InputError: it is no text, or declared larger than the file.
    """
    dataset = get_dataset(file, name)
    if dataset is None:
        return None
    where = f"{file.filename}: {name}"
    text = h5py.check_string_dtype(dataset.dtype)
    if dataset.shape != () or text is None:
        raise InputError(f"{where} is {dataset.dtype} {dataset.shape}, expected one text")
    length = text.length or _declared_length(dataset)
    if length > file.id.get_filesize():
        raise InputError(f"{where} declares a text of {length} bytes, more than the file has")
    return str(dataset.asstr(errors="replace")[()])


def _declared_length(dataset: h5py.Dataset) -> int:
    """The declared length of a text of variable length, or 0 where it cannot be found.

    HDF5 would allocate that much without looking at the file's size.
    Such a text is stored as its length in four bytes and the place of its characters.
    """
    offset = dataset.id.get_offset()
    if offset is None:
        return 0
    with Path(dataset.file.filename).open("rb") as file:
        file.seek(offset)
        return int.from_bytes(file.read(4), "little")


def masks_in(file: h5py.File) -> list[str]:
    """The names of everything in a file, in groups as well, that is called a mask and is no text.

    Raises:
        InputError: an attribute is, which nobody reads.
    """
    for where, holder in [("", file), *((f"{name} with ", file[name]) for name in _own(file))]:
        for attribute in filter(names_mask, holder.attrs):
            raise InputError(
                f"{file.filename}: holds {where}the attribute {attribute}, which is not read: store it as a "
                "data set called mask if it says which lines were sampled, else by a name without this word"
            )
    found = [name for name in file if names_mask(name)]  # links, too
    file.visit(lambda name: found.append(name) if names_mask(name) else None)
    return [name for name in dict.fromkeys(found) if not _is_text(file, name)]


def _is_text(file: h5py.File, name: str) -> bool:
    """Whether a name stands for a text of the file's own."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return False
    return isinstance(file[name], h5py.Dataset) and file[name].dtype.kind in "OSU"


def _own(file: h5py.File) -> list[str]:
    """What lies in the root of a file and is no link."""
    return [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]


def hold_datasets(file: h5py.File) -> list[h5py.Dataset]:
    """Handles on a file's own data sets.

    Compressed chunks may span several slices. HDF5 keeps unpacked chunks only as long as the data set is
    open, so slices read one after the other are unpacked once if these handles live.
    """
    return [file[name] for name in _own(file)]


def get_kspace(file: h5py.File, names: Sequence[str], orders: dict[int, str]) -> h5py.Dataset:
    """The one complex data set that goes by one of several names.

    Args:
        file: an open file.
        names: the names it may have.
        orders: for each number of dimensions that is understood, its axes, such as ``{3: "coil, ky, kx"}``.

    Raises:
        InputError: none or several of the names are there, or its dimensions or type are not k-space's.
    """
    keys = list(file)
    found = [name for name in names if name in keys]
    if len(found) != 1:
        problem = f"holds both {' and '.join(found)}" if found else f"holds no {' or '.join(names)}"
        raise InputError(f"{file.filename}: {problem}; its keys are {', '.join(keys[:10]) or 'none'}")
    where = f"{file.filename}: {found[0]}"
    dataset = get_dataset(file, found[0], axes=3)
    if dataset is None:
        raise InputError(f"{where} is listed but cannot be found: the file is damaged")
    if dataset.ndim not in orders:
        raise InputError(
            f"{where} has {dataset.ndim} dimensions, expected ({') or ('.join(orders.values())})"
        )
    if not is_complex(dataset.dtype):
        raise InputError(f"{where} has type {dataset.dtype}, expected complex numbers (real, imag)")
    axes = orders[dataset.ndim].split(", ")
    coil = axes.index("coil")
    images = math.prod(dataset.shape[:coil])
    if 0 in dataset.shape or dataset.shape[coil] > MAX_COILS or images > MAX_IMAGES:
        raise InputError(f"{where} has shape {dataset.shape}, expected ({', '.join(axes)})")
    return dataset


def is_complex(dtype: np.dtype[Any]) -> bool:
    """Whether a type is NumPy's complex, or MATLAB's compound of the floats ``real`` and ``imag``."""
    compound = dtype.names == ("real", "imag") and dtype["real"].kind == dtype["imag"].kind == "f"
    return dtype.kind == "c" or compound


def to_complex64(values: NDArray[Any]) -> NDArray[np.complex64]:
    """Values of a type that :func:`is_complex` accepts, as a contiguous complex64 array.

    Singles, as both layouts have them, are not copied.
    """
    if values.dtype in (np.complex64, COMPLEX_SINGLE):
        return np.ascontiguousarray(values).view(np.complex64)
    if values.dtype.kind == "c":
        real, imag = values.real, values.imag
    else:
        real, imag = values["real"], values["imag"]
    result = np.empty(values.shape, np.complex64)
    with np.errstate(over="ignore"):  # values too large become Inf, which the caller refuses
        result.real, result.imag = real, imag
    return result


def get_text(file: h5py.File, attribute: str, default: str) -> str:
    """A text attribute of the file's root, stored as text or as bytes."""
    value = file.attrs.get(attribute, default)
    return value.decode() if isinstance(value, bytes) else str(value)
