"""The verb ``data check``: what a folder holds, and what in it cannot be used."""

import json as json_format
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import require_size, target_maximum
from fm_unroll.data.parallel import each_watched
from fm_unroll.data.readers.cmrxrecon import SUBSETS, CMRxReconReader
from fm_unroll.data.readers.fastmri import PUBLISHED
from fm_unroll.data.survey import DataSet, survey
from fm_unroll.data.undersampling import center_crop
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.physics import ifft2c, rss
from fm_unroll.report.contact_sheet import COLUMNS, Labelled, draw_contact_sheet

PATIENCE = 3600  # seconds for the data of a volume: a gigabyte, from storage that may be slow


def check(root: Path, json: bool = False, contact_sheet: Path | None = None, read: bool = False) -> None:
    """Print which scans a folder holds, which are missing, and which cannot be used and why.

    Files are recognised by their content. Only headers are looked at unless ``read`` is given; a scan whose
    data are damaged is then found when training comes to it.

    Args:
        root: the folder that would be given as ``--data.root``, or one above several data sets.
        json: print JSON instead of a table.
        contact_sheet: a PNG to write, with images of each contrast as the networks see them: readout
            downwards, phase encoding to the right. What stands on its head or lies on its side was stored in
            another order of axes.
        read: read every slice too, which takes as long as an epoch without training.

    Raises:
        SystemExit: status 1 when a file cannot be used.
    """
    found = survey(root)
    problems = list(found.problems)
    if read:
        problems += [problem for data_set in found.data_sets for problem in read_all(data_set)]
    if contact_sheet is not None and found.data_sets:
        problems += draw(found.data_sets, contact_sheet)
    problems = list(dict.fromkeys(problems))
    report = {
        "root": str(root),
        "data_sets": [describe(data_set) for data_set in found.data_sets],
        "problems": problems,
        "ignored": found.ignored,
    }
    if json:
        print(json_format.dumps(report, indent=2))
    else:
        print_report(report)
    if problems:
        raise SystemExit(1)


def describe(data_set: DataSet) -> dict:
    """Counts of one data set, ready for JSON."""
    volumes = data_set.index.volumes
    contrasts = {}
    for contrast in sorted({volume.contrast for volume in volumes}):
        chosen = [volume for volume in volumes if volume.contrast == contrast]
        shapes = Counter(f"{volume.num_coils} x {volume.readout} x {volume.phase}" for volume in chosen)
        contrasts[contrast] = {
            "volumes": len(chosen),
            "slices": sum(volume.num_slices * volume.num_frames for volume in chosen),
            "shapes": dict(shapes.most_common()),
        }
    synthetic = sum(volume.synthetic for volume in volumes)
    return {
        "name": data_set.name,
        "root": str(data_set.index.root),
        "subjects": len({volume.subject for volume in volumes}),
        "volumes": len(volumes),
        "synthetic": synthetic,
        # what was published is no measure of what was simulated
        "expected": None if synthetic else expected(data_set),
        "contrasts": contrasts,
        "missing": data_set.index.missing,
    }


def expected(data_set: DataSet) -> dict | None:
    """What the published set has: a number of subjects or volumes, and the subjects that are not here."""
    index = data_set.index
    if isinstance(data_set.reader, CMRxReconReader):
        number = SUBSETS[data_set.reader.subset]
        found = {volume.subject for volume in index.volumes} | {name.split("/")[0] for name in index.missing}
        absent = [name for name in (f"P{count:03}" for count in range(1, number + 1)) if name not in found]
        return {"unit": "subjects", "number": number, "found": len(found), "absent": absent}
    anatomies = {"brain" if volume.contrast.startswith("AX") else "knee" for volume in index.volumes}
    number = PUBLISHED[anatomies.pop()].get(data_set.reader.folder) if len(anatomies) == 1 else None
    return number and {"unit": "volumes", "number": number, "found": len(index.volumes), "absent": []}


def print_report(report: dict) -> None:
    """The report as a person reads it."""
    for facts in report["data_sets"]:
        counts = f"{facts['subjects']} subjects, {facts['volumes']} volumes"
        print(f"{facts['root']}: {facts['name']}, {counts}")
        if facts["synthetic"]:
            print(f"  synthetic: {facts['synthetic']} of the volumes say that they are simulated")
        if published := facts["expected"]:
            print(f"  published: {published['number']} {published['unit']}, found here: {published['found']}")
            if published["absent"]:
                print(f"  subjects not here: {', '.join(ranges(published['absent']))}")
        print(f"  {'contrast':12}{'volumes':>8}{'slices':>8}  coils x readout x phase (volumes)")
        for contrast, numbers in facts["contrasts"].items():
            shapes = ", ".join(f"{shape} ({count})" for shape, count in numbers["shapes"].items())
            print(f"  {contrast:12}{numbers['volumes']:>8}{numbers['slices']:>8}  {shapes}")
        for name in facts["missing"]:
            print(f"  missing: {name}")
    for line in report["ignored"]:
        print(f"ignored: {line}")
    for problem in report["problems"]:
        print(f"unusable: {problem}")


def ranges(subjects: list[str]) -> list[str]:
    """``P001, P002, P003, P007`` as ``P001-P003, P007``."""
    runs: list[list[str]] = []
    for subject in subjects:
        if runs and int(subject[1:]) == int(runs[-1][-1][1:]) + 1:
            runs[-1].append(subject)
        else:
            runs.append([subject])
    return [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def read_all(data_set: DataSet) -> list[str]:
    """One line for each volume with a slice that cannot be used: the first of them."""
    outcomes = watched(read_volume, data_set, data_set.index.volumes, f"read {data_set.name}")
    return [str(outcome) for _, outcome in outcomes if isinstance(outcome, InputError)]


def read_volume(volume: Volume, data_set: DataSet) -> None:
    """Read every slice of a volume, and refuse what training would refuse."""
    require_size(volume, data_set.index.root)
    if volume.fully_sampled:
        target_maximum(volume, data_set.index.root, data_set.reader)
    else:
        for _ in SliceDataset(data_set.index.root, data_set.reader, [volume]):
            pass


def draw(data_sets: list[DataSet], path: Path) -> list[str]:
    """Draw the contact sheet, and return one line for each volume that cannot be shown."""
    rows: dict[str, list[Labelled]] = {}
    problems = []
    for data_set in data_sets:
        shown = []
        for contrast in sorted({volume.contrast for volume in data_set.index.volumes}):
            volumes = [volume for volume in data_set.index.volumes if volume.contrast == contrast]
            positions = np.unique(np.linspace(0, len(volumes) - 1, COLUMNS).astype(int))
            shown += [volumes[position] for position in positions]
        for volume, image in watched(middle_slice, data_set, shown, f"pictures of {data_set.name}"):
            if isinstance(image, InputError):
                problems.append(str(image))
                continue
            label = f"{volume.name}, {' x '.join(map(str, image.shape))}"
            rows.setdefault(f"{data_set.name}\n{volume.contrast}", []).append((label, image))
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_contact_sheet(rows, "readout downwards, phase encoding to the right", path)
    return problems


def middle_slice(volume: Volume, data_set: DataSet) -> np.ndarray:
    """The root-sum-of-squares image of a volume's middle slice, cropped to what counts."""
    dataset = SliceDataset(data_set.index.root, data_set.reader, [volume])
    sample = dataset[volume.num_slices // 2]
    return center_crop(rss(ifft2c(sample.kspace)), sample.crop).numpy()


def watched(
    function: Callable[[Volume, DataSet], object], data_set: DataSet, volumes: list[Volume], description: str
) -> Iterator[tuple[Volume, object]]:
    """What a function makes of each volume, or the :class:`InputError` that says why it cannot."""
    # without the index, which would travel to the other process with every volume
    alone = replace(data_set, index=replace(data_set.index, volumes=[], missing=[], problems=[]))
    return each_watched(
        partial(function, data_set=alone),
        volumes,
        PATIENCE,
        description,
        name=lambda volume: data_set.index.root / volume.path,
    )
