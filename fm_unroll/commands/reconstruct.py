"""The verb ``reconstruct``: from one scan's file to its image."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from fm_unroll.consent import is_own, require_consent
from fm_unroll.data.scan import Scan, open_scan
from fm_unroll.data.volume import counted, require_acs, require_size
from fm_unroll.errors import InputError
from fm_unroll.files import file_sha256, write_json
from fm_unroll.models import UnrolledNetwork
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.models.classical import CLASSICAL
from fm_unroll.models.release import GENERAL
from fm_unroll.models.sharing import locate, named
from fm_unroll.physics import Center, EquispacedSampling, SamplingPattern, VariedSampling
from fm_unroll.provenance import provenance
from fm_unroll.reconstruction.adaptation import Adaptation, adapted, spread
from fm_unroll.reconstruction.domain import ScanFacts, choose_sampling, outside_training, sampling_of_training
from fm_unroll.reconstruction.trust import WORTH
from fm_unroll.reconstruction.volume import Reconstruction, as_volume, reconstruct_scan
from fm_unroll.reconstruction.writers import WRITERS, Format, Picture, beside, planned_files, remark
from fm_unroll.subjects.population import data_sets_of

Method = Literal["cg_sense", "wavelet", "zero_filled"]
DEFAULT_SAMPLING = EquispacedSampling(4, 0.08)


def reconstruct(
    file: Path,
    checkpoint: str | None = None,
    method: Method | None = None,
    output: Path = Path("reconstructions"),
    formats: Sequence[Format] = (),
    weights: Path | None = None,
    axes: str = "",
    acceleration: float | None = None,
    center: Center | None = None,
    sampling: SamplingPattern | None = None,
    trust: bool = False,
    adapt: Adaptation | None = None,
    batch_size: int = 4,
    device: str = "auto",
) -> None:
    """Reconstruct one file: fastMRI .h5, CMRxRecon .mat, Cartesian 2-D ISMRMRD .h5, or NumPy .npy.

    A fully sampled file is masked first, and metrics are printed beside those of zero-filled and CG-SENSE.
    Whatever the network was not trained on is warned of. The general network: see docs/general_network.md.

    Args:
        file: the file; its kind is recognised by its content.
        checkpoint: of ``fit``, or a released network: a file, or hf://OWNER/NAME. None: the general network.
        method: a method without training in place of a network.
        output: a file ending in .h5, .mat, .nii, .nii.gz or .png, or a folder for all --formats.
        formats: what to write into a folder: h5, fastMRI's submission layout; mat, the CMRxRecon challenge's,
            of its TestSet whole, else central slices and region; nii, compressed; png. None given: h5, png.
        weights: file with the frozen encoder's weights, where the checkpoint's own path no longer holds.
        axes: order of a NumPy array's axes, such as slice,coil,readout,phase; also: frame.
        acceleration: nominal one of the mask put on a fully sampled file. Default: the default pattern's.
        center: its ACS lines (24) or center fraction (0.08), in place of the pattern's.
        sampling: its pattern. Default: that of training, if it was one alone; else equispaced, x4, 0.08.
        trust: also write a map of where to look, with a picture; on anatomy as in training (docs/trust.md).
        adapt: first train a network that does not fit the scan on its measured lines: docs/adaptation.md.
        batch_size: slices at once; halved whenever the device's memory does not suffice.
        device: cpu, cuda, cuda:1, ...; auto: a GPU if there is one.
    """
    check_options(checkpoint, method, weights, trust, adapt, batch_size)
    path = locate(checkpoint or GENERAL)
    trained = check_checkpoint(path, weights, trust, adapt) if method is None else {}
    scan = usable_scan(file, axes, trained, method)
    files = planned_files(output, formats, scan.volume, file)
    pattern = choose_sampling(scan, usual(scan, trained), acceleration, center, sampling)
    place = choose_device(device)
    network = CLASSICAL[method]() if method else load_network(path, weights)
    announce(in_words(path, method), scan, pattern, trained)
    with adapting(network.to(place), scan, pattern, place, adapt) as adaptation:
        write(reconstruct_scan(scan, network, pattern, place, batch_size, trust), scan, files)
    keep_origin(files[0][1], scan, pattern, path, method, adaptation)


def usable_scan(file: Path, axes: str, trained: dict[str, Any], method: Method | None) -> Scan:
    """Open a file as the network was trained to see it, if it can be reconstructed and scored.

    Raises:
        InputError: it cannot.
    """
    scan = open_scan(file, axes, min(part.get("readout_crop", 1.0) for part in data_sets_of(trained)))
    require_size(scan.volume, file)
    if method != "zero_filled":  # which alone needs no sensitivity maps
        require_acs(scan.volume, file)
    return scan


def usual(scan: Scan, trained: dict[str, Any]) -> SamplingPattern:
    """The pattern where none is given: that of a network's training, if it was one; else the default.

    A network for many patterns is not given one that hangs on the file's name: nobody could compare metrics.
    """
    pattern = sampling_of_training(scan, trained) if trained else DEFAULT_SAMPLING
    return DEFAULT_SAMPLING if isinstance(pattern, VariedSampling) else pattern


def check_options(
    checkpoint: str | None,
    method: Method | None,
    weights: Path | None,
    trust: bool,
    adapt: Adaptation | None,
    batch_size: int,
) -> None:
    """Refuse options that contradict each other, and an impossible batch size.

    Raises:
        InputError: there are some.
    """
    if method is not None and (checkpoint or weights):
        raise InputError(f"--method {method} has nothing trained: leave out --checkpoint and --weights")
    if method is not None and trust:
        raise InputError(f"--method {method} has no trust map: leave out --trust")
    if method is not None and adapt is not None:
        raise InputError(f"--method {method} has nothing to adapt: leave out --adapt")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: give 1 or more")


def check_checkpoint(
    path: Path, weights: Path | None, trust: bool, adapt: Adaptation | None
) -> dict[str, Any]:
    """The facts that a checkpoint holds about its training, ``checkpoint["fm_unroll"]``.

    Args:
        path: the checkpoint.
        weights: file with the frozen encoder's weights, if given.
        trust: whether a trust map is asked for.
        adapt: how the network is to be adapted, if it is.

    Raises:
        InputError: it cannot be read, is of a network of the user's own that was not named in this command,
            or something is asked for that it does not have.
    """
    content = read_checkpoint(path)
    method, facts = content["hyper_parameters"]["method"], dict[str, Any](content["fm_unroll"])
    require_consent(method, named(path))
    if trust and is_own(method):
        raise InputError(f"{path}: {method} gives no coil images, and has no trust map: leave out --trust")
    if adapt and is_own(method):
        raise InputError(f"{path}: {method} gives no coil images and cannot be adapted: leave out --adapt")
    if weights and not facts["encoders"]:
        raise InputError(f"--weights {weights}: the checkpoint has no frozen encoder that needs them")
    return facts


def in_words(path: Path, method: Method | None) -> str:
    """What reconstructs: a method without training if one is named, else a network."""
    if method:
        return f"{method}, without training"
    if path == GENERAL:
        return "the general network that comes with fm_unroll, trained on drawings alone; not for diagnosis"
    return f"the network of {named(path)}"


def keep_origin(
    written: Path,
    scan: Scan,
    pattern: SamplingPattern | None,
    path: Path,
    method: Method | None,
    adaptation: dict[str, Any],
) -> None:
    """Write ``NAME_provenance.json`` beside an image: of which scan it was made, how, and by what."""
    made: dict[str, Any] = {"scan": str(scan.path), "masked_by": None if pattern is None else str(pattern)}
    made |= {"method": method} if method else {"network": named(path), "sha256": file_sha256(path)}
    write_json(beside(written, "_provenance.json"), provenance() | {"reconstruction": made | adaptation})


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


@contextmanager
def adapting(
    network: nn.Module,
    scan: Scan,
    pattern: SamplingPattern | None,
    device: torch.device,
    adapt: Adaptation | None,
) -> Iterator[dict[str, Any]]:
    """Adapt the network for a while, if it is asked for, and say what came of it.

    Yields:
        The same for the record beside the image; empty if nothing is adapted.
    """
    if adapt is None:
        yield {}
        return
    with adapted(cast(UnrolledNetwork, network), spread(scan, pattern, device), adapt) as outcome:
        print(outcome)
        yield {"adaptation": {"settings": asdict(adapt), **outcome.content()}}


def announce(by: str, scan: Scan, pattern: SamplingPattern | None, trained: dict[str, Any]) -> None:
    """Print what reconstructs, what the file holds, how it is masked; warn of what training did not see."""
    volume, seen = scan.volume, ScanFacts.of(scan, pattern)
    kind = f"{scan.kind}, synthetic" if volume.synthetic else scan.kind
    by_default = " (the default)" if pattern == DEFAULT_SAMPLING else ""
    sampled = "undersampled" if pattern is None else f"fully sampled, masked by {pattern}{by_default}"
    print(
        f"by {by}\n{volume.name}: {kind}, {counted(volume.num_slices, 'slice')} x "
        f"{counted(volume.num_frames, 'frame')}, {counted(volume.num_coils, 'coil')} x "
        f"{volume.readout} readout x {volume.phase} phase\n"
        f"{sampled}: true acceleration {seen.true_acceleration:.3g}, {seen.acs_lines} ACS lines"
    )
    outside = outside_training(seen, trained) if trained else []
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
        # with matplotlib, which takes long to import and nothing else here needs
        from fm_unroll.report.trust_files import write_trust

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
