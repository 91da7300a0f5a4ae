"""The verb `data synthesize`."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from tqdm import tqdm
from tqdm.contrib.concurrent import process_map

from fm_unroll.errors import InputError
from fm_unroll.phantoms.contact_sheet import contact_sheet
from fm_unroll.phantoms.sizes import SIZES
from fm_unroll.phantoms.subjects import Job, head_job, heart_jobs, knee_job

#: Raised whenever the same options would give other data.
GENERATOR_VERSION = 1

_LABEL = "synthetic.json"
_DESCRIPTION = "procedural phantoms made by fm_unroll; nobody was scanned"


def synthesize(
    root: str | Path = "data/synthetic",
    size: Literal["tiny", "demo", "standard", "full"] = "demo",
    hearts: int = 16,
    knees: int = 6,
    heads: int = 6,
    accelerations: Sequence[int] = (),
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Write the embedded synthetic data set: hearts in CMRxRecon's layout, knees and heads in fastMRI's.

    An interrupted run is taken up again by the same command: files that are there stay. Asking for more
    subjects or accelerations adds to what is there; a subject is the same however many there are.

    Args:
        root: folder to write; new, empty, or one that this command began with the same size and seed.
        size: matrix sizes, coils, slices, frames: `tiny` is for tests, `demo` trains on two cores, `full` is
            as large as the real data.
        hearts: subjects with cine (short axis, long axis) and T1/T2 mapping files.
        knees: coronal volumes, proton density without and with fat suppression by turns.
        heads: axial volumes, T1, T2 and FLAIR by turns.
        accelerations: also write hearts already undersampled; [4,8,10] gives AccFactor04, AccFactor08 and
            AccFactor10.
        seed: of all randomness.
        workers: processes that write; the files do not depend on it.

    Raises:
        InputError: if an option is out of range or `root` holds something else.
    """
    root = Path(root)
    if size not in SIZES:
        raise InputError(f"size {size!r} is unknown: choose one of {', '.join(SIZES)}")
    for name, count in (("hearts", hearts), ("knees", knees), ("heads", heads), ("seed", seed)):
        if count < 0:
            raise InputError(f"{name} is {count}: give a number that is not negative")
    if hearts + knees + heads == 0:
        raise InputError("hearts, knees and heads are all 0: ask for at least one subject")
    if any(acceleration < 2 or acceleration > 99 for acceleration in accelerations):
        raise InputError(f"accelerations {list(accelerations)}: give whole numbers from 2 to 99")
    _claim(root, {"generator_version": GENERATOR_VERSION, "size": size, "seed": seed})

    attributes = {
        "synthetic": f"{_DESCRIPTION} (generator version {GENERATOR_VERSION})",
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "size": size,
    }
    scale = SIZES[size]
    accelerations = sorted(set(accelerations))
    people = [
        *(
            heart_jobs(root, scale.heart, seed, subject, accelerations, attributes)
            for subject in range(hearts)
        ),
        *([knee_job(scale.knee, seed, subject, attributes)] for subject in range(knees)),
        *([head_job(scale.head, seed, subject, attributes)] for subject in range(heads)),
    ]
    write = partial(_write_missing, root)
    progress = {"desc": "synthesize", "unit": "subject"}
    if workers > 1:
        process_map(write, map(list, people), total=len(people), max_workers=workers, **progress)
    else:
        for jobs in tqdm(people, **progress):
            write(jobs)
    contact_sheet(root)


def _write_missing(root: Path, jobs: Iterable[Job]) -> None:
    """Write those files of one subject that are not there yet, in order: some derive from earlier ones."""
    for path, write in jobs:
        if not (root / path).exists():
            write(root / path)


def _claim(root: Path, options: dict[str, str | int]) -> None:
    """Label the root as synthetic with these options, or refuse one that holds something else."""
    label = root / _LABEL
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is not a folder: give another root")
    if not root.is_dir() or not any(root.iterdir()):
        root.mkdir(parents=True, exist_ok=True)
        label.write_text(json.dumps({"synthetic": _DESCRIPTION, **options}, indent=2) + "\n")
        return
    if not label.is_file():
        raise InputError(f"{root} is not empty and has no {_LABEL}: give a new or empty folder")
    try:
        found = json.loads(label.read_text())
        differing = [
            f"{key} {found[key]} (asked: {asked})" for key, asked in options.items() if found[key] != asked
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{label} cannot be read: give a new or empty folder") from error
    if differing:
        raise InputError(f"{root} was made with {', '.join(differing)}: give another root")
