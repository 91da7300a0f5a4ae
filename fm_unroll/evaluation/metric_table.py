"""The table of metrics: one entry says how a metric is computed, named and printed.

Scoring, the columns of ``records.csv``, statistics, tables and figures all read ``METRICS``. A new metric is
one function under :func:`register_metric`; all files in ``evaluation/further_metrics`` are imported.

The table can be read without torch, which only the functions need: built-in ones are given by name.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
import pandas as pd

from fm_unroll.errors import InputError
from fm_unroll.metric_formulas import nmse_of_sums, psnr_of_sums

if TYPE_CHECKING:
    from torch import Tensor

MetricFunction: TypeAlias = Callable[["Tensor", "Tensor", "Tensor"], "Tensor | Mapping[str, Tensor]"]
Direction: TypeAlias = Literal["higher", "lower"]
Group: TypeAlias = Literal["main", "slice", "challenge", "body", "perceptual"]

# Columns that describe the target alone: known even where the reconstruction failed.
OF_THE_TARGET = ("data_range", "target_energy", "pixels")


@dataclass(frozen=True)
class Measure:
    """A function of slices, and the columns of ``records.csv`` that it fills.

    Metrics that share work share a measure: each is computed once per batch.

    Attributes:
        function: called with prediction and target, both float ``(batch, readout, phase)``, and the maximum
            of each slice's target volume, ``(batch,)``. Returns ``(batch,)``, or one such tensor per column.
            A text ``module:name`` says where it stands.
        columns: names of the columns, in order.
        required: whether every ``records.csv`` has these columns.
        obstacle: returns why this machine cannot compute it and what would change that; an empty text if it
            can. None: every machine can.
        without_oversampling: whether it is given the middle rows of images, those that are left without
            readout oversampling; of images that have none it measures nothing (NaN).
    """

    function: MetricFunction | str
    columns: tuple[str, ...]
    required: bool = False
    obstacle: Callable[[], str] | None = None
    without_oversampling: bool = False

    def __call__(self, prediction: "Tensor", target: "Tensor", data_range: "Tensor") -> dict[str, "Tensor"]:
        """One value per slice for each column: ``(batch,)``, on the CPU."""
        function = self.function
        if isinstance(function, str):
            function = cast("MetricFunction", pkgutil.resolve_name(function))
        found = function(prediction, target, data_range)
        by_column = found if isinstance(found, Mapping) else {self.columns[0]: found}
        return {name: by_column[name].cpu() for name in self.columns}


@dataclass(frozen=True)
class Metric:
    """One metric of a volume.

    Attributes:
        name: column of the volume table, name in statistics and in the files of tables and figures.
        label: name as printed.
        digits: number of decimals as printed.
        direction: which values are better.
        group: where it is printed. ``main``: results, comparisons, maps and curves. ``slice``: the table of
            runs. ``challenge``: tables of their own. ``body`` and ``perceptual``: results, where they were
            computed.
        convention: how slices become a volume, and the unit, in words.
        measure: computes it, or the sums that it is computed from.
        column: of ``records.csv``, whose mean over slices it is; None: the column of its own name.
        of_volume: for a metric that is no such mean: computes it from the sums of ``squared_error``,
            ``target_energy`` and ``pixels`` over the volume and its ``data_range``, one row per volume.
    """

    name: str
    label: str
    digits: int
    direction: Direction
    group: Group
    convention: str
    measure: Measure
    column: str | None = None
    of_volume: Callable[[pd.DataFrame], "pd.Series[float]"] | None = None

    @property
    def higher_is_better(self) -> bool:
        """Whether larger values are better."""
        return self.direction == "higher"

    @property
    def heading(self) -> str:
        """The label with an arrow towards better."""
        return self.label + (" ↑" if self.higher_is_better else " ↓")


def _log10(values: "pd.Series[float]") -> "pd.Series[float]":
    with np.errstate(divide="ignore"):  # of an empty target: 0, whose logarithm is -inf
        return cast("pd.Series[float]", np.log10(values))


def _psnr(volumes: pd.DataFrame) -> "pd.Series[float]":
    return psnr_of_sums(volumes.squared_error, volumes.pixels, volumes.data_range, _log10)


def _nmse(volumes: pd.DataFrame) -> "pd.Series[float]":
    return nmse_of_sums(volumes.squared_error, volumes.target_energy)


_SLICES = Measure(
    "fm_unroll.metrics:score_slices",
    ("data_range", "ssim", "psnr", "nmse", "squared_error", "target_energy", "pixels"),
    required=True,
)
_CHALLENGE = Measure(
    "fm_unroll.metrics:challenge_scores",
    ("challenge_ssim", "challenge_psnr", "challenge_nmse"),
    required=True,
)
_BUILT_IN = (
    Metric("ssim", "SSIM", 4, "higher", "main", "mean over slices, data range of the volume", _SLICES),
    Metric("psnr_volume", "PSNR", 2, "higher", "main", "volume convention, dB", _SLICES, of_volume=_psnr),
    Metric("nmse_volume", "NMSE", 4, "lower", "main", "volume convention", _SLICES, of_volume=_nmse),
    Metric("psnr_slice", "PSNR (slice)", 2, "higher", "slice", "slice convention, dB", _SLICES, "psnr"),
    Metric("nmse_slice", "NMSE (slice)", 4, "lower", "slice", "slice convention", _SLICES, "nmse"),
    Metric("challenge_ssim", "Challenge SSIM", 4, "higher", "challenge", "challenge convention", _CHALLENGE),
    Metric(
        "challenge_psnr", "Challenge PSNR", 2, "higher", "challenge", "challenge convention, dB", _CHALLENGE
    ),
    Metric("challenge_nmse", "Challenge NMSE", 4, "lower", "challenge", "challenge convention", _CHALLENGE),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _BUILT_IN}


def register_metric(
    name: str,
    *,
    label: str,
    digits: int = 4,
    direction: Direction = "higher",
    group: Group = "perceptual",
    convention: str = "mean over slices",
    obstacle: Callable[[], str] | None = None,
    without_oversampling: bool = False,
) -> Callable[[MetricFunction], MetricFunction]:
    """Add a function to the table; see :class:`Metric` and :class:`Measure` for the arguments.

    Returns:
        A decorator for ``(prediction, target, data_range) -> per-slice tensor``.

    Raises:
        InputError: the name stands in the table or in ``records.csv`` already.
    """
    taken = {*METRICS, *(column for measure in measures() for column in measure.columns)}
    if name in taken:
        raise InputError(f"metric {name!r} is registered already: choose another name")

    def register(function: MetricFunction) -> MetricFunction:
        measure = Measure(function, (name,), False, obstacle, without_oversampling)
        METRICS[name] = Metric(name, label, digits, direction, group, convention, measure)
        return function

    return register


def measures() -> list[Measure]:
    """Everything that is measured of a slice: each measure once, in the order of the columns."""
    return list(dict.fromkeys(metric.measure for metric in METRICS.values()))


def obstacles() -> dict[str, str]:
    """The columns that this machine cannot compute: name -> the reason, and what would change it."""
    reasons = {measure: measure.obstacle() for measure in measures() if measure.obstacle}
    return {column: reason for measure, reason in reasons.items() if reason for column in measure.columns}


def metrics_of(*groups: Group) -> list[str]:
    """Names of the metrics of some groups, in the order of the table."""
    return [name for name, metric in METRICS.items() if metric.group in groups]
