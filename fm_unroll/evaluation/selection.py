"""Which slices are shown as pictures, from the records alone: typical ones and extreme ones.

Every arm is shown by one run: at each condition that of the training acceleration which the tables use, with
the lowest seed.
"""

from typing import NamedTuple

import pandas as pd

from fm_unroll.evaluation.alignment import center_order, of_nearest_training
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.records import ANATOMIES, CONDITION, SLICE, VOLUME, record_arms

ZERO_FILLED = Arm("zero_filled")
PLACE = (*CONDITION, *VOLUME, *SLICE)


class Place(NamedTuple):
    """One slice under one sampling pattern: where it stands in the records."""

    dataset: str
    anatomy: str
    center: str
    acceleration: float
    subject: str
    volume: str
    slice: int
    frame: int

    @property
    def condition(self) -> tuple[str, str, str, float]:
        """Data set, anatomy, center and acceleration."""
        return self[:4]


class Extreme(NamedTuple):
    """The slice where a method's SSIM minus the baseline's is largest (``best``) or smallest (``worst``)."""

    kind: str
    arm: Arm
    baseline: Arm
    place: Place


def shown_runs(records: pd.DataFrame) -> pd.DataFrame:
    """The rows of the runs that pictures show, one per arm and slice.

    Args:
        records: as :func:`fm_unroll.evaluation.records.read_records` returns them.

    Returns:
        Some of these rows in their order, with a further column ``arm``.
    """
    named = records.assign(arm=record_arms(records))
    shown = []
    for (*_, acceleration), group in named.groupby(list(CONDITION), sort=False):
        rows = of_nearest_training(group, acceleration)
        shown.append(rows.sort_values(["seed", "checkpoint_sha256"], kind="stable"))
    return pd.concat(shown).drop_duplicates(["arm", *PLACE]).sort_index()


def typical(shown: pd.DataFrame) -> dict[Place, Arm]:
    """One slice per condition: the one with the baseline's median SSIM (zero-filling's where it has none).

    Args:
        shown: as :func:`shown_runs` returns them.

    Returns:
        Places in the order of the tables (anatomy, data set, larger centers first, acceleration), each with
        the arm whose median it is.
    """
    chosen: dict[Place, Arm] = {}
    for _, group in shown.groupby(list(CONDITION), sort=False):
        baselines = sorted(arm for arm in set(group.arm) if arm.kind == "baseline")
        for arm in (*baselines, ZERO_FILLED, *sorted(set(group.arm), key=str)):
            rows = group[(group.arm == arm) & (group.status == "ok")].sort_values(
                ["ssim", *VOLUME, *SLICE], kind="stable"
            )
            if len(rows):
                chosen[_place(rows.iloc[(len(rows) - 1) // 2])] = arm
                break
    order = sorted(
        chosen, key=lambda p: (ANATOMIES.index(p.anatomy), p.dataset, center_order(p.center), p.acceleration)
    )
    return {place: chosen[place] for place in order}


def extremes(shown: pd.DataFrame) -> list[Extreme]:
    """Best and worst slice of every trained method, of all that both it and the baseline reconstructed.

    Args:
        shown: as :func:`shown_runs` returns them.

    Returns:
        Two per method that was trained on the data of a baseline of its physics (the first of them is
        taken), in alphabetical order.
    """
    ssim = shown[shown.status == "ok"].pivot(index=list(PLACE), columns="arm", values="ssim")
    trained_on = shown.groupby("arm").training_data.first()
    baselines = [arm for arm in ssim if arm.kind == "baseline"]
    found = []
    for arm in sorted((arm for arm in ssim if arm.kind in ("prior", "control")), key=str):
        alike = (
            other
            for other in baselines
            if other.physics == arm.physics and trained_on[other] == trained_on[arm]
        )
        baseline = next(alike, None)
        gain = (ssim[arm] - ssim[baseline]).dropna() if baseline else pd.Series(dtype=float)
        if baseline and len(gain):
            places = gain.to_numpy().argmax(), gain.to_numpy().argmin()
            for kind, place in zip(("best", "worst"), places, strict=True):
                found.append(Extreme(kind, arm, baseline, Place(*gain.index[place])))
    return found


def best_classical(means: pd.DataFrame) -> dict[tuple[str, str, str, float], Arm]:
    """Of every condition the method without training, other than zero-filling, with the highest mean SSIM.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.

    Returns:
        Data set, anatomy, center and acceleration -> the method; conditions without one are left out.
    """
    ssim = means[(means.metric == "ssim") & means["mean"].notna() & (means.arm != ZERO_FILLED)]
    classical = ssim[ssim.arm.map(lambda arm: arm.kind == "classical").astype(bool)]
    best = classical.loc[classical.groupby(list(CONDITION))["mean"].idxmax()]
    return dict(zip(best[list(CONDITION)].itertuples(index=False, name=None), best.arm, strict=True))


def pictured(shown: pd.DataFrame) -> list[Place]:
    """Every place of which a picture is wanted, once: typical slices, then the extreme ones."""
    return list(dict.fromkeys([*typical(shown), *(case.place for case in extremes(shown))]))


def _place(row: pd.Series) -> Place:
    return Place(*(row[name] for name in PLACE))
