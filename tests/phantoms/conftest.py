"""A tiny data set, and a receive array, shared by the tests of the phantoms."""

from pathlib import Path

import numpy as np
import pytest

from fm_unroll.phantoms.coils import CoilArray
from fm_unroll.phantoms.data_set import SyntheticData


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hearts, two knees and three heads; the hearts also undersampled four times."""
    folder = tmp_path_factory.mktemp("phantoms") / "new"
    SyntheticData("tiny", hearts=2, knees=2, heads=3, accelerations=(4,)).write(folder)
    return folder


@pytest.fixture(scope="package")
def coils() -> CoilArray:
    """Six loops round a head."""
    return CoilArray.around(np.random.default_rng(3), 6, (110, 125), 70, main_field=(0, 0, 1))
