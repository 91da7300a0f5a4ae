"""Receive coils: circular loops round the body and their sensitivities by the law of Biot and Savart."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.interpolate import RectBivariateSpline

from fm_unroll.phantoms.shapes import Array, Plane

_SEGMENTS = 48
_COARSE = 40


@dataclass(frozen=True)
class CoilArray:
    """Loops in the coordinates of the slice (x right, y down, z through the plane), in mm.

    Attributes:
        centres: float ``(coils, 3)``.
        normals: unit vectors ``(coils, 3)``.
        radii: float ``(coils,)``.
        main_field: unit vector of the main field; only the transverse field of a loop is received.
        noise_covariance: complex ``(coils, coils)``, Hermitian, unit diagonal.
    """

    centres: Array
    normals: Array
    radii: Array
    main_field: tuple[float, float, float]
    noise_covariance: Array

    @classmethod
    def around(
        cls,
        rng: np.random.Generator,
        num_coils: int,
        half_axes: tuple[float, float],
        radius: float,
        main_field: tuple[float, float, float],
        axis: Literal["y", "z"] = "z",
    ) -> "CoilArray":
        """Place loops in two disordered, staggered rings on an elliptic cylinder whose axis they face.

        Args:
            rng: source of randomness.
            num_coils: number of loops.
            half_axes: half-axes of the ellipse, mm: along x, and along whichever of y and z is not the axis.
            radius: mean radius of the loops, mm.
            main_field: direction of the main magnetic field.
            axis: the axis of the cylinder.
        """
        turn = rng.uniform(0, 2 * np.pi)
        angles = turn + 2 * np.pi * (np.arange(num_coils) + rng.uniform(-0.2, 0.2, num_coils)) / num_coils
        offsets = (np.arange(num_coils) % 2 - 0.5 + rng.uniform(-0.2, 0.2, num_coils)) * radius
        reach = np.asarray(half_axes) * rng.uniform(1.0, 1.12, (num_coils, 1))
        centres = np.column_stack([reach * np.column_stack([np.cos(angles), np.sin(angles)]), offsets])
        normals = np.column_stack([-np.cos(angles), -np.sin(angles), rng.normal(0, 0.15, num_coils)])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        if axis == "y":
            centres, normals = centres[:, [0, 2, 1]], normals[:, [0, 2, 1]]
        radii = radius * rng.uniform(0.85, 1.15, num_coils)
        # Neighbours share noise; the correlation decays with the distance between the loops.
        distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
        phases = np.exp(1j * rng.uniform(0, 2 * np.pi, num_coils))
        covariance = np.exp(-distance / radius) * phases[:, None] * phases[None].conj()
        return cls(centres, normals, radii, main_field, covariance)

    def sensitivities(self, plane: Plane, coarse: int = _COARSE) -> Array:
        """Sensitivity maps, complex64 ``(coils, rows, columns)``.

        Their root-sum-of-squares is 1 at the isocentre. The maps are smooth, so they are computed on a
        coarse grid and interpolated by cubic splines.

        Args:
            plane: the points.
            coarse: rows and columns of the coarse grid.
        """
        rows, columns = plane.y[:, 0].astype(float), plane.x[0].astype(float)
        coarse_rows = np.linspace(rows[0], rows[-1], coarse)
        coarse_columns = np.linspace(columns[0], columns[-1], coarse)
        y, x = np.meshgrid(coarse_rows, coarse_columns, indexing="ij")
        points = np.stack([x, y, np.full_like(x, plane.z)], -1)
        field = self._transverse_field(points.reshape(-1, 3)).reshape(-1, coarse, coarse)
        centre = self._transverse_field(np.array([[0.0, 0.0, plane.z]]))
        field /= np.linalg.norm(centre)

        def refine(values: Array) -> Array:
            fine: Array = RectBivariateSpline(coarse_rows, coarse_columns, values)(rows, columns)
            return fine

        return np.stack([refine(c.real) + 1j * refine(c.imag) for c in field]).astype(np.complex64)

    def noise(self, rng: np.random.Generator, shape: tuple[int, int], std: float) -> Array:
        """Receiver noise, complex64 ``(coils, *shape)``, correlated between coils.

        Args:
            rng: source of randomness.
            shape: readout, phase.
            std: standard deviation of the complex value in every coil.
        """
        white = rng.standard_normal((2, len(self.radii), shape[0] * shape[1]), np.float32)
        noise: Array = self.noise_mixing(std) @ (white[0] + 1j * white[1])
        return noise.reshape(-1, *shape)

    def noise_mixing(self, std: float) -> Array:
        """What makes a standard deviation and the coils' correlation of white noise.

        Args:
            std: standard deviation of the complex value in every coil.

        Returns:
            complex64 ``(coils, coils)``, for noise whose real and imaginary parts have unit variance.
        """
        mixing: Array = np.linalg.cholesky(self.noise_covariance) * (std / np.sqrt(2))
        return mixing.astype(np.complex64)

    def _transverse_field(self, points: Array) -> Array:
        """Complex field ``(coils, points)`` of unit current in every loop, transverse to the main field."""
        b0 = np.asarray(self.main_field, float) / np.linalg.norm(self.main_field)
        first = np.cross(b0, np.eye(3)[np.argmin(np.abs(b0))])
        first /= np.linalg.norm(first)
        receive = first - 1j * np.cross(b0, first)
        angles = 2 * np.pi * (np.arange(_SEGMENTS) + 0.5) / _SEGMENTS
        field = []
        for centre, normal, radius in zip(self.centres, self.normals, self.radii, strict=True):
            u = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
            u /= np.linalg.norm(u)
            v = np.cross(normal, u)
            wire = centre + radius * (np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * v)
            current = radius * (-np.sin(angles)[:, None] * u + np.cos(angles)[:, None] * v)
            arm = points[:, None] - wire
            # A conductor has a thickness: without it the field would be infinite on the wire.
            cubed = (np.sum(arm**2, -1) + 15.0**2) ** 1.5
            field.append(np.cross(current, arm / cubed[..., None]).sum(1) @ receive)
        return np.stack(field)
