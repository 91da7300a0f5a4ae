"""Counts of what a survey found, beside what was published; every slice read on demand."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_unroll.curation.survey import DataSet, Survey
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import Index, examine_volume
from fm_unroll.data.parallel import each_watched
from fm_unroll.data.undersampling import rss_image
from fm_unroll.data.volume import Volume, require_size
from fm_unroll.errors import InputError

PATIENCE = 3600  # seconds for the data of a volume: a gigabyte, from storage that may be slow


def count(root: Path, found: Survey) -> dict[str, Any]:
    """Everything that was found, ready for JSON."""
    return {
        "root": str(root),
        "data_sets": [count_data_set(data_set) for data_set in found.data_sets],
        "problems": list(dict.fromkeys(found.problems)),
        "contradictions": [line for data_set in found.data_sets for line in data_set.index.contradictions],
        "remarks": [line for data_set in found.data_sets for line in data_set.index.remarks],
        "ignored": found.ignored,
        "folders": list(map(str, found.folders)),
        "left_out": found.left_out,
    }


def count_data_set(data_set: DataSet) -> dict[str, Any]:
    """Counts of one data set."""
    volumes, missing = data_set.index.volumes, data_set.index.missing
    contrasts = {contrast: count_contrast(chosen) for contrast, chosen in by_contrast(volumes).items()}
    synthetic = sum(volume.synthetic for volume in volumes)
    # simulated subjects are no part of the published set
    published = None if synthetic else data_set.reader.published(volumes, missing)
    return {
        "name": data_set.name,
        "root": str(data_set.index.root),
        "subjects": len({volume.subject for volume in volumes}),
        "volumes": len(volumes),
        "synthetic": synthetic,
        "expected": None if published is None else asdict(published),
        "contrasts": contrasts,
        "missing": missing,
    }


def count_contrast(volumes: Sequence[Volume]) -> dict[str, Any]:
    """Counts of one contrast."""
    shapes = Counter(f"{volume.num_coils} x {volume.readout} x {volume.phase}" for volume in volumes)
    return {
        "volumes": len(volumes),
        "slices": sum(volume.num_images for volume in volumes),
        "shapes": dict(shapes.most_common()),
    }


def by_contrast(volumes: Sequence[Volume]) -> dict[str, list[Volume]]:
    """The volumes of every contrast, sorted by its name."""
    contrasts = sorted({volume.contrast for volume in volumes})
    return {contrast: [volume for volume in volumes if volume.contrast == contrast] for contrast in contrasts}


def read_all(data_set: DataSet) -> tuple[DataSet, list[str]]:
    """Read every slice.

    Returns:
        The data set with what its slices tell, and one line for each volume with a bad slice, which says what
        is wrong with the first.
    """
    volumes, problems = [], []
    for volume, outcome in watched(read_volume, data_set, data_set.index.volumes, f"read {data_set.name}"):
        failed = isinstance(outcome, InputError)
        volumes.append(volume if failed else outcome)
        problems += [str(outcome)] if failed else []
    return replace(data_set, index=replace(data_set.index, volumes=volumes)), problems


def read_volume(volume: Volume, data_set: DataSet) -> Volume:
    """Read every slice of a volume, and refuse what training would refuse."""
    require_size(volume, data_set.index.root / volume.path)
    return examine_volume(volume, data_set.index.root, data_set.reader, every_slice=True)


def pictures(
    data_set: DataSet, per_contrast: int
) -> Iterator[tuple[Volume, NDArray[np.float32] | InputError]]:
    """Images of some volumes of each contrast, evenly spread over them.

    Args:
        data_set: the data set.
        per_contrast: largest number of volumes of each contrast.

    Returns:
        Each volume with its image, or with the reason why there is none.
    """
    shown: list[Volume] = []
    for volumes in by_contrast(data_set.index.volumes).values():
        positions = np.unique(np.linspace(0, len(volumes) - 1, per_contrast).astype(int))
        shown += [volumes[position] for position in positions]
    return watched(middle_slice, data_set, shown, f"pictures of {data_set.name}")


def middle_slice(volume: Volume, data_set: DataSet) -> NDArray[np.float32]:
    """The root-sum-of-squares image of a volume's middle slice, cropped."""
    dataset = SliceDataset(data_set.index.root, data_set.reader, [volume])
    image: NDArray[np.float32] = rss_image(dataset[volume.num_slices // 2].kspace, volume.crop).numpy()
    return image


def watched(
    function: Callable[..., Any], data_set: DataSet, volumes: list[Volume], description: str
) -> Iterator[tuple[Volume, Any]]:
    """Each volume with the result of ``function(volume, data_set)``, or with the error in place of it."""
    # without the index, which would travel to the other process with every volume
    alone = replace(data_set, index=Index(data_set.index.root, [], [], []))
    return each_watched(
        partial(function, data_set=alone),
        volumes,
        PATIENCE,
        description,
        name=lambda volume: data_set.index.root / volume.path,
    )
