"""From which acceleration on a method is ahead: by hand, and only where subjects agree."""

import numpy as np
import pytest

from fake_records import arm, fake_records
from fm_unroll.evaluation.alignment import align
from fm_unroll.evaluation.crossings import course, crossing, crossings
from fm_unroll.evaluation.records import volume_table

ACCELERATIONS = np.array([2.0, 4, 8])


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([-1, -0.5, 0.5], 6),
        ([-1, 0, 0.5], 4),
        ([-1, 1, -1], 3),
        ([0.1, 0.2, 0.3], -np.inf),
        ([0.1, -0.2, 0.3], -np.inf),
        ([-0.1, -0.2, -0.3], np.inf),
    ],
)
def test_the_crossing_is_where_the_line_rises_above_zero(gains, expected):
    assert crossing(ACCELERATIONS, np.array(gains)) == pytest.approx(expected)
    assert crossing(ACCELERATIONS, np.array([gains, gains])) == pytest.approx([expected, expected])


def gains(mean: list[float], spread: float = 0.1, subjects: int = 12) -> np.ndarray:
    return np.array(mean) + np.random.default_rng(1).normal(0, spread, (subjects, 1))


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        ([-1, -0.5, 0.5], "overtakes"),
        ([0.3, 0.4, 1.0], "ahead"),
        ([-0.3, -0.4, -1.0], "behind"),
        ([0.5, 0.1, -0.5], "falls behind"),
        ([-0.01, 0.2, 0.5], "not clear"),
        ([-0.5, -0.2, 0.01], "not clear"),
    ],
)
def test_the_course_of_the_gains_is_named_where_subjects_agree(mean, expected):
    assert course(ACCELERATIONS, gains(mean))[0] == expected


def test_the_interval_of_a_crossing_holds_it_and_narrows_with_subjects():
    few, many = (course(ACCELERATIONS, gains([-1, -0.5, 0.5], 0.2, subjects)) for subjects in (6, 60))
    for _, met, low, high in (few, many):
        assert low < met < high
    assert few[3] - few[2] > 2 * (many[3] - many[2])


def test_the_interval_of_a_crossing_is_that_of_the_mean_gain():
    """With one line of equal slope for all, the crossing moves by the mean gain over the slope."""
    shifts = np.random.default_rng(2).normal(0, 0.2, 200)
    met, low, high = course(np.array([2.0, 6]), np.array([-1, 1]) + shifts[:, None])[1:]
    assert met == pytest.approx(4 - 2 * shifts.mean())
    assert high - low == pytest.approx(2 * 2 * 1.96 * shifts.std() / np.sqrt(200), rel=0.08)


def test_three_subjects_at_least_and_two_accelerations():
    assert course(ACCELERATIONS, gains([-1, -0.5, 0.5], subjects=2))[0] == "not tested"
    assert course(ACCELERATIONS[:1], gains([1.0]))[0] == "not tested"
    assert course(ACCELERATIONS, gains([-1, -0.5, 0.5], subjects=3))[0] == "overtakes"


def test_records_cross_where_the_effects_were_put():
    records = fake_records(("varnet", "clip"), subjects=16, seeds=3, anatomies=("knee",))
    found = crossings(align(volume_table(records)), arm("varnet"), [arm("varnet"), arm("clip")])
    assert found.arm.to_list() == [arm("clip")] * 2 and found.covers_seeds.all()
    clear = found[found.course == "overtakes"]
    assert clear.crossing.to_list() == pytest.approx([3.9] * len(clear), abs=0.45) and len(clear)
    assert (found.points == 3).all() and (found.subjects == 16).all()
    assert found.from_acceleration.to_list() == pytest.approx([3.226, 3.571], abs=0.001)


def test_a_lower_error_is_a_gain():
    records = fake_records(("varnet", "clip"), subjects=16, seeds=1, anatomies=("knee",))
    by_ssim, by_error = (
        crossings(align(volume_table(records)), arm("varnet"), [arm("clip")], metric)
        for metric in ("ssim", "nmse_volume")
    )
    assert by_ssim.course.to_list() == by_error.course.to_list() and not by_ssim.covers_seeds.any()


def test_a_subject_that_failed_at_one_acceleration_is_left_out_at_all():
    records = fake_records(("varnet", "clip"), subjects=6, seeds=1, anatomies=("cardiac",))
    failed = (records.method == "clip") & (records.subject == "C003") & (records.acceleration == 8)
    records.loc[failed, ["ssim", "psnr", "nmse", "squared_error"]] = np.nan
    records.loc[failed, "status"] = "failed"
    assert crossings(align(volume_table(records)), arm("varnet"), [arm("clip")]).subjects.item() == 5
