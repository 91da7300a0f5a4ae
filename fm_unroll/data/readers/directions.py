"""Directions in the headers of ISMRMRD acquisitions, and what they mean.

They belong to the vendor's own image. Siemens makes it by a forward Fourier transform, so that the image of
the inverse one, which is made here, runs against them (PTB-MR/mrpro, pull request 833). Other vendors'
conventions are not verified: their images get no orientation.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_unroll.data.readers.geometry import Geometry
from fm_unroll.data.volume import Volume


def is_verified(vendor: str) -> bool:
    """Whether a header's vendor is the one whose convention is verified."""
    return vendor.lower().startswith("siemens")


def geometry_of(encoded: Any, volume: Volume, heads: NDArray[np.void], vendor: str) -> Geometry:
    """Voxel size, and where the slices lie if the acquisitions say so in a convention that is verified.

    Args:
        encoded: the header's encoded space.
        volume: the volume.
        heads: the header of one acquisition per slice.
        vendor: the scanner's, by the header.
    """
    field, matrix = encoded.fieldOfView_mm, encoded.matrixSize
    voxel = (field.x / matrix.x, field.y / matrix.y, field.z)
    directions = [heads[name][0].astype(float) for name in ("read_dir", "phase_dir", "slice_dir")]
    positions = heads["position"].astype(float)
    steps = np.diff(positions, axis=0)
    if not len(steps):
        steps = directions[2][None] * voxel[2]
    one_plane = all((heads[name] == heads[name][0]).all() for name in ("read_dir", "phase_dir"))
    evenly = np.allclose(steps, steps[0], atol=1e-2) and np.linalg.norm(steps[0]) > 0
    units = all(np.isclose(np.linalg.norm(direction), 1, atol=1e-2) for direction in directions)
    if not (is_verified(vendor) and one_plane and evenly and units):
        return Geometry(voxel)
    left = (volume.phase - volume.crop[1]) // 2
    centre = (volume.readout // 2, volume.phase // 2 - left)
    return Geometry.scanner(
        axes=(-directions[0] * voxel[0], -directions[1] * voxel[1], steps[0]),
        centre=centre,
        position=positions[0],
    )
