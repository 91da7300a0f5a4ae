"""Dead leaves: drawn pictures that share the statistics of photographs, in place of any real data.

Shapes of random size, place, brightness and texture fall on the ground and cover each other. Where the
density of their radii falls with the third power, the picture looks alike at every scale, as photographs do
(Lee, Mumford, Huang, "Occlusion models for natural images", IJCV 41, 2001,
https://doi.org/10.1023/A:1011109015675). Networks that restore images have been trained on such pictures in
place of photographs (Achddou, Gousseau, Ladjal, "Synthetic images as a regularity prior for image restoration
neural networks", SSVM 2021, https://doi.org/10.1007/978-3-030-75549-2_27), to denoise and to magnify. Here
they are the objects of simulated multi-coil scans, and the smallest size differs from picture to picture.

Shapes are polygons of ``CORNERS`` corners, float ``(shape, corner, 2)``, x before y.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from fm_unroll.errors import InputError
from fm_unroll.phantoms.shapes import Array

Range = tuple[float, float]

CORNERS = 24
_TILE, _WAVE = 256, 16  # samples of a texture's tile (a power of 2), and of one wave of it


@dataclass(frozen=True)
class DeadLeaves:
    """How pictures are drawn. A range is that of a value which each picture draws for itself, in logarithms.

    Attributes:
        exponent: the density of the radii r falls as r^-exponent; 3 makes all scales alike (Lee et al.).
        smallest: range of the radius at which the density begins, in pixels. Below one pixel leaves are finer
            than the scan resolves; large values leave wide smooth areas.
        largest: radius at which it ends, as a share of the longer side; without an end one leaf covers all.
        layers: range of the area of all leaves over that of the picture, besides the large leaves that lie
            under them; with few layers, wide areas stay smooth.
        most: leaves of a picture at most, which bounds the time.
        textured: share of the leaves that have a texture: waves, blotches or a roughness of all scales.
        lines: mean number of thin curved lines, as vessels and fasciae are; they lie above the leaves.
        dots: mean number of small bright spots, likewise.
        gamma: range of the power to which the finished picture is raised, which changes its contrast.
    """

    exponent: float = 3.0
    smallest: Range = (0.5, 6.0)
    largest: float = 0.3
    layers: Range = (0.5, 4.0)
    most: int = 2500
    textured: float = 0.5
    lines: float = 8.0
    dots: float = 12.0
    gamma: Range = (0.5, 1.6)

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            InputError: a value is out of its range.
        """
        if not 1 < self.exponent < math.inf:
            raise InputError(f"leaves.exponent is {self.exponent:g}: give a number above 1")
        if not 0 < self.largest <= 1:
            raise InputError(f"leaves.largest is {self.largest:g}: give a share of the side, above 0 up to 1")
        if not 0 <= self.textured <= 1:
            raise InputError(f"leaves.textured is {self.textured:g}: give a share from 0 to 1")
        for name in ("smallest", "layers", "gamma"):
            require_range(f"leaves.{name}", getattr(self, name))
        for name, least in (("most", 1), ("lines", 0), ("dots", 0)):
            if not least <= getattr(self, name) < math.inf:
                raise InputError(f"leaves.{name} is {getattr(self, name):g}: give {least} or more")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], finer: int = 1) -> Array:
        """Draw a picture.

        Args:
            rng: source of randomness, which decides everything.
            shape: rows and columns of the picture.
            finer: how many times denser the pixels are than those in which lengths are given.

        Returns:
            float32 ``shape``; from 0, its maximum is 1.
        """
        greatest = self.largest * max(shape)
        smallest = min(log_uniform(rng, self.smallest) * finer, greatest / 4)
        ground = self.radii(rng, greatest / 4, greatest, 3 * shape[0] * shape[1])
        radii = self.radii(rng, smallest, greatest, log_uniform(rng, self.layers) * shape[0] * shape[1])
        lines, dots = rng.poisson(self.lines), rng.poisson(self.dots)
        spots = finer * rng.uniform(0.4, 1.3, dots)
        leaves = outlines(rng, np.concatenate([ground, radii, spots]), shape)
        under, above = np.split(leaves, [len(ground) + len(radii)])
        shapes = np.concatenate([under, curves(rng, lines, finer, shape), above])
        levels = self.levels(rng, len(shapes), dots)
        textures = rng.random(len(shapes)) < self.textured
        picture = coloured(rng, paint(shapes, shape), shapes, levels, textures, finer)
        shading = 1 + 0.3 * rng.uniform(-1, 1) * np.cos(np.linspace(0, np.pi, shape[0])[:, None])
        picture *= shading * (1 + 0.3 * rng.uniform(-1, 1) * np.cos(np.linspace(0, np.pi, shape[1])))
        picture /= picture.max()
        finished: Array = (picture ** np.float32(log_uniform(rng, self.gamma))).astype(np.float32)
        return finished

    def radii(self, rng: np.random.Generator, smallest: float, largest: float, area: float) -> Array:
        """Radii of leaves that fall until the sum of their areas exceeds a given one, at most ``most``."""
        radii = power_law(rng, self.most, self.exponent, smallest, largest)
        enough: Array = radii[: 1 + np.searchsorted(np.cumsum(np.pi * radii**2), area)]
        return enough

    def levels(self, rng: np.random.Generator, shapes: int, dots: int) -> Array:
        """Brightness of each shape: a few values as of tissues, with some spread; dots are bright."""
        tissues = rng.random(rng.integers(3, 12))
        levels = rng.choice(tissues, shapes) + rng.normal(0, 0.05, shapes)
        levels[shapes - dots :] = rng.uniform(0.7, 1.3, dots)
        return levels


def log_uniform(rng: np.random.Generator, limits: Range) -> float:
    """A number between two limits whose logarithm is uniformly distributed."""
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))


def require_range(name: str, limits: Sequence[float]) -> None:
    """Refuse limits between which no number can be drawn.

    Raises:
        InputError: the first is not positive, the second is smaller, or either is no finite number.
    """
    if not 0 < limits[0] <= limits[1] < math.inf:
        raise InputError(f"{name} is {list(limits)}: give two numbers above 0, the smaller one first")


def power_law(
    rng: np.random.Generator, count: int, exponent: float, smallest: float, largest: float
) -> Array:
    """Numbers between two limits whose density falls as ``x^-exponent``, by the inverse of its integral."""
    first, last = smallest ** (1 - exponent), largest ** (1 - exponent)
    numbers: Array = (first + (last - first) * rng.random(count)) ** (1 / (1 - exponent))
    return numbers


def outlines(rng: np.random.Generator, radii: Array, shape: tuple[int, int]) -> Array:
    """Ellipses, polygons and wavy blobs of some radii, turned and placed at random.

    Args:
        rng: source of randomness.
        radii: float ``(shape,)``: those of the circles on which corners lie before they are stretched.
        shape: rows and columns of the picture, a little beyond which centres may lie.
    """
    count = len(radii)
    sides = rng.choice([3, 4, 4, 5, 6, CORNERS, CORNERS, CORNERS], (count, 1))
    # a polygon has its corners where a circle has points: several fall together
    steps = np.floor(np.arange(CORNERS) * sides / CORNERS) + 0.5
    angles = 2 * np.pi * steps / sides
    waves = 0.25 * rng.random((count, 1)) * (rng.random((count, 1)) < 0.4)
    reach = 1 + waves * np.cos(
        rng.integers(2, 5, (count, 1)) * angles + rng.uniform(0, 2 * np.pi, (count, 1))
    )
    # half of them as much longer as narrower, up to five times in all
    stretch = np.exp(rng.uniform(0, 0.8, (count, 1)) * rng.integers(0, 2, (count, 1)))
    along, across = reach * stretch * np.cos(angles), reach / stretch * np.sin(angles)
    turn = rng.uniform(0, 2 * np.pi, (count, 1))
    x = along * np.cos(turn) - across * np.sin(turn)
    y = along * np.sin(turn) + across * np.cos(turn)
    centres = rng.uniform(-0.1, 1.1, (count, 1, 2)) * shape[::-1]
    placed: Array = centres + radii[:, None, None] * np.stack([x, y], -1)
    return placed


def curves(rng: np.random.Generator, count: int, finer: int, shape: tuple[int, int]) -> Array:
    """Thin bands along arcs of circles, half a pixel to two pixels wide; for arguments see :meth:`draw`."""
    points = CORNERS // 2
    length = max(shape) * rng.uniform(0.1, 0.6, (count, 1))
    bend = rng.uniform(-2, 2, (count, 1))  # radians over the whole length
    heading = rng.uniform(0, 2 * np.pi, (count, 1)) + bend * np.linspace(0, 1, points)
    direction = np.stack([np.cos(heading), np.sin(heading)], -1)
    middle = np.cumsum(direction * length[..., None] / points, axis=1)
    middle += rng.uniform(-0.1, 0.9, (count, 1, 2)) * shape[::-1]
    half = finer * rng.uniform(0.25, 1, (count, 1, 1)) * direction[..., ::-1] * (-1, 1)
    return np.concatenate([middle + half, (middle - half)[:, ::-1]], axis=1)


def paint(shapes: Array, size: tuple[int, int]) -> Array:
    """Which shape lies on top at every pixel.

    Args:
        shapes: corners of each, in pixels, float ``(shape, corner, 2)``; later ones cover earlier ones.
        size: rows and columns of the picture.

    Returns:
        int32 ``size``: the number of the shape, counted from 1; 0 where there is none. Pixels that an outline
        touches are part of its shape, so that every shape has one.
    """
    canvas = Image.new("I", size[::-1])
    brush = ImageDraw.Draw(canvas)
    for number, corners in enumerate(shapes.reshape(len(shapes), -1).tolist(), start=1):
        brush.polygon(corners, fill=number)
    return np.asarray(canvas)


def coloured(
    rng: np.random.Generator, labels: Array, shapes: Array, levels: Array, textured: Array, finer: int
) -> Array:
    """Give every shape its brightness, a gradient and perhaps a texture, which goes with the shape.

    Args:
        rng: source of randomness.
        labels: the shape on top at every pixel, from :func:`paint`.
        shapes: corners of each, float ``(shape, corner, 2)``.
        levels: brightness at each centre.
        textured: which of them have a texture, bool.
        finer: pixels per unit of length.

    Returns:
        float32, of the shape of ``labels``; not below 0.
    """
    count = len(shapes) + 1  # the ground comes first
    centres = np.concatenate([[[0, 0]], shapes.mean(1)])
    radii = np.concatenate([[max(labels.shape)], np.ptp(shapes, axis=1).max(1) / 2 + 1])
    gradient = rng.normal(0, 0.08, (count, 2)) / radii[:, None]
    level = np.concatenate([[0.5], levels]) - (gradient * centres).sum(1)
    strength = rng.uniform(0.03, 0.25, count) * np.concatenate([[False], textured])
    waves = finer * np.exp(rng.uniform(np.log(2.5), np.log(40), count))  # in pixels
    step = _WAVE / waves  # samples of the tile per pixel
    turn, place = rng.uniform(0, 2 * np.pi, count), rng.integers(0, _TILE, (2, count))
    kind = rng.integers(0, len(_tiles()), count)
    columns = (level, *gradient.T, strength, step * np.cos(turn), step * np.sin(turn), *place)
    level, along_x, along_y, strength, cos, sin, u, v = (c.astype(np.float32)[labels] for c in columns)
    y, x = (axis.astype(np.float32) for axis in np.ogrid[: labels.shape[0], : labels.shape[1]])
    u, v = (cos * x + sin * y + u).astype(np.int32), (cos * y - sin * x + v).astype(np.int32)
    texture = _tiles()[kind[labels], v & _TILE - 1, u & _TILE - 1]
    values: Array = np.maximum(level + along_x * x + along_y * y + strength * texture, 0)
    return values


@cache
def _tiles() -> Array:
    """Three textures that repeat, of unit variance: waves, blotches of that size, and all sizes at once."""
    frequency = np.fft.fftfreq(_TILE, 1 / _TILE)
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    wave = _TILE / _WAVE
    white = np.fft.fft2(np.random.default_rng(0).standard_normal((_TILE, _TILE)))
    blotches = np.exp(-0.5 * ((radius - wave) / (0.35 * wave)) ** 2)
    rough = np.where((radius > wave / 4) & (radius < 4 * wave), 1 / np.maximum(radius, 1), 0)
    waves = np.broadcast_to(np.sin(2 * np.pi * np.arange(_TILE) / _WAVE), (_TILE, _TILE))
    tiles = np.stack([waves, *(np.fft.ifft2(white * band).real for band in (blotches, rough))])
    unit: Array = (tiles / tiles.std((1, 2), keepdims=True)).astype(np.float32)
    return unit
