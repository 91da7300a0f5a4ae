"""Slices that no scanner measures are refused."""

from pathlib import Path

import numpy as np
import pytest

from fm_unroll.data.sample import KSpaceSample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from simulate import random_kspace


def checked(kspace: np.ndarray) -> KSpaceSample:
    """A sample of the first slice of ``a.h5``, its only one."""
    file = Path("a.h5")
    return KSpaceSample.checked(kspace, None, Volume.of_array(file, (1, 1, 2, 16, 12)), 0, 0, file)


@pytest.mark.parametrize(
    "value, words",
    [
        (-np.inf, "k-space holds NaN or Inf"),
        (complex(0, -np.inf), "k-space holds NaN or Inf"),
        (-1e16, "k-space reaches 1e[+]16"),
        (-1e16j, "k-space reaches 1e[+]16"),
    ],
)
def test_one_large_negative_number_is_refused(value, words):
    kspace = random_kspace(2, 16, 12)
    assert checked(kspace.copy()).kspace.shape == (2, 16, 12)
    kspace[1, 3, 5] = value
    with pytest.raises(InputError, match=f"a.h5: slice 0, frame 0: {words}"):
        checked(kspace)


def test_numbers_may_all_be_negative():
    assert checked(np.full((2, 16, 12), -1 - 1j, np.complex64)).kspace.real.max() == -1
