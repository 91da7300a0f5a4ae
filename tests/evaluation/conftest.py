"""A small finished run, shared by the tests of tables, figures and the report."""

from pathlib import Path

import pandas as pd
import pytest
from fake_records import fake_records, write_run

from fm_unroll.evaluation.records import read_records
from fm_unroll.evaluation.report import Analysis, analyse


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records.csv of a run with pictures, priors and provenance: two anatomies."""
    records = fake_records(
        ("varnet", "clip", "dinov2", "random", "zero_filled"),
        anatomies=("cardiac", "knee"),
        subjects=12,
        accelerations=(4.0, 10.0),
    )
    return write_run(tmp_path_factory.mktemp("run"), records)


@pytest.fixture(scope="session")
def records(run: Path) -> pd.DataFrame:
    return read_records(run)


@pytest.fixture(scope="session")
def analysis(records: pd.DataFrame) -> Analysis:
    return analyse(records)
