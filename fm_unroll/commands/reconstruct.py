"""The verb ``reconstruct``: one file, one checkpoint, one image."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fm_unroll.data.scan import Scan, open_scan
from fm_unroll.errors import InputError
from fm_unroll.models.checkpoints import read_checkpoint
from fm_unroll.physics import Center, SamplingPattern, pattern_from_config
from fm_unroll.reconstruction.domain import ScanFacts, outside_training
from fm_unroll.reconstruction.volume import Reconstruction, as_volume, reconstruct_scan
from fm_unroll.reconstruction.writers import (
    SUFFIXES,
    WRITERS,
    Format,
    Picture,
    check_writable,
    format_of,
    write_h5,
)
from fm_unroll.report.trust_figure import draw_trust
from fm_unroll.training.task import ReconstructionTask

# the trust maps, with what their numbers are shares of
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

    A fully sampled file is masked first, and the metrics of its reconstruction are printed. What lies outside
    of what the checkpoint was trained on is warned of, a line each.

    Args:
        file: the file; its kind is recognised by its content.
        checkpoint: a checkpoint of ``fit``; with --trust several ([a.ckpt,b.ckpt]), of which the first
            reconstructs and all enter the spread.
        output: a file ending in .h5, .mat, .nii, .nii.gz or .png, or a folder for all --formats.
        formats: what to write into a folder. h5: fastMRI's submission layout; mat: the CMRxRecon challenge's,
            central slices and region only; nii: NIfTI, compressed; png: a picture of all slices.
        weights: file with the frozen encoder's weights, where the checkpoint's own path no longer holds.
        axes: order of a NumPy array's axes, such as slice,coil,readout,phase; also: frame.
        acceleration: nominal acceleration of the mask put on a fully sampled file, in place of the pattern's.
        center: its ACS lines (24) or center fraction (0.08), in place of the pattern's.
        sampling: its pattern, such as RandomSampling. Default: the training's.
        trust: also write maps of data-consistency residual, prior's part and spread, with a picture.
        subsets: further reconstructions, from subsets of the lines, for the spread of one checkpoint.
        seed: of those subsets.
        batch_size: slices at once; halved whenever the device's memory does not suffice.
        device: cpu, cuda, cuda:1, ...; auto: a GPU if there is one.
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
    scan = open_scan(file, [name.strip() for name in axes.split(",") if name.strip()])
    paths = output_paths(file, output, formats, scan)
    facts = [read_checkpoint(path)["fm_unroll"] for path in checkpoints]
    if weights and not all(fact["encoder"]["name"] for fact in facts):
        raise InputError(f"--weights {weights}: the checkpoint has no frozen encoder that needs them")
    pattern = choose_sampling(file, scan, facts[0], acceleration, center, sampling)
    place = choose_device(device)
    networks = [ReconstructionTask.from_checkpoint(path, weights).network.to(place) for path in checkpoints]

    seen = facts_of(scan, pattern)
    print(summary(scan, pattern, seen))
    outside = dict.fromkeys(line for fact in facts for line in outside_training(seen, fact))
    for line in [*scan.notes, *outside]:
        print(f"warning: {line}", file=sys.stderr)
    result = reconstruct_scan(scan, networks, pattern, place, batch_size, subsets if trust else 0, seed)
    if result.target is not None:
        print_metrics(result.metrics())
    picture = Picture(as_volume(result.image, scan), scan.volume, scan.geometry)
    for format, path in paths:
        WRITERS[format](path, picture)
        print(f"written: {path}")
    if result.trust is not None:
        numbers = result.trust.numbers()
        print_trust(numbers)
        for path in write_trust(paths[0][1], scan, result, numbers):
            print(f"written: {path}")


def output_paths(
    file: Path, output: Path, formats: Sequence[Format], scan: Scan
) -> list[tuple[Format, Path]]:
    """What is to be written where; all that can be wrong with it is found out here.

    Raises:
        InputError: an unknown suffix, a format that does not suit the volume, a missing package, or the file
            to be read would be overwritten.
    """
    format = None if output.is_dir() else format_of(output)
    if format is None and output.suffix and not output.is_dir():
        raise InputError(f"{output}: unknown format; end it in {', '.join(SUFFIXES)}, or give a folder")
    if format:
        paths = [(format, output)]
    else:
        suffixes = {name: suffix for suffix, name in reversed(SUFFIXES.items())}
        paths = [(name, output / f"{scan.volume.name}{suffixes[name]}") for name in formats]
    if not paths:
        raise InputError("formats is empty: name one or more, such as h5")
    for name, path in paths:
        check_writable(name, scan.volume)
        if path.resolve() == file.resolve():
            raise InputError(f"{path} is the file to be reconstructed: give another --output")
    return paths


def choose_sampling(
    file: Path,
    scan: Scan,
    checkpoint: dict[str, Any],
    acceleration: float | None,
    center: Center | None,
    sampling: SamplingPattern | None,
) -> SamplingPattern | None:
    """The mask's pattern: the one given or else the training's, with what is given of it changed.

    Returns:
        The pattern; None for undersampled scans.

    Raises:
        InputError: a mask is asked for on an undersampled scan, values that the pattern cannot have, or the
            training's pattern is not known here.
    """
    if not scan.volume.fully_sampled:
        options = {"acceleration": acceleration, "center": center, "sampling": sampling}
        given = [f"--{name}" for name, value in options.items() if value is not None]
        if given:
            raise InputError(f"{file} is undersampled already: leave out {', '.join(given)}")
        return None
    pattern = sampling or pattern_from_config(checkpoint["sampling"])
    return pattern.at(acceleration, center)


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


def facts_of(scan: Scan, sampling: SamplingPattern | None) -> ScanFacts:
    """What of a scan is compared with the training."""
    volume = scan.volume
    if sampling is None:
        available = volume.acquired[1] - volume.acquired[0]
        acs_lines, true_acceleration = volume.num_acs, available / int(volume.lines.sum())
    else:
        mask = sampling(volume.phase, volume.name, volume.acquired)
        acs_lines, true_acceleration = mask.num_acs, mask.true_acceleration
    return ScanFacts(
        subject=volume.subject,
        anatomy=scan.anatomy,
        coils=volume.num_coils,
        readout=volume.readout,
        phase=volume.phase,
        acs_lines=acs_lines,
        true_acceleration=true_acceleration,
    )


def summary(scan: Scan, sampling: SamplingPattern | None, facts: ScanFacts) -> str:
    """Two lines on what was found in the file and how it is masked."""
    volume = scan.volume
    kind = f"{scan.kind}, synthetic" if volume.synthetic else scan.kind
    sampled = "undersampled" if sampling is None else f"fully sampled, masked by {sampling}"
    return (
        f"{volume.name}: {kind}, {volume.num_slices} slices x {volume.num_frames} frames, "
        f"{volume.num_coils} coils x {volume.readout} readout x {volume.phase} phase\n"
        f"{sampled}: true acceleration {facts.true_acceleration:.3g}, {facts.acs_lines} ACS lines"
    )


def print_metrics(metrics: dict[str, dict[str, float]]) -> None:
    """A table of volume metrics."""
    print(f"{'against the fully sampled image':34}{'SSIM':>8}{'PSNR':>8}{'NMSE':>9}")
    for name, row in metrics.items():
        print(f"{name:34}{row['ssim']:8.4f}{row['psnr']:8.2f}{row['nmse']:9.5f}")


def print_trust(numbers: dict[str, float]) -> None:
    """One line a map."""
    for name, meaning in MEANINGS.items():
        print(f"{name.replace('_', ' '):34}{100 * numbers[name]:8.3g} %  {meaning}")


def write_trust(
    beside: Path, scan: Scan, result: Reconstruction, numbers: dict[str, float]
) -> tuple[Path, Path]:
    """Write ``NAME_trust.h5`` with the maps and ``NAME_trust.png`` with the middle slice of the first frame.

    Args:
        beside: the reconstruction's file.
        scan: the scan.
        result: its reconstruction.
        numbers: one for each map.

    Returns:
        The paths of both.
    """
    suffix = next(suffix for suffix in SUFFIXES if beside.name.lower().endswith(suffix))
    stem = beside.name[: -len(suffix)]
    table, figure = (beside.with_name(f"{stem}_trust.{kind}") for kind in ("h5", "png"))
    maps = {name: as_volume(getattr(result.trust, name), scan) for name in MEANINGS}
    image = as_volume(result.image, scan)
    write_h5(table, image, extra=maps, attributes=numbers)
    middle = scan.volume.num_slices // 2
    title = f"{scan.volume.name}, slice {middle}, frame 0"
    draw_trust(figure, image[0, middle], {k: v[0, middle] for k, v in maps.items()}, numbers, title)
    return table, figure
