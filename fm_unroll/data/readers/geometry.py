"""Size of a voxel and, where a file says so, its place in the scanner."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# ISMRMRD counts towards the patient's left, back and head; NIfTI towards right, front and head.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Geometry:
    """Where the pixels ``[row, column, slice]`` of an image lie.

    Attributes:
        affine: float64, ``(4, 4)``: index to millimetres right, front, up (NIfTI's RAS+).
        oriented: whether the axes are the patient's. If not, only the voxel's size is known, and the axes
            are such that a viewer shows rows downwards.
    """

    affine: NDArray[np.float64]
    oriented: bool

    @classmethod
    def upright(cls, voxel_mm: Sequence[float]) -> "Geometry":
        """A geometry of which only the voxel's size is known, ``(row, column, slice)`` in mm."""
        row, column, slice_ = voxel_mm
        return cls(affine_of(((0, -row, 0), (-column, 0, 0), (0, 0, slice_)), (0, 0, 0)), oriented=False)

    @classmethod
    def scanner(
        cls, axes: Sequence[NDArray[np.float64]], centre: tuple[float, float], position: NDArray[np.float64]
    ) -> "Geometry":
        """A geometry from the scanner's own directions.

        Args:
            axes: steps from one row, column and slice to the next in mm, in LPS.
            centre: row and column of the field of view's centre.
            position: that centre in the first slice, mm, in LPS.
        """
        corner = position - centre[0] * axes[0] - centre[1] * axes[1]
        return cls(affine_of([LPS_TO_RAS @ axis for axis in axes], LPS_TO_RAS @ corner), oriented=True)


def affine_of(axes: Sequence[ArrayLike], origin: ArrayLike) -> NDArray[np.float64]:
    """The matrix whose columns are three axes and the origin."""
    affine = np.eye(4)
    affine[:3] = np.column_stack([np.asarray(column) for column in (*axes, origin)])
    return affine
