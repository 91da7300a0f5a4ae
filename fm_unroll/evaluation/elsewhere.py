"""Reconstructions that were made elsewhere: where their files are, whether they can be scored, their images.

They lie in a folder for each sampling, as ``data undersample`` names them, in whatever tree below it::

    RESULTS/equispaced_x4_0.08/multicoil_val/file1000001.h5
    RESULTS/uniform_x8_24/P001/cine_sax.mat

A file belongs to the volume in whose name its path ends. Before anything is scored, every file is read and
compared with the target of its scan, because images that are turned, in other units or of another scan would
be scored as bad ones.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import median
from typing import Self

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from tqdm import tqdm

from fm_unroll.data.dataset import Identity, file_identity
from fm_unroll.data.examination import TURNS, fit
from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import target_image
from fm_unroll.data.volume import Volume, counted
from fm_unroll.errors import InputError
from fm_unroll.files import at_home, file_sha256, files_below
from fm_unroll.physics import SamplingPattern
from fm_unroll.provenance import source_sha256
from fm_unroll.reconstruction.stored import FORMATS, read_images

NAME = re.compile(r"\w[\w.-]{0,39}")
LARGEST_FACTOR = 2  # between images and their targets; zero-filled ones are a little too dark
BRIGHT = 1.25  # no method brightens as much; blurring darkens
LEAST_CORRELATION = 0.5  # zero-filled images have more
CLEARLY = 0.9  # of what is left of the correlation, where images are taken for turned ones
CERTAIN_CORRELATION = 0.8  # of an image with its target, from which on its scale says something
SHOWN = 3  # of the volumes that cannot be scored
print_once = rank_zero_only(print)  # by the first of the processes of torchrun


@dataclass(frozen=True)
class Elsewhere:
    """A folder of reconstructions.

    Attributes:
        name: as tables print it.
        folder: holds a folder for each sampling.
        files: by sampling, every file.
        loose: files of no sampling.
        identities: by which it is noticed that a file is changed.
        sha256: of all files and their places, and of the code that reads them.
    """

    name: str
    folder: Path
    files: dict[str, list[Path]] = field(repr=False, hash=False)
    loose: list[Path] = field(repr=False, hash=False)
    identities: dict[Path, Identity] = field(repr=False, hash=False)
    sha256: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Find the files of ``NAME=FOLDER``.

        Raises:
            InputError: the text is not so, or see :meth:`below`.
        """
        name, equals, folder = text.partition("=")
        if not equals or not NAME.fullmatch(name) or not folder:
            raise InputError(
                f"--reconstructions {text}: give NAME=FOLDER, a name of letters, digits, '.', '_' and '-'"
            )
        return cls.below(name, at_home(folder))

    @classmethod
    def below(cls, name: str, folder: Path) -> Self:
        """Find the files in a folder.

        Raises:
            InputError: there is no such folder, or it holds no reconstruction.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; --reconstructions takes NAME=FOLDER")
        everything = sorted(files_below(folder, tuple(FORMATS)))
        paths = [path for path in everything if path.parent != folder]
        if not paths:
            raise InputError(
                f"{folder}: holds no reconstructions; expected files such as {folder}/equispaced_x4_0.08/"
                f"file1000001.h5, ending in {', '.join(FORMATS)}"
            )
        digest = hashlib.sha256(source_sha256("fm_unroll.reconstruction.stored", __name__).encode())
        files: dict[str, list[Path]] = {}
        for path in tqdm(paths, desc=f"files of {name}", unit="file", delay=1):
            place = path.relative_to(folder)
            digest.update(f"{place.as_posix()}\n{file_sha256(path)}\n".encode())
            files.setdefault(place.parts[0], []).append(path)
        identities = {path: file_identity(path) for path in paths}
        loose = [path for path in everything if path.parent == folder]
        return cls(name, folder, files, loose, identities, digest.hexdigest())

    def find(self, pattern: SamplingPattern, volume: Volume) -> Path | None:
        """The file of a volume under a sampling; None if there is none.

        Raises:
            InputError: there are several.
        """
        found = self._by_end.get((pattern.folder, volume.name), [])
        if len(found) > 1:
            raise InputError(f"{found[0]} and {found[1]} are both of {volume.name}: keep one of them")
        return found[0] if found else None

    @cached_property
    def _by_end(self) -> dict[tuple[str, str], list[Path]]:
        """The files by sampling and every end of their paths without suffix."""
        ends: dict[tuple[str, str], list[Path]] = {}
        for sampling, paths in self.files.items():
            for path in paths:
                parts = path.relative_to(self.folder / sampling).with_suffix("").parts
                for start in range(len(parts)):
                    ends.setdefault((sampling, "/".join(parts[start:])), []).append(path)
        return ends

    def holds(self, pattern: SamplingPattern, volumes: Sequence[Volume]) -> bool:
        """Whether it has a file for any of some volumes under a sampling."""
        return any((pattern.folder, volume.name) in self._by_end for volume in volumes)

    def images(self, batch: KSpaceBatch, pattern: SamplingPattern, volume: Volume) -> Tensor:
        """The images of some slices of one volume: float32, ``(batch, *crop)``.

        Raises:
            InputError: the file is not there any more, has changed, or cannot be read.
        """
        path = self.find(pattern, volume)
        if path is None or file_identity(path) != self.identities[path]:
            raise InputError(f"{self.folder}: {volume.name} changed while it was in use; start again")
        return _images(path, volume)[batch.frame, batch.slice]

    def require(self, data: KSpaceData, patterns: Sequence[SamplingPattern]) -> None:
        """Refuse reconstructions of which one is missing or cannot be scored.

        Args:
            data: the data set, whose test volumes are meant.
            patterns: the samplings.

        Raises:
            InputError: there are such; the first few are named.
        """
        faults: list[str] = []
        factors: list[float] = []
        volumes = data.volumes("test")
        for volume in tqdm(volumes, desc=f"check {self.name}", unit="volume", delay=1):
            targets = {(frame, slice_): target for frame, slice_, target in some_targets(data, volume)}
            for pattern in patterns:
                try:
                    factors.append(self._require(volume, pattern, targets))
                except InputError as error:
                    faults.append(str(error))
        if faults:
            more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
            number = f"{len(faults)} of {len(volumes) * len(patterns)} volumes"
            raise InputError(
                f"--reconstructions {self.name}: {number} cannot be scored: {'; '.join(faults[:SHOWN])}{more}"
            )
        if (factor := median(factors)) > BRIGHT:
            print_once(
                f"{self.name}: images are {factor:.3g} times their targets, and scored so: were they scaled?"
            )

    def say_unused(self, wanted: Collection[tuple[SamplingPattern, Volume]]) -> None:
        """Print how many files are of no sampling, or of a wanted sampling but of no wanted volume."""
        used = {self.find(pattern, volume) for pattern, volume in wanted}
        folders = sorted({pattern.folder for pattern, _ in wanted})
        surplus = [path for folder in folders for path in self.files.get(folder, ()) if path not in used]
        for paths, why in ((self.loose, "of no sampling"), (surplus, "of no test volume")):
            if paths:
                more = ", ..." if len(paths) > 1 else ""
                print_once(f"{self.name}: {counted(len(paths), 'file')} {why}, not scored: {paths[0]}{more}")

    def _require(
        self, volume: Volume, pattern: SamplingPattern, targets: dict[tuple[int, int], Tensor]
    ) -> float:
        """How many times its target an image is; refuses it as :meth:`require` does."""
        path = self.find(pattern, volume)
        if path is None:
            raise InputError(f"{self.folder / pattern.folder}: no {volume.name}{{{','.join(FORMATS)}}}")
        images = _images(path, volume)
        if fault := fault_of(images, targets):
            raise InputError(f"{path}: {fault}")
        mine, true = compared(images, targets)
        return fit(mine.double(), true.double())[0]


@lru_cache(maxsize=1)
def _images(path: Path, volume: Volume) -> Tensor:
    """The images of the latest file: float32, ``(frame, slice, *crop)``."""
    return torch.from_numpy(read_images(path, volume))


def some_targets(data: KSpaceData, volume: Volume) -> Iterator[tuple[int, int, Tensor]]:
    """Frame, slice and target of the first, the middle and the last image of a volume."""
    slices = data.slices([volume])
    for item in sorted({0, len(slices) // 2, len(slices) - 1}):
        sample = slices[item]
        yield sample.frame, sample.slice, target_image(sample)


def fault_of(images: Tensor, targets: dict[tuple[int, int], Tensor]) -> str:
    """Why reconstructions cannot be those of some targets, and what to do; empty where they can.

    Args:
        images: float32, ``(frame, slice, row, column)``.
        targets: by frame and slice, float32 ``(row, column)``.
    """
    flat = images.flatten(2)
    if len(empty := (flat.amax(-1) == flat.amin(-1)).nonzero()):
        frame, slice_ = empty[0].tolist()
        return f"slice {slice_}, frame {frame} is the same everywhere"
    mine, true = compared(images, targets)
    for (frame, slice_), image, target in zip(targets, mine, true, strict=True):
        if correlation(image, target) < -LEAST_CORRELATION:
            return f"slice {slice_}, frame {frame} is the negative of its target: give magnitudes"
    own, (name, best) = correlation(mine, true), likeliest_order(images, targets)
    if 1 - best < CLEARLY * (1 - own):
        return (
            f"looks {name} (correlation with the target {best:.2f}, as it is {own:.2f}): rows run along the "
            "readout, columns along phase encoding, as in k-space"
        )
    if not own >= LEAST_CORRELATION:
        return (
            f"is not this scan, by its correlation with the target ({own:.2f}); give the one of this volume"
        )
    return fault_of_scale(mine, true)


def compared(images: Tensor, targets: dict[tuple[int, int], Tensor]) -> tuple[Tensor, Tensor]:
    """The images that have a target, and these; both float32 ``(image, row, column)``."""
    return torch.stack([images[place] for place in targets]), torch.stack(list(targets.values()))


def likeliest_order(images: Tensor, targets: dict[tuple[int, int], Tensor]) -> tuple[str, float]:
    """What was done to some images, of all that is known, if it was; and their correlation if it was.

    Arguments as of :func:`fault_of`.
    """
    mine, true = compared(images, targets)
    found = {
        name: correlation(mine, torch.stack([turn(target) for target in true]))
        for name, turn in TURNS.items()
        if turn(true[0]).shape == true[0].shape
    }
    if any(shift := best_shift(mine, true)):
        name = f"shifted by {shift[0]} rows and {shift[1]} columns"
        found[name] = correlation(mine, true.roll(shift, (-2, -1)))
    for name, order in orders(images).items():
        found[name] = correlation(torch.stack([order[place] for place in targets]), true)
    return max(found.items(), key=lambda item: item[1])


def fault_of_scale(images: Tensor, targets: Tensor) -> str:
    """What is wrong with the scale of some images, float32 ``(image, row, column)``; empty if nothing is."""
    factor, _ = fit(images.double(), targets.double())
    if not 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR:
        return (
            f"is {factor:.3g} times its target: give images in the units of the root-sum-of-squares of the "
            "coil images, by an orthonormal Fourier transform"
        )
    factors = [
        fit(image.double(), target.double())[0]
        for image, target in zip(images, targets, strict=True)
        if correlation(image, target) >= CERTAIN_CORRELATION
    ]
    if factors and max(factors) > LARGEST_FACTOR * min(factors):
        return (
            f"has slices of different scales, {min(factors):.3g} to {max(factors):.3g} times their targets: "
            "leave them in that of the coil images"
        )
    return ""


def best_shift(images: Tensor, others: Tensor) -> tuple[int, int]:
    """Rows and columns by which some images are shifted against others, where they correlate best.

    Args:
        images: float32, ``(image, row, column)``; what leaves at one side comes in at the other.
        others: the same.
    """
    spectra = [torch.fft.fft2(each.double()) for each in (images, others)]
    agreement = torch.fft.ifft2((spectra[0] * spectra[1].conj()).sum(0)).real
    place = divmod(int(agreement.argmax()), agreement.shape[1])
    rows, columns = (
        (shift + size // 2) % size - size // 2 for shift, size in zip(place, agreement.shape, strict=True)
    )
    return rows, columns


def orders(images: Tensor) -> dict[str, Tensor]:
    """The same images with slices and frames in other orders."""
    frames, slices = images.shape[:2]
    found = {"with its slices backwards": images.flip(1)} if slices > 1 else {}
    if frames > 1:
        found["with its frames backwards"] = images.flip(0)
    if frames == slices > 1:
        found["with slices and frames exchanged"] = images.swapaxes(0, 1)
    return found


def correlation(images: Tensor, others: Tensor) -> float:
    """Pearson's correlation over all pixels of some images; NaN where one of the two is constant."""
    pair = torch.stack([images.flatten(), others.flatten()]).double()
    return float(torch.corrcoef(pair)[0, 1])
