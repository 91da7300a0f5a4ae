"""Does what a prior gains survive another physics? Its gain in each of two, and the second minus the first.

A gain in the paper's physics may be what the prior makes up for there: measured lines that the network does
not keep to. Whether it is left where the physics keeps to them is an interaction of prior and physics, which
two separate comparisons with zero do not answer.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from fm_unroll.evaluation.alignment import AlignedVolumes
from fm_unroll.evaluation.arms import U_NETS, Arm
from fm_unroll.evaluation.endpoint import mean_gain
from fm_unroll.evaluation.inference import holm
from fm_unroll.evaluation.statistics import UNKNOWN, Contrast, contrast
from fm_unroll.methods import PAPER

# What becomes of a gain in the paper's physics, see :func:`survival`.
Survival: TypeAlias = Literal[
    "kept", "larger", "smaller", "lost", "reversed", "none", "appears", "open", "not tested"
]
CHANGE = "change"
NOT_ESTIMATED = Contrast(UNKNOWN, groups=[], covers_seeds=False)
OUT_OF_DOMAIN = "out of domain"  # all data sets of other anatomies than that of training, each counts alike
KEY = ["arm", "physics", "dataset", "anatomy"]
_COLUMNS = (
    *(*KEY, "of", "method", "baseline", "metric", "difference", "low", "high", "p_value", "covers_seeds"),
    *("subjects", "test_sets", "synthetic"),
)


def gains_by_physics(
    found: Sequence[AlignedVolumes], arms: Sequence[Arm], metric: str = "ssim"
) -> pd.DataFrame:
    """Gains over the U-Net of the same physics, in the paper's and in another, and what changes between them.

    All three are over the same conditions. The change is estimated only where the two networks differ in
    physics alone, and so do the two U-Nets: in the paper's physics that one is ``varnet_zero``.

    Args:
        found: as :func:`fm_unroll.evaluation.alignment.align` returns them.
        arms: all arms.
        metric: a name from ``METRICS``.

    Returns:
        Three rows for each trained method that is there in both physics, out of domain (``dataset`` is
        :data:`OUT_OF_DOMAIN`, ``anatomy`` is empty) and at each data set: ``arm`` (in the paper's physics),
        ``physics`` (the other), ``of`` (a physics, or :data:`CHANGE`), ``method`` and ``baseline`` (the arms
        of this physics), ``metric``, ``difference`` (above zero the method is better; NaN where no change can
        be estimated), ``low``, ``high``, ``p_value``, ``p_holm`` (of changes: over those out of domain, and
        over those at the data sets), ``covers_seeds``, ``subjects``, ``test_sets``, ``synthetic``.
    """
    rows = [
        row
        for arm, other in _pairs(arms)
        for place, conditions in _places(found, arm, other)
        for row in _rows(conditions, arm, other, arms, metric, place)
    ]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    changes = table[table.of == CHANGE]
    family = changes.groupby(changes.dataset == OUT_OF_DOMAIN).p_value
    table["p_holm"] = family.transform(holm) if len(table) else np.empty(0)
    return table


def _pairs(arms: Sequence[Arm]) -> Iterator[tuple[Arm, Arm]]:
    """Every trained method that is no baseline, in the paper's physics and in another."""
    for arm in arms:
        for other in arms:
            if arm.differs_in_physics(other) and arm.physics == PAPER and other.kind != "baseline":
                yield arm, other


def _places(
    found: Sequence[AlignedVolumes], arm: Arm, other: Arm
) -> Iterator[tuple[tuple[str, str], list[AlignedVolumes]]]:
    """The conditions out of domain together, then those of each data set."""
    here = [condition for condition in found if {arm, other} <= condition.networks.keys()]
    yield (OUT_OF_DOMAIN, ""), [c for c in here if c.out_of_domain(arm) and c.out_of_domain(other)]
    for domain in dict.fromkeys(condition.domain for condition in here):
        yield domain, [condition for condition in here if condition.domain == domain]


def _rows(
    conditions: Sequence[AlignedVolumes],
    arm: Arm,
    other: Arm,
    arms: Sequence[Arm],
    metric: str,
    place: tuple[str, str],
) -> Iterator[dict[str, Any]]:
    """The gains of a method at some conditions in two physics, and the change; nothing without U-Nets."""
    pairs = [
        (first, second)
        for first in arms
        for second in arms
        if first.physics == PAPER and first.method in U_NETS
        if second.physics == other.physics and second.kind == "baseline"
    ]
    # one that differs in physics alone is the first choice
    for baseline, other_baseline in sorted(pairs, key=lambda pair: not pair[0].comparable(pair[1])):
        shared = [
            condition
            for condition in conditions
            if condition.comparable(arm, baseline) and condition.comparable(other, other_baseline)
        ]
        if not shared:
            continue
        alone = all(c.comparable(arm, other) and c.comparable(baseline, other_baseline) for c in shared)
        gain = mean_gain(shared, arm, baseline, metric)
        other_gain = mean_gain(shared, other, other_baseline, metric)
        lost = mean_gain(shared, arm, baseline, metric, weight=-1)
        test_sets = len({condition.domain for condition in shared})
        for of, method, reference, result in (
            (PAPER, arm, baseline, contrast(gain, metric)),
            (other.physics, other, other_baseline, contrast(other_gain, metric)),
            (CHANGE, other, other_baseline, contrast([*other_gain, *lost], metric) if alone else None),
        ):
            yield {
                **dict(zip(KEY, (arm, other.physics, *place), strict=True)),
                **{"of": of, "method": method, "baseline": reference, "metric": metric},
                **(NOT_ESTIMATED if result is None else result).columns(),
                "test_sets": test_sets,
                "synthetic": any(condition.synthetic for condition in shared),
            }
        return


def survival(rows: pd.DataFrame) -> Survival:
    """What becomes of a gain in another physics, by the 95 % intervals: zero lies in them, or not.

    Args:
        rows: the three of one method and place, as :func:`gains_by_physics` returns them.

    Returns:
        ``kept``: clear in both, and no clear change; ``larger`` and ``smaller``: clear in both, with one;
        ``lost``: clearly smaller, and no longer clear; ``reversed``: a clear loss now; ``none``: there was no
        clear gain; ``appears``: there is one in the other physics only; ``open``: no clear gain any more, nor
        a clear change; ``not tested``: too few subjects.
    """
    if rows.low[:2].isna().any():
        return "not tested"
    before, after, change = ((row.low > 0) - (row.high < 0) for row in rows.itertuples())
    if before <= 0:
        return "appears" if after > 0 else "none"
    if after > 0:
        return "larger" if change > 0 else "smaller" if change < 0 else "kept"
    if after < 0:
        return "reversed"
    return "lost" if change < 0 else "open"
