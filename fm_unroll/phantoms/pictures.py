"""The data module in which pictures, drawn or from a folder, are the objects of simulated scans.

Nothing is stored: a sample is made from the seed and the picture's name alone, whichever process asks for it.
"""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps

from fm_unroll.data.dataset import Slices
from fm_unroll.data.index import Index, IndexCache, stamp_all
from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.parallel import each
from fm_unroll.data.readers.reader import Images, Reader
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.undersampling import rss_image
from fm_unroll.data.volume import PICTURES, Volume
from fm_unroll.errors import InputError
from fm_unroll.files import files_below
from fm_unroll.phantoms.dead_leaves import DeadLeaves
from fm_unroll.phantoms.picture_scans import FINER, PictureScans
from fm_unroll.phantoms.shapes import Array
from fm_unroll.physics import Center, EquispacedSampling, SamplingPattern
from fm_unroll.subjects.population import Population

DRAWN = 2000  # pictures, unless another number is given
NOWHERE = Path("dead_leaves")  # the root of drawn pictures in messages
NAMED = 5  # images that cannot be used


@dataclass(frozen=True)
class Drawing:
    """A picture that is drawn when it is asked for."""

    leaves: DeadLeaves

    def pixels(self, rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        """The picture: float32 ``shape``, from 0 to 1."""
        return self.leaves.draw(rng, shape, FINER)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class ImageFile:
    """A picture in a file of any kind that Pillow reads."""

    path: Path

    def pixels(self, rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        """The middle of the image, in grey and resized: float32 ``shape``, from 0 to 1.

        What is transparent is black as far as it is, whatever colour is hidden there.

        Raises:
            InputError: it cannot be read, is black, or holds values that are no brightness.
        """
        try:
            with Image.open(self.path) as image:
                image.draft("L", shape[::-1])  # a large JPEG is decoded at a fraction of its size
                grey = grey_of(image).convert("F")
                least = np.asarray(grey).min()
                resized = ImageOps.fit(grey, shape[::-1], Image.Resampling.LANCZOS)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{self.path}: cannot be read as an image ({error}): remove it") from None
        values = np.maximum(np.asarray(resized, np.float32), 0)  # resizing overshoots at edges
        if least < 0:
            raise InputError(f"{self.path}: holds {least:g}, a brightness below 0: shift it, or remove it")
        if not 0 < values.max() < np.inf:
            raise InputError(f"{self.path}: black or transparent, or holds NaN or Inf: remove it")
        pixels: Array = values / values.max()
        return pixels

    def close(self) -> None:
        """Nothing stays open."""


def grey_of(image: Image.Image) -> Image.Image:
    """An image in grey, before a black ground where it is transparent; numbers of many bits as they are."""
    if image.mode.startswith(("I", "F")):
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert("L")


@dataclass(frozen=True)
class PictureReader(Reader[Drawing | ImageFile]):
    """Pictures as scans: one slice each, the picture its own subject.

    Attributes:
        seed: decides, with a picture's name, everything that is random about it.
        scans: how they are scanned.
        leaves: how they are drawn; None: they are files.
    """

    seed: int = 0
    scans: PictureScans = field(default_factory=PictureScans)
    leaves: DeadLeaves | None = None

    name: ClassVar[str] = "pictures"
    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

    def random(self, *purpose: object) -> np.random.Generator:
        """A source of randomness for one purpose, the same in every process."""
        text = "/".join(map(str, (self.seed, *purpose)))
        return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16]))

    def open(self, path: Path) -> Drawing | ImageFile:
        """The picture, which is drawn or read by :meth:`read`."""
        return ImageFile(path) if self.leaves is None else Drawing(self.leaves)

    def parse(self, file: Drawing | ImageFile, path: Path) -> Volume:
        """The scan of a picture; by its name alone, whatever it shows.

        Args:
            file: is not looked at.
            path: relative to the root.
        """
        name = path.as_posix()
        rng = self.random("scan", name)
        coils, readout, phase = self.scans.draw_shape(self.random("shape", rng.integers(self.scans.shapes)))
        return Volume(
            path=name,
            name=name,
            subject=name,
            contrast="picture" if self.leaves is None else "dead_leaves",
            num_slices=1,
            num_frames=1,
            num_coils=coils,
            readout=readout,
            phase=phase,
            crop=(readout, phase),
            acquired=self.scans.draw_acquired(rng, phase),
            synthetic=True,
        )

    def read(self, file: Drawing | ImageFile, volume: Volume, slice: int, frame: int) -> Images:
        """Draw or read the picture, and scan it."""
        rng = self.random("picture", volume.name)
        pixels = file.pixels(rng, (FINER * volume.readout, FINER * volume.phase))
        scanner = self.scans.scanner(rng, (volume.num_coils, volume.readout, volume.phase))
        return scanner.acquire(rng, self.scans.surround(rng, pixels), volume.acquired).numpy(), None

    def require(self, volume: Volume, root: Path) -> None:
        """Refuse an image that could not be scanned.

        Args:
            volume: its scan.
            root: the folder of the images.

        Raises:
            InputError: as :meth:`ImageFile.pixels`.
        """
        shape = (FINER * volume.readout, FINER * volume.phase)
        self.open(root / volume.path).pixels(self.random("picture", volume.name), shape)

    def population(self, path: Path, volume: Volume) -> Population:
        """Drawn pictures of one seed are one population; of files nothing says where they come from."""
        edition = "" if self.leaves is None else f"dead leaves {self.seed}"
        return Population(self.name, edition, synthetic=True)

    def names_subject(self, volume: Volume) -> bool:
        """Whether names tell pictures apart: they do."""
        return True

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """All images below a folder, sorted.

        Raises:
            InputError: there is no such folder, or no image in it.
        """
        if not root.is_dir():
            raise InputError(f"{root}: no such folder")
        files = sorted(files_below(root, self.suffixes))
        if not files:
            raise InputError(f"{root}: no images; expected files that end in {', '.join(self.suffixes)}")
        return files, []


class PictureSlices(Slices):
    """Scans of pictures, made when they are asked for."""

    def __init__(self, root: Path, reader: PictureReader, volumes: Sequence[Volume]) -> None:
        """List the pictures.

        Args:
            root: folder of the images.
            reader: makes the scans.
            volumes: the pictures.
        """
        super().__init__(volumes)
        self.root = root
        self.reader = reader

    def __getitem__(self, item: int) -> KSpaceSample:
        """Draw or read a picture and scan it. Its volume holds the maximum of its target.

        Raises:
            IndexError: there is no such item.
            InputError: the image cannot be read.
        """
        volume = self.volumes[item]
        with closing(self.reader.open(self.root / volume.path)) as picture:
            kspace = torch.from_numpy(self.reader.read(picture, volume, 0, 0)[0])
        maximum = float(rss_image(kspace, volume.crop).max())
        return KSpaceSample(kspace, None, replace(volume, maximum=maximum), 0, 0)


class PicturesData(KSpaceData):
    """Pictures as objects of simulated multi-coil scans, to train on where there are no scans.

    By default they are drawn, see :mod:`fm_unroll.phantoms.dead_leaves`; else they are the images of a
    folder. Every picture is a subject of its own; 90/5/5 % are for training, validation and test.
    """

    anatomy = PICTURES
    default_split = (0.9, 0.05, 0.05)
    reader: PictureReader

    def __init__(
        self,
        root: Path | None = None,
        pictures: int | None = None,
        acceleration: float | None = None,
        center_fraction: float | None = None,
        sampling: SamplingPattern | None = None,
        picture_seed: int = 0,
        scans: PictureScans | None = None,
        leaves: DeadLeaves | None = None,
        **options: Any,
    ) -> None:
        """Describe the data set.

        Args:
            root: folder of PNG, JPEG or TIFF images of any size, also in folders below it; None: dead leaves
                are drawn.
            pictures: how many; None: 2000 dead leaves, or all images of the folder.
            acceleration: nominal acceleration of the masks, in place of the pattern's.
            center_fraction: fully sampled centre lines over all lines, in place of the pattern's.
            sampling: pattern of the masks; None: equispaced, x8, center fraction 0.04.
            picture_seed: another one draws other pictures and other scans. It is not the seed of the run, so
                that runs of several seeds train on the same data.
            scans: how pictures are scanned: matrices, coils, noise, ...
            leaves: how dead leaves are drawn.
            options: split, split_seed, split_file, release, augmentation, batch_size, num_workers and seed,
                as in :class:`~fm_unroll.data.modules.KSpaceData`.

        Raises:
            InputError: fewer than one picture is asked for, or there are leaves for a folder of images.
        """
        if pictures is not None and pictures < 1:
            raise InputError(f"data.pictures is {pictures}: give 1 or more")
        if root is not None and leaves is not None:
            raise InputError(f"data.leaves: pictures of {root} are read, not drawn: leave out one of them")
        drawn = (leaves or DeadLeaves()) if root is None else None
        self.pictures = pictures
        center = None if center_fraction is None else Center(fraction=center_fraction)
        sampling = (sampling or EquispacedSampling(center_fraction=0.04)).at(acceleration, center)
        reader = PictureReader(picture_seed, scans or PictureScans(), drawn)
        super().__init__(root or NOWHERE, reader, sampling, **options)

    def read_index(self) -> Index:
        """The pictures, split; none is drawn, and each target's maximum is measured with it.

        Images are read once, so that none stops a training that has begun; those that are unchanged since an
        earlier run are not read again.

        Raises:
            InputError: the folder holds no images, fewer than were asked for, or some that cannot be used; or
                pictures were to be evaluated among the anatomies.
        """
        if self.verb == "cross-domain":
            raise InputError("PicturesData: pictures are to train on; give a data set of scans as a test set")
        volumes = [self.reader.parse(self.reader.open(path), path) for path in self.paths()]
        if self.reader.leaves is None:
            self.require_images(volumes)
        index = Index(self.root, volumes, missing=[], problems=[])
        self.divide(index)
        return index

    def require_images(self, volumes: Sequence[Volume]) -> None:
        """Read every image that is not known to be sound.

        Args:
            volumes: their scans. Which ones they are makes no difference to what is remembered.

        Raises:
            InputError: some cannot be used; the first few are named.
        """
        root = self.root.absolute()
        cache = IndexCache(root, self.reader)
        stamps, faults = stamp_all([root / volume.path for volume in volumes], root, self.reader)
        new = [v for v in volumes if v.path in stamps and cache.get(v.path, stamps[v.path]) is None]
        require = partial(self.reader.require, root=root)
        with cache:
            for volume, outcome in each(require, new, self.num_workers, "images"):
                if isinstance(outcome, InputError):
                    faults.append(str(outcome))
                else:
                    cache.put(volume.path, stamps[volume.path], volume)
        if faults:
            more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
            raise InputError("; ".join(faults[:NAMED]) + more)

    def paths(self) -> list[Path]:
        """Names of drawn pictures, or those images of the folder that are taken, relative to it."""
        if self.reader.leaves is not None:
            number = DRAWN if self.pictures is None else self.pictures
            return [Path(f"{picture:06}") for picture in range(number)]
        files = [file.relative_to(self.root) for file in self.reader.find(self.root)[0]]
        if self.pictures is None:
            return files
        if self.pictures > len(files):
            raise InputError(f"data.pictures is {self.pictures}, but {self.root} has {len(files)} images")
        chosen = self.reader.random("choice").permutation(len(files))[: self.pictures]
        return [files[number] for number in sorted(chosen)]

    def slices(self, volumes: Sequence[Volume]) -> PictureSlices:
        """Scans of some pictures."""
        return PictureSlices(self.root, self.reader, volumes)
