"""Splits of a data set by subject."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fm_unroll.errors import InputError
from fm_unroll.files import write_json

PARTS = ("train", "val", "test")


def split_subjects(
    subjects: Collection[str], fractions: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0
) -> dict[str, tuple[str, ...]]:
    """Divide subjects into training, validation and test.

    A pure function of the ids and the seed, the same on every machine and for every order of the ids:
    subjects are sorted by a hash of seed and id, and the list is cut at the fractions. Where a part would be
    empty although its fraction is above zero, the largest part gives it a subject if it has two or more.

    Args:
        subjects: distinct ids.
        fractions: of training, validation and test; their sum is 1.
        seed: another seed gives another split.

    Returns:
        The sorted ids of ``train``, ``val`` and ``test``; 120 subjects give 84, 12 and 24.

    Raises:
        InputError: the fractions are not three numbers from 0 to 1 whose sum is 1, or an id repeats.
    """
    if len(fractions) != len(PARTS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"split {tuple(fractions)}: give three fractions from 0 to 1 whose sum is 1")
    if len(set(subjects)) < len(subjects):
        raise InputError("a subject's id appears twice; ids must be distinct")
    order = sorted(subjects, key=lambda subject: hashlib.sha256(f"{seed}:{subject}".encode()).digest())
    first, second = round(len(order) * fractions[0]), round(len(order) * (fractions[0] + fractions[1]))
    sizes = [first, second - first, len(order) - second]
    for part, fraction in enumerate(fractions):
        largest = max(range(len(PARTS)), key=sizes.__getitem__)
        if fraction > 0 and sizes[part] == 0 and sizes[largest] > 1:
            sizes[part], sizes[largest] = 1, sizes[largest] - 1
    remaining = iter(order)
    return {
        part: tuple(sorted(next(remaining) for _ in range(size)))
        for part, size in zip(PARTS, sizes, strict=True)
    }


def split_sha256(split: Mapping[str, Sequence[str]]) -> str:
    """Hex SHA-256 of a split, which depends on the subjects in each part alone."""
    return hashlib.sha256(json.dumps({part: sorted(split[part]) for part in PARTS}).encode()).hexdigest()


def write_split(
    path: Path, split: Mapping[str, Sequence[str]], fractions: Sequence[float], seed: int
) -> None:
    """Write a split as JSON, with the seed and the fractions that it was made from."""
    parts = {part: list(ids) for part, ids in split.items()}
    content = {"seed": seed, "fractions": list(fractions), "sha256": split_sha256(split), **parts}
    write_json(path, content)
