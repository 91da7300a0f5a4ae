"""What a file layout knows about itself: the one class to write for a new one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from fm_unroll.data.readers.geometry import Geometry
from fm_unroll.data.readers.hdf5 import hold_datasets, open_file, reading
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError


class Closable(Protocol):
    """What is open until it is closed."""

    def close(self) -> None:
        """Give it back."""
        ...


Opened = TypeVar("Opened", bound=Closable)
Images = tuple[NDArray[np.complex64], NDArray[np.float32] | None]


@dataclass(frozen=True)
class Published:
    """What the published set has, beside what was found of it.

    Attributes:
        unit: what is counted: ``subjects`` or ``volumes``.
        number: how many were published.
        found: how many are here.
        absent: names of those that are not here, where they are known.
    """

    unit: str
    number: int
    found: int
    absent: tuple[str, ...] = ()


class Reader(ABC, Generic[Opened]):
    """A file layout: what it recognises, what its headers say, and one slice.

    Readers are small and immutable, and can be pickled: frozen data classes whose fields choose a part of a
    data set. Made without arguments, a reader finds the fully sampled scans. ``Opened`` is what
    :meth:`open` gives: an HDF5 file for most (see :class:`HDF5Reader`).

    What must be written are :meth:`open`, :meth:`parse` and :meth:`read`; then files can be opened one by
    one. With :meth:`find` and :meth:`parts` a folder of them is a data set.

    Attributes:
        name: of the layout, as people call it, such as ``fastMRI``.
        magic: first bytes of a file that is not HDF5; empty for HDF5.
        keys: what an HDF5 file of this layout holds, for messages.
        suffixes: of file names that should be scans of a data set, whatever is in them.
        misplaced: why :meth:`find` may overlook a scan, and what to do, for messages.
    """

    name: ClassVar[str]
    magic: ClassVar[bytes] = b""
    keys: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    misplaced: ClassVar[str] = "which is read alone, not as part of a data set"

    @property
    def part(self) -> str:
        """Which part of a data set this reader reads, such as ``multicoil_val``; empty: there is one."""
        return ""

    @property
    def title(self) -> str:
        """Name and part."""
        return f"{self.name} {self.part}".strip()

    # one file

    def recognises(self, file: h5py.File) -> bool:
        """Whether an open HDF5 file is of this layout, by its content."""
        return False

    def with_axes(self, axes: Sequence[str]) -> Self:
        """The same reader for arrays whose axes their owner names.

        Raises:
            InputError: files of this layout state the order of their axes.
        """
        raise InputError("is no NumPy file and states the order of its axes: leave out --axes")

    @abstractmethod
    def open(self, path: Path) -> Opened:
        """Open a file for reading.

        Raises:
            InputError: it cannot be opened.
        """

    def hold(self, file: Opened) -> object:
        """What must live while slices of one file are read in turn, so that nothing is unpacked twice."""
        return None

    @abstractmethod
    def parse(self, file: Opened, path: Path) -> Volume:
        """The volume in an open file, from its headers.

        Args:
            file: what :meth:`open` gave.
            path: where it lies, for names and messages. The volume's own ``path`` is set by
                :meth:`describe`.

        Raises:
            InputError: the file cannot be used.
        """

    @abstractmethod
    def read(self, file: Opened, volume: Volume, slice: int, frame: int) -> Images:
        """One slice of one frame; no other is read.

        What no scanner measures (NaN, zeros, ...) is refused by the caller, for all layouts.

        Returns:
            k-space, complex64 ``(coil, readout, phase)``, and the reconstruction that the file stores,
            float32 ``volume.crop``, or None.

        Raises:
            InputError: the slice cannot be used.
        """

    def anatomy(self, file: Opened, volume: Volume) -> str | None:
        """``cardiac``, ``knee``, ``brain``, ...; None where the file does not say."""
        return None

    def geometry(self, file: Opened) -> Geometry | None:
        """Size and place of a voxel; None where the file does not say."""
        return None

    def notes(self, file: Opened) -> tuple[str, ...]:
        """What the reader left out, in one line each."""
        return ()

    def describe(self, path: Path, root: Path) -> Volume:
        """The volume in a file, from its headers.

        Raises:
            InputError: the file cannot be used.
        """
        with reading(path), closing(self.open(path)) as file:
            return replace(self.parse(file, path), path=path.relative_to(root).as_posix())

    # a folder of files

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """All files of this part, sorted, and the names of volumes that should be there and are not.

        Raises:
            InputError: the root is missing, or nothing is found; the message shows the expected tree.
        """
        raise InputError(f"{root}: {self.name} files are read one by one, not as a data set")

    def parts(self, scans: Sequence[Path]) -> Iterator[tuple[Path, "Reader[Any]"]]:
        """Roots and readers that may find some scans of this layout."""
        return iter(())

    def belongs(self, path: Path) -> bool:
        """Whether a file lies where :meth:`find` would take it for a scan, whatever is in it."""
        return False

    def companions(self, path: Path) -> list[Path]:
        """Existing files that are read along with a scan to describe it, such as its sampling mask."""
        return []

    def published(self, volumes: Sequence[Volume], missing: Sequence[str]) -> Published | None:
        """What was published of this part; None where nothing was.

        Args:
            volumes: what was found of it.
            missing: the names that :meth:`find` missed.
        """
        return None


class HDF5Reader(Reader[h5py.File]):
    """A layout whose files are HDF5."""

    def open(self, path: Path) -> h5py.File:
        """See :meth:`Reader.open`."""
        return open_file(path)

    def hold(self, file: h5py.File) -> object:
        """Handles on the data sets, see :func:`~fm_unroll.data.readers.hdf5.hold_datasets`."""
        return hold_datasets(file)
