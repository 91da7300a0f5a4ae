"""The verb ``cross-domain``."""

from collections.abc import Sequence
from pathlib import Path

from fm_unroll.evaluation.along_training import ALONG_TRAINING
from fm_unroll.evaluation.endpoint import Endpoint
from fm_unroll.evaluation.protocol import Protocol, evaluate
from fm_unroll.evaluation.scoring import TestSet
from fm_unroll.physics import Center
from fm_unroll.report.analysis import main_means
from fm_unroll.report.mean_tables import summary


def cross_domain(
    *,
    test_sets: list[TestSet],
    checkpoints: list[str] | str | None = None,
    baselines: Sequence[str] = ("zero_filled",),
    accelerations: Sequence[float] = (4, 8, 10),
    only: Sequence[str] = (),
    centers: Sequence[Center] = (),
    matched: bool = True,
    weights: list[Path] | Path | None = None,
    primary: Endpoint | None = None,
    along_training: bool = False,
    output: Path = Path("results/cross_domain"),
    batch_size: int = 4,
    num_workers: int = 2,
) -> None:
    """Evaluate every method on every test set, centre and acceleration; write one row per slice.

    A volume's rows are written when it is finished: an interrupted run goes on where it stopped when the same
    command is given again. Rows that earlier commands left in the output folder stay; those that no longer
    hold are left out, and named. ``torchrun --nproc-per-node N -m fm_unroll cross-domain ...`` shares the
    volumes between N processes, one GPU each where there are GPUs.

    Args:
        test_sets: data sets and how their centre is sampled.
        checkpoints: one or more paths or patterns; one that matches nothing is an error. By default the best
            checkpoints of all runs below ``runs``, or the demo's where there are no others.
        baselines: methods without training.
        accelerations: nominal accelerations of the masks.
        only: evaluate these test sets alone, by name or anatomy.
        centers: evaluate these centers alone: numbers as in the test sets.
        matched: evaluate a checkpoint only at the acceleration it was trained for, as the paper does.
        weights: files of encoder weights that have moved since training; each serves those with its SHA-256.
        primary: the one comparison that the study is about; named once for an output folder, before results.
        along_training: evaluate every saved epoch of each run instead (its callback EpochCheckpoints saves
            them), into ``along_training`` below the output; the report then shows them.
        output: folder for records.csv and the pictures.
        batch_size: slices reconstructed at once, all of one volume.
        num_workers: reading processes.

    Raises:
        InputError: a checkpoint, baseline, test set, center or weights file that is not there, a test set
            without subjects, or a checkpoint that has seen test subjects.
    """
    files = [weights] if isinstance(weights, Path) else weights or ()
    checkpoints = [checkpoints] if isinstance(checkpoints, str) else checkpoints
    protocol = Protocol(
        test_sets,
        checkpoints,
        baselines,
        accelerations,
        only,
        centers,
        matched,
        files,
        primary,
        along_training,
    )
    records = evaluate(protocol, output, batch_size, num_workers)
    if records is None:
        return
    if along_training:
        output = output / ALONG_TRAINING
    else:
        print(summary(main_means(records)))
    print(f"{len(records)} rows: {output / 'records.csv'}")
