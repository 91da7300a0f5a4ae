"""Size of a voxel and, where a file says so, its place in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# ISMRMRD counts towards the patient's left, back and head; NIfTI towards right, front and head.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Geometry:
    """Size and place of the pixels ``[row, column, slice]`` of an image.

    Attributes:
        voxel_mm: size of a voxel along row, column and slice, in mm.
        affine: float64, ``(4, 4)``: index to millimetres right, front, up (NIfTI's RAS+); None where the
            directions are unknown.
    """

    voxel_mm: tuple[float, float, float]
    affine: NDArray[np.float64] | None = None

    @property
    def oriented(self) -> bool:
        """Whether the directions are known."""
        return self.affine is not None

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
        row, column, slice_ = (float(np.linalg.norm(axis)) for axis in axes)
        affine = affine_of([LPS_TO_RAS @ axis for axis in axes], LPS_TO_RAS @ corner)
        return cls((row, column, slice_), affine)


def affine_of(axes: Sequence[ArrayLike], origin: ArrayLike) -> NDArray[np.float64]:
    """The matrix whose columns are three axes and the origin."""
    affine = np.eye(4)
    affine[:3] = np.column_stack([np.asarray(column) for column in (*axes, origin)])
    return affine
