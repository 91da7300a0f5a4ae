"""The verb ``data undersample``: scans for other programs, under the masks of ``cross-domain``."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

from fm_unroll.curation.survey import DataSet, copy_of, survey
from fm_unroll.curation.undersample import LAYOUTS, Job, undersample_volume
from fm_unroll.data.parallel import each
from fm_unroll.errors import InputError
from fm_unroll.physics import Center, SamplingPattern


def undersample(
    root: Path,
    output: Path | None = None,
    sampling: SamplingPattern | None = None,
    accelerations: Sequence[float] = (),
    centers: Sequence[Center] = (),
    subjects: Sequence[str] = (),
    workers: int = 2,
) -> None:
    """Write the scans of a folder undersampled, so that any other program reconstructs the same measurements.

    Masks are those of ``cross-domain`` for the same pattern, acceleration and centre. Every combination has a
    folder of its own, such as ``uniform_x8_24`` or ``equispaced_x4_0.08``, which holds the tree of the source
    in the published layout of undersampled files, without any target. Put the results of the other program
    into folders of the same names, and score them with ``cross-domain --reconstructions NAME=FOLDER``. An
    interrupted command goes on where it stopped when it is run again.

    Args:
        root: the folder that would be given as ``--data.root``, or one above several data sets.
        output: folder to write; by default ROOT_undersampled.
        sampling: the pattern, such as RandomSampling; by default that of the layout: UniformSampling with 24
            ACS lines for CMRxRecon, EquispacedSampling with center fraction 0.04 for fastMRI.
        accelerations: nominal accelerations, such as [4,8,10]; by default the pattern's.
        centers: numbers of ACS lines, such as [24], or center fractions; by default the pattern's.
        subjects: undersample these alone, such as the test subjects in a run's split.json.
        workers: processes that read and write.

    Raises:
        InputError: the root holds no fully sampled scan or not all of the subjects, the output lies inside
            it, or the pattern cannot have such values.
        SystemExit: status 1 when a file cannot be used; all others are written.
    """
    root = root.absolute()
    output = copy_of(root, "undersampled", output)
    found = survey(root)
    require_subjects(subjects, found.data_sets, root)
    problems = list(found.problems)
    jobs: dict[str, list[Job]] = {}
    for data_set in found.data_sets:
        for pattern in patterns(data_set, sampling, accelerations, centers):
            jobs.setdefault(pattern.folder, []).extend(plan(data_set, root.resolve(), pattern, subjects))
    if not any(jobs.values()):
        raise InputError(f"{root}: {'; '.join(problems) or 'holds no fully sampled scan'}")
    problems += write(jobs, output, workers)
    for problem in dict.fromkeys(problems):
        print(f"unusable: {problem}")
    if problems:
        raise SystemExit(1)


def write(jobs: dict[str, list[Job]], output: Path, workers: int) -> list[str]:
    """Write the volumes of every pattern's folder, and return one line for each that cannot be used."""
    problems = []
    for name, planned in jobs.items():
        outcomes = each(partial(undersample_volume, folder=output / name), planned, workers, name)
        failed = [str(outcome) for _, outcome in outcomes if isinstance(outcome, InputError)]
        problems += failed
        print(f"{output / name}: {len(planned) - len(failed)} volumes")
    return problems


def require_subjects(subjects: Sequence[str], data_sets: Sequence[DataSet], root: Path) -> None:
    """Refuse subjects of whom nothing is there.

    Raises:
        InputError: there is one.
    """
    known = {volume.subject for data_set in data_sets for volume in data_set.index.volumes}
    if unknown := [subject for subject in subjects if subject not in known]:
        raise InputError(f"--subjects {unknown[0]}: {root} has {', '.join(sorted(known)[:5])}, ...")


def patterns(
    data_set: DataSet,
    sampling: SamplingPattern | None,
    accelerations: Sequence[float],
    centers: Sequence[Center],
) -> Iterator[SamplingPattern]:
    """The pattern at every acceleration with every centre.

    Raises:
        InputError: values that it cannot have, or a range of them.
    """
    usual = LAYOUTS[data_set.reader.name].usual if data_set.reader.name in LAYOUTS else None
    chosen = sampling or usual
    if chosen is None or all(not volume.fully_sampled for volume in data_set.index.volumes):
        return
    asked: Sequence[float | None] = accelerations or [None]
    given: Sequence[Center | None] = centers or [None]
    for acceleration, center in product(asked, given):
        pattern = chosen.at(acceleration, center)
        low, high = pattern.accelerations
        if low != high:
            raise InputError(f"{type(pattern).__name__} varies: give --accelerations, such as [4,8]")
        yield pattern


def plan(data_set: DataSet, root: Path, pattern: SamplingPattern, subjects: Sequence[str]) -> list[Job]:
    """The fully sampled volumes of a data set below a root, of some subjects or of all."""
    home = data_set.index.root
    return [
        Job.of(volume, home, data_set.reader, (home / volume.path).relative_to(root), pattern)
        for volume in data_set.index.volumes
        if volume.fully_sampled
        and (home / volume.path).is_relative_to(root)
        and (not subjects or volume.subject in subjects)
    ]
