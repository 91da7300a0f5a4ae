"""Receive coils obey Biot and Savart, and their maps are smooth and distinct."""

import numpy as np
import pytest

from fm_unroll.phantoms.coils import CoilArray
from fm_unroll.phantoms.shapes import Plane


def test_a_loop_on_its_axis_follows_biot_and_savart():
    """|B| on the axis of a loop of radius R goes as (R^2 + d^2 + a^2)^-1.5, a = 15 mm for the conductor."""
    loop = CoilArray(
        np.array([[-100.0, 0, 0]]), np.array([[1.0, 0, 0]]), np.array([60.0]), (0, 0, 1), np.ones((1, 1))
    )
    plane = Plane.grid(41, 41, (4.0, 4.0))
    on_axis = np.abs(loop.sensitivities(plane)[0, 20])
    distance = 100.0 + plane.x[20]
    expected = ((60.0**2 + 100.0**2 + 15.0**2) / (60.0**2 + distance**2 + 15.0**2)) ** 1.5
    np.testing.assert_allclose(on_axis, expected, rtol=2e-3)


def test_sensitivities_are_smooth_and_distinct(coils):
    maps = coils.sensitivities(Plane.grid(64, 64, (2.0, 2.0)))
    assert maps.dtype == np.complex64
    assert np.linalg.norm(maps[:, 32, 32]) == pytest.approx(1, rel=1e-3)
    # Curvature against size: a map may bend over centimetres, not over millimetres.
    curvature = np.abs(np.diff(maps, n=2, axis=-1)).max() / np.abs(maps).max()
    assert curvature < 0.01
    flat = maps.reshape(6, -1)
    similarity = np.abs(flat @ flat.conj().T) / np.outer(*[np.linalg.norm(flat, axis=1)] * 2)
    assert (similarity - np.eye(6)).max() < 0.9
