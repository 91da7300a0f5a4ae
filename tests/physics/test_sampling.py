import pytest
import torch
from fastmri.data.subsample import EquispacedMaskFractionFunc, RandomMaskFunc
from hypothesis import assume, given
from hypothesis import strategies as st

from fm_unroll.errors import InputError
from fm_unroll.physics import EquispacedSampling, RandomSampling, UniformSampling, count_acs_lines

# lines: true acceleration at nominal 4, 8, 10 of the CMRxRecon 2023 masks, counted from its mask rule
CHALLENGE = {132: (2.59, 3.47, 3.67), 204: (2.96, 4.34, 4.86)}


@pytest.mark.parametrize("num_lines", CHALLENGE)
def test_uniform_sampling_has_the_challenge_true_accelerations(num_lines):
    true = [UniformSampling(nominal)(num_lines).true_acceleration for nominal in (4, 8, 10)]
    assert [round(value, 2) for value in true] == list(CHALLENGE[num_lines])


@pytest.mark.parametrize("num_lines", [116, 132, 144, 162, 168, 204, 246])
@pytest.mark.parametrize("acceleration", [4, 8, 10])
def test_uniform_sampling_is_the_challenge_rule(num_lines, acceleration):
    # MATLAB, counted from 1: lines 1:R:end and ny/2-11 .. ny/2+12
    matlab = set(range(1, num_lines + 1, acceleration))
    matlab |= set(range(num_lines // 2 - 11, num_lines // 2 + 13))
    mask = UniformSampling(acceleration)(num_lines)
    assert {int(line) + 1 for line in mask.lines.nonzero()} == matlab
    assert mask.num_acs == 24 and mask.acceleration == acceleration
    assert mask.true_acceleration == num_lines / len(matlab)


@pytest.mark.parametrize(
    "ours, theirs", [(EquispacedSampling, EquispacedMaskFractionFunc), (RandomSampling, RandomMaskFunc)]
)
@pytest.mark.parametrize("num_lines", [203, 320, 368])
@pytest.mark.parametrize("acceleration, fraction", [(4, 0.08), (8, 0.04), (10, 0.08), (10, 0.04)])
@pytest.mark.parametrize("seed", [0, 7, "file1000001.h5"])
def test_same_lines_as_fastmri(ours, theirs, num_lines, acceleration, fraction, seed):
    fastmri_seed = tuple(map(ord, seed)) if isinstance(seed, str) else seed
    expected, num_low = theirs([fraction], [acceleration])((1, num_lines, 2), seed=fastmri_seed)
    mask = ours(acceleration, fraction)(num_lines, seed)
    assert torch.equal(mask.lines, expected.flatten().bool())
    assert mask.num_acs == num_low


@given(
    num_lines=st.integers(1, 512),
    acceleration=st.integers(1, 16),
    fraction=st.floats(0, 1),
    seed=st.text(min_size=1, max_size=8),
    padding=st.integers(0, 40),
    pattern=st.sampled_from([EquispacedSampling, RandomSampling]),
)
def test_any_mask_is_reproducible_keeps_its_centre_and_leaves_padding_empty(
    num_lines, acceleration, fraction, seed, padding, pattern
):
    assume(2 * padding < num_lines)
    acquired = (padding, num_lines - padding)
    try:
        mask = pattern(acceleration, fraction)(num_lines, seed, acquired)
    except InputError:
        return
    assert torch.equal(mask.lines, pattern(acceleration, fraction)(num_lines, seed, acquired).lines)
    assert not mask.lines[:padding].any() and not mask.lines[num_lines - padding :].any()
    assert mask.available == num_lines - 2 * padding
    assert mask.true_acceleration == mask.available / int(mask.lines.sum()) >= 1
    if 0 < mask.num_acs <= mask.available:
        assert count_acs_lines(mask.lines) >= min(mask.num_acs, mask.available - 1)


def test_different_volumes_get_different_random_masks():
    pattern = RandomSampling(4, 0.08)
    assert not torch.equal(pattern(320, "file1").lines, pattern(320, "file2").lines)


def test_fully_sampled_scan_has_all_its_lines_as_acs():
    assert count_acs_lines(torch.ones(204, dtype=torch.bool)) == 204
    assert count_acs_lines(torch.ones(203, dtype=torch.bool)) == 203


@pytest.mark.parametrize("num_acs", [1, 2, 23, 24])
@pytest.mark.parametrize("num_lines", [203, 204])
def test_acs_lines_of_a_scan_are_found(num_lines, num_acs):
    lines = UniformSampling(60, num_acs)(num_lines).lines
    assert count_acs_lines(lines) == num_acs


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: UniformSampling(0.5), "below 1"),
        (lambda: UniformSampling(float("nan")), "below 1"),
        (lambda: UniformSampling(4.5), "whole acceleration"),
        (lambda: UniformSampling(4, -1), "0 or more"),
        (lambda: UniformSampling(4, 24)(16), "24 ACS lines do not fit into 16"),
        (lambda: EquispacedSampling(4, 24), "fraction from 0 to 1"),
        (lambda: EquispacedSampling(8, 0.2)(320), "lower the acceleration or the center fraction"),
        (lambda: RandomSampling(8, 0.2)(320), "lower the acceleration or the center fraction"),
        (lambda: UniformSampling(100, 0)(200, acquired=(10, 90)), "samples none of the 80 acquired lines"),
        (lambda: count_acs_lines(torch.zeros(8, dtype=torch.bool)), "centre of k-space is not sampled"),
    ],
)
def test_impossible_patterns_say_why(make, words):
    with pytest.raises(InputError, match=words):
        make()
