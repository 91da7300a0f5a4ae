"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("FM_UNROLL_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real k-space and trained weights, which may not be distributed with the code."""
    if not SHARED.is_dir():
        pytest.skip(f"real data and weights are not at {SHARED} (set FM_UNROLL_SHARED)")
    return SHARED
