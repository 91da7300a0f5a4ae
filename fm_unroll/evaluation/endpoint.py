"""The one comparison that a study is about, named before its results are known, and what goes with it.

Tables hold many comparisons, of which some come out by chance. A primary endpoint is one, chosen in advance
together with the difference that would matter. Interactions ask whether a gain depends on the acceleration or
on the anatomy, which two separate comparisons with zero do not answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from fm_unroll.errors import InputError
from fm_unroll.evaluation.alignment import AlignedVolumes
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.inference import holm
from fm_unroll.evaluation.metric_table import METRICS
from fm_unroll.evaluation.statistics import Contrast, Term, contrast
from fm_unroll.methods import PAPER

Verdict: TypeAlias = Literal["better", "slightly better", "alike", "slightly worse", "worse", "open"]


@dataclass(frozen=True)
class Endpoint:
    """A primary endpoint.

    Attributes:
        method: name of the method that is asked about, such as ``dinov2``.
        baseline: name of the method that it is compared with.
        metric: name of the metric, such as ``ssim``.
        test_sets: names or anatomies of the test sets that count, each as much as every other; empty: all.
        accelerations: nominal accelerations that count; empty: all.
        margin: the smallest difference that matters.
        physics: of the networks, ``paper`` or another; the baseline of ``anchored`` is ``varnet_zero``.
    """

    method: str
    baseline: str = "varnet"
    metric: str = "ssim"
    test_sets: Sequence[str] = ()
    accelerations: Sequence[float] = ()
    margin: float = 0.01
    physics: str = PAPER

    def __post_init__(self) -> None:
        """Refuse a metric that is not known and a margin that is not positive."""
        if self.metric not in METRICS:
            raise InputError(f"primary.metric {self.metric!r}: choose from {', '.join(METRICS)}")
        if not self.margin > 0:
            raise InputError(f"primary.margin is {self.margin:g}: give the smallest difference that matters")

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Endpoint":
        """The endpoint that :meth:`content` described."""
        names = {field.name for field in fields(cls)}
        values = {name: value for name, value in content.items() if name in names}
        values |= {name: tuple(values.get(name, ())) for name in ("test_sets", "accelerations")}
        return cls(**values)

    def content(self) -> dict[str, Any]:
        """Plain values, for a file."""
        lists = {"test_sets": list(self.test_sets), "accelerations": list(self.accelerations)}
        return asdict(self) | lists

    def includes(self, condition: AlignedVolumes) -> bool:
        """Whether a condition counts."""
        places = (condition.dataset, condition.anatomy)
        return (not self.test_sets or any(place in self.test_sets for place in places)) and (
            not self.accelerations or condition.acceleration in self.accelerations
        )


@dataclass(frozen=True)
class Answer:
    """What the records say to an endpoint, of one arm and one baseline.

    Attributes:
        arm: the arm that was asked about.
        baseline: what it was compared with.
        found: the mean gain; above zero the arm is better.
        verdict: ``better`` and ``worse``: by more than the margin; ``slightly``: by less; ``alike``: no
            difference that matters; ``open``: the interval says neither.
        test_sets: of how many data sets.
    """

    arm: Arm
    baseline: Arm
    found: Contrast
    verdict: Verdict
    test_sets: int


def answer(endpoint: Endpoint, found: Sequence[AlignedVolumes], arms: Sequence[Arm]) -> list[Answer]:
    """What the records say to an endpoint: one answer for each pair of arms that it may mean.

    An encoder with random or shuffled weights bears the name of its method, but is not meant by it where
    there is one with trained weights.

    Args:
        endpoint: the question.
        found: as :func:`fm_unroll.evaluation.alignment.align` returns them.
        arms: all arms.
    """
    chosen = [condition for condition in found if endpoint.includes(condition)]
    answers = []
    ours = [arm for arm in arms if arm.physics == endpoint.physics]
    for arm in _meant(endpoint.method, ours):
        for baseline in _meant(endpoint.baseline, ours):
            shared = [condition for condition in chosen if condition.comparable(arm, baseline)]
            if not shared or arm == baseline:
                continue
            terms = mean_gain(shared, arm, baseline, endpoint.metric)
            result = contrast(terms, endpoint.metric)
            verdict = judge(result.estimate.low, result.estimate.high, endpoint.margin)
            answers.append(
                Answer(arm, baseline, result, verdict, len({condition.domain for condition in shared}))
            )
    return answers


def _meant(method: str, arms: Sequence[Arm]) -> list[Arm]:
    """The arms of a method; of its controls only where nothing else bears its name."""
    named = [arm for arm in arms if arm.method == method]
    return [arm for arm in named if arm.kind != "control"] or named


def judge(low: float, high: float, margin: float) -> Verdict:
    """What an interval of a gain says of it."""
    if low > 0:
        return "better" if low >= margin else "slightly better" if high < margin else "open"
    if high < 0:
        return "worse" if high <= -margin else "slightly worse" if low > -margin else "open"
    return "alike" if -margin < low and high < margin else "open"


def mean_gain(
    conditions: Sequence[AlignedVolumes], arm: Arm, baseline: Arm, metric: str, weight: float = 1.0
) -> list[Term]:
    """The terms of a mean gain: every domain counts alike, and so does every condition within it."""
    sign = weight * (1 if METRICS[metric].higher_is_better else -1)
    domains = _by_domain(sorted(conditions, key=attrgetter("domain")))
    terms = []
    for domain in domains:
        share = sign / (len(domains) * len(domain))
        for condition in domain:
            terms += [Term(share, condition, arm), Term(-share, condition, baseline)]
    return terms


def _by_domain(conditions: Sequence[AlignedVolumes]) -> list[list[AlignedVolumes]]:
    """The conditions of each domain; those of one domain follow each other."""
    return [list(group) for _, group in groupby(conditions, attrgetter("domain"))]


def interactions(
    found: Sequence[AlignedVolumes], baseline: Arm, arms: Sequence[Arm], metric: str = "ssim"
) -> pd.DataFrame:
    """How much gains change with the acceleration and with the anatomy.

    Args:
        found: as :func:`fm_unroll.evaluation.alignment.align` returns them.
        baseline: arm that gains are measured from.
        arms: arms whose gains are compared.
        metric: a name from ``METRICS``.

    Returns:
        One row per arm and question: ``baseline``, ``arm``, ``of`` (``acceleration``: at the highest minus at
        the lowest, of one domain; ``anatomy``: of this domain minus of the first one), ``dataset``,
        ``anatomy``, ``against`` (what is subtracted, in words), ``difference`` (in gain), ``low``, ``high``,
        ``p_value``, ``p_holm`` (over all rows), ``covers_seeds``, ``subjects``, ``synthetic``.
    """
    rows = []
    for arm in arms:
        shared = [condition for condition in found if arm != baseline and condition.comparable(arm, baseline)]
        domains = _by_domain(shared)
        for domain in domains:
            lowest, highest = (extreme(c.acceleration for c in domain) for extreme in (min, max))
            if lowest < highest:
                ends = [[c for c in domain if c.acceleration == end] for end in (highest, lowest)]
                rows.append(
                    _interaction("acceleration", ends, arm, baseline, metric)
                    | {"against": f"x{highest:g} minus x{lowest:g}"}
                )
        for domain in domains[1:]:
            first = domains[0]
            rows.append(
                _interaction("anatomy", [domain, first], arm, baseline, metric)
                | {"against": f"{domain[0].anatomy} minus {first[0].anatomy} ({first[0].dataset})"}
            )
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    table["p_holm"] = holm(table.p_value.to_numpy(float)) if len(table) else np.empty(0)
    return table


_COLUMNS = (
    *("baseline", "arm", "of", "dataset", "anatomy", "against", "metric", "difference", "low", "high"),
    *("p_value", "covers_seeds", "subjects", "synthetic"),
)


def _interaction(
    of: str, sides: Sequence[Sequence[AlignedVolumes]], arm: Arm, baseline: Arm, metric: str
) -> dict[str, Any]:
    """The gain at the first conditions minus that at the second ones."""
    first, second = sides
    terms = [
        *mean_gain(first, arm, baseline, metric),
        *mean_gain(second, arm, baseline, metric, weight=-1),
    ]
    result = contrast(terms, metric)
    return {
        "baseline": baseline,
        "arm": arm,
        "of": of,
        "dataset": first[0].dataset,
        "anatomy": first[0].anatomy,
        "metric": metric,
        **result.columns(),
        "synthetic": any(condition.synthetic for condition in (*first, *second)),
    }
