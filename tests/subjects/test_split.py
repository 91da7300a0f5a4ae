"""Properties of the split by subject."""

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_unroll.errors import InputError
from fm_unroll.subjects.split import (
    Split,
    SplitOptions,
    read_split,
    split_sha256,
    split_subjects,
    write_split,
)

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
    written = Split(**split, fractions=(0.7, 0.1, 0.2), seed=4)
    write_split(tmp_path / "split.json", written)
    content = json.loads((tmp_path / "split.json").read_text())
    assert content["seed"] == 4 and content["fractions"] == [0.7, 0.1, 0.2]
    assert {part: tuple(content[part]) for part in split} == split
    assert read_split(tmp_path / "split.json") == written


def test_the_hash_of_a_split_is_of_who_is_in_which_part():
    split = {"train": ("P001", "P004"), "val": ("P002",), "test": ("P003",)}
    assert split_sha256({part: ids[::-1] for part, ids in reversed(split.items())}) == split_sha256(split)
    others = [
        split | {"val": (), "test": ("P002", "P003")},
        split | {"val": ("P002", "P003"), "test": ()},
        split | {"val": ("P003",), "test": ("P002",)},
        split | {"test": ()},
        split | {"train": ("P001",)},
        split | {"train": ("P001",), "test": ("P003", "P004")},
    ]
    assert len({split_sha256(parts) for parts in [split, *others]}) == 7


SEVEN = [f"P{number:03d}" for number in range(1, 8)]
RUN = Split(("P001", "P002", "P003"), ("P004",), ("P005", "P006", "P007"))


def asked(**options) -> SplitOptions:
    return SplitOptions((0.7, 0.1, 0.2), **options)


def test_nothing_asked_for_is_the_data_set_s_own_split_or_that_of_the_run():
    own = split_subjects(SEVEN, (0.7, 0.1, 0.2), 0)
    assert asked().settle(SEVEN, {}) == Split(**own, fractions=(0.7, 0.1, 0.2), seed=0)
    assert asked().settle(SEVEN, {"best.ckpt": RUN}) == RUN


def test_what_is_asked_for_may_be_the_run_s_split_in_other_words():
    split = Split(**split_subjects(SEVEN, (0.5, 0.2, 0.3), 3))
    options = asked(fractions=(0.5, 0.2, 0.3), seed=3)
    assert options.settle(SEVEN, {"best.ckpt": split}).parts == split.parts


@pytest.mark.parametrize(
    "options, subjects, words",
    [
        ({"seed": 1}, SEVEN, "was trained: leave out data.split"),
        ({"fractions": (0.2, 0.4, 0.4)}, SEVEN, "was trained: leave out data.split"),
        ({}, [*SEVEN, "P008"], "subject P008 came to the data since best.ckpt was trained"),
        ({}, [*SEVEN, *PAPER[7:]], r"113 subjects \(P008, P009, P010, ...\) came to the data"),
        ({}, SEVEN[1:], "subject P001 of the split of best.ckpt are missing"),
        ({}, SEVEN[:-1], "subject P007 of the split of best.ckpt are missing"),
    ],
)
def test_what_contradicts_a_run_s_split_is_refused_by_name(options, subjects, words):
    with pytest.raises(InputError, match=words):
        asked(**options).settle(subjects, {"best.ckpt": RUN})


def test_two_runs_with_different_splits_are_not_scored_together():
    other = Split(RUN.test, RUN.val, RUN.train)
    with pytest.raises(InputError, match=r"in 'test' when b\.ckpt was trained"):
        asked().settle(SEVEN, {"a.ckpt": RUN, "b.ckpt": other})


def test_a_split_file_is_taken_and_leaves_new_subjects_out(tmp_path: Path, caplog):
    write_split(tmp_path / "split.json", RUN)
    options = asked(file=tmp_path / "split.json")
    assert options.settle(SEVEN, {}) == RUN and not caplog.messages
    assert options.settle([*SEVEN, "P008"], {"best.ckpt": RUN}) == RUN
    assert "P008" in caplog.text and "left out" in caplog.text


@pytest.mark.parametrize(
    "options, words",
    [
        ({"seed": 1}, "split_seed is 1, but .* has 4"),
        ({"fractions": (0.5, 0.2, 0.3)}, r"split is \(0.5, 0.2, 0.3\)"),
    ],
)
def test_options_that_contradict_the_split_file_are_refused(options, words, tmp_path: Path):
    split = Split(**split_subjects(SEVEN, (0.7, 0.1, 0.2), 4), fractions=(0.7, 0.1, 0.2), seed=4)
    write_split(tmp_path / "split.json", split)
    same = asked(file=tmp_path / "split.json", fractions=(0.7, 0.1, 0.2), seed=4)
    assert same.settle(SEVEN, {}) == split
    with pytest.raises(InputError, match=words):
        asked(file=tmp_path / "split.json", **options).settle(SEVEN, {})


def test_a_split_file_of_other_subjects_is_refused(tmp_path: Path):
    write_split(tmp_path / "split.json", RUN)
    with pytest.raises(InputError, match=r"subject P007 of the split of .*split\.json are missing"):
        asked(file=tmp_path / "split.json").settle(SEVEN[:-1], {})
    with pytest.raises(InputError, match="was trained: leave out"):
        swapped = Split(RUN.test, RUN.val, RUN.train)
        asked(file=tmp_path / "split.json").settle(SEVEN, {"best.ckpt": swapped})


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "is not a file"),
        ({"train": ["P001"], "val": []}, "no split"),
        ({"train": ["P001"], "val": [], "test": "P002"}, "no split"),
        ({"train": ["P001"], "val": [], "test": ["P001"]}, "in two parts"),
    ],
)
def test_files_that_are_no_split_are_refused(content, words, tmp_path: Path):
    if content is not None:
        (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_split(tmp_path / "split.json")
