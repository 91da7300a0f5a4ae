"""What a reader has to know of the records before any number: the notices on top of the report."""

from collections.abc import Iterator, Sequence

import pandas as pd

from fm_unroll.evaluation.arms import AND, EXTERNAL, IMPORTED, Arm
from fm_unroll.evaluation.records import CONDITION
from fm_unroll.methods import PAPER
from fm_unroll.report.formats import MISSING
from fm_unroll.report.sentences import span

BACKGROUND = (
    "SSIM counts the noisy background like the anatomy, and CG-SENSE and L1-wavelet leave it darker than the"
    " root-sum-of-squares target: see SSIM inside the body as well."
)


def notices(records: pd.DataFrame, means: pd.DataFrame, apart: Sequence[tuple[Arm, Arm]] = ()) -> list[str]:
    """What a reader has to know before any number, one sentence per notice.

    Args:
        records: as :func:`fm_unroll.evaluation.records.read_records` returns them.
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
        apart: pairs of methods that are not compared.
    """
    found = [*_notices_of_training(records), *_notices_of_gaps(records, means), *_notices_of_seeds(records)]
    found += [
        f"{arm.label} and {other.label} {_apart(arm, other)}: they are not compared." for arm, other in apart
    ]
    if set(records.method) & {"cg_sense", "wavelet"}:
        found.append(BACKGROUND)
    return found


def _apart(arm: Arm, other: Arm) -> str:
    if arm.physics == other.physics:
        return "were trained on different data"
    return "differ in more than their physics (data, loss, recipe or options)"


def _labels(records: pd.DataFrame) -> list[str]:
    """The methods of some rows, each once in every physics, whatever its weights."""
    named = records[["method", "physics"]].drop_duplicates().astype(str)
    found = {Arm(row.method, physics=row.physics or PAPER) for row in named.itertuples()}
    return [arm.label for arm in sorted(found)]


def _notices_of_training(records: pd.DataFrame) -> Iterator[str]:
    foreign: dict[str, list[pd.DataFrame]] = {}
    for (method, encoders, carried), group in records.groupby(
        ["method", "encoder", "encoder_weights"], observed=True
    ):
        for encoder, weights in zip(encoders.split(AND), carried.split(AND), strict=False):
            own = encoder == method == "random"
            if encoder and not own and weights not in ("", "pretrained"):
                foreign.setdefault(weights, []).append(group)
    for weights, groups in sorted(foreign.items()):
        kind = (
            "random weights: a control, not a foundation model"
            if weights == "random"
            else f"weights from the file {weights.removeprefix('file:')}, not the published pretrained ones"
        )
        yield f"{', '.join(_labels(pd.concat(groups)))}: the frozen encoder carries {kind}."
    made_elsewhere = sorted(name for name in set(records.method) if name.startswith(EXTERNAL))
    for name in made_elsewhere:
        yield (
            f"Reconstructions of {name.removeprefix(EXTERNAL)}, made elsewhere: seeds and training are not"
            " known, nor whether it has seen these subjects."
        )
    imported = records[records.method.astype(str).str.startswith(IMPORTED)]
    for anatomy, group in imported.groupby("train_anatomy", observed=True):
        yield (
            f"{', '.join(_labels(group))}: weights that were trained elsewhere, by a seed that is not known,"
            f" and stand outside of all comparisons. Of fastMRI {anatomy} scans they are scored on folders"
            " alone that their training left out, as far as the import says: the networks that fastMRI"
            " publishes saw its training and validation sets, so that multicoil_val is not unseen."
        )
    if records.trained_on_synthetic.any():
        yield f"Trained on phantoms: {', '.join(_labels(records[records.trained_on_synthetic]))}."


def _notices_of_gaps(records: pd.DataFrame, means: pd.DataFrame) -> Iterator[str]:
    failed = records[records.status == "failed"]
    if len(failed):
        groups = failed.groupby(["method", "physics"], observed=True)
        by_method = ", ".join(f"{_labels(group)[0]} {len(group)}" for _, group in groups)
        yield (
            f"{len(failed)} of {len(records)} slices failed, not finite ({by_method}):"
            " none is averaged; each table says how many volumes are left out."
        )
    one = means.drop_duplicates([*CONDITION, "arm"])
    absent = one[one.status == "missing"]
    if len(absent):
        yield (
            f"{len(absent)} of {len(one)} combinations of method and condition are missing,"
            f" shown as {MISSING}."
        )
    trained = one[one.train_acceleration.notna() & (one.status == "ok")]
    if (trained.train_acceleration != trained.acceleration).any():
        yield (
            "At some accelerations no model was trained for the one tested:"
            " the nearest is used, the same for all trained methods, and named."
        )


def _notices_of_seeds(records: pd.DataFrame) -> Iterator[str]:
    trainings = ["method", "encoder_weights", "physics", "train_acceleration"]
    rows = records.dropna(subset="seed")
    seeds = rows.groupby(trainings, dropna=False, observed=True).checkpoint_sha256.nunique()
    if len(seeds) and seeds.max() == 1:
        yield (
            "One training seed per method: intervals and tests cover subjects only. They are about these"
            " networks and say nothing about another training."
        )
    elif len(seeds):
        count, few = span(seeds), seeds.min() == 1
        yield f"{count} training seeds per method: intervals and tests cover subjects and seeds" + (
            "; where a method has one seed, subjects only." if few else "."
        )
