"""What a file says of itself, compared with its data: the maximum and the stored images.

Both may be stale, as where someone has rescaled or turned the images of a copy. Therefore the maximum of the
target, to which SSIM and PSNR refer, is always measured.

The tolerances let pass what correct files differ by. A maximum is copied from the images, and may have been
rounded to half precision (0.05 %). Stored images differ from the RSS of the k-space by 1e-7 in single
precision, by 0.1 % in half precision. The factors, flips and shifts by which people err are far greater.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.lines import describe_gaps, naming_slice
from fm_unroll.data.readers.reader import Reader
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.undersampling import center_crop, rss_image, target_image
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError

MAXIMUM_TOLERANCE = 1e-3  # relative, of the stated maximum
SCALE_TOLERANCE = 1e-2  # relative, of the stored images
SHAPE_TOLERANCE = 5e-2  # norm of a stored image without the scaled RSS, over the norm of the image

# how an image may lie beside where it should: from the RSS to the stored image
TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "flipped up-down": lambda image: image.flip(0),
    "flipped left-right": lambda image: image.flip(1),
    "turned by 180 degrees": lambda image: image.flip(0, 1),
    "transposed": lambda image: image.T,
    "turned by 90 degrees": lambda image: image.rot90(1),
    "turned by 270 degrees": lambda image: image.rot90(3),
    "transposed about the other diagonal": lambda image: image.T.flip(0, 1),
}


@dataclass(frozen=True)
class Claims:
    """What a file says of the images of a volume.

    Attributes:
        stated: the maximum that it states; None where it states none.
        stored: the maximum of the images that it stores; None where it stores none.
        counted: the maximum of their centres, which count; None likewise.
    """

    stated: float | None = None
    stored: float | None = None
    counted: float | None = None

    @classmethod
    def of(cls, reader: Reader[Any], file: Any, volume: Volume) -> "Claims":
        """Read the stored images of a fully sampled volume, and no k-space.

        Args:
            reader: the layout.
            file: what the reader has opened.
            volume: the volume in it.

        Raises:
            InputError: the images cannot be used.
        """
        if not volume.fully_sampled:
            return cls()
        stated, images = reader.stated_maximum(file), reader.stored_images(file, volume)
        if images is None:
            return cls(stated)
        stored = counted = 0.0
        for image in map(torch.from_numpy, images):
            stored = max(stored, float(image.max()))
            counted = max(counted, float(center_crop(image, volume.crop).max()))
        return cls(stated, stored, counted)


def examine(slices: SliceDataset, items: Sequence[int] | None = None) -> Volume:
    """Read slices of a volume and compare them with what its file says.

    Args:
        slices: the slices of one volume.
        items: which of them to read. None: as few as tell the maximum of the target and the order of slices,
            which are the first and the middle one where the file stores images, and all where it does not.

    Returns:
        The volume with its contradictions, its remarks and, where they are known now, the target's maximum.

    Raises:
        InputError: a slice cannot be used, or the stored images are empty.
    """
    (volume,) = slices.volumes
    path, file = slices.open(0)
    claims = Claims.of(slices.reader, file, volume)
    if items is None:
        items = sorted({0, middle(volume)}) if claims.counted is not None else range(len(slices))
    return conclude(volume, (slices[item] for item in items), claims, path)


def conclude(volume: Volume, samples: Iterable[KSpaceSample], claims: Claims, file: Path) -> Volume:
    """As :func:`examine`, from slices that the caller reads."""
    peaks: list[float] = []
    contradictions: list[str] = []
    remarks: list[str] = []
    for sample in samples:
        if volume.fully_sampled:
            peaks.append(float(target_image(sample).max()))
        if not contradictions:  # the first says enough
            contradictions += compare_images(sample)
        if sample.frame * volume.num_slices + sample.slice == middle(volume):
            with naming_slice(file, sample.slice, sample.frame):
                remarks += describe_gaps(sample.kspace.numpy(), volume)
    maximum = claims.counted
    if maximum is None and len(peaks) == volume.num_images:
        maximum = max(peaks)
    if maximum == 0:
        raise InputError(f"{file}: the stored reconstruction is zero everywhere")
    contradictions += compare_maximum(claims, maximum)
    return replace(volume, maximum=maximum, contradictions=tuple(contradictions), remarks=tuple(remarks))


def middle(volume: Volume) -> int:
    """The item that is looked at most closely: a slice from the middle shows most."""
    return volume.num_images // 2


def compare_maximum(claims: Claims, measured: float | None) -> list[str]:
    """One line where the stated maximum is not that of the images; none where nothing is known of either."""
    maximum = measured if claims.stored is None else claims.stored
    if claims.stated is not None and not (math.isfinite(claims.stated) and claims.stated > 0):
        return [f"the stated maximum is {claims.stated:g}, no positive number"]
    if claims.stated is None or not maximum or abs(claims.stated / maximum - 1) <= MAXIMUM_TOLERANCE:
        return []
    return [
        f"the stated maximum {claims.stated:.6g} is {claims.stated / maximum:.4g} times that of the images, "
        f"{maximum:.6g}"
    ]


def compare_images(sample: KSpaceSample) -> list[str]:
    """Lines that say how the stored image of a slice differs from the RSS of its k-space."""
    if sample.target is None:
        return []
    image = sample.target.double()
    expected = rss_image(sample.kspace, sample.volume.crop).double()
    where = f"slice {sample.slice}: the stored image is"
    factor, rest = fit(image, expected)
    turned = ""
    if rest > SHAPE_TOLERANCE:
        fits = {
            name: fit(image, candidate)
            for name, turn in TURNS.items()
            if (candidate := turn(expected)).shape == image.shape
        }
        name = min(fits, key=lambda name: fits[name][1])
        if fits[name][1] > rest / 2:
            return [f"{where} not the RSS of its k-space: {rest:.0%} of it differ"]
        turned, factor = name, fits[name][0]
    found = [f"{where} {turned}"] if turned else []
    if abs(factor - 1) > SCALE_TOLERANCE:
        found.append(f"{where} {factor:.4g} times the RSS of its k-space")
    return found


def fit(image: Tensor, expected: Tensor) -> tuple[float, float]:
    """The factor that brings an image nearest to another one, and the part of the latter that remains."""
    factor = float((image * expected).sum() / expected.square().sum())
    norm = float(image.norm())
    return factor, float((image - factor * expected).norm()) / norm if norm else 0.0
