"""An index cache of their own for the tests that look at what is remembered: folders import the fixture."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def index_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty index cache for every test, away from the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FM_UNROLL_CACHE", str(folder))
    return folder
