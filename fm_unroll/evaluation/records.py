"""One row per slice: the columns of ``records.csv``, its reader, and the step from slices to volumes.

Everything the evaluation says derives from these rows. Three conventions are in use in the field and all are
kept, always by name:

- *slice*: the metric of every slice, then the mean over the slices of the volume;
- *volume* (``fastmri.evaluate``): squared error and energy summed over the volume, then one ratio;
- *challenge* (CMRxRecon 2023): every slice after prediction and target were divided by their own maxima.

SSIM is the mean over slices in the first two (the data range is the volume's maximum), so it has one name
there.
"""

import hashlib
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.metric_table import METRICS, OF_THE_TARGET, measures
from fm_unroll.methods import PAPER

ANATOMIES = ("cardiac", "knee", "brain")
RUN = ("method", "train_acceleration", "seed", "checkpoint_sha256")
CONDITION = ("dataset", "anatomy", "center", "acceleration")
VOLUME = ("subject", "volume")
SLICE = ("slice", "frame")
CROPPED = ", readout x "  # between a data set's name and the share of the readout, where that is not all
KEY = (*RUN, *CONDITION, *VOLUME, *SLICE)
ORIGIN = ("code", "commit", "device", "precision")
TRAINING = ("training_data", "hyper_parameters")
NETWORK = ("physics", "besides_physics", "train_anatomy", "epoch", "chosen_epoch")


@dataclass(frozen=True)
class SliceRecord:
    """The reconstruction of one slice by one method: one row of ``records.csv``.

    Attributes:
        protocol_version: version of the evaluation protocol; versions are never mixed.
        method: name given to ``build_model`` (``varnet``, ``clip``, ...) or a classical method
            (``zero_filled``, ``cg_sense``, ``wavelet``); ``external/NAME``: reconstructions of NAME, made
            elsewhere. Of these nothing is known but the images: what follows is as of untrained methods.
            ``imported/NAME``: an E2E-VarNet of weights that were trained elsewhere; NaN stands for its seed.
        train_acceleration: nominal acceleration the model was trained for; of a model for a range the one in
            it that is nearest to the tested one; NaN for untrained methods.
        seed: seed of the training (an integer); NaN for untrained methods.
        checkpoint_sha256: SHA-256 of the checkpoint file; empty for untrained methods.
        encoder: name of the frozen encoder; empty without one.
        encoder_sha256: SHA-256 of the encoder's weights; empty without an encoder.
        encoder_weights: ``pretrained``, ``random``, ``file:NAME``, or empty without an encoder.
        trained_on_synthetic: whether the model was trained on phantoms; false for untrained methods.
        dataset: display name of the data set.
        anatomy: ``cardiac``, ``knee`` or ``brain``.
        synthetic: whether the data are phantoms.
        subject: the subject; subjects are the independent units of all statistics.
        volume: id of the volume, relative to the root of its data set.
        slice: index of the slice in its volume.
        frame: index of the time frame or contrast image; 0 where there is one.
        contrast: contrast or view (``cine_sax``, ``T1map``, ``AXT2``, ...).
        acceleration: nominal acceleration.
        true_acceleration: phase-encoding lines over sampled lines of this mask.
        center: how the centre was sampled: ``24 ACS lines``, or the center fraction (``0.08``).
        acs_lines: number of fully sampled centre lines.
        mask_sha256: SHA-256 of the mask; equal for all methods at one slice.
        scores: what was measured of the slice, by the name of its column: ``data_range`` (maximum of the
            target volume), ``squared_error`` and ``target_energy`` (sums over pixels), ``pixels``, and the
            metrics of :mod:`fm_unroll.evaluation.metric_table`. Each stands in a column of its own.
        status: ``ok``, or ``failed`` (not finite): a failed row carries NaN metrics and is counted, never
            averaged.
        code: hash of the code that decides the row: readers, masks, networks, metrics. This column and those
            below it may be absent: version 0.1 did not write them.
        commit: git commit of the package that computed it, marked where files had been changed.
        device: the graphics card, or ``cpu``.
        precision: ``float32``; ``tf32`` on graphics cards whose convolutions round their factors to it.
        training_data: hash of subjects, contrasts and sampling of the training; empty for untrained methods.
        hyper_parameters: hash of the network's options and of the recipe; likewise.
        physics: ``paper`` or another that the network was built with; empty for untrained methods.
        besides_physics: hash of the hyper-parameters without the physics and its options: networks with the
            same differ in their physics alone; empty for untrained methods.
        train_anatomy: anatomy that the model was trained on, of several ``cardiac+knee``; empty for untrained
            methods.
        epoch: number of epochs after which the checkpoint was written; NaN for untrained methods.
        chosen_epoch: that of the best checkpoint of its run, where all saved epochs are evaluated; else NaN.
    """

    protocol_version: int
    method: str
    train_acceleration: float
    seed: float
    checkpoint_sha256: str
    encoder: str
    encoder_sha256: str
    encoder_weights: str
    trained_on_synthetic: bool
    dataset: str
    anatomy: str
    synthetic: bool
    subject: str
    volume: str
    slice: int
    frame: int
    contrast: str
    acceleration: float
    true_acceleration: float
    center: str
    acs_lines: int
    mask_sha256: str
    scores: dict[str, float]
    status: str
    code: str = ""
    commit: str = ""
    device: str = ""
    precision: str = ""
    training_data: str = ""
    hyper_parameters: str = ""
    physics: str = ""
    besides_physics: str = ""
    train_anatomy: str = ""
    epoch: float = math.nan
    chosen_epoch: float = math.nan

    def row(self) -> dict[str, Any]:
        """The row of ``records.csv``: column -> value, NaN where a metric was not computed."""
        known = vars(self) | self.scores
        return {name: known.get(name, math.nan) for name in columns()}


def columns() -> dict[str, type]:
    """The columns of ``records.csv`` in their order, and the type of each.

    What every row has stands before the status; what computed the row, and metrics that need not be there,
    stand behind it.
    """
    types: dict[str, type] = {field.name: cast(type, field.type) for field in fields(SliceRecord)}
    del types["scores"]
    status = types.pop("status")
    origin = {name: types.pop(name) for name in (*ORIGIN, *TRAINING, *NETWORK)}
    required, optional = (
        {column: float for measure in measures() if measure.required is kind for column in measure.columns}
        for kind in (True, False)
    )
    return types | required | {"pixels": int, "status": status} | origin | optional


def read_records(path: Path) -> pd.DataFrame:
    """Read and check ``records.csv``.

    Args:
        path: the file; columns as :func:`columns` names them (those behind ``status`` may be absent).

    Returns:
        One row per slice with these columns and their types, sorted by ``KEY``: the order of the rows in the
        file changes nothing downstream.

    Raises:
        InputError: no such file, no rows, a column missing or unreadable, two protocol versions, a row given
            twice, an unknown anatomy or status, or a status that contradicts the metrics.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the records.csv that the cross-domain evaluation wrote")
    records = _typed(path)
    if records is None:  # some value is not of its column's type: find it, or read it patiently
        raw = read_text(path)
        types = {name: kind for name, kind in columns().items() if name in raw}
        records = pd.DataFrame({name: _column(raw, name, kind, path) for name, kind in types.items()})
    optional = {column for measure in measures() if not measure.required for column in measure.columns}
    optional |= {*ORIGIN, *TRAINING, *NETWORK}
    if absent := [name for name in columns() if name not in records and name not in optional]:
        raise InputError(f"{path}: columns missing: {', '.join(absent)}; write it again with this version")
    if records.empty:
        raise InputError(f"{path}: holds no rows; the evaluation has recorded nothing yet")
    # rows of the time when there was no other do not name it
    said = records.physics.astype(str) if "physics" in records else ""
    records["physics"] = np.where((records.checkpoint_sha256 != "") & (said == ""), PAPER, said)
    for name, kind in columns().items():
        if name not in records:
            records[name] = pd.Categorical([""] * len(records)) if kind is str else np.nan
        elif kind is str:  # sorted, because rows are sorted by them
            texts = pd.Categorical(records[name])
            records[name] = texts.reorder_categories(sorted(texts.categories))
    _check(records, path)
    return records[list(columns())].sort_values(list(KEY), kind="stable", ignore_index=True)


def _typed(path: Path) -> pd.DataFrame | None:
    """The columns of records in a file; None if it is no such table. A million rows take three seconds."""
    kinds = {str: pa.dictionary(pa.int32(), pa.string()), float: pa.float64(), int: pa.int64()}
    options = csv.ConvertOptions(
        column_types={name: kinds.get(kind, pa.bool_()) for name, kind in columns().items()},
        null_values=["", "nan", "NaN"],
        true_values=["True", "true"],
        false_values=["False", "false"],
    )
    try:
        table = csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid:
        return None
    table = table.select([name for name in columns() if name in table.column_names])
    if any(table[name].null_count for name in table.column_names if table[name].type != pa.float64()):
        return None
    records = table.to_pandas(split_blocks=True, self_destruct=True)
    pa.default_memory_pool().release_unused()  # it would keep what the file took: half a gigabyte a million
    return records


def read_text(path: Path) -> pd.DataFrame:
    """The table in a file as text, so that numbers pass through unchanged; nothing is checked.

    Raises:
        InputError: it is no table.
    """
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a table of records ({str(error).strip()})") from error


def _column(raw: pd.DataFrame, name: str, kind: type, path: Path) -> pd.Series | np.ndarray:
    if name not in raw:
        return np.full(len(raw), "" if kind is str else np.nan, dtype=object if kind is str else float)
    text = raw[name]
    if kind is str:
        return text
    if kind is bool:
        values = text.str.lower().map({"true": True, "false": False})
        wrong = values.isna()
    else:
        values = pd.to_numeric(text.replace("", "nan"), errors="coerce")
        wrong = values.isna() & ~text.str.lower().isin(["", "nan"])
        if kind is int:
            wrong |= values.isna() | (values % 1 != 0)
    if wrong.any():
        row = wrong.to_numpy().argmax()
        raise InputError(f"{path}: line {row + 2}: {name} is {text[row]!r}, expected {kind.__name__}")
    # float() reads a decimal exactly, which the fast parser of pandas does not promise
    return text.replace("", "nan").map(float) if kind is float else values.astype(kind)


def _check(records: pd.DataFrame, path: Path) -> None:
    versions = sorted(records.protocol_version.unique())
    if len(versions) > 1:
        raise InputError(f"{path}: mixes protocol versions {versions}; report each version from its own file")
    for name, allowed in (("anatomy", ANATOMIES), ("status", ("ok", "failed"))):
        if unknown := sorted(set(records[name]) - set(allowed)):
            raise InputError(f"{path}: unknown {name} {unknown[0]!r}; known: {', '.join(allowed)}")
    twice = records.duplicated(list(KEY))
    if twice.any():
        row = records[twice].iloc[0]
        raise InputError(
            f"{path}: {_place(row)} is recorded twice for {row.method}; remove one of the two rows"
        )
    failed = records.status == "failed"
    # the challenge's convention has no value where an image has no positive maximum
    measured = [name for name in measures()[0].columns if name not in OF_THE_TARGET]
    wrong = records[measured].isna().ne(failed, axis=0).any(axis=1)
    if wrong.any():
        row = records[wrong].iloc[0]
        raise InputError(
            f"{path}: {_place(row)}, {row.method}: status {row.status!r} contradicts its metrics"
        )


def _place(row: pd.Series) -> str:
    return (
        f"{row.anatomy} volume {row.volume}, slice {row.slice}, frame {row.frame}"
        f" (center {row.center}, x{row.acceleration:g})"
    )


def check_pairing(records: pd.DataFrame) -> None:
    """Make sure that all methods reconstructed the same measurement of the same target at every slice.

    Raises:
        InputError: masks, number of pixels or target energies differ between methods at a slice.
    """
    grouped = records.groupby([*CONDITION, *VOLUME, *SLICE], sort=False)
    spread = grouped.target_energy.transform("max") - grouped.target_energy.transform("min")
    for name, differs in (
        ("mask", grouped.mask_sha256.transform("nunique") > 1),
        ("number of pixels", grouped.pixels.transform("nunique") > 1),
        ("target", spread > 1e-3 * records.target_energy),
    ):
        if differs.any():
            row = records[differs].iloc[0]
            raise InputError(
                f"{_place(row)}: the methods do not share one {name}, so they cannot be compared;"
                " run the evaluation again for this slice"
            )


def record_arms(records: pd.DataFrame) -> pd.Series:
    """The arm of every row. Where a method was trained in several ways, each is an arm."""
    names = ["method", "encoder", "encoder_weights", "physics"]
    kinds = records.groupby([*names, *TRAINING], sort=False, dropna=False)
    ways = pd.DataFrame(list(kinds.groups), columns=[*names, *TRAINING])
    several = ways.groupby(names, dropna=False).method.transform("size") > 1
    arms = np.empty(len(ways), object)
    arms[:] = [_arm(way, split) for way, split in zip(ways.itertuples(), several, strict=True)]
    return pd.Series(arms[kinds.ngroup()], index=records.index, dtype=object)


def _arm(way: Any, one_of_several: bool) -> Arm:
    """One way of training; six digits tell several of a method apart, ``unknown`` is that of version 0.2."""
    training = way.training_data + way.hyper_parameters
    digits = hashlib.sha256(training.encode()).hexdigest()[:6] if training else "unknown"
    variant = digits if one_of_several else ""
    return Arm(way.method, way.encoder, way.encoder_weights, variant, way.physics or PAPER)


def check_trainings(records: pd.DataFrame) -> None:
    """Make sure that one training is one network: its last and best checkpoint are no two seeds.

    Raises:
        InputError: two checkpoints of one arm, seed and training acceleration.
    """
    training = ["method", "encoder", "encoder_weights", *TRAINING, "train_acceleration", "seed"]
    trained = records[records.checkpoint_sha256 != ""]
    for key, networks in trained.groupby(training).checkpoint_sha256.unique().items():
        if len(networks) > 1:
            first, second = (sha256[:12] for sha256 in sorted(networks)[:2])
            raise InputError(
                f"the checkpoints {first} and {second} (sha256) are both {Arm(*key[:3]).label} with seed "
                f"{key[-1]:g}, trained alike at x{key[-2]:g}, and no two seeds: remove the rows of one"
            )


def volume_table(records: pd.DataFrame) -> pd.DataFrame:
    """Bring slices together into volumes, in all conventions.

    Args:
        records: as :func:`read_records` returns them.

    Returns:
        One row per run, condition and volume. Identity: ``RUN``, ``CONDITION``, ``VOLUME``, ``arm`` (an
        :class:`~fm_unroll.evaluation.arms.Arm`), ``contrast``, ``training_data``, ``besides_physics``,
        ``train_anatomy``, ``synthetic``, ``true_acceleration``.
        Counts: ``slices`` (rows of this run), ``expected`` (slices any run has of this volume), ``failed``.
        Metrics: all of ``METRICS``, by name; all NaN where a slice failed.

    Raises:
        InputError: the methods do not share masks and targets, one volume has several data ranges, or one
            training has several checkpoints.
    """
    check_trainings(records)
    check_pairing(records)
    place = [*CONDITION, *VOLUME]
    _check_data_ranges(records)
    rows = records.assign(arm=record_arms(records), failed=records.status == "failed")
    grouped = rows.groupby([*RUN, "arm", *place], dropna=False, sort=True)
    table = grouped.agg(
        contrast=("contrast", "first"),
        training_data=("training_data", "first"),
        besides_physics=("besides_physics", "first"),
        train_anatomy=("train_anatomy", "first"),
        synthetic=("synthetic", "any"),
        true_acceleration=("true_acceleration", "mean"),
        slices=("slice", "size"),
        failed=("failed", "sum"),
    )
    sums = grouped[["squared_error", "target_energy", "pixels"]].sum(skipna=False)
    sums["data_range"] = grouped.data_range.max()
    for name, metric in METRICS.items():
        if metric.of_volume is None:
            table[name] = grouped[metric.column or name].mean(skipna=False)
        else:
            table[name] = metric.of_volume(sums)
    table = table.reset_index()
    distinct = records.drop_duplicates([*place, *SLICE]).groupby(place, sort=False).size()
    table.insert(
        table.columns.get_loc("failed"),
        "expected",
        distinct.loc[pd.MultiIndex.from_frame(table[place])].array,
    )
    return table


def _check_data_ranges(records: pd.DataFrame) -> None:
    ranges = records.groupby([*CONDITION, *VOLUME], sort=False).data_range.agg(["min", "max"])
    uneven = ranges["max"] > ranges["min"] * (1 + 1e-3)
    if uneven.any():
        raise InputError(
            f"volume {uneven.idxmax()[-1]}: data_range differs between its slices;"
            " it must be the maximum of the whole target volume"
        )
