"""The verb ``data pack``: a copy of a data set in which every slice is read at the speed of the disk."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fm_unroll.data.index import Index, IndexCache, build_index
from fm_unroll.data.packed import Precision, pack_volume, packed_bytes, packed_path
from fm_unroll.data.parallel import each
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.volume import Reader, Volume
from fm_unroll.errors import InputError


def pack(
    root: Path, output: Path | None = None, precision: Precision = "complex64", workers: int = 2
) -> None:
    """Copy a CMRxRecon or fastMRI folder into files that are read a slice at a time without unpacking.

    Training then takes `--data.packed OUTPUT` beside its `--data.root`. What is there already is checked to
    the last byte and written anew where it is damaged, out of date or of another precision: the command that
    was interrupted goes on where it stopped when it is given again.

    Args:
        root: the folder that is given as `--data.root`; its fully sampled scans are packed.
        output: folder to write; by default ROOT_packed.
        precision: `complex64` keeps every bit; `float16` takes half the space, and the error that it makes is
            measured, printed and kept in the files.
        workers: processes that read and write.

    Raises:
        InputError: the root holds neither layout, or the output lies inside it or lacks space.
        SystemExit: status 1 when a file cannot be used; all others are packed.
    """
    index, reader = fully_sampled(root, workers)
    output = output or root.with_name(f"{root.resolve().name}_packed")
    if output.resolve().is_relative_to(index.root):
        raise InputError(f"{output} lies in the data set's own folder: give another --output")
    require_space(output, index.volumes, precision)
    problems, headers = list(index.problems), {}
    write = partial(pack_volume, root=index.root, reader=reader, folder=output, precision=precision)
    with IndexCache(index.root, reader.layout) as cache:
        for volume, outcome in each(write, index.volumes, workers, "pack"):
            if isinstance(outcome, InputError):
                problems.append(str(outcome))
                continue
            headers[volume.name] = outcome
            if volume.fully_sampled:
                cache.update(replace(volume, maximum=outcome.maximum))
    print(f"{output}: {len(headers)} volumes packed in {precision}; use them with --data.packed {output}")
    if precision == "float16" and headers:
        worst = max(headers, key=lambda name: headers[name].relative_error)
        print(f"relative error of k-space: at most {headers[worst].relative_error:.1e} ({worst})")
    for problem in problems:
        print(f"unusable: {problem}")
    if problems:
        raise SystemExit(1)


def fully_sampled(root: Path, workers: int) -> tuple[Index, Reader]:
    """What a data module finds in a folder by default, and the reader that finds it.

    Raises:
        InputError: neither layout is found.
    """
    reasons = []
    for reader in (CMRxReconReader(), FastMRIReader()):
        try:
            return build_index(root, reader, workers, strict=False), reader
        except InputError as error:
            reasons.append(f"not {reader.layout}: {error}")
    raise InputError("; ".join(reasons))


def require_space(folder: Path, volumes: Sequence[Volume], precision: Precision) -> None:
    """Refuse to begin what cannot be finished.

    Raises:
        InputError: the files that are not there yet need more space than is free.
    """
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    new = [volume for volume in volumes if not (folder / packed_path(volume)).exists()]
    needed = sum(packed_bytes(volume, precision) for volume in new)
    if needed > free:
        raise InputError(f"{folder}: {needed / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free")
