"""Rows of volumes are put together as one table, whatever columns each of them has."""

import pandas as pd
import pytest

from fake_records import fake_records
from fm_unroll.errors import InputError
from fm_unroll.evaluation.parts import Parts
from fm_unroll.evaluation.records import KEY, read_records, read_text


@pytest.fixture
def written(tmp_path):
    """The rows of some volumes: the table, and a file for each of them."""
    records = fake_records(("varnet", "zero_filled"), anatomies=("knee",), subjects=3, seeds=1)
    paths = []
    for number, (_, rows) in enumerate(records.groupby(["method", "center", "acceleration", "volume"])):
        paths.append(tmp_path / f"{number}.csv")
        rows.to_csv(paths[-1], index=False)
    return records, paths


def test_all_rows_are_there_once_in_the_order_of_their_keys(written, tmp_path):
    records, paths = written
    collected = Parts(tmp_path, ()).collect_rows(paths[::-1], pd.DataFrame())
    records.to_csv(tmp_path / "whole.csv", index=False)
    pd.testing.assert_frame_equal(collected, read_records(tmp_path / "whole.csv"))
    text = read_text(tmp_path / "records.csv")
    assert text[list(KEY)].equals(text[list(KEY)].sort_values(list(KEY)).reset_index(drop=True))
    first = (tmp_path / "records.csv").read_bytes()
    Parts(tmp_path, ()).collect_rows(paths, pd.DataFrame())
    assert (tmp_path / "records.csv").read_bytes() == first


def test_numbers_stay_as_they_were_written(written, tmp_path):
    _, paths = written
    Parts(tmp_path, ()).collect_rows(paths, pd.DataFrame())
    text = read_text(tmp_path / "records.csv")
    parts = pd.concat(map(read_text, paths)).sort_values(list(KEY), ignore_index=True)
    assert text[["ssim", "target_energy", "seed"]].equals(parts[["ssim", "target_energy", "seed"]])


def test_rows_of_earlier_commands_and_other_columns_stay(written, tmp_path):
    records, paths = written
    without = read_text(paths[0]).drop(columns=["haarpsi", "code"])
    without.to_csv(paths[0], index=False)
    earlier = read_text(paths[1]).assign(volume="earlier", mine="0.50")
    collected = Parts(tmp_path, ()).collect_rows(paths, earlier)
    assert len(collected) == len(records) + len(earlier)
    text = read_text(tmp_path / "records.csv")
    assert set(text[text.volume == "earlier"].mine) == {"0.50"} and set(text.mine) == {"0.50", ""}
    assert not (text == "nan").any(axis=None)


def test_a_broken_part_is_named(written, tmp_path):
    _, paths = written
    with paths[1].open("a") as file:
        file.write("one,two," * 40 + "\n")
    with pytest.raises(InputError, match=rf"{paths[1].name}: not a table of records"):
        Parts(tmp_path, ()).collect_rows(paths, pd.DataFrame())
