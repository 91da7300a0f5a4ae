"""All methods at one condition, aligned by volume: which networks take part, and what is missing."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fm_unroll.evaluation.arms import GENERAL_NETWORK, IMPORTED, Arm
from fm_unroll.evaluation.inference import Floats
from fm_unroll.evaluation.metric_table import METRICS
from fm_unroll.evaluation.records import ANATOMIES, CONDITION, VOLUME
from fm_unroll.physics import Center


@dataclass(frozen=True)
class AlignedVolumes:
    """All methods at one data set, center and acceleration, aligned by volume.

    Attributes:
        dataset: display name of the data set.
        anatomy: ``cardiac``, ``knee`` or ``brain``.
        center: sampling of the centre.
        acceleration: nominal acceleration.
        true_acceleration: mean over the volumes.
        train_acceleration: nominal acceleration for which the trained methods were trained, see
            :class:`~fm_unroll.evaluation.records.SliceRecord`; NaN if there are none.
        synthetic: whether any volume is a phantom.
        subjects: the subject of every volume, shape (volumes,).
        slices: the number of slices of every volume, shape (volumes,).
        values: ``values[arm][metric]``, float64 of shape (runs, volumes), NaN where a slice failed.
        networks: SHA-256 of the checkpoint of every run of an arm; of a method without training ``[""]``.
        trainings: tells the trainings of each trained arm apart: conditions with the same one share networks.
        training_data: hash of what each arm was trained on; empty without training, or if it is not known.
        besides_physics: hash of what else makes the training of each arm than its physics; likewise.
        train_anatomy: what each arm was trained on; likewise.
        missing: arm -> why it (or one of its runs) is not there.
    """

    dataset: str
    anatomy: str
    center: str
    acceleration: float
    true_acceleration: float
    train_acceleration: float
    synthetic: bool
    subjects: NDArray[np.object_]
    slices: NDArray[np.int_]
    values: dict[Arm, dict[str, Floats]]
    networks: dict[Arm, list[str]]
    trainings: dict[Arm, float]
    training_data: dict[Arm, str]
    besides_physics: dict[Arm, str]
    train_anatomy: dict[Arm, str]
    missing: dict[Arm, str]

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that say where a number was measured, in the order of the tables' columns."""
        names = (*CONDITION, "true_acceleration", "train_acceleration", "synthetic")
        return {name: getattr(self, name) for name in names}

    @property
    def domain(self) -> tuple[str, str]:
        """Data set and anatomy: the subjects are the same at all conditions of one domain."""
        return self.dataset, self.anatomy

    def covers_seeds(self, *arms: Arm) -> bool:
        """Whether each of these arms was trained several times, as far as it was trained at all."""
        return all(len(self.networks[arm]) > 1 or self.networks[arm] == [""] for arm in arms)

    def comparable(self, arm: Arm, other: Arm) -> bool:
        """Whether two arms are here and differ in one thing, none of which is the data of their training.

        Of two physics the same network is compared, if the rest of its training is the same as well.
        """
        if not {arm, other} <= self.networks.keys() or not arm.comparable(other):
            return False
        alike = [self.training_data, *([self.besides_physics] if arm.differs_in_physics(other) else [])]
        return all(known[arm] == known[other] or "" in (known[arm], known[other]) for known in alike)

    def out_of_domain(self, arm: Arm) -> bool:
        """Whether this is another anatomy than an arm was trained on; false if that is not known."""
        seen = self.train_anatomy.get(arm, "")
        return seen != "" and self.anatomy not in seen.split("+")

    def succeeded(self, arm: Arm) -> NDArray[np.bool_]:
        """Volumes in which no slice of any run of this arm failed: bool of shape (volumes,)."""
        succeeded: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(self.values[arm]["ssim"]))
        return succeeded


def align(volumes: pd.DataFrame) -> list[AlignedVolumes]:
    """Align the volumes of all methods at every condition.

    Args:
        volumes: as :func:`fm_unroll.evaluation.records.volume_table` returns them.

    Returns:
        One item per condition; anatomies in the paper's order, larger centers first, accelerations ascending.
    """
    # a network for a range counts as one for another acceleration at each condition
    first = volumes.groupby("checkpoint_sha256", observed=True).train_acceleration.transform("min")
    volumes = volumes.assign(training=first)
    found = [_align(key, group) for key, group in volumes.groupby(list(CONDITION), sort=True)]
    return sorted(
        found, key=lambda c: (ANATOMIES.index(c.anatomy), c.dataset, center_order(c.center), c.acceleration)
    )


def center_order(center: str) -> tuple[bool, float]:
    """A key that puts larger center fractions first, and numbers of ACS lines before them."""
    return Center.parse(center).order


def nearest_training(rows: pd.DataFrame, acceleration: float) -> float:
    """The training acceleration whose models are taken at an acceleration; NaN where nothing was trained."""
    trained = np.sort(rows.train_acceleration[~_at_any_acceleration(rows)].unique())
    return float(trained[np.abs(np.log(trained / acceleration)).argmin()]) if len(trained) else np.nan


def of_nearest_training(rows: pd.DataFrame, acceleration: float) -> pd.DataFrame:
    """The rows that count at an acceleration: of the nearest training acceleration, or of none."""
    nearest = nearest_training(rows, acceleration)
    return rows[_at_any_acceleration(rows) | (rows.train_acceleration == nearest)]


def _at_any_acceleration(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows are without training, or of one that is not ours: it must not keep others off the tables."""
    methods = [(arm.unadapted or arm).method for arm in rows.arm]
    not_ours = [method == GENERAL_NETWORK or method.startswith(IMPORTED) for method in methods]
    found: NDArray[np.bool_] = rows.train_acceleration.isna().to_numpy() | np.array(not_ours, bool)
    return found


def _align(key: tuple[str, str, str, float], group: pd.DataFrame) -> AlignedVolumes:
    dataset, anatomy, center, acceleration = key
    nearest = nearest_training(group, acceleration)
    places = group.drop_duplicates(list(VOLUME)).sort_values(list(VOLUME))
    complete: dict[Arm, dict[str, pd.DataFrame]] = {}
    missing: dict[Arm, str] = {}
    for arm, rows in group.groupby("arm"):
        chosen = rows[_at_any_acceleration(rows) | (rows.train_acceleration == nearest)]
        if chosen.empty:
            missing[arm] = f"no model trained at x{nearest:g}"
        for (seed, network), run in chosen.groupby(["seed", "checkpoint_sha256"], dropna=False):
            whole = (run.slices == run.expected).sum()
            if whole == len(places):
                complete.setdefault(arm, {})[network] = run.sort_values(list(VOLUME))
            else:
                name = "" if np.isnan(seed) else f"seed {seed:g}: "
                missing[arm] = f"{name}{whole} of {len(places)} volumes complete"
    return AlignedVolumes(
        dataset=dataset,
        anatomy=anatomy,
        center=center,
        acceleration=acceleration,
        true_acceleration=group.drop_duplicates(list(VOLUME)).true_acceleration.mean(),
        train_acceleration=nearest,
        synthetic=bool(group.synthetic.any()),
        subjects=places.subject.to_numpy(),
        slices=places.expected.to_numpy(),
        values={
            arm: {
                metric: np.stack([run[metric].to_numpy(float) for run in runs.values()]) for metric in METRICS
            }
            for arm, runs in complete.items()
        },
        networks={arm: list(runs) for arm, runs in complete.items()},
        trainings={
            arm: min(run.training.min() for run in runs.values())
            for arm, runs in complete.items()
            if list(runs) != [""]
        },
        missing=missing,
        **{
            name: group.groupby("arm")[name].first().to_dict()
            for name in ("training_data", "besides_physics", "train_anatomy")
        },
    )
