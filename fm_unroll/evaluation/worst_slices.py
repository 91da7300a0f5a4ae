"""The tail of the slices: how good the worst of them are, which no mean over subjects shows."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fm_unroll.evaluation.alignment import AlignedVolumes
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.inference import Floats
from fm_unroll.evaluation.records import CONDITION, record_arms

ONE_IN = 20  # the worst 5 % of the slices


def worst_slices(records: pd.DataFrame, found: Iterable[AlignedVolumes], arms: Sequence[Arm]) -> pd.DataFrame:
    """The mean SSIM of the worst one in twenty slices of every method at every condition.

    Every run has worst slices of its own; where a method has several seeds, theirs are averaged. A method
    that failed in a slice has no number: that slice is among its worst, and has none.

    Args:
        records: as :func:`fm_unroll.evaluation.records.read_records` returns them.
        found: as :func:`fm_unroll.evaluation.alignment.align` returns them; they say which runs count.
        arms: arms to list; one that is missing at a condition has a row that says so.

    Returns:
        One row per condition and arm: identity of the condition, ``arm``, ``worst`` (mean SSIM), ``slices``
        (of one run), ``worst_slices`` (of them, rounded up), ``failed`` (slices, of all runs), ``status``
        (``ok``, ``failed``, ``missing``).
    """
    named = records.assign(arm=record_arms(records))
    keys = [*CONDITION, "arm", "checkpoint_sha256"]
    places = named.groupby(keys, sort=False, observed=True).indices
    ssim = records.ssim.to_numpy(float)
    rows = []
    for condition in found:
        identity = condition.identity
        at = tuple(identity[name] for name in CONDITION)
        for arm in arms:
            runs = [ssim[places[*at, arm, network]] for network in condition.networks.get(arm, ())]
            rows.append(identity | {"arm": arm} | _tail(runs))
    return pd.DataFrame(rows)


def _tail(runs: Sequence[Floats]) -> dict[str, Any]:
    """What is said of the runs of one method, each the SSIM of its slices."""
    if not runs:
        return {"worst": np.nan, "slices": 0, "worst_slices": 0, "failed": 0, "status": "missing"}
    failed = int(sum(np.isnan(run).sum() for run in runs))
    slices = len(runs[0])
    count = -(-slices // ONE_IN)
    worst = [np.sort(run)[:count].mean() for run in runs]
    return {
        "worst": np.nan if failed else float(np.mean(worst)),
        "slices": slices,
        "worst_slices": count,
        "failed": failed,
        "status": "failed" if failed else "ok",
    }
