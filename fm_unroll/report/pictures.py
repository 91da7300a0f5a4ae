"""Slices that a run stored: their images and errors, the scales they are shown on, pictures for the page."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.typing import DataFrameGroupBy
from PIL import Image

from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.selection import PLACE, Place
from fm_unroll.files import visible
from fm_unroll.report.sentences import center_name, times
from fm_unroll.report.style import data_uri

WHITE_PERCENTILE = 99.8  # of the target: the gray value that is shown as white
BRIGHTEST_PERCENTILE = 99.5  # of the errors of the arm for which it is largest: shown in the brightest colour
ERROR_COLORS = "inferno"


@dataclass(frozen=True)
class StoredSlice:
    """The reconstructions of one slice that the run stored as pictures.

    Attributes:
        place: where it stands in the records.
        contrast: contrast or view.
        target: float32 (readout, phase).
        images: arm -> float32 (readout, phase), in the order of the tables.
        ssim: arm -> SSIM of the record the picture belongs to; NaN where it failed.
        synthetic: whether it is a phantom.
    """

    place: Place
    contrast: str
    target: NDArray[np.float32]
    images: dict[Arm, NDArray[np.float32]]
    ssim: dict[Arm, float]
    synthetic: bool

    @property
    def title(self) -> str:
        """Where the slice is from, in one line."""
        place = self.place
        condition = f"{place.anatomy}, {center_name(place.center)}, {times(place.acceleration)}"
        frame = f", frame {place.frame}" if place.frame else ""
        return f"{condition}: {place.volume}, slice {place.slice}{frame} ({self.contrast})"

    @property
    def trained(self) -> list[Arm]:
        """The arms that were trained; all of them if none was."""
        return [arm for arm in self.images if arm.kind != "classical"] or list(self.images)

    @property
    def white(self) -> float:
        """The gray value that is shown as white; all images of a slice share it."""
        return float(np.percentile(self.target, WHITE_PERCENTILE)) or 1.0

    def error(self, arm: Arm) -> NDArray[np.float32]:
        """The absolute difference of an arm's image to the target in units of :attr:`white`.

        It is infinite where the image is not finite, so that a failure shows as the largest error.
        """
        difference = np.abs(self.images[arm] - self.target) / np.float32(self.white)
        error: NDArray[np.float32] = np.nan_to_num(difference, nan=np.inf, posinf=np.inf)
        return error


def read_slices(folder: Path, shown: pd.DataFrame) -> dict[Place, StoredSlice]:
    """Read the pictures a run stored.

    Args:
        folder: the run's ``images`` folder; need not exist.
        shown: as :func:`fm_unroll.evaluation.selection.shown_runs` returns them; they hold the SSIM.

    Raises:
        InputError: a file that lies outside the folder (a link), cannot be read or lacks a key, or whose
            slice is not in the records.
    """
    slices = {}
    rows_at = shown.groupby(list(PLACE))
    for path in visible(folder, ".npz"):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: a link out of {folder}; copy the file instead")
        stored = _read_slice(path, rows_at)
        slices[stored.place] = stored
    return slices


def _read_slice(path: Path, rows_at: DataFrameGroupBy) -> StoredSlice:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored}
        target = arrays["target"]
        place = Place(*(arrays[name].item() for name in PLACE))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{path}: not a stored slice ({error}); delete it or run the evaluation again"
        ) from error
    if place not in rows_at.groups:
        raise InputError(f"{path}: its slice is not in the records; delete it or run the evaluation again")
    rows = rows_at.get_group(place)
    recorded = {str(arm): (arm, float(ssim)) for arm, ssim in zip(rows.arm, rows.ssim, strict=True)}
    images = {name.partition("/")[2]: image for name, image in arrays.items() if name.startswith("image/")}
    if strange := images.keys() - recorded.keys():
        raise InputError(f"{path}: {min(strange)} has no record of this slice; run the evaluation again")
    shown = sorted(recorded[text] for text in images)
    return StoredSlice(
        place=place,
        contrast=rows.contrast.iloc[0],
        target=target,
        images={arm: images[str(arm)] for arm, _ in shown},
        ssim=dict(shown),
        synthetic=bool(rows.synthetic.any()),
    )


def brightest_error(errors: Iterable[NDArray[np.float32]]) -> float:
    """The error that is shown in the brightest colour, where several errors share one scale.

    Args:
        errors: as :meth:`StoredSlice.error` returns them. One that is not finite has no say.
    """
    tops = [float(np.percentile(error, BRIGHTEST_PERCENTILE)) for error in errors if np.isfinite(error).all()]
    return max(tops, default=1.0) or 1.0


def clipped(image: NDArray[np.float32], top: float) -> float:
    """The share of an image's pixels that are larger than the end of their scale."""
    return float((image > top).mean())


def gray_picture(image: NDArray[np.float32], white: float) -> str:
    """An image in 256 grays as a data URI; 0 is black, ``white`` and what is larger is white."""
    return data_uri(Image.fromarray(_eight_bit(image, white)))


def error_picture(error: NDArray[np.float32], brightest: float) -> str:
    """An error in 256 steps of its scale as a data URI, in the colours of the panels."""
    colors = mpl.colormaps[ERROR_COLORS](_eight_bit(error, brightest), bytes=True)
    return data_uri(Image.fromarray(colors))


def error_colors() -> list[str]:
    """The colours of errors from 0 to the brightest, evenly spaced, as style sheets name them."""
    return [mpl.colors.to_hex(color) for color in mpl.colormaps[ERROR_COLORS](np.linspace(0, 1, 17))]


def _eight_bit(image: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    steps: NDArray[np.uint8] = np.rint(255 * np.clip(np.nan_to_num(image / top), 0, 1)).astype(np.uint8)
    return steps
