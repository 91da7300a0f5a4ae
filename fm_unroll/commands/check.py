"""The verb ``data check``: what a folder holds, and what in it cannot be used."""

import json as json_format
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fm_unroll.curation.inventory import count, pictures, read_all
from fm_unroll.curation.survey import DataSet, survey
from fm_unroll.errors import InputError
from fm_unroll.files import make_folder
from fm_unroll.report.contact_sheet import IMAGES_PER_ROW, GrayImage, draw_contact_sheet

SHOWN_OF_ONE_KIND = 3  # files that share a reason are counted, not listed, from the next on; --json lists all


def check(root: Path, json: bool = False, contact_sheet: Path | None = None, read: bool = False) -> None:
    """Print which scans a folder holds, which are missing, and which cannot be used and why.

    Files are recognised by their content. Only headers are looked at unless ``read`` is given; without it,
    damaged data are found only when training comes to them.

    Args:
        root: the folder that would be given as ``--data.root``, or one above several data sets.
        json: print JSON instead of a table.
        contact_sheet: a PNG to write, with images of each contrast as networks see them: readout downwards,
            phase encoding to the right. An image that is turned was stored in another order of axes.
        read: read every slice too, and compare sampling, maximum and stored images with what the files say;
            takes as long as an epoch without training.

    Raises:
        SystemExit: status 1 when a file cannot be used, or its data are not what it says of itself.
    """
    found = survey(root)
    if read:
        for position, data_set in enumerate(found.data_sets):
            found.data_sets[position], problems = read_all(data_set)
            found.problems += problems
    if contact_sheet is not None:
        found.problems += draw(found.data_sets, contact_sheet)
    report = count(root, found)
    if json:
        print(json_format.dumps(report, indent=2))
    else:
        print_report(report)
        if contact_sheet is not None and contact_sheet.is_file():
            print(f"written: {contact_sheet}")
    if report["problems"] or report["contradictions"]:
        raise SystemExit(1)


def draw(data_sets: Sequence[DataSet], path: Path) -> list[str]:
    """Draw the contact sheet, and return one line for each volume that cannot be shown."""
    rows: dict[str, list[tuple[str, GrayImage]]] = {}
    problems = []
    for data_set in data_sets:
        for volume, image in pictures(data_set, per_contrast=IMAGES_PER_ROW):
            if isinstance(image, InputError):
                problems.append(str(image))
                continue
            label = f"{volume.name}, {' x '.join(map(str, image.shape))}"
            rows.setdefault(f"{data_set.name}\n{volume.contrast}", []).append((label, image))
    if rows:
        make_folder(path.parent)
        draw_contact_sheet(rows, "readout downwards, phase encoding to the right", path)
    return problems


def print_report(report: dict[str, Any]) -> None:
    """Print the report as lines and tables."""
    for facts in report["data_sets"]:
        counts = f"{facts['subjects']} subjects, {facts['volumes']} volumes"
        print(f"{facts['root']}: {facts['name']}, {counts}")
        if facts["synthetic"]:
            print(f"  synthetic: {facts['synthetic']} of the volumes say that they are simulated")
        if published := facts["expected"]:
            print(f"  published: {published['number']} {published['unit']}, found here: {published['found']}")
            if published["absent"]:
                print(f"  {published['unit']} not here: {', '.join(ranges(published['absent']))}")
        print(f"  {'contrast':12}{'volumes':>8}{'slices':>8}  coils x readout x phase (volumes)")
        for contrast, numbers in facts["contrasts"].items():
            shapes = ", ".join(f"{shape} ({number})" for shape, number in numbers["shapes"].items())
            print(f"  {contrast:12}{numbers['volumes']:>8}{numbers['slices']:>8}  {shapes}")
        for name in facts["missing"]:
            print(f"  missing: {name}")
    for line in folder_lines(list(map(Path, report["folders"]))):
        print(f"looked at: {line}")
    for line in grouped(report["left_out"]):
        print(f"left out: {line}")
    for line in grouped(report["ignored"]):
        print(f"ignored: {line}")
    for problem in report["problems"]:
        print(f"unusable: {problem}")
    for contradiction in report["contradictions"]:
        print(f"contradicts itself: {contradiction}")
    for remark in report["remarks"]:
        print(f"remark: {remark}")


def folder_lines(folders: Sequence[Path]) -> list[str]:
    """Every folder that holds no other, side by side behind the folder that holds them."""
    holders = {folder.parent for folder in folders}
    inside: dict[Path, list[str]] = {}
    for folder in folders:
        if folder not in holders:
            inside.setdefault(folder.parent, []).append(folder.name)
    return [f"{holder}: {', '.join(ranges(names))}" for holder, names in inside.items()]


def grouped(lines: Sequence[str]) -> list[str]:
    """Lines ``FILE: reason``, of many files with one reason the first alone; folders stay apart."""
    files: dict[str, list[str]] = {}
    for line in lines:
        path, _, reason = line.partition(": ")
        files.setdefault(line if Path(path).is_dir() else reason, []).append(line)
    shown = []
    for reason, alike in files.items():
        if len(alike) > SHOWN_OF_ONE_KIND:
            first = alike[0].removesuffix(f": {reason}")
            alike = [f"{first} and {len(alike) - 1} others: {reason}"]
        shown += alike
    return shown


def ranges(names: Sequence[str]) -> list[str]:
    """``P001, P002, P003, P007`` as ``P001-P003, P007``."""
    runs: list[list[str]] = []
    for name in names:
        if runs and follows(name, runs[-1][-1]):
            runs[-1].append(name)
        else:
            runs.append([name])
    return [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def follows(name: str, other: str) -> bool:
    """Whether a name ends in the number after that of another one, and begins as it does."""
    before, after = (re.fullmatch(r"(.*?)(\d+)", text) for text in (other, name))
    return (
        before is not None
        and after is not None
        and (before[1], int(before[2]) + 1) == (after[1], int(after[2]))
    )
