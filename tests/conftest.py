"""Fixtures shared by all tests."""

import os

# One thread a test process: tests run side by side, and idle threads that wait actively slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a test computes twice is computed twice.
os.environ["FM_UNROLL_START_MEMORY"] = os.environ["FM_UNROLL_START_DISK"] = "0"

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and no time limit for one: machines are shared. A longer search with others:
# python -m pytest --hypothesis-profile=default
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")

SHARED = Path(os.environ.get("FM_UNROLL_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real k-space and trained weights, which may not be distributed with the code."""
    if not SHARED.is_dir():
        pytest.skip(f"real data and weights are not at {SHARED} (set FM_UNROLL_SHARED)")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def index_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests away from the user's own index cache and from any W&B account."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FM_UNROLL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("WANDB_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def checkout() -> Iterator[None]:
    """Let scripts that tests write import the package under test, not one that is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny synthetic data set of all three anatomies."""
    from fm_unroll.commands.synthesize import synthesize

    root = tmp_path_factory.mktemp("synthetic")
    synthesize(root, size="tiny", hearts=6, knees=2, heads=2)
    return root


@pytest.fixture(scope="session")
def write_ismrmrd() -> Callable[..., Path]:
    """A function that writes k-space as a raw file, with the package that defines the format."""
    from ismrmrd_files import write_ismrmrd

    return write_ismrmrd


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records.csv of a finished evaluation with pictures, priors and provenance: two anatomies."""
    from fake_records import fake_records, write_run

    records = fake_records(
        ("varnet", "clip", "dinov2", "random", "zero_filled"),
        anatomies=("cardiac", "knee"),
        subjects=12,
        accelerations=(4.0, 10.0),
    )
    return write_run(tmp_path_factory.mktemp("run"), records)


@pytest.fixture(scope="session")
def records(run: Path):
    """Its rows."""
    from fm_unroll.evaluation.records import read_records

    return read_records(run)


@pytest.fixture(scope="session")
def analysis(records):
    """Its numbers."""
    from fm_unroll.report.analysis import analyse

    return analyse(records)


@pytest.fixture
def fake_hub(tmp_path: Path) -> Iterator:
    """A server that answers as the Hugging Face hub does, and an empty cache."""
    from hub_server import serve

    with serve(tmp_path) as hub:
        yield hub


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch):
    """A registered encoder of twelve blocks and 192 channels, for 64 x 64 pixels."""
    from fm_unroll.encoders import EncoderSpec, registry

    spec = EncoderSpec(
        name="tiny",
        architecture="vit_tiny_patch16_224",
        depth=12,
        patch=16,
        native_size=64,
        statistics=registry.HALF,
        licence="none",
        citation="none",
    )
    monkeypatch.setitem(registry._REGISTRY, spec.name, spec)
    return spec
