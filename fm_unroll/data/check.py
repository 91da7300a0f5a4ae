"""The verb ``data check``: what a folder holds, and what in it cannot be used."""

import json as json_format
from collections import Counter
from pathlib import Path

from fm_unroll.data.cmrxrecon import CMRxReconReader
from fm_unroll.data.fastmri import FastMRIReader
from fm_unroll.data.index import Index, build_index
from fm_unroll.data.volume import Reader
from fm_unroll.errors import InputError

READERS: dict[str, Reader] = {"CMRxRecon": CMRxReconReader(), "fastMRI": FastMRIReader()}


def check(root: Path, json: bool = False) -> None:
    """Print what a CMRxRecon or fastMRI folder holds, from headers, with every file that cannot be used.

    Args:
        root: the folder that would be given as ``--data.root``.
        json: print JSON instead of a table.

    Raises:
        SystemExit: status 1 when a file cannot be used.
    """
    index, layout = recognise(root)
    report = {"layout": layout, **describe(index)}
    if json:
        print(json_format.dumps(report, indent=2))
    else:
        print(f"{root}: {layout}, {report['subjects']} subjects, {len(index.volumes)} volumes")
        print(f"{'contrast':12}{'volumes':>8}{'slices':>8}  coils x readout x phase (volumes)")
        for contrast, facts in report["contrasts"].items():
            shapes = ", ".join(f"{shape} ({count})" for shape, count in facts["shapes"].items())
            print(f"{contrast:12}{facts['volumes']:>8}{facts['slices']:>8}  {shapes}")
        if report["synthetic"]:
            print(f"synthetic: {report['synthetic']} of the volumes say that they are simulated")
        for name in index.missing:
            print(f"missing: {name}")
        for problem in index.problems:
            print(f"unusable: {problem}")
    if index.problems:
        raise SystemExit(1)


def recognise(root: Path, workers: int = 2) -> tuple[Index, str]:
    """The index of a folder and the name of its layout, found out by what lies in it.

    Args:
        root: the folder.
        workers: processes that read headers when there are many.

    Raises:
        InputError: neither layout is found.
    """
    reasons = []
    for layout, reader in READERS.items():
        try:
            return build_index(root, reader, workers, strict=False), layout
        except InputError as error:
            reasons.append(f"not {layout}: {error}")
    raise InputError("; ".join(reasons))


def describe(index: Index) -> dict:
    """Counts of an index, ready for JSON."""
    contrasts = {}
    for contrast in sorted({volume.contrast for volume in index.volumes}):
        volumes = [volume for volume in index.volumes if volume.contrast == contrast]
        shapes = Counter(f"{volume.num_coils} x {volume.readout} x {volume.phase}" for volume in volumes)
        contrasts[contrast] = {
            "volumes": len(volumes),
            "slices": sum(volume.num_slices * volume.num_frames for volume in volumes),
            "shapes": dict(shapes.most_common()),
        }
    return {
        "subjects": len({volume.subject for volume in index.volumes}),
        "synthetic": sum(volume.synthetic for volume in index.volumes),
        "contrasts": contrasts,
        "missing": index.missing,
        "problems": index.problems,
    }
