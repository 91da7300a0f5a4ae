"""From which acceleration on a method is ahead of another: only where that is clear, and with an interval."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from fm_unroll.evaluation.alignment import AlignedVolumes
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.inference import LEVEL, MIN_SUBJECTS, Floats
from fm_unroll.evaluation.metric_table import METRICS
from fm_unroll.evaluation.statistics import differences

# What the gains over the accelerations are, if at least so many of the resampled ones are it.
Course: TypeAlias = Literal["overtakes", "ahead", "behind", "falls behind", "not clear", "not tested"]

RESAMPLES = 5000


def crossing(accelerations: Floats, gains: Floats) -> Floats:
    """Where gains that begin at or below zero first rise above it, by linear interpolation.

    Args:
        accelerations: ascending, ``(accelerations,)``.
        gains: ``(..., accelerations)``.

    Returns:
        ``(...)``: minus infinity where the first gain is above zero, infinity where none is.
    """
    above = gains > 0
    first = np.maximum(above.argmax(axis=-1), 1)[..., None]
    left, right = (np.take_along_axis(gains, place, axis=-1)[..., 0] for place in (first - 1, first))
    x_left, x_right = accelerations[first[..., 0] - 1], accelerations[first[..., 0]]
    with np.errstate(divide="ignore", invalid="ignore"):
        met = x_left - left * (x_right - x_left) / (right - left)
    found: Floats = np.where(above[..., 0], -np.inf, np.where(above.any(axis=-1), met, np.inf))
    return found


def course(accelerations: Floats, by_subject: Floats) -> tuple[Course, float, float, float]:
    """What gains do over the accelerations, by a bootstrap over subjects.

    Subjects are drawn with all their gains. One subject less is drawn than there are, which makes the
    variance of a resampled mean unbiased (Rao & Wu, JASA 83 (1988)), and the share of resamples on which all
    agree is that of Student's t (Hesterberg, Am. Stat. 69 (2015)).

    Args:
        accelerations: ascending, ``(accelerations,)``.
        by_subject: gains, ``(subjects, accelerations)``; above zero the method is ahead.

    Returns:
        The course, and where the method overtakes, with both ends of its interval: NaN if it does not.
    """
    subjects = len(by_subject)
    if subjects < MIN_SUBJECTS or len(accelerations) < 2:
        return "not tested", np.nan, np.nan, np.nan
    draws = np.random.default_rng(2604).multinomial(subjects - 1, np.full(subjects, 1 / subjects), RESAMPLES)
    gains = draws @ by_subject / (subjects - 1)
    tail = special.ndtr(special.stdtrit(subjects - 1, (1 - LEVEL) / 2))  # of the normal and Student's
    ahead, first, last = gains > 0, gains[:, 0] > 0, gains[:, -1] > 0
    courses: dict[Course, NDArray[np.bool_]] = {
        "overtakes": ~first & last,
        "ahead": np.asarray(ahead.all(axis=1)),
        "behind": np.asarray(~ahead.any(axis=1)),
        "falls behind": first & ~last,
    }
    agreed = [name for name, shown in courses.items() if shown.mean() >= 1 - tail]
    if agreed != ["overtakes"]:
        return agreed[0] if agreed else "not clear", np.nan, np.nan, np.nan
    low, high = np.quantile(crossing(accelerations, gains[~first & last]), [tail, 1 - tail])
    return "overtakes", float(crossing(accelerations, by_subject.mean(axis=0))), float(low), float(high)


def crossings(
    found: Iterable[AlignedVolumes], baseline: Arm, arms: Sequence[Arm], metric: str = "ssim"
) -> pd.DataFrame:
    """Find from which acceleration on each method is ahead of the baseline.

    Args:
        found: as :func:`fm_unroll.evaluation.alignment.align` returns them.
        baseline: arm that is subtracted.
        arms: arms to compare with it; one that is missing everywhere, or was trained on other data, has no
            row.
        metric: a name from ``METRICS``.

    Returns:
        One row per data set, center and arm: ``baseline``, ``course`` (see :func:`course`), ``crossing``,
        ``low``, ``high`` (true accelerations), ``subjects`` (those with a value at every acceleration),
        ``covers_seeds``, ``points``, ``from_acceleration`` and ``to_acceleration`` (the range looked at).
    """
    places: dict[tuple[str, str, str], list[AlignedVolumes]] = {}
    for condition in found:
        places.setdefault((condition.dataset, condition.anatomy, condition.center), []).append(condition)
    rows = [
        dict(zip(_PLACE, (*place, baseline, arm), strict=True)) | row
        for place, conditions in places.items()
        for arm in arms
        if arm != baseline and (row := _row(conditions, arm, baseline, metric))
    ]
    return pd.DataFrame(rows, columns=[*_PLACE, *_COLUMNS])


_PLACE = ("dataset", "anatomy", "center", "baseline", "arm")
_COLUMNS = (
    *("synthetic", "course", "crossing", "low", "high", "subjects", "covers_seeds"),
    *("points", "from_acceleration", "to_acceleration"),
)


def _row(conditions: list[AlignedVolumes], arm: Arm, baseline: Arm, metric: str) -> dict[str, Any]:
    """The course of one arm at one center; empty where it is not compared."""
    shared = [condition for condition in conditions if condition.comparable(arm, baseline)]
    shared.sort(key=lambda condition: condition.true_acceleration)
    sign = 1 if METRICS[metric].higher_is_better else -1
    if not shared:
        return {}
    by_subject = [sign * differences(condition, arm, baseline, metric) for condition in shared]
    gains = pd.concat(by_subject, axis="columns", join="inner").to_numpy(float)
    accelerations = np.array([condition.true_acceleration for condition in shared])
    values = (
        *(any(condition.synthetic for condition in shared), *course(accelerations, gains)),
        *(len(gains), all(condition.covers_seeds(arm, baseline) for condition in shared)),
        *(len(accelerations), accelerations[0], accelerations[-1]),
    )
    return dict(zip(_COLUMNS, values, strict=True))
