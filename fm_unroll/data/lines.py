"""Which lines of k-space were sampled: the only rule, for all layouts.

A line was sampled where it holds data over the same readout samples in every coil, and the same lines were
sampled in every slice of every frame. What follows no such pattern (radial and random points, sampling that
changes from frame to frame) is refused, and so is a scan whose data contradict its mask, or its claim to be
fully sampled.

Single values may be zero by chance, because raw data often are whole numbers, but hardly in many coils at
once. So a tenth of a line's samples may be zero in all coils, and half of them in one coil. A coil that is
zero everywhere says nothing about lines.

What lies a million times below the largest value of a slice counts as zero: no scanner measures it, and
rounding leaves it where masked data went through Fourier transforms or coil compression. Readout samples may
be empty at the ends (asymmetric echoes), not between others.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_unroll.data.volume import Volume, counted
from fm_unroll.errors import InputError, UnsupportedError
from fm_unroll.files import visible

SHARE = 0.9  # of the readout samples that hold data in a sampled line, whichever the coil
SHARE_IN_EACH_COIL = 0.5
NOTHING = 1e-6  # of the largest magnitude in a slice
STANDS_OUT = 20  # times the median: the centre of an image's k-space; real ones reach hundreds
PROBES = 6  # readout samples that are looked at first; they take a hundredth of the time of reading a slice

MASK = re.compile("masks?(?!ed|ing)")
ARRAYS = (".csv", ".h5", ".hdf5", ".mat", ".npy", ".npz", ".txt")  # how files end that may hold a mask
NOBODYS = re.compile(r"(under)?sampling|[rx]?\d+x?")  # words that name no scan

Lines = NDArray[np.bool_]


def names_mask(name: str) -> bool:
    """Whether something is called a mask: ``scan_Mask``, and not ``unmasked``."""
    return MASK.search(name.lower()) is not None


def masks_beside(path: Path) -> list[Path]:
    """Files in the folder of a scan that may hold its mask, by their names.

    They are called a mask and, besides, as the scan is or as none in particular; not as another scan is.
    """
    arrays = [file for file in visible(path.parent) if file.suffix.lower() in ARRAYS and file != path]
    masks = [file for file in arrays if names_mask(file.stem)]
    if not masks:
        return []
    own, others = _words(path), [_words(file) for file in arrays if file not in masks]

    def is_own(words: set[str]) -> bool:
        return own == words or (words not in others and (own <= words or all(map(NOBODYS.fullmatch, words))))

    return [mask for mask in masks if is_own(_words(mask))]


def _words(file: Path) -> set[str]:
    """What a file's name says, whether it is that of a scan or of a mask."""
    words = set(re.split("[^a-z0-9]+", MASK.sub(" ", file.stem.lower())))
    return words - {"", "kus"}  # kus: by which CMRxRecon tells a scan from its mask


def lines_with_data(kspace: NDArray[np.complex64]) -> Lines:
    """The sampled lines of one slice.

    Args:
        kspace: complex64, ``(coil, readout, phase)``.

    Returns:
        bool, ``(phase,)``.

    Raises:
        InputError: it is empty, or the samples that hold data do not make up whole lines, the same in every
            coil.
    """
    held = _held(kspace, kspace)
    data = _with_signal(held)
    if not data.size:
        raise InputError("k-space is zero everywhere")
    shares = data.mean(axis=1)  # (coil, phase)
    together = data.any(axis=0).mean(axis=0)
    for line in np.flatnonzero((together > 0) & (together < SHARE))[:1]:
        raise InputError(
            f"line {line} holds data at {together[line]:.0%} of the readout samples: only whole lines are "
            "supported, no radial or spiral sampling, no random points, no masks that vary along kx"
        )
    sampled = np.asarray(together > 0)
    for coil, line in np.argwhere(sampled & (shares < SHARE_IN_EACH_COIL))[:1]:
        number = np.flatnonzero(held.any(axis=(1, 2)))[coil]
        raise InputError(
            f"coil {number} holds data at {shares[coil, line]:.0%} of the readout samples of line {line}, "
            "which other coils hold: a line counts as sampled when every coil has it"
        )
    return sampled


def quick_lines(kspace: NDArray[np.complex64]) -> Lines:
    """As :func:`lines_with_data`, from a few readout samples where they all say the same."""
    few = _with_signal(_held(kspace[:, _probes(kspace)], kspace))
    if few.size and (few == few[0, 0]).all():
        return np.asarray(few[0, 0])
    return lines_with_data(kspace)


@contextmanager
def naming_slice(file: Path, slice_: int, frame: int) -> Iterator[None]:
    """Put file, slice and frame before whatever is wrong with one slice."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{file}: slice {slice_}, frame {frame}: {error}") from None


def find_lines(images: Iterable[tuple[int, int, NDArray[np.complex64]]], file: Path) -> Lines:
    """The lines that some slices have in common.

    Args:
        images: slice, frame and k-space ``(coil, readout, phase)`` of each.
        file: what to call the file in messages.

    Returns:
        bool, ``(phase,)``.

    Raises:
        InputError: they are no whole lines, or not the same everywhere.
    """

    def lines_of(slice_: int, frame: int, kspace: NDArray[np.complex64]) -> tuple[int, int, Lines]:
        with naming_slice(file, slice_, frame):
            return slice_, frame, lines_with_data(kspace)

    return require_same((lines_of(*image) for image in images), file)


def require_same(found: Iterable[tuple[int, int, Lines]], file: Path) -> Lines:
    """The lines of all slices and frames.

    Args:
        found: slice, frame and lines, bool ``(phase,)``, of each; one at least.
        file: what to call the file in messages.

    Raises:
        UnsupportedError: they are not the same everywhere.
    """
    first: tuple[int, int, Lines] | None = None
    for slice_, frame, lines in found:
        first = first or (slice_, frame, lines)
        if (lines != first[2]).any():
            raise UnsupportedError(
                f"{file}: slice {slice_}, frame {frame} has other lines ({lines.sum()}) than "
                f"slice {first[0]}, frame {first[1]} ({first[2].sum()}): {_changes(frame != first[1])}"
            )
    assert first is not None
    return first[2]


def lines_of_mask(values: NDArray[Any], where: str) -> Lines:
    """The lines of a published mask: bool, ``(phase,)``.

    Args:
        values: numbers that are 0 where nothing was sampled, ``(frame, readout, phase)``.
        where: file and name of the mask, for messages.

    Raises:
        InputError: it holds NaN.
        UnsupportedError: it changes from frame to frame, or varies along the readout.
    """
    if np.isnan(values).any():
        raise InputError(f"{where} holds NaN, expected numbers that are 0 where nothing was sampled")
    mask = values != 0
    if (mask != mask[:1]).any():
        raise UnsupportedError(f"{where} {_changes(between_frames=True)}")
    if (mask != mask[:, :1]).any():
        raise UnsupportedError(f"{where} varies along kx; only masks of whole lines (ky) are supported")
    return np.asarray(mask[0, 0])


def require_lines(kspace: NDArray[np.complex64], volume: Volume, frame: int = 0) -> None:
    """Compare one slice with what its volume says of the sampling, quickly, as it is read.

    Args:
        kspace: complex64, ``(coil, readout, phase)``.
        volume: the volume that the slice is of.
        frame: the frame that it is of.

    Raises:
        InputError: a fully sampled scan lacks lines between those that it has, wherever they lie, or more
            than half of the acquired ones; the data of an undersampled one are not those that its mask
            claims; or the data make up no lines.
    """
    lines = quick_lines(kspace)
    if volume.sampled is None:
        _require_full(lines, volume)
        return
    # all values of what was left out, not the probes alone
    more = int(_held(kspace[..., ~volume.lines], kspace).any(axis=(0, 1)).sum())
    fewer = int((volume.lines & ~lines).sum())
    if more or fewer:
        parts = [f"holds data in {counted(more, 'line')} that the sampling mask leaves out"] * (more > 0)
        parts += [f"holds none in {counted(fewer, 'line')} that the sampling mask claims"] * (fewer > 0)
        changes = f"; perhaps the sampling {_changes(between_frames=True)}" if frame else ""
        raise InputError(f"k-space {' and '.join(parts)}{changes}")


def _require_full(lines: Lines, volume: Volume) -> None:
    """Refuse lines that no fully sampled scan has, whichever of them its header calls acquired."""
    acquired = lines[slice(*volume.acquired)]
    if holes(lines) or 2 * int(acquired.sum()) < acquired.size:
        held = np.flatnonzero(lines)
        first, end = min(volume.acquired[0], held[0]), max(volume.acquired[1], held[-1] + 1)
        empty = int((~lines[first:end]).sum())
        raise InputError(
            f"{empty} of {end - first} acquired lines are empty: undersampled, and no mask says so"
        )


def describe_gaps(kspace: NDArray[np.complex64], volume: Volume) -> list[str]:
    """What is unusual about a slice and no reason to refuse it, one line for each.

    Args:
        kspace: complex64, ``(coil, readout, phase)``, which :func:`require_lines` lets pass.
        volume: the volume that the slice is of.

    Raises:
        InputError: as :func:`lines_with_data`, which looks at every value.
    """
    lines = lines_with_data(kspace)
    found = _describe_padding(lines, volume) if volume.fully_sampled else []
    silent = np.flatnonzero(~_held(kspace, kspace).any(axis=(1, 2))).tolist()
    if silent:
        which = ", ".join(map(str, silent))
        found.append(f"{counted(len(silent), 'coil')} of {len(kspace)} hold nothing but zeros ({which})")
    energy = np.abs(kspace).sum(axis=0)
    place = np.unravel_index(energy.argmax(), energy.shape)
    stands_out = energy[place] > STANDS_OUT * np.median(energy[energy > 0])  # noise alone has no centre
    if stands_out and any(
        abs(at - size // 2) > size // 4 for at, size in zip(place, energy.shape, strict=True)
    ):
        found.append(
            f"k-space is largest at readout sample {place[0]}, line {place[1]}, far from the centre "
            f"({kspace.shape[1] // 2}, {kspace.shape[2] // 2}): is it stored with its centre in the middle?"
        )
    return found


def _describe_padding(lines: Lines, volume: Volume) -> list[str]:
    """Empty lines within the acquired ones of a fully sampled scan, and data outside of them."""
    found = []
    first, end = volume.acquired
    inside = np.flatnonzero(lines[first:end]) + first
    before, behind = int(inside[0]) - first, end - 1 - int(inside[-1])
    if before or behind:
        found.append(
            f"of {end - first} lines, {before} at the start and {behind} at the end are empty, in targets, "
            "too: zero padding or partial Fourier"
        )
    outside = int(lines[:first].sum() + lines[end:].sum())
    if outside:
        found.append(f"{counted(outside, 'line')} hold data outside of those that the header calls acquired")
    return found


def holes(lines: Lines) -> int:
    """How many lines are missing between the first and the last."""
    held = np.flatnonzero(lines)
    return int(held[-1] - held[0] + 1 - held.size) if held.size else 0


def _probes(kspace: NDArray[np.complex64]) -> NDArray[np.int_]:
    """A few readout samples, with the centre's, where the largest values are."""
    readout = kspace.shape[1]
    return np.unique([*np.linspace(0, readout - 1, PROBES).astype(int), readout // 2])


def _held(values: NDArray[np.complex64], kspace: NDArray[np.complex64]) -> NDArray[np.bool_]:
    """Which values of a slice, or of a part of it, are data."""
    threshold = NOTHING * float(np.abs(kspace[:, _probes(kspace)]).max(initial=0.0))
    return np.asarray((np.abs(values.real) > threshold) | (np.abs(values.imag) > threshold))


def _with_signal(data: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The coils of ``(coil, readout, phase)`` that hold any data, from the first readout sample that does."""
    held = np.flatnonzero(data.any(axis=(0, 2)))
    rows = slice(held[0], held[-1] + 1) if held.size else slice(0)
    return data[data.any(axis=(1, 2))][:, rows]


def _changes(between_frames: bool) -> str:
    if between_frames:
        return "changes from frame to frame: k-t sampling is not supported"
    return "sampling that changes from slice to slice is not supported"
