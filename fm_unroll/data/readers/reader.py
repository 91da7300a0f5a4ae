"""The base class of readers: a new file layout is one subclass."""

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
from fm_unroll.data.volume import Volume, require_acs
from fm_unroll.errors import InputError
from fm_unroll.subjects.population import Population


class Closable(Protocol):
    """Whatever a reader opens."""

    def close(self) -> None:
        """Release the file."""
        ...


Opened = TypeVar("Opened", bound=Closable)
Images = tuple[NDArray[np.complex64], NDArray[np.float32] | None]


@dataclass(frozen=True)
class Published:
    """How much of a published data set was found.

    Attributes:
        unit: what the numbers count, ``subjects`` or ``volumes``.
        number: how many the published set has.
        found: how many of them were found.
        absent: names of those that were not found, where names are known.
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

    A layout must define :meth:`open`, :meth:`parse` and :meth:`read`; then its files can be opened one by
    one. If it defines :meth:`find` and :meth:`parts` as well, a folder of its files is a data set.

    Attributes:
        name: the layout's name, such as ``fastMRI``.
        magic: first bytes of the layout's files; empty for HDF5.
        keys: what an HDF5 file of this layout holds, for messages.
        suffixes: endings of file names; files with one of them should be scans of a data set.
        misplaced: why :meth:`find` may overlook a scan, and what to do, for messages.
        readout_crop: share of the field of view along the readout that is read, about its middle.
    """

    name: ClassVar[str]
    magic: ClassVar[bytes] = b""
    keys: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    misplaced: ClassVar[str] = "which is read alone, not as part of a data set"
    readout_crop: float = 1.0

    @property
    def part(self) -> str:
        """The part of a data set that this reader reads, such as ``multicoil_val``; empty for the whole."""
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
        """The same reader for arrays whose axes the user names.

        Raises:
            InputError: files of this layout state the order of their axes.
        """
        raise InputError("is no NumPy file and states the order of its axes: leave out --axes")

    def with_readout_crop(self, share: float) -> Self:
        """The same reader for a network that was trained on scans of a cropped readout.

        Args:
            share: of the field of view along the readout that is kept; layouts that cannot be read so are
                read whole.
        """
        return self

    @abstractmethod
    def open(self, path: Path) -> Opened:
        """Open a file for reading.

        Raises:
            InputError: it cannot be opened.
        """

    def hold(self, file: Opened) -> object:
        """Objects to keep while slices of one file are read in turn, so that nothing is unpacked twice."""
        return None

    @abstractmethod
    def parse(self, file: Opened, path: Path) -> Volume:
        """The volume in an open file, from its headers.

        Args:
            file: what :meth:`open` returned.
            path: the file's path, for names and messages. The volume's own ``path`` is set by
                :meth:`describe`.

        Raises:
            InputError: the file cannot be used.
        """

    @abstractmethod
    def read(self, file: Opened, volume: Volume, slice: int, frame: int) -> Images:
        """One slice of one frame; no other is read.

        The caller refuses values that no scanner measures (NaN, zeros, ...), for all layouts.

        Returns:
            k-space, complex64 ``(coil, readout, phase)``, and the reconstruction that the file stores,
            float32 ``volume.crop``, or None.

        Raises:
            InputError: the slice cannot be used.
        """

    def stored_images(self, file: Opened, volume: Volume) -> Iterator[NDArray[np.float32]] | None:
        """The reconstructions that the file stores, as they are: float32 ``(rows, columns)`` of each slice.

        Returns:
            None where it stores none.

        Raises:
            InputError: they cannot be used.
        """
        return None

    def stated_maximum(self, file: Opened) -> float | None:
        """What the file says is the maximum of its images; None where it does not say, NaN for no number."""
        return None

    def anatomy(self, file: Opened, volume: Volume) -> str | None:
        """``cardiac``, ``knee``, ``brain``, ...; None where the file does not say."""
        return self.stated_anatomy(volume)

    def stated_anatomy(self, volume: Volume) -> str | None:
        """The anatomy as far as a volume's description tells it, such as the name of its contrast, else None.

        A data set of files that state another anatomy than its data module's is refused.
        """
        return None

    def geometry(self, file: Opened) -> Geometry | None:
        """Size and place of a voxel; None where the file does not say."""
        return None

    def population(self, path: Path, volume: Volume) -> Population:
        """Where the subject of a volume comes from, by the file's place and content.

        Args:
            path: the file, absolute. Only folders that belong to the layout count: roots are renamed and
                copied.
            volume: what its headers say.
        """
        return Population(self.name, synthetic=volume.synthetic)

    def names_subject(self, volume: Volume) -> bool:
        """Whether the file or its place says whose it is; else the file's name stands for its subject."""
        return volume.subject != Path(volume.path).stem

    def notes(self, file: Opened) -> tuple[str, ...]:
        """What the reader left out, one line for each."""
        return ()

    def describe(self, path: Path, root: Path) -> Volume:
        """The volume in a file, from its headers.

        Raises:
            InputError: the file cannot be used.
        """
        with reading(path), closing(self.open(path)) as file:
            volume = self.parse(file, path)
        require_acs(volume, path)
        return replace(volume, path=path.relative_to(root).as_posix())

    # a folder of files

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """All files of this part, sorted, and the names of volumes that should be there and are not.

        Raises:
            InputError: the root is missing, or nothing is found; the message shows the expected tree.
        """
        raise InputError(f"{root}: {self.name} files are read one by one, not as a data set")

    def subjects(self, root: Path, volumes: Sequence[Volume]) -> set[str]:
        """The ids of all subjects of this part, whichever of their volumes are read: these are split.

        Args:
            root: the data set's folder.
            volumes: the volumes that are read.
        """
        return {volume.subject for volume in volumes}

    def parts(self, scans: Sequence[Path]) -> Iterator[tuple[Path, "Reader[Any]"]]:
        """Root folders and readers whose data sets may hold some scans of this layout."""
        return iter(())

    def belongs(self, path: Path) -> bool:
        """Whether :meth:`find` would take a file for a scan, by its place alone."""
        return False

    def part_of(self, path: Path) -> str:
        """The part of a data set in which a scan lies, as :attr:`part` says it: within one, names differ."""
        return self.part

    def of_another_part(self, place: Path) -> bool:
        """Whether a file that :meth:`find` does not take is none of its scans, by its place alone.

        Args:
            place: the file's path relative to the root.
        """
        return False

    def unasked(self, place: Path) -> str:
        """The contrast of a scan of this part that was not asked for, by its place; empty for other files.

        Args:
            place: as in :meth:`of_another_part`.
        """
        return ""

    def companions(self, path: Path) -> list[Path]:
        """Existing files that are read along with a scan to describe it, such as its sampling mask."""
        return []

    def published(self, volumes: Sequence[Volume], missing: Sequence[str]) -> Published | None:
        """How much of the published part was found; None where nothing was published.

        Args:
            volumes: the volumes that were found.
            missing: names of volumes that :meth:`find` did not find.
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
