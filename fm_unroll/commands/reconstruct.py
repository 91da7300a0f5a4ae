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
from fm_unroll.reconstruction.trust import WORTH
from fm_unroll.reconstruction.volume import Reconstruction, as_volume, reconstruct_scan
from fm_unroll.reconstruction.writers import WRITERS, Format, Picture, planned_files, remark
from fm_unroll.report.trust_files import write_trust


def reconstruct(
    file: Path,
    checkpoint: Path | None = None,
    output: Path = Path("reconstructions"),
    formats: Sequence[Format] = ("h5", "png"),
    weights: Path | None = None,
    axes: str = "",
    acceleration: float | None = None,
    center: Center | None = None,
    sampling: SamplingPattern | None = None,
    trust: bool = False,
    batch_size: int = 4,
    device: str = "auto",
) -> None:
    """Reconstruct one file: fastMRI .h5, CMRxRecon .mat, Cartesian 2-D ISMRMRD .h5, or NumPy .npy.

    A fully sampled file is masked first, and metrics are printed. Whatever the checkpoint was not trained on
    is warned of.

    Args:
        file: the file; its kind is recognised by its content.
        checkpoint: a checkpoint of ``fit``.
        output: a file ending in .h5, .mat, .nii, .nii.gz or .png, or a folder for all --formats.
        formats: what to write into a folder. h5: fastMRI's submission layout; mat: the CMRxRecon challenge's,
            whole images of its TestSet, of others central slices and region only; nii: NIfTI, compressed;
            png: a picture of all slices.
        weights: file with the frozen encoder's weights, where the checkpoint's own path no longer holds.
        axes: order of a NumPy array's axes, such as slice,coil,readout,phase; also: frame.
        acceleration: nominal acceleration of the mask put on a fully sampled file, in place of the pattern's.
        center: its ACS lines (24) or center fraction (0.08), in place of the pattern's.
        sampling: its pattern, such as RandomSampling. Default: the training's.
        trust: also write a map of where to look, with a picture: the change of the image when it is sampled
            again. On anatomy as in training alone it is reliably worth more than edges (docs/trust.md).
        batch_size: slices at once; halved whenever the device's memory does not suffice.
        device: cpu, cuda, cuda:1, ...; auto: a GPU if there is one.
    """
    checkpoint = check_options(checkpoint, batch_size)
    trained = check_checkpoint(checkpoint, weights)
    scan = open_scan(file, axes, trained.get("readout_crop", 1.0))
    files = planned_files(output, formats, scan.volume, file)
    pattern = choose_sampling(scan, trained, acceleration, center, sampling)
    place = choose_device(device)
    network = load_network(checkpoint, weights).to(place)
    announce(scan, pattern, trained)
    result = reconstruct_scan(scan, network, pattern, place, batch_size, trust)
    write(result, scan, files)


def check_options(checkpoint: Path | None, batch_size: int) -> Path:
    """The checkpoint, once the options can be used.

    Raises:
        InputError: it is missing, or the batch size is too small.
    """
    if checkpoint is None:
        raise InputError("--checkpoint is missing: give a checkpoint of `fit`, such as runs/.../best.ckpt")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: give 1 or more")
    return checkpoint


def check_checkpoint(path: Path, weights: Path | None) -> dict[str, Any]:
    """The facts that a checkpoint holds about its training, ``checkpoint["fm_unroll"]``.

    Raises:
        InputError: it cannot be read, or weights are given for an encoder that it does not have.
    """
    facts: dict[str, Any] = read_checkpoint(path)["fm_unroll"]
    if weights and not facts["encoder"]["name"]:
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


def announce(scan: Scan, pattern: SamplingPattern | None, trained: dict[str, Any]) -> None:
    """Print what the file holds and how it is masked; warn of whatever training did not see."""
    volume, seen = scan.volume, ScanFacts.of(scan, pattern)
    kind = f"{scan.kind}, synthetic" if volume.synthetic else scan.kind
    sampled = "undersampled" if pattern is None else f"fully sampled, masked by {pattern}"
    print(
        f"{volume.name}: {kind}, {volume.num_slices} slices x {volume.num_frames} frames, "
        f"{volume.num_coils} coils x {volume.readout} readout x {volume.phase} phase\n"
        f"{sampled}: true acceleration {seen.true_acceleration:.3g}, {seen.acs_lines} ACS lines"
    )
    outside = outside_training(seen, trained)
    for line in [*scan.notes, *volume.contradictions, *volume.remarks, *outside]:
        print(f"warning: {line}", file=sys.stderr)


def write(result: Reconstruction, scan: Scan, files: Sequence[tuple[Format, Path]]) -> None:
    """Print the metrics, write the files and, where it was asked for, the trust map."""
    if metrics := result.metrics():
        print_metrics(metrics)
    if result.target is not None and not scan.volume.contradictions:
        for line in scan.contradicted_maximum(result.target.max().item()):
            print(f"warning: {line}", file=sys.stderr)
    picture = Picture(as_volume(result.image, scan.volume), scan.volume, scan.geometry, scan.path)
    for format, path in files:
        WRITERS[format](path, picture)
        print(f"written: {path}{remark(format, picture)}")
    if result.change is not None:
        for path in write_trust(
            files[0][1], scan.volume, picture.image, as_volume(result.change, scan.volume)
        ):
            print(f"written: {path}")
        print(f"about the trust map: {WORTH}")


def print_metrics(metrics: dict[str, dict[str, float]]) -> None:
    """A table of volume metrics."""
    print(f"{'against the fully sampled image':34}{'SSIM':>8}{'PSNR':>8}{'NMSE':>9}")
    for name, row in metrics.items():
        print(f"{name:34}{row['ssim']:8.4f}{row['psnr']:8.2f}{row['nmse']:9.5f}")
