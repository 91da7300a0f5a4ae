"""The verb ``reconstruct``: from one scan's file to its image."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fm_unroll.data.scan import Scan, open_scan
from fm_unroll.errors import InputError
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.physics import Center, SamplingPattern
from fm_unroll.reconstruction.domain import ScanFacts, choose_sampling, outside_training
from fm_unroll.reconstruction.volume import Reconstruction, as_volume, reconstruct_scan
from fm_unroll.reconstruction.writers import WRITERS, Format, Picture, planned_files, remark
from fm_unroll.report.trust_files import write_trust

# the trust maps, and what the number of each is a share of
MEANINGS = {
    "residual": "of the measured signal is contradicted; noise removed rightly counts too",
    "prior": "of the energy lies in lines nobody measured: supported by the prior alone",
    "spread": "of the image differs between reconstructions that should agree; no error bar",
}


def reconstruct(
    file: Path,
    checkpoint: list[Path] | Path | None = None,
    output: Path = Path("reconstructions"),
    formats: Sequence[Format] = ("h5", "png"),
    weights: Path | None = None,
    axes: str = "",
    acceleration: float | None = None,
    center: Center | None = None,
    sampling: SamplingPattern | None = None,
    trust: bool = False,
    subsets: int = 8,
    seed: int = 0,
    batch_size: int = 4,
    device: str = "auto",
) -> None:
    """Reconstruct one file: fastMRI .h5, CMRxRecon .mat, Cartesian 2-D ISMRMRD .h5, or NumPy .npy.

    A fully sampled file is masked first, and metrics are printed. Whatever the checkpoint was not trained on
    is warned of.

    Args:
        file: the file; its kind is recognised by its content.
        checkpoint: a checkpoint of ``fit``; with --trust several ([a.ckpt,b.ckpt]), of which the first
            reconstructs and all enter the spread.
        output: a file ending in .h5, .mat, .nii, .nii.gz or .png, or a folder for all --formats.
        formats: what to write into a folder. h5: fastMRI's submission layout; mat: the CMRxRecon challenge's,
            whole images of its TestSet, of others central slices and region only; nii: NIfTI, compressed;
            png: a picture of all slices.
        weights: file with the frozen encoder's weights, where the checkpoint's own path no longer holds.
        axes: order of a NumPy array's axes, such as slice,coil,readout,phase; also: frame.
        acceleration: nominal acceleration of the mask put on a fully sampled file, in place of the pattern's.
        center: its ACS lines (24) or center fraction (0.08), in place of the pattern's.
        sampling: its pattern, such as RandomSampling. Default: the training's.
        trust: also write maps of data-consistency residual, prior's part and spread, with a picture.
        subsets: further reconstructions, from subsets of the lines, for the spread of one checkpoint.
        seed: seed of those subsets.
        batch_size: slices at once; halved whenever the device's memory does not suffice.
        device: cpu, cuda, cuda:1, ...; auto: a GPU if there is one.
    """
    checkpoints = check_options(checkpoint, trust, subsets, batch_size)
    trained = check_checkpoints(checkpoints, weights)
    scan = open_scan(file, axes, trained[0].get("readout_crop", 1.0))
    files = planned_files(output, formats, scan.volume, file)
    pattern = choose_sampling(scan, trained[0], acceleration, center, sampling)
    place = choose_device(device)
    networks = [load_network(path, weights).to(place) for path in checkpoints]
    announce(scan, pattern, trained)
    result = reconstruct_scan(scan, networks, pattern, place, batch_size, subsets if trust else 0, seed)
    write(result, scan, files)


def check_options(
    checkpoint: list[Path] | Path | None, trust: bool, subsets: int, batch_size: int
) -> list[Path]:
    """The checkpoints, one or several, once the options are known to suit each other.

    Raises:
        InputError: an option is missing, too small, or needs another one.
    """
    checkpoints = [checkpoint] if isinstance(checkpoint, Path) else list(checkpoint or [])
    if not checkpoints:
        raise InputError("--checkpoint is missing: give a checkpoint of `fit`, such as runs/.../best.ckpt")
    if len(checkpoints) > 1 and not trust:
        raise InputError(f"{len(checkpoints)} checkpoints are given: several need --trust")
    if trust and subsets < 2 and len(checkpoints) == 1:
        raise InputError(f"subsets is {subsets}: a spread needs 2 or more")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: give 1 or more")
    return checkpoints


def check_checkpoints(paths: Sequence[Path], weights: Path | None) -> list[dict[str, Any]]:
    """The facts that checkpoints hold about their training, ``checkpoint["fm_unroll"]`` of each.

    Raises:
        InputError: one cannot be read, or weights are given for an encoder that it does not have.
    """
    facts: list[dict[str, Any]] = [read_checkpoint(path)["fm_unroll"] for path in paths]
    if weights and not all(fact["encoder"]["name"] for fact in facts):
        raise InputError(f"--weights {weights}: the checkpoint has no frozen encoder that needs them")
    return facts


def choose_device(name: str) -> torch.device:
    """A device by name.

    Raises:
        InputError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None


def announce(scan: Scan, pattern: SamplingPattern | None, trained: Sequence[dict[str, Any]]) -> None:
    """Print what the file holds and how it is masked; warn of whatever training did not see."""
    volume, seen = scan.volume, ScanFacts.of(scan, pattern)
    kind = f"{scan.kind}, synthetic" if volume.synthetic else scan.kind
    sampled = "undersampled" if pattern is None else f"fully sampled, masked by {pattern}"
    print(
        f"{volume.name}: {kind}, {volume.num_slices} slices x {volume.num_frames} frames, "
        f"{volume.num_coils} coils x {volume.readout} readout x {volume.phase} phase\n"
        f"{sampled}: true acceleration {seen.true_acceleration:.3g}, {seen.acs_lines} ACS lines"
    )
    outside = dict.fromkeys(line for facts in trained for line in outside_training(seen, facts))
    for line in [*scan.notes, *volume.contradictions, *volume.remarks, *outside]:
        print(f"warning: {line}", file=sys.stderr)


def write(result: Reconstruction, scan: Scan, files: Sequence[tuple[Format, Path]]) -> None:
    """Print the metrics, write the files and, where they were asked for, the trust maps."""
    if metrics := result.metrics():
        print_metrics(metrics)
    if result.target is not None and not scan.volume.contradictions:
        for line in scan.contradicted_maximum(result.target.max().item()):
            print(f"warning: {line}", file=sys.stderr)
    picture = Picture(as_volume(result.image, scan.volume), scan.volume, scan.geometry, scan.path)
    for format, path in files:
        WRITERS[format](path, picture)
        print(f"written: {path}{remark(format, picture)}")
    if result.trust is not None:
        numbers = result.trust.numbers()
        for name, meaning in MEANINGS.items():
            print(f"{name:34}{100 * numbers[name]:8.3g} %  {meaning}")
        for path in write_trust(files[0][1], scan.volume, picture.image, result.trust):
            print(f"written: {path}")


def print_metrics(metrics: dict[str, dict[str, float]]) -> None:
    """A table of volume metrics."""
    print(f"{'against the fully sampled image':34}{'SSIM':>8}{'PSNR':>8}{'NMSE':>9}")
    for name, row in metrics.items():
        print(f"{name:34}{row['ssim']:8.4f}{row['psnr']:8.2f}{row['nmse']:9.5f}")
