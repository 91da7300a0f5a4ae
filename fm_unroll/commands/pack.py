"""The verb ``data pack``: a copy of a data set in which every slice is read at the speed of the disk."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fm_unroll.curation.pack import pack_volume, packed_bytes
from fm_unroll.curation.survey import DataSet, candidates, copy_of, survey
from fm_unroll.curation.tree import Tree
from fm_unroll.data.index import IndexCache, stamp
from fm_unroll.data.parallel import each
from fm_unroll.data.readers.reader import Reader
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError


def pack(root: Path, output: Path | None = None, workers: int = 2) -> None:
    """Copy a folder of scans into one of the same tree whose slices are read without unpacking.

    Train from the copy with ``--data.root OUTPUT``: batches are the same to the bit. Files of the copy that
    exist already are checked as a whole, and written again where they are damaged or out of date. An
    interrupted command therefore goes on where it stopped when it is run again.

    Args:
        root: the folder that would be given as ``--data.root``, or one above several data sets.
        output: folder to write; by default ROOT_packed.
        workers: processes that read and write.

    Raises:
        InputError: the root holds no data set, or the output lies inside it or lacks space.
        SystemExit: status 1 when a file cannot be used; all others are packed.
    """
    root = root.absolute()
    output = copy_of(root, "packed", output)
    found = survey(root)
    jobs = [job for data_set in found.data_sets if (job := Job.of(data_set, root.resolve(), output)).volumes]
    if not jobs:
        raise InputError(f"{root}: {'; '.join(found.problems) or 'holds no scan that can be packed'}")
    require_space(output, jobs)
    problems = [*found.problems, *(problem for job in jobs for problem in job.run(workers))]
    volumes = sum(len(job.volumes) for job in jobs)
    failed = len(problems) - len(found.problems)
    print(f"{output}: {volumes - failed} volumes are packed there; read them with --data.root {output}")
    for line in found.left_out:
        print(f"left out: {line}")
    for path in lost(output, root):
        print(f"no longer in {root}: {path}; delete it, or training on the copy reads it")
    for problem in problems:
        print(f"unusable: {problem}")
    if problems:
        raise SystemExit(1)


@dataclass(frozen=True)
class Job:
    """The volumes of one data set that are to be packed.

    Attributes:
        name: the data set's name.
        reader: its layout.
        volumes: in the order of the index, with paths relative to ``source``.
        source: the folder that is copied.
        folder: the copy.
    """

    name: str
    reader: Reader[Any]
    volumes: list[Volume]
    source: Path
    folder: Path

    @classmethod
    def of(cls, data_set: DataSet, root: Path, output: Path) -> "Job":
        """The volumes of a data set that lie below a root, which may be one of its own folders."""
        home = data_set.index.root
        source = home if home.is_relative_to(root) else root
        volumes = [
            replace(volume, path=(home / volume.path).relative_to(source).as_posix())
            for volume in data_set.index.volumes
            if (home / volume.path).is_relative_to(source)
        ]
        return cls(data_set.name, data_set.reader, volumes, source, output / source.relative_to(root))

    def run(self, workers: int) -> list[str]:
        """Pack every volume, and remember what is known about the copies.

        Returns:
            One line for each volume that cannot be used.
        """
        write = partial(pack_volume, root=self.source, reader=self.reader, folder=self.folder)
        problems = []
        folder = self.folder.resolve()
        with IndexCache(folder, self.reader) as cache:
            for volume, outcome in each(write, self.volumes, workers, f"pack {self.name}"):
                if isinstance(outcome, InputError):
                    problems.append(str(outcome))
                    continue
                state = stamp(folder / volume.path, self.reader)
                cache.put(volume.path, state, outcome)
        return problems


def lost(output: Path, root: Path) -> list[Path]:
    """Scans of an earlier copy that the source does not have any more."""
    copies = candidates(Tree.below(output))
    return [path for path in copies if not (root / path.relative_to(output)).exists()]


def require_space(output: Path, jobs: Sequence[Job]) -> None:
    """Refuse to begin where the disk would be full before the end.

    Raises:
        InputError: the files that are not there yet need more space than is free.
    """
    existing = next(path for path in [output, *output.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    needed = sum(
        packed_bytes(volume)
        for job in jobs
        for volume in job.volumes
        if not (job.folder / volume.path).exists()
    )
    if needed > free:
        raise InputError(f"{output}: {needed / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free")
