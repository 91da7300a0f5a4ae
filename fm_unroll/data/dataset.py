"""Slices of many volumes, read one at a time."""

import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fm_unroll.data.lines import Lines, quick_lines, require_same
from fm_unroll.data.readers.hdf5 import reading
from fm_unroll.data.readers.reader import Opened, Reader
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError

Identity = tuple[int, int, int]


class Slices(Dataset[KSpaceSample], ABC):
    """Every slice of every frame of some volumes, wherever they come from.

    Attributes:
        volumes: the volumes.
        entries: int, ``(item, 3)``: volume (as an index), slice and frame of every item, in file order.
    """

    def __init__(self, volumes: Sequence[Volume]) -> None:
        """List the items."""
        self.volumes = list(volumes)
        self.entries = _entries(self.volumes)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """What the slices of one batch must share, for every item (:attr:`Volume.shape`)."""
        shapes = [volume.shape for volume in self.volumes]
        return [shapes[index] for index in self.entries[:, 0].tolist()]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[KSpaceSample]:
        """Read one slice after the other."""
        return (self[item] for item in range(len(self)))

    @abstractmethod
    def __getitem__(self, item: int) -> KSpaceSample:
        """Read one slice.

        Raises:
            IndexError: there is no such item.
        """


class SliceDataset(Slices):
    """Every slice of every frame of some volumes, read from their files."""

    def __init__(
        self, root: Path | str, reader: Reader[Any], volumes: Sequence[Volume], max_open_files: int = 64
    ) -> None:
        """List the items. No file is opened, but from now on none may change.

        Args:
            root: the data set's folder.
            reader: the layout.
            volumes: the volumes to read, as the index lists them.
            max_open_files: files that each process keeps open.

        Raises:
            InputError: a file is missing.
        """
        super().__init__(volumes)
        self.root = Path(root).expanduser()
        self.reader = reader
        self._identities = [file_identity(self.root / volume.path) for volume in self.volumes]
        self._files = OpenFiles(reader, max_open_files)
        # of each fully sampled volume the first slice that this process read: slice, frame and lines
        self._lines: dict[int, tuple[int, int, Lines]] = {}

    def __getitem__(self, item: int) -> KSpaceSample:
        """Read one slice.

        Raises:
            IndexError: there is no such item.
            InputError: the file or the slice cannot be used, or the file is not the one it was.
        """
        index, slice_, frame = self.entries[item].tolist()
        volume = self.volumes[index]
        path, file = self.open(index)
        with reading(path):
            kspace, target = self.reader.read(file, volume, slice_, frame)
            sample = KSpaceSample.checked(kspace, target, volume, slice_, frame, path)
            if volume.fully_sampled:
                # lines may be empty at the sides, but the same ones in all slices
                here = (slice_, frame, quick_lines(kspace))
                require_same([self._lines.setdefault(index, here), here], path)
            return sample

    def open(self, index: int) -> tuple[Path, Any]:
        """The path of a volume's file, and the file as the reader opens it.

        Args:
            index: the volume, as an index into ``volumes``.

        Raises:
            InputError: the file cannot be used, or is not the one it was.
        """
        path = self.root / self.volumes[index].path
        with reading(path):
            return path, self._files.get(path, self._identities[index])


class OpenFiles(Generic[Opened]):
    """Files kept open by one process, the least recently used closed first.

    What the reader holds (:meth:`Reader.hold`) is kept for the latest file only, so that data which several
    of its slices share are unpacked once when they are read in order. Copies in other processes, forked or
    spawned, start empty: HDF5 handles must not be shared.
    """

    def __init__(self, reader: Reader[Opened], limit: int) -> None:
        """Keep at most ``limit`` files open that ``reader`` opens."""
        self.reader = reader
        self.limit = limit
        self._files: OrderedDict[Path, Opened] = OrderedDict()
        self._latest: Path | None = None
        self._held: object = None
        self._process = os.getpid()

    def get(self, path: Path, identity: Identity) -> Opened:
        """The open file.

        An open file can be read even after it was deleted or replaced: the path is checked every time.

        Args:
            path: the file.
            identity: its :func:`file_identity` when its volume was described.

        Raises:
            InputError: it cannot be opened, is missing, or is no longer the same file.
        """
        if file_identity(path) != identity:
            raise InputError(f"{path}: changed while it was in use; start again to index it anew")
        if self._process != os.getpid():
            self._forget()
        if path not in self._files:
            self._files[path] = self.reader.open(path)
        if path != self._latest:
            self._files.move_to_end(path)
            self._latest, self._held = path, self.reader.hold(self._files[path])
        if len(self._files) > self.limit:
            self._files.popitem(last=False)[1].close()
        return self._files[path]

    def _forget(self) -> None:
        self._files.clear()
        self._latest = self._held = None
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenFiles, (self.reader, self.limit)


def file_identity(path: Path) -> Identity:
    """Size, modification time and inode: as long as they stay, the file is the same.

    Raises:
        InputError: there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns, status.st_ino


def _entries(volumes: Sequence[Volume]) -> NDArray[np.int64]:
    """The table of items: an array, because forked workers would copy the objects of a list on use."""
    slices = np.array([volume.num_slices for volume in volumes], dtype=np.int64)
    counts = slices * np.array([volume.num_frames for volume in volumes], dtype=np.int64)
    index = np.repeat(np.arange(len(volumes)), counts)
    position = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    return np.stack([index, position % slices[index], position // slices[index]], axis=1)
