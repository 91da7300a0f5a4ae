"""Geometry primitives: a plane through the body, shapes as level functions, band-limited random fields.

A level function gives, at every point of a plane, roughly the distance in mm to a boundary: positive inside,
negative outside. So ``level - 3`` is the shape shrunk by 3 mm, ``np.minimum`` intersects and ``np.maximum``
unites.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

Array = npt.NDArray[Any]
Point = tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """The points of one slice, in mm: x to the right, y down, origin at the isocentre, z the slice offset.

    Attributes:
        x: float32 ``(rows, columns)``.
        y: float32 ``(rows, columns)``.
        z: through-plane position of the slice.
        pixel: spacing of the points.
    """

    x: Array
    y: Array
    z: float
    pixel: float

    @classmethod
    def grid(cls, rows: int, columns: int, spacing: Point, z: float = 0.0) -> "Plane":
        """Lay out a regular grid whose point ``(rows // 2, columns // 2)`` is the isocentre.

        Args:
            rows: number of rows.
            columns: number of columns.
            spacing: distance between rows and between columns, mm.
            z: through-plane position, mm.
        """
        y = (np.arange(rows, dtype=np.float32) - rows // 2) * np.float32(spacing[0])
        x = (np.arange(columns, dtype=np.float32) - columns // 2) * np.float32(spacing[1])
        every_x, every_y = np.meshgrid(x, y)
        return cls(every_x, every_y, z, max(spacing))

    def local(self, centre: Point = (0.0, 0.0), angle: float = 0.0, scale: float = 1.0) -> "Plane":
        """Give the same points in a frame put at ``centre``, turned by ``angle`` and grown by ``scale``."""
        c, s = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
        x, y = self.x - np.float32(centre[0]), self.y - np.float32(centre[1])
        return replace(self, x=c * x + s * y, y=c * y - s * x)

    def warped(self, field: "Noise", amplitude: float) -> "Plane":
        """Displace the points by a random field of ``amplitude`` mm: what is drawn loses its symmetry."""
        shift_x, shift_y = field(self, z=self.z), field(self, z=self.z + 2 * field.wavelength)
        return replace(self, x=self.x + amplitude * shift_x, y=self.y + amplitude * shift_y)


class Noise:
    """A random field of unit variance with spatial frequencies around 1 / wavelength, smooth also in z."""

    _samples, _periods = 192, 24

    def __init__(self, rng: np.random.Generator, wavelength: float, bandwidth: float = 0.35) -> None:
        """Draw the field.

        Args:
            rng: source of randomness.
            wavelength: centre of the band, mm. The field repeats after 24 wavelengths.
            bandwidth: relative width of the band.
        """
        self.wavelength = wavelength
        frequency = np.fft.fftfreq(self._samples, 1 / self._samples)
        radius = np.hypot(*np.meshgrid(frequency, frequency)) / self._periods
        white = rng.standard_normal((self._samples, self._samples, 2)) @ (1, 1j)
        tile = np.fft.ifft2(white * np.exp(-0.5 * ((radius - 1) / bandwidth) ** 2))
        self._tile = (tile / tile.real.std()).astype(np.complex64)

    def __call__(self, plane: Plane, z: float = 0.0) -> Array:
        """Give the values at points of a plane, float32; ``z`` (mm) decorrelates over half a wavelength."""
        tile = (self._tile * np.exp(-0.5j * np.pi * z / self.wavelength)).real
        scale = self._samples / self._periods / self.wavelength
        values: Array = map_coordinates(tile, [plane.y * scale, plane.x * scale], order=1, mode="grid-wrap")
        return values


def ellipse(plane: Plane, centre: Point, radii: Point, angle: float = 0.0, power: float = 2.0) -> Array:
    """Superellipse; a ``power`` above 2 makes it squarer."""
    p = plane.local(centre, angle)
    reach = (np.abs(p.x / radii[0]) ** power + np.abs(p.y / radii[1]) ** power) ** np.float32(1 / power)
    distance = np.hypot(p.x, p.y)
    level: Array = distance / np.maximum(reach, 1e-3) - distance
    return level


def tube(plane: Plane, points: Sequence[Point], radii: float | Sequence[float]) -> Array:
    """Band along a polyline, with one radius (mm) or one per point."""
    at_points = np.broadcast_to(np.asarray(radii, np.float32), len(points))
    level = np.full(plane.x.shape, -np.inf, np.float32)
    for start, end, radius, next_radius in zip(points, points[1:], at_points, at_points[1:], strict=False):
        dx, dy = end[0] - start[0], end[1] - start[1]
        along = np.clip(((plane.x - start[0]) * dx + (plane.y - start[1]) * dy) / (dx**2 + dy**2), 0, 1)
        distance = np.hypot(plane.x - start[0] - along * dx, plane.y - start[1] - along * dy)
        level = np.maximum(level, radius + along * (next_radius - radius) - distance)
    return level


def blend(a: Array, b: Array, rounding: float) -> Array:
    """Unite two shapes, with the corner between them rounded over ``rounding`` mm."""
    overlap = np.maximum(rounding - np.abs(a - b), 0) / rounding
    union: Array = np.maximum(a, b) + overlap**2 * rounding / 4
    return union


def fade(level: Array, width: float) -> Array:
    """Turn a level into a cover: 0 outside, 1 inside, a smooth step of ``width`` mm across the boundary."""
    t = np.clip(level / width + 0.5, 0, 1)
    cover: Array = t * t * (3 - 2 * t)
    return cover
