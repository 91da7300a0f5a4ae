"""Fixtures of the data tests."""

import faulthandler
import os
from pathlib import Path

import pytest

# Some tests let a process of their own crash: that is their result, and no news for the terminal.
os.register_at_fork(after_in_child=faulthandler.disable)


@pytest.fixture(autouse=True)
def index_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty index cache for every test, away from the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FM_UNROLL_CACHE", str(folder))
    return folder
