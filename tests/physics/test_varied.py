"""Masks whose pattern, acceleration and centre are drawn."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fm_unroll.errors import InputError
from fm_unroll.physics import (
    Center,
    EquispacedSampling,
    RandomSampling,
    UniformSampling,
    VariedSampling,
    pattern_from_config,
)

DRAWS = [f"P001/cine_sax/{number}" for number in range(600)]


def drawn(pattern: VariedSampling, num_lines: int = 400) -> list:
    return [pattern.drawn(num_lines, seed) for seed in DRAWS]


def test_accelerations_are_uniform_in_their_logarithm():
    pattern = VariedSampling((2, 8), (0.04, 0.04), ("EquispacedSampling",))
    places = [math.log(each.acceleration / 2) / math.log(4) for each in drawn(pattern)]
    assert stats.kstest(places, "uniform").pvalue > 0.05
    assert stats.kstest([(4**place - 1) / 3 for place in places], "uniform").pvalue < 1e-6


def test_whole_accelerations_are_drawn_by_the_same_law():
    pattern = VariedSampling((1.5, 5.9), (4, 4), ("UniformSampling",))
    counts = Counter(each.acceleration for each in drawn(pattern))
    weights = np.array([1 / each for each in (2, 3, 4, 5)])
    assert set(counts) == {2, 3, 4, 5}
    expected = len(DRAWS) * weights / weights.sum()
    assert stats.chisquare([counts[each] for each in (2, 3, 4, 5)], expected).pvalue > 0.05


def test_patterns_and_centres_are_drawn_evenly():
    found = drawn(VariedSampling((2, 4), (10, 13)))
    kinds = Counter(type(each) for each in found)
    assert set(kinds) == {UniformSampling, EquispacedSampling, RandomSampling}
    assert stats.chisquare(list(kinds.values())).pvalue > 0.05
    lines = Counter(each.num_acs(400) for each in found)
    assert set(lines) == {10, 11, 12, 13} and stats.chisquare(list(lines.values())).pvalue > 0.05
    fractions = [each.num_acs(4000) / 4000 for each in drawn(VariedSampling((2, 4), (0.02, 0.1)), 4000)]
    assert stats.kstest(fractions, "uniform", (0.02, 0.08)).pvalue > 0.05


def test_a_mask_is_that_of_the_pattern_that_its_seed_draws():
    varied = VariedSampling()
    for seed in DRAWS[:20]:
        mask, one = varied(218, seed, acquired=(10, 200)), varied.drawn(218, seed)
        assert mask.lines.equal(one(218, seed, acquired=(10, 200)).lines)
        assert (mask.acceleration, mask.num_acs, mask.available) == (one.acceleration, one.num_acs(218), 190)
        assert one.drawn(218, seed) is one
    assert len({varied.drawn(218, seed) for seed in DRAWS[:20]}) > 15
    assert varied.drawn(218, 7) == varied.drawn(218, 7) != varied.drawn(218, 8)


RANGES = st.tuples(st.floats(1, 20), st.floats(1, 20)).map(lambda ends: tuple(sorted(ends)))
CENTERS = st.one_of(
    st.tuples(st.integers(1, 64), st.integers(1, 64)).map(lambda ends: tuple(sorted(ends))),
    st.tuples(st.floats(0.001, 0.99), st.floats(0.001, 0.99)).map(lambda ends: tuple(sorted(ends))),
)


@given(st.integers(16, 800), RANGES, CENTERS, st.integers(0, 2**31))
def test_every_draw_is_possible_in_every_matrix(num_lines, accelerations, centers, seed):
    kinds = ("EquispacedSampling", "RandomSampling")
    low, high = accelerations
    if math.ceil(low) <= math.floor(high):
        kinds += ("UniformSampling",)
    pattern = VariedSampling(accelerations, centers, kinds)
    mask = pattern(num_lines, seed)
    assert low <= mask.acceleration * (1 + 1e-12) and mask.acceleration <= high
    assert mask.lines[pattern.drawn(num_lines, seed).place_center(num_lines, mask.num_acs)].all()
    least, greatest = (Center.parse(each).num_acs(num_lines) for each in centers)
    assert 1 <= mask.num_acs <= max(greatest, 1)
    # it is smaller than asked for only if the least acceleration leaves no room for more
    assert mask.num_acs >= min(least, num_lines // low - 1)
    beside_it = num_lines / mask.acceleration - mask.num_acs
    assert isinstance(pattern.drawn(num_lines, seed), UniformSampling) or beside_it >= 1 - 1e-6 or low == high
    assert pattern.of_batch(num_lines, seed)(num_lines, seed).lines.equal(mask.lines)


def test_uniform_sampling_alone_keeps_its_whole_centre():
    mask = VariedSampling((4, 4), (24, 24), ("UniformSampling",))(64, 0)
    assert mask.num_acs == 24 and mask.lines.equal(UniformSampling(4, 24)(64).lines)
    assert VariedSampling((4, 4), (24, 24), ("UniformSampling", "RandomSampling"))(64, 0).num_acs == 15


def test_the_slices_of_a_batch_share_one_centre_and_no_more():
    pattern = VariedSampling((2, 8), (8, 32)).of_batch(200, DRAWS[0])
    masks = [pattern(200, seed) for seed in DRAWS[:30]]
    assert {mask.num_acs for mask in masks} == {
        VariedSampling((2, 8), (8, 32)).drawn(200, DRAWS[0]).num_acs(200)
    }
    assert len({mask.acceleration for mask in masks}) > 10


def test_ends_enclose_what_is_drawn():
    pattern = VariedSampling((2, 10), (16, 32))
    for num_lines in (48, 204, 320):
        ends = [end(num_lines) for end in pattern.ends(num_lines)]
        masks = [pattern(num_lines, seed) for seed in DRAWS[:200]]
        for name, slack in (("num_acs", 1), ("true_acceleration", 1.4)):  # lines are drawn at random
            low, high = (extreme(getattr(end, name) for end in ends) for extreme in (min, max))
            assert all(low / slack <= getattr(mask, name) <= high * slack for mask in masks)
        assert {mask.num_acs for mask in ends} >= {
            min(m.num_acs for m in masks),
            max(m.num_acs for m in masks),
        }


def test_one_value_takes_the_place_of_a_range():
    pattern = VariedSampling((2, 10), (16, 32)).at(4, Center(fraction=0.08))
    assert pattern.accelerations == (4, 4) and pattern.acceleration == 4
    assert pattern.center == Center(fraction=0.08) and pattern(320, "a").num_acs == 26
    assert math.isnan(VariedSampling().acceleration) and UniformSampling(4).accelerations == (4, 4)
    with pytest.raises(InputError, match=r"centers \[16, 32\]: a single one"):
        VariedSampling((2, 10), (16, 32)).center  # noqa: B018


def test_configs_and_checkpoints_bring_it_back():
    pattern = VariedSampling((2, 6.5), (0.04, 0.08), ("RandomSampling",))
    config = json.loads(json.dumps(pattern.to_config()))
    assert pattern_from_config(config) == pattern and hash(pattern_from_config(config)) == hash(pattern)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"accelerations": (0.5, 4)}, "accelerations 0.5 to 4: give numbers from 1"),
        ({"accelerations": (4, math.inf)}, "give numbers from 1"),
        ({"accelerations": (8, 4)}, r"accelerations \[8, 4\]: give the least and the greatest"),
        ({"accelerations": (4,)}, r"accelerations \[4\]"),
        ({"centers": (32, 16)}, r"centers \[32, 16\]: give the least .* such as \[16, 32\] or \[0.04, 0.1\]"),
        ({"centers": (0.08, 16)}, r"centers \[0.08, 16\]: give two numbers of ACS lines"),
        ({"centers": (0, 0.1)}, r"centers \[0, 0.1\]: give two"),
        (
            {"patterns": ("RadialSampling",)},
            r"patterns \['RadialSampling'\]: give some of UniformSampling, Equi",
        ),
        ({"patterns": ()}, "give some of UniformSampling"),
        ({"patterns": ("VariedSampling",)}, "give some of UniformSampling"),
        ({"accelerations": (4.2, 4.8)}, "accelerations 4.2 to 4.8: UniformSampling needs a whole one"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options, words):
    with pytest.raises(InputError, match=words):
        VariedSampling(**options)


def test_ranges_without_whole_numbers_are_for_other_patterns():
    low, high = 4.2, 4.8
    assert low <= VariedSampling((low, high), patterns=("RandomSampling",))(300).acceleration <= high


@pytest.mark.parametrize("most", [1001, 1e9, math.inf, math.nan])
def test_accelerations_that_no_matrix_has_are_refused_at_once(most):
    with pytest.raises(InputError, match="accelerations"):
        VariedSampling(accelerations=(2, most))
    VariedSampling(accelerations=(2, 1000))
