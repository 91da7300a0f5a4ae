"""Writers of reconstructed volumes, one per file format.

An image is float32 ``(frame, slice, row, column)``, rows along the readout, columns along phase encoding.
Every file is written whole or not at all.
"""

import gzip
import importlib.util
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from fm_unroll.data.readers.cmrxrecon import CATEGORIES
from fm_unroll.data.readers.cmrxrecon_tree import home
from fm_unroll.data.readers.geometry import Geometry
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.files import make_folder, whole_file

Format = Literal["h5", "mat", "nii", "png"]
SUFFIXES: dict[str, Format] = {
    ".h5": "h5",
    ".mat": "mat",
    ".nii.gz": "nii",
    ".nii": "nii",
    ".png": "png",
}
USUAL_FORMATS: tuple[Format, ...] = ("h5", "png")
FORMAT_PACKAGES = {"nii": "nibabel"}  # optional: the other formats do without them
DISPLAY_PERCENTILE = 99.8  # shown as white; the few brightest pixels are often vessels
GAP_PIXELS = 2  # between the slices of a picture


@dataclass(frozen=True)
class Picture:
    """A reconstruction, ready to be written.

    Attributes:
        image: float32, ``(frame, slice, row, column)``.
        volume: the volume it was made of.
        geometry: size and place of a voxel; None where the file does not say.
        source: the file that it was made of.
    """

    image: np.ndarray
    volume: Volume
    geometry: Geometry | None
    source: Path


def format_of(path: Path) -> Format | None:
    """The format that a file name asks for; None if it asks for none."""
    return next((name for suffix, name in SUFFIXES.items() if path.name.lower().endswith(suffix)), None)


def beside(path: Path, ending: str) -> Path:
    """The path of what belongs to a reconstruction that is in a file: its name with another ending."""
    suffix = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    return path.with_name(path.name[: -len(suffix)] + ending)


def check_writable(format: Format, volume: Volume, source: Path) -> None:
    """Refuse a format in which a volume cannot be written.

    Args:
        format: the format.
        volume: what will be written.
        source: the file that is reconstructed.

    Raises:
        InputError: a package is missing, or the challenge has no such file.
    """
    package = FORMAT_PACKAGES.get(format)
    if package and importlib.util.find_spec(package) is None:
        raise InputError(f"the format {format} needs the package {package}: pip install 'fm_unroll[files]'")
    if format == "mat":
        require_category(volume)
        if not of_test_phase(source):
            ranking_frames(volume)


def planned_files(
    output: Path, formats: Sequence[Format], volume: Volume, source: Path
) -> list[tuple[Format, Path]]:
    """Format and path of every file that is to be written, checked before the long work.

    Args:
        output: a file whose suffix names its format, or a folder for all ``formats``.
        formats: what to write into a folder; none: ``USUAL_FORMATS``.
        volume: what will be written.
        source: the file that is reconstructed.

    Raises:
        InputError: an unknown suffix, formats beside a file, a format that does not suit the volume, a
            missing package, or a file that is the source itself.
    """
    format = None if output.is_dir() else format_of(output)
    if format is None and output.suffix and not output.is_dir():
        raise InputError(f"{output}: unknown format; end it in {', '.join(SUFFIXES)}, or give a folder")
    if format:
        if formats:
            raise InputError(f"--formats is for a folder, and {output} is a file: leave out one of the two")
        paths = [(format, output)]
    else:
        suffixes = {name: suffix for suffix, name in reversed(SUFFIXES.items())}
        paths = [(name, output / f"{volume.name}{suffixes[name]}") for name in formats or USUAL_FORMATS]
    for name, path in paths:
        check_writable(name, volume, source)
        make_folder(path.parent)
        if path.resolve() == source.resolve():
            raise InputError(f"{path} is the file to be reconstructed: give another --output")
    return paths


def write_h5(path: Path, image: np.ndarray, extra: Mapping[str, np.ndarray] | None = None) -> None:
    """FastMRI's submission layout: one data set ``reconstruction``, ``(slice, row, column)``.

    ``(frame, slice, row, column)`` where there are several frames.

    Args:
        path: the file.
        image: float32, ``(frame, slice, row, column)``.
        extra: further arrays of the same shape, each a data set of its own.
    """
    # made in memory: on a full disk HDF5 could not close a file, which ends the whole process
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in {"reconstruction": image, **(extra or {})}.items():
            file[name] = values[0] if len(values) == 1 else values
    with whole_file(path) as part:
        part.write_bytes(content.getbuffer())


def write_nifti(path: Path, picture: Picture) -> None:
    """NIfTI ``[row, column, slice, frame]``, whose affine tells viewers where rows and columns lie.

    Without directions in the source both codes of orientation are 0: there is the voxel's size alone, and the
    file's description says so. Without a voxel size, which NIfTI cannot leave open, it is 1 mm.
    """
    import nibabel

    geometry = picture.geometry or Geometry((1, 1, 1))
    data = picture.image.transpose(2, 3, 1, 0)
    data = data[..., 0] if data.shape[-1] == 1 else data
    nifti = nibabel.Nifti1Image(data, geometry.affine)  # type: ignore[no-untyped-call]  # not annotated
    header = nifti.header
    if geometry.oriented:
        nifti.set_sform(geometry.affine, "scanner")  # type: ignore[no-untyped-call]  # likewise
    else:
        # without an affine nibabel leaves both codes 0; to set one of them would place the patient
        header.set_zooms((*geometry.voxel_mm, 1)[: data.ndim])  # type: ignore[no-untyped-call]  # likewise
    header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]  # likewise
    header["descrip"] = "; ".join(["fm_unroll", *unknown_place(picture)]).encode()
    content = nifti.to_bytes()
    with whole_file(path) as part:
        part.write_bytes(gzip.compress(content, mtime=0) if path.name.lower().endswith(".gz") else content)


def unknown_place(picture: Picture) -> list[str]:
    """What is not known of the place of a picture's voxels, in a few words; empty where all is."""
    if picture.geometry is None:
        return ["voxel size and orientation unknown"]
    return [] if picture.geometry.oriented else ["orientation unknown"]


def write_ranking(path: Path, picture: Picture) -> None:
    """The CMRxRecon challenge's submission: single ``img4ranking(kx, ky, slice, frame)`` in a MATLAB v5 file.

    In the test phase whole images, otherwise only what the validation phase ranks, see :func:`ranking_part`.
    """
    part_of_image = picture.image
    if not of_test_phase(picture.source):
        frames, slices, rows, columns = ranking_part(picture.volume, picture.image.shape)
        part_of_image = picture.image[frames, slices, rows, columns]
    with whole_file(path) as part:
        content = {"img4ranking": part_of_image.transpose(2, 3, 1, 0)}
        savemat(part, content, appendmat=False, do_compression=True)


def of_test_phase(source: Path) -> bool:
    """Whether a file is of the challenge's test phase, for which "you don't need to perform reduction".

    Source: ``ChallengeDataFormat/SubmissionFormat_Task1.txt`` of https://github.com/CmrxRecon/CMRxRecon; the
    phase is known by the subset in whose tree the file lies; folders above that tree may have any name.
    """
    place = home(source.absolute())
    return place is not None and place[1] == "TestSet"


def ranking_part(volume: Volume, shape: tuple[int, int, int, int]) -> tuple[slice, slice, slice, slice]:
    """What the challenge's validation phase ranks of a volume: frames, slices, rows and columns.

    Source: ``CMRxReconDemo/run4Ranking.m`` and ``crop.m`` of https://github.com/CmrxRecon/CMRxRecon. MATLAB
    counts from 1, includes a range's end and rounds halves up:

    - slices ``round(sz/2)-1 : round(sz/2)``, which is ``[round(sz/2) - 2, round(sz/2))`` here; all of them
      where there are fewer than 3 (the rule of 2024; that of 2023 has none). sz is the number of slices, as
      the comments of 2023 and the code of 2024 say.
    - frames ``1:3`` of cine, all of mapping.
    - along an axis of length m the centre of length s (``round(sx/3)``, ``round(sy/2)``) is
      ``floor(m/2)+1+ceil(-s/2) : floor(m/2)+ceil(s/2)``, which is ``[m//2 - s//2, m//2 + (s+1)//2)`` here.

    Args:
        volume: the volume, for its contrast.
        shape: of its image, ``(frame, slice, row, column)``.

    Raises:
        InputError: see :func:`ranking_frames`.
    """
    _, depth, rows, columns = shape
    middle = (depth + 1) // 2
    return (
        slice(0, ranking_frames(volume)),
        slice(0, depth) if depth < 3 else slice(middle - 2, middle),
        _middle(rows, (2 * rows + 3) // 6),
        _middle(columns, (columns + 1) // 2),
    )


def ranking_frames(volume: Volume) -> int:
    """How many frames of a volume the validation phase ranks, from the first.

    Raises:
        InputError: the challenge has no such contrast, or a cine has fewer than three frames.
    """
    if require_category(volume) == "Mapping":
        return volume.num_frames
    if volume.num_frames < 3:
        raise InputError(
            f"{volume.name}: the challenge ranks three frames, this cine has {volume.num_frames}; "
            "choose .h5, .nii.gz or .png"
        )
    return 3


def require_category(volume: Volume) -> str:
    """``Cine`` or ``Mapping``.

    Raises:
        InputError: the challenge has no such contrast.
    """
    category = CATEGORIES.get(volume.contrast)
    if category is None:
        raise InputError(
            f"{volume.name}: .mat is the CMRxRecon challenge's format for {', '.join(CATEGORIES)}, "
            f"this is {volume.contrast}; choose .h5, .nii.gz or .png"
        )
    return category


def _middle(length: int, size: int) -> slice:
    """MATLAB's ``crop`` along one axis."""
    return slice(length // 2 - size // 2, length // 2 + (size + 1) // 2)


def write_png(path: Path, picture: Picture) -> None:
    """A picture of all slices, 8 bit: one row per slice, one column per frame; of a single frame, a grid."""
    frames, slices, rows, columns = picture.image.shape
    tiles = picture.image.swapaxes(0, 1).reshape(-1, rows, columns)
    across = frames if frames > 1 else math.ceil(math.sqrt(slices * rows / columns))
    down = math.ceil(len(tiles) / across)
    framed = np.pad(tiles, ((0, across * down - len(tiles)), (0, GAP_PIXELS), (0, GAP_PIXELS)))
    grid = framed.reshape(down, across, *framed.shape[1:]).swapaxes(1, 2)
    canvas = grid.reshape(down * framed.shape[1], -1)[:-GAP_PIXELS, :-GAP_PIXELS]
    white = float(np.percentile(picture.image, DISPLAY_PERCENTILE)) or 1.0
    pixels = (np.clip(canvas / white, 0, 1) * 255).round().astype(np.uint8)
    with whole_file(path) as part:
        Image.fromarray(pixels).save(part, format="PNG")


def remark(format: Format, picture: Picture) -> str:
    """What to say of a file that was written, in brackets; empty where there is nothing."""
    if format == "nii" and (unknown := unknown_place(picture)):
        return f" ({', '.join(unknown)}: both codes are 0, viewers show rows and columns anyhow)"
    if format != "mat":
        return ""
    if of_test_phase(picture.source):
        return " (test phase: whole images)"
    return " (validation phase: the ranked slices, frames and centre; those of a TestSet are written whole)"


WRITERS: dict[Format, Callable[[Path, Picture], None]] = {
    "h5": lambda path, picture: write_h5(path, picture.image),
    "mat": write_ranking,
    "nii": write_nifti,
    "png": write_png,
}
