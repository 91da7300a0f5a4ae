"""The verb ``cross-domain``."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

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
    reconstructions: Sequence[str] = (),
    adapt: bool = False,
    output: Path = Path("results/cross_domain"),
    batch_size: int = 4,
    num_workers: int = 2,
) -> None:
    """Evaluate every method on every test set, centre and acceleration; write one row per slice.

    The same command goes on where it was interrupted; rows of earlier commands stay, as far as they hold.
    ``torchrun --nproc-per-node N -m fm_unroll cross-domain ...`` shares volumes between N processes or GPUs.

    Args:
        test_sets: data sets and how their centre is sampled.
        checkpoints: paths, patterns, hf://OWNER/NAME; by default all runs' below ``runs``, or the demo's.
        baselines: what needs no checkpoint: zero_filled, cg_sense, wavelet, general (the package's network).
        accelerations: nominal accelerations of the masks.
        only: evaluate these test sets alone, by name or anatomy.
        centers: evaluate these centers alone: numbers as in the test sets.
        matched: evaluate a checkpoint only where it was trained for the acceleration, as the paper does.
        weights: files of encoder weights that have moved since training; each serves those with its SHA-256.
        primary: the one comparison that the study is about; named once for an output folder, before results.
        along_training: evaluate the saved epochs of each run, not the best; below the output folder.
        reconstructions: NAME=FOLDER of another program's images of what ``data undersample`` wrote.
        adapt: evaluate every network once more, adapted to each volume by its measured lines, as another arm.
        output: folder for records.csv and the pictures.
        batch_size: slices reconstructed at once, all of one volume.
        num_workers: reading processes.

    Raises:
        InputError: something named is not there or does not fit, or a checkpoint has seen test subjects.
    """
    files = [weights] if isinstance(weights, Path) else weights or ()
    paths = [checkpoints] if isinstance(checkpoints, str) else checkpoints
    asked = (test_sets, paths, baselines, accelerations, only, centers, matched, files, primary)
    protocol = Protocol(*asked, along_training, reconstructions, adapt)
    records = evaluate(protocol, output, batch_size, num_workers)
    if records is not None:
        announce(records, output, along_training)


def announce(records: pd.DataFrame, output: Path, along_training: bool) -> None:
    """Print the means, of networks that are not those along training, and where the rows are."""
    if not along_training:
        print(summary(main_means(records)))
    folder = output / ALONG_TRAINING if along_training else output
    print(f"{len(records)} rows: {folder / 'records.csv'}")
