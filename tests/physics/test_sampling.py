import json
import math
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from fastmri.data.subsample import EquispacedMaskFractionFunc, RandomMaskFunc
from hypothesis import assume, given
from hypothesis import strategies as st

from fm_unroll.errors import InputError
from fm_unroll.physics import (
    Center,
    EquispacedSampling,
    RandomSampling,
    SamplingPattern,
    UniformSampling,
    count_acs_lines,
    pattern_from_config,
)
from fm_unroll.physics.sampling import locate_acs

# lines: true acceleration at nominal 4, 8, 10 of the CMRxRecon 2023 masks, counted from its mask rule
CHALLENGE = {132: (2.59, 3.47, 3.67), 204: (2.96, 4.34, 4.86)}


@pytest.mark.parametrize("num_lines", CHALLENGE)
def test_uniform_sampling_has_the_challenge_true_accelerations(num_lines):
    true = [UniformSampling(nominal)(num_lines).true_acceleration for nominal in (4, 8, 10)]
    assert [round(value, 2) for value in true] == list(CHALLENGE[num_lines])


@pytest.mark.parametrize("acceleration", [4, 8, 10])
@pytest.mark.parametrize("acs_lines", [24, 23])
def test_uniform_sampling_is_the_challenge_rule(acs_lines, acceleration):
    for num_lines in range(100, 261):
        # MATLAB, counted from 1: lines 1:R:end, and of zpad.m floor(n/2)+1+ceil(-m/2):floor(n/2)+ceil(m/2)
        matlab = set(range(1, num_lines + 1, acceleration))
        middle = math.floor(num_lines / 2)
        first, last = middle + 1 + math.ceil(-acs_lines / 2), middle + math.ceil(acs_lines / 2)
        assert last - first + 1 == acs_lines
        matlab |= set(range(first, last + 1))
        mask = UniformSampling(acceleration, acs_lines)(num_lines)
        assert {int(line) + 1 for line in mask.lines.nonzero()} == matlab
        assert mask.num_acs == acs_lines and mask.acceleration == acceleration
        assert mask.true_acceleration == num_lines / len(matlab)


# of 24 ACS lines, counted from 0: the first by the challenge's rule and by fastMRI's
FIRSTS = {116: (46, 46), 117: (46, 47), 204: (90, 90), 205: (90, 91), 246: (111, 111), 247: (111, 112)}


@pytest.mark.parametrize("num_lines", FIRSTS)
def test_acs_lines_are_found_where_either_rule_put_them(num_lines):
    for first in FIRSTS[num_lines]:
        lines = torch.zeros(num_lines, dtype=torch.bool)
        lines[0] = lines[first : first + 24] = True
        assert count_acs_lines(lines) == 24
        assert locate_acs(lines, 24).nonzero().flatten().tolist() == list(range(first, first + 24))
        lines[first + 3] = False
        # what is left on the left, as many on the right, the central one; by fastMRI's rule one more there
        assert count_acs_lines(lines) == 2 * (num_lines // 2 - first - 4) + 1 + num_lines % 2


def test_acs_lines_are_found_in_each_mask_of_a_batch():
    masks = torch.zeros(3, 1, 1, 205, dtype=torch.bool)
    masks[0, ..., 90:114] = masks[1, ..., 91:115] = masks[2, ..., 90:115] = True
    found = locate_acs(masks, 24)
    assert found.shape == masks.shape
    assert [row.nonzero().flatten().tolist()[0] for row in found.flatten(1)] == [90, 91, 91]
    assert (found.sum(-1) == 24).all()


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


@pytest.mark.parametrize("pattern", [UniformSampling, EquispacedSampling, RandomSampling])
@pytest.mark.parametrize("num_lines", [61, 64, 203])
def test_acceleration_1_is_every_line(pattern, num_lines):
    mask = pattern(1)(num_lines, "file1.h5")
    assert mask.lines.all() and mask.true_acceleration == 1


class FixedOffset:
    """Stands for a random state whose every draw is the offset that is asked for."""

    def __init__(self, offset):
        self.offset = offset

    def randint(self, low, high):
        self.end = high
        return self.offset


@pytest.mark.parametrize("fraction", [0.04, 0.06, 0.08])
@pytest.mark.parametrize("acceleration", range(2, 13))
def test_equispaced_lines_are_those_of_fastmri_in_matrices_of_any_width(acceleration, fraction):
    """From every offset: half a line is rounded to the same side."""
    ours, theirs = EquispacedSampling(acceleration, fraction), EquispacedMaskFractionFunc([0], [1])
    compared = 0
    for num_lines in range(32, 801):
        num_low = round(num_lines * fraction)
        if num_low * acceleration >= num_lines:
            continue
        draw = FixedOffset(0)
        ours.outer_lines(num_lines, num_low, draw)
        for offset in range(draw.end):
            draw.offset = offset
            expected = theirs.calculate_acceleration_mask(num_lines, acceleration, offset, num_low)
            if (ours.outer_lines(num_lines, num_low, draw) != expected).any():
                pytest.fail(f"{num_lines} lines from line {offset}")
            compared += 1
    assert compared > 1000


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
        (
            lambda: UniformSampling(4).at(center=Center(fraction=0.08)),
            "needs a number of ACS lines",
        ),
        (lambda: RandomSampling(4).at(center=Center(lines=24)), "RandomSampling needs a center fraction"),
        (lambda: UniformSampling(4).at(4.5), "whole acceleration"),
        (lambda: Center(), "either a number of ACS lines or a fraction"),
        (lambda: Center(lines=24, fraction=0.08), "either a number of ACS lines or a fraction"),
        (lambda: Center.parse(2.5), "'2.5': give a whole number"),
        (lambda: Center.parse(-1), "'-1': give a whole number"),
        (lambda: Center.parse("wide"), "'wide': give a whole number"),
        (lambda: Center.parse(float("nan")), "'nan': give a whole number"),
        (lambda: EquispacedSampling(8, 0.2)(320), "lower the acceleration or the center fraction"),
        (lambda: RandomSampling(8, 0.2)(320), "lower the acceleration or the center fraction"),
        (lambda: UniformSampling(100, 0)(200, acquired=(10, 90)), "samples none of the 80 acquired lines"),
        (lambda: count_acs_lines(torch.zeros(8, dtype=torch.bool)), "centre of k-space is not sampled"),
    ],
)
def test_impossible_patterns_say_why(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    "written, center, text, name",
    [
        (24, Center(lines=24), "24 ACS lines", "24 ACS lines"),
        (24.0, Center(lines=24), "24 ACS lines", "24 ACS lines"),
        ("24 ACS lines", Center(lines=24), "24 ACS lines", "24 ACS lines"),
        ("0 ACS lines", Center(lines=0), "0 ACS lines", "0 ACS lines"),
        (0.08, Center(fraction=0.08), "0.08", "center fraction 0.08"),
        ("0.08", Center(fraction=0.08), "0.08", "center fraction 0.08"),
        (0.1, Center(fraction=0.1), "0.10", "center fraction 0.10"),
    ],
)
def test_a_centre_is_read_and_written_as_in_records(written, center, text, name):
    assert Center.parse(written) == center
    assert str(center) == text and center.name == name
    assert Center.parse(text) == center and Center.parse(center.number or text) == center


def test_centres_are_ordered_lines_first_and_larger_ones_first():
    shuffled = ["0.04", "8 ACS lines", "0.08", "24 ACS lines"]
    ordered = sorted(map(Center.parse, shuffled), key=lambda center: center.order)
    assert list(map(str, ordered)) == ["24 ACS lines", "8 ACS lines", "0.08", "0.04"]


@pytest.mark.parametrize("num_lines", [100, 203, 320, 368])
@pytest.mark.parametrize("fraction", [0.02, 0.04, 0.08])
def test_a_fraction_has_the_acs_lines_of_fastmri(num_lines, fraction):
    _, num_low = RandomMaskFunc([fraction], [4])((1, num_lines, 2), seed=0)
    assert Center(fraction=fraction).num_acs(num_lines) == num_low
    assert Center(lines=24).num_acs(num_lines) == 24


@pytest.mark.parametrize(
    "pattern, acceleration, center, expected",
    [
        (UniformSampling(8), 4, None, UniformSampling(4, 24)),
        (UniformSampling(8), None, Center(lines=8), UniformSampling(8, 8)),
        (RandomSampling(8, 0.04), 10, Center(fraction=0.08), RandomSampling(10, 0.08)),
        (EquispacedSampling(8, 0.04), None, None, EquispacedSampling(8, 0.04)),
    ],
)
def test_a_pattern_elsewhere_is_the_same_pattern(pattern, acceleration, center, expected):
    assert pattern.at(acceleration, center) == expected


@pytest.mark.parametrize(
    "pattern", [UniformSampling(8.0, 24), EquispacedSampling(4, 0.08), RandomSampling(4, 0.125)]
)
def test_a_pattern_is_kept_as_class_and_arguments(pattern):
    config = json.loads(json.dumps(pattern.to_config()))
    assert config["class_path"] == f"fm_unroll.physics.sampling.{type(pattern).__name__}"
    assert pattern_from_config(config) == pattern


def test_defining_a_pattern_registers_it():
    @dataclass(frozen=True)
    class Nothing(SamplingPattern):
        """No line at all but the centre's."""

        lines: int = 4

        @property
        def center(self):
            return Center(lines=self.lines)

        def with_center(self, center):
            return replace(self, lines=center.lines)

        def outer_lines(self, num_lines, num_acs, random):
            return np.zeros(num_lines, dtype=bool)

    pattern = Nothing().at(center=Center(lines=6))
    assert pattern_from_config(pattern.to_config()) == pattern
    assert pattern(20).lines.sum() == 6


def test_nothing_is_imported_for_a_pattern():
    before = set(sys.modules)
    for name in ("this.Pattern", "antigravity.Pattern", "os.system", "UniformSampling"):
        with pytest.raises(InputError, match=f"{name} is not known here: import the module that defines it"):
            pattern_from_config({"class_path": name, "init_args": {}})
    assert not {"this", "antigravity"} & (set(sys.modules) - before)
    strange = UniformSampling(4).to_config() | {"init_args": {"center_fraction": 0.08}}
    with pytest.raises(InputError, match="cannot be made of"):
        pattern_from_config(strange)


def test_zero_is_a_given_value():
    with pytest.raises(InputError, match="acceleration 0 is below 1"):
        UniformSampling().at(acceleration=0)
    mask = UniformSampling().at(center=Center(lines=0))(40)
    assert mask.lines.nonzero().flatten().tolist() == [0, 8, 16, 24, 32] and mask.num_acs == 0
    assert RandomSampling(4).at(center=Center(fraction=0.0))(40).num_acs == 0
