"""One network for many accelerations, beside networks for one."""

import numpy as np
import pandas as pd
import pytest

from fake_records import arm, fake_records
from fm_unroll.evaluation.alignment import align, of_nearest_training
from fm_unroll.evaluation.endpoint import interactions
from fm_unroll.evaluation.records import volume_table


def one_for_all(records: pd.DataFrame, lowest: float = 2, highest: float = 10) -> pd.DataFrame:
    """The same rows, of one network for each method and seed."""
    trained = records.checkpoint_sha256 != ""
    networks = "all " + records.method + records.seed.astype(str)
    return records[trained].assign(
        train_acceleration=lowest,
        train_acceleration_to=highest,
        checkpoint_sha256=networks[trained],
        training_data="all",
    )


@pytest.fixture(scope="module")
def single() -> pd.DataFrame:
    made = fake_records(("varnet", "clip", "zero_filled"), anatomies=("knee",), subjects=4, slices=1, seeds=3)
    return made.assign(training_data=np.where(made.checkpoint_sha256 == "", "", "one"))


def test_one_network_counts_at_every_acceleration_of_its_span(single):
    both = pd.concat([single, one_for_all(single)], ignore_index=True)
    for condition in align(volume_table(both)):
        assert condition.train_acceleration == condition.acceleration and not condition.missing
        arms = {str(each): each for each in condition.networks}
        assert set(arms) == {"varnet", "varnet [x2-10]", "clip", "clip [x2-10]", "zero_filled"}
        assert all(len(condition.networks[arms[f"{name} [x2-10]"]]) == 3 for name in ("varnet", "clip"))
        assert condition.comparable(arms["clip [x2-10]"], arms["varnet [x2-10]"])
        assert condition.comparable(arms["clip [x2-10]"], arms["zero_filled"])
        assert not condition.comparable(arms["clip [x2-10]"], arms["varnet"])  # seen other masks


def test_beyond_its_span_a_network_is_missing(single):
    narrow = pd.concat([single, one_for_all(single, 4, 8)], ignore_index=True)
    rows = of_nearest_training(narrow, 10.0)
    assert set(rows.train_acceleration.dropna()) == {10} and (rows.method == "zero_filled").any()
    for condition in align(volume_table(narrow)):
        names = ("varnet [x4-8]", "clip [x4-8]") if condition.acceleration == 10 else ()
        missing = {str(each): why for each, why in condition.missing.items()}
        assert missing == dict.fromkeys(names, "trained for x4-8")


def test_what_one_network_is_off_by_at_all_accelerations_cancels_in_their_difference(single):
    """Networks for one acceleration are others at each, and what each is off by does not cancel."""
    off = 0.01 * (single.seed - 1).fillna(0) * (single.method == "clip")
    widths = []
    for records in (single, single.assign(ssim=single.ssim + off)):
        for rows in (records, one_for_all(records)):
            volumes = volume_table(rows)
            by_method = {each.method: each for each in set(volumes.arm)}
            (row,) = interactions(align(volumes), by_method["varnet"], [by_method["clip"]]).itertuples()
            widths.append(row.high - row.low)
    one, for_all, one_off, for_all_off = widths
    assert for_all_off == pytest.approx(for_all) and one_off > 1.5 * one


def test_without_networks_for_one_acceleration_none_is_the_nearest(single):
    (condition, *_) = align(volume_table(one_for_all(single)))
    assert np.isnan(condition.train_acceleration) and not condition.missing
    (clip,) = (each for each in condition.networks if each.method == "clip")
    assert condition.training(clip) == 2 and clip.of_any_training == arm("clip")
