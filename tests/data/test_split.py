"""Properties of the split by subject."""

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_unroll.data.split import split_subjects, write_split
from fm_unroll.errors import InputError

SUBJECTS = st.lists(st.text(max_size=5), unique=True, max_size=40)
PAPER = [f"P{number:03d}" for number in range(1, 121)]


def sizes(split: dict[str, tuple[str, ...]]) -> tuple[int, ...]:
    return tuple(len(split[part]) for part in ("train", "val", "test"))


def test_the_paper_s_subjects():
    assert sizes(split_subjects(PAPER)) == (84, 12, 24)


def test_the_split_of_a_release_is_the_split_of_every_release():
    # for i in $(seq -w 1 120); do echo "$(printf 0:P$i | sha256sum) P$i"; done | sort | sed -n 85,96p
    expected = "P012 P036 P041 P048 P053 P059 P079 P085 P086 P099 P112 P116"
    assert split_subjects(PAPER, seed=0)["val"] == tuple(expected.split())


@given(SUBJECTS, st.randoms(), st.integers(0, 9))
def test_parts_are_disjoint_complete_and_independent_of_the_order(subjects, random, seed):
    split = split_subjects(subjects, seed=seed)
    assert sorted(chain.from_iterable(split.values())) == sorted(subjects)
    shuffled = list(subjects)
    random.shuffle(shuffled)
    assert split_subjects(shuffled, seed=seed) == split == split_subjects(set(subjects), seed=seed)


@given(st.integers(3, 200), st.integers(0, 9))
def test_sizes_follow_the_fractions_and_no_part_is_empty(number, seed):
    parts = sizes(split_subjects(PAPER[:number] + [str(n) for n in range(number - 120)], seed=seed))
    assert min(parts) >= 1
    if number >= 10:
        assert all(
            abs(part - number * fraction) <= 1 for part, fraction in zip(parts, (0.7, 0.1, 0.2), strict=True)
        )


def test_seeds_differ_and_empty_parts_can_be_asked_for():
    assert len({split_subjects(PAPER, seed=seed)["test"] for seed in range(5)}) == 5
    assert sizes(split_subjects(PAPER, (0, 0, 1))) == (0, 0, 120)
    assert sizes(split_subjects(["P001"], (0, 0, 1))) == (0, 0, 1)
    assert sizes(split_subjects(["P001"])) == (1, 0, 0)
    assert sizes(split_subjects(["P001", "P002"], (0.5, 0.5, 0))) == (1, 1, 0)


@pytest.mark.parametrize("fractions", [(0.7, 0.1), (0.7, 0.1, 0.1), (1.2, -0.2, 0), (70, 10, 20)])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(InputError, match="three fractions"):
        split_subjects(PAPER, fractions)


def test_repeated_subjects_are_refused():
    with pytest.raises(InputError, match="twice"):
        split_subjects(["P001", "P001"])


def test_a_written_split_says_what_it_was_made_from(tmp_path: Path):
    split = split_subjects(PAPER[:5], seed=4)
    write_split(tmp_path / "split.json", split, (0.7, 0.1, 0.2), seed=4)
    content = json.loads((tmp_path / "split.json").read_text())
    assert content["seed"] == 4 and content["fractions"] == [0.7, 0.1, 0.2]
    assert {part: tuple(content[part]) for part in split} == split
