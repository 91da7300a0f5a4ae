"""How often intervals hold the truth, and tables find what is not there, in simulated studies.

``python experiments/calibration.py`` prints the table of ``docs/report.md`` (ten minutes on one core). The
test suite runs the same with fewer studies.
"""

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fm_unroll.cli import call
from fm_unroll.evaluation.inference import Paired, estimates, holm

SUBJECTS = (3, 5, 10, 40)
# training seeds per method, and their standard deviation over that of the subjects' differences
TRAININGS = ((1, 0.0), (2, 0.0), (2, 0.25), (2, 0.5), (3, 0.0), (3, 0.25), (3, 0.5))
NOISE = 0.2  # of one network at one subject, likewise
TABLE = (3, 2, 3)  # accelerations, centres, methods compared with one baseline: 18 differences
STUDIES = 40000

Values = NDArray[np.float64]


def networks(random: np.random.Generator, subjects: int, seeds: int, of_seeds: float) -> Values:
    """What the networks of one method add to the subjects: ``(seeds, subjects)``."""
    return of_seeds * random.normal(size=(seeds, 1)) + NOISE * random.normal(size=(seeds, subjects))


def coverage(subjects: int, seeds: int, of_seeds: float, studies: int = STUDIES) -> float:
    """The share of studies whose 95 % interval holds the true difference, which is 0.7 here."""
    random = np.random.default_rng((0, subjects, seeds, round(100 * of_seeds)))
    hits = 0
    for _ in range(studies):
        method = 0.7 + random.normal(size=subjects) + networks(random, subjects, seeds, of_seeds)
        found = pair(method, networks(random, subjects, seeds, of_seeds)).estimate()
        hits += bool(found.low <= 0.7 <= found.high)
    return hits / studies


def pair(method: Values, baseline: Values, training: float = 0.0) -> Paired:
    """Two methods at one condition: ``(seeds, subjects)`` each."""
    differences = method.mean(axis=0) - baseline.mean(axis=0)
    covers_seeds = len(method) > 1
    return Paired(differences, method.mean(axis=1), baseline.mean(axis=1), training, covers_seeds)


def false_findings(subjects: int, seeds: int, of_seeds: float, studies: int = STUDIES // 10) -> float:
    """The share of tables with any clear difference, where methods differ by seeds and subjects only.

    Each table holds three methods and a baseline at two centres and three accelerations, with networks of
    their own for each acceleration.
    """
    random = np.random.default_rng((1, subjects, seeds, round(100 * of_seeds)))
    accelerations, centers, methods = TABLE
    wrong = 0
    for _ in range(studies):
        found: list[list[Paired]] = [[] for _ in range(methods)]
        for acceleration in range(accelerations):
            of_networks = of_seeds * random.normal(size=(1 + methods, seeds, 1))
            for _ in range(centers):
                noise = NOISE * random.normal(size=(1 + methods, seeds, subjects))
                baseline, *others = of_networks + noise
                for method, pairs in zip(others, found, strict=True):
                    difference = random.normal(size=subjects)
                    pairs.append(pair(method + difference, baseline, acceleration))
        wrong += bool((holm([each.p_value for pairs in found for each in estimates(pairs)]) < 0.05).any())
    return wrong / studies


def table(studies: int) -> Iterator[str]:
    """The lines of the table, in Markdown."""
    heads = [f"{seeds} seed{'s' * (seeds > 1)}, {of_seeds:g}" for seeds, of_seeds in TRAININGS]
    yield f"| coverage | {' | '.join(heads)} |"
    yield "|---" * (1 + len(heads)) + "|"
    for subjects in SUBJECTS:
        cells = [f"{coverage(subjects, *training, studies):.3f}" for training in TRAININGS]
        yield f"| {subjects} subjects | {' | '.join(cells)} |"
    yield f"| **any of 18 wrong** | {' | '.join([''] * len(heads))} |"
    for subjects in SUBJECTS:
        cells = [f"{false_findings(subjects, *training, studies // 10):.3f}" for training in TRAININGS]
        yield f"| {subjects} subjects | {' | '.join(cells)} |"


def calibration(studies: int = STUDIES) -> None:
    """Print how often intervals hold the truth, and how often a table without effects shows one.

    Args:
        studies: simulated studies for each cell; a tenth of it for tables.
    """
    for line in table(studies):
        print(line, flush=True)


if __name__ == "__main__":
    call(calibration, sys.argv[1:], prog="calibration.py")
