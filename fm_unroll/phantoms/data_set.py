"""The synthetic data set: its subjects, the label of its folder, and the writing of its files."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.concurrent import process_map

from fm_unroll.errors import InputError
from fm_unroll.files import read_json, visible, write_json
from fm_unroll.phantoms.sizes import SIZES, SizeName
from fm_unroll.phantoms.subjects import Job, head_job, heart_jobs, knee_job
from fm_unroll.phantoms.write import Attributes

#: Raised whenever the same options would give other data.
GENERATOR_VERSION = 1

_LABEL = "synthetic.json"
_DESCRIPTION = "procedural phantoms made by fm_unroll; nobody was scanned"


@dataclass(frozen=True)
class SyntheticData:
    """The subjects of a synthetic data set. A subject is the same however many others there are.

    Attributes:
        size: matrix sizes, coils, slices and frames, a key of ``SIZES``.
        hearts: subjects with cine and mapping files in CMRxRecon's layout.
        knees: volumes in fastMRI's layout.
        heads: volumes in fastMRI's layout.
        accelerations: the hearts are also written already undersampled, once per acceleration.
        seed: seed of all randomness.

    Raises:
        InputError: an option is out of range.
    """

    size: SizeName = "demo"
    hearts: int = 12
    knees: int = 4
    heads: int = 4
    accelerations: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be written."""
        if self.size not in SIZES:
            raise InputError(f"size {self.size!r} is unknown: choose one of {', '.join(SIZES)}")
        for name in ("hearts", "knees", "heads", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}: give a number that is not negative")
        if self.hearts + self.knees + self.heads == 0:
            raise InputError("hearts, knees and heads are all 0: ask for at least one subject")
        if any(acceleration < 2 or acceleration > 99 for acceleration in self.accelerations):
            raise InputError(f"accelerations {list(self.accelerations)}: give whole numbers from 2 to 99")

    def write(self, root: Path, workers: int = 1) -> None:
        """Write every file that is not there yet.

        Args:
            root: a folder that is new, empty, or was begun with the same size and seed.
            workers: processes that write; the files do not depend on it.

        Raises:
            InputError: ``root`` holds something else.
        """
        _claim(root, {"generator_version": GENERATOR_VERSION, "size": self.size, "seed": self.seed})
        subjects = self._subjects(root)
        write = partial(_write_missing, root)
        progress = {"desc": "synthesize", "unit": "subject"}
        if workers > 1:
            process_map(write, subjects, max_workers=workers, chunksize=1, **progress)
        else:
            for jobs in tqdm(subjects, **progress):
                write(jobs)

    def _subjects(self, root: Path) -> list[list[Job]]:
        """List the files of each subject."""
        scale, seed = SIZES[self.size], self.seed
        accelerations = sorted(set(self.accelerations))
        origin: Attributes = {
            "synthetic": f"{_DESCRIPTION} (generator version {GENERATOR_VERSION})",
            "generator_version": GENERATOR_VERSION,
            "seed": seed,
            "size": self.size,
        }
        return [
            *(
                list(heart_jobs(root, scale.heart, seed, subject, accelerations, origin))
                for subject in range(self.hearts)
            ),
            *([knee_job(scale.knee, seed, subject, origin)] for subject in range(self.knees)),
            *([head_job(scale.head, seed, subject, origin)] for subject in range(self.heads)),
        ]


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
    if not visible(root):
        write_json(label, {"synthetic": _DESCRIPTION, **options})
        return
    if not label.is_file():
        raise InputError(f"{root} is not empty and has no {_LABEL}: give a new or empty folder")
    try:
        found = read_json(label)
    except InputError as error:
        raise InputError(f"{label} cannot be read: give a new or empty folder") from error
    differing = [
        f"{key} {found.get(key)} (asked: {asked})"
        for key, asked in options.items()
        if found.get(key) != asked
    ]
    if differing:
        raise InputError(f"{root} was made with {', '.join(differing)}: give another root")
