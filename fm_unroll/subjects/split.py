"""Splits of a data set by subject: made of fractions and a seed, or those of an earlier run."""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fm_unroll.errors import InputError
from fm_unroll.files import read_json, write_json

PARTS = ("train", "val", "test")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """The subjects of each part, sorted, with what they were split by.

    Attributes:
        train: ids of the training subjects.
        val: ids of the validation subjects.
        test: ids of the test subjects.
        fractions: of the three parts; None where nobody noted them.
        seed: of the split; None likewise.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    fractions: tuple[float, ...] | None = None
    seed: int | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Split":
        """The split in a ``split.json`` or in a checkpoint; older ones have no fractions and no seed."""
        train, val, test = (tuple(sorted(content[part])) for part in PARTS)
        fractions = content.get("fractions")
        return cls(train, val, test, None if fractions is None else tuple(fractions), content.get("seed"))

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The ids by part."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def subjects(self) -> frozenset[str]:
        """The ids of all parts."""
        return frozenset(self.train + self.val + self.test)


@dataclass(frozen=True)
class SplitOptions:
    """What is asked for: nothing, fractions and a seed, or the split of another run.

    Attributes:
        default: fractions where none are asked for.
        fractions: of training, validation and test; None: not asked for.
        seed: None: not asked for; then it is 0.
        file: the ``split.json`` of another run; None: not asked for.
    """

    default: tuple[float, float, float]
    fractions: tuple[float, float, float] | None = None
    seed: int | None = None
    file: Path | None = None

    @property
    def asked(self) -> bool:
        """Whether anything is asked for."""
        return not (self.fractions is None and self.seed is None and self.file is None)

    def settle(
        self, subjects: Collection[str], runs: Mapping[str, Split], published: Split | None = None
    ) -> Split:
        """The split of a data set.

        Args:
            subjects: distinct ids.
            runs: the splits that earlier runs trained with, by the name of the run. Where nothing is asked
                for, theirs is taken.
            published: the split that the data set was published with, if that is asked for.

        Raises:
            InputError: what is asked for contradicts the file or a run, or subjects came or went since.
        """
        if published is not None and self.asked:
            raise InputError(
                "data.published_split is the data set's own: leave out data.split, split_seed and split_file"
            )
        if published is not None:
            split = published
        elif self.file is not None:
            split = self._of_file(self.file, subjects)
        elif runs and not self.asked:
            split = next(iter(runs.values()))
        else:
            fractions, seed = self.fractions or self.default, self.seed or 0
            split = Split(**split_subjects(subjects, fractions, seed), fractions=fractions, seed=seed)
        for name, earlier in runs.items():
            _require_all(earlier.subjects, subjects, name)
            if self.file is None and (new := sorted({*subjects} - earlier.subjects)):
                raise InputError(
                    f"{_several(new)} came to the data since {name} was trained and its subjects were split: "
                    "to leave them out, give the split.json of its run as --data.split_file"
                )
            _require_same(split, earlier, name)
        return split

    def _of_file(self, file: Path, subjects: Collection[str]) -> Split:
        """The split of a file, which leaves out what came to the data since."""
        split = read_split(file)
        for option, asked, noted in (
            ("split", self.fractions, split.fractions),
            ("split_seed", self.seed, split.seed),
        ):
            if asked is not None and asked != noted:
                raise InputError(f"data.{option} is {asked}, but {file} has {noted}: leave out one of them")
        _require_all(split.subjects, subjects, str(file))
        if new := sorted({*subjects} - split.subjects):
            log.warning("%s are not in %s: left out", _several(new), file)
        return split


def _require_all(expected: Collection[str], subjects: Collection[str], name: str) -> None:
    """Refuse data from which subjects of a split have vanished."""
    if gone := sorted({*expected} - {*subjects}):
        raise InputError(
            f"{_several(gone)} of the split of {name} are missing in the data: bring them back, "
            "or give the root that it was trained on"
        )


def _require_same(split: Split, earlier: Split, name: str) -> None:
    """Refuse a split that is not the one which a run was trained with."""
    for part, subjects in split.parts.items():
        for before, others in earlier.parts.items():
            if before != part and (moved := sorted({*subjects} & {*others})):
                raise InputError(
                    f"{_several(moved)}, now in the part {part!r} of the split, were in {before!r} when "
                    f"{name} was trained: leave out data.split, split_seed and split_file to use its split"
                )


def _several(subjects: Sequence[str]) -> str:
    """``P001``, ``P001 and P002``, or ``120 subjects (P001, P002, ...)``."""
    if len(subjects) < 3:
        return "subject " * (len(subjects) == 1) + " and ".join(subjects)
    return f"{len(subjects)} subjects ({', '.join(subjects[:3])}{', ...' * (len(subjects) > 3)})"


def read_split(path: Path) -> Split:
    """Read the ``split.json`` of a run.

    Raises:
        InputError: no such file, not one of a run, or one in which a subject is in two parts.
    """
    if not path.is_file():
        raise InputError(f"split file {path} is not a file: give the split.json of a run")
    content = read_json(path)
    if any(not isinstance(content.get(part), list) for part in PARTS):
        raise InputError(f"{path}: no split, which lists the subjects of {', '.join(PARTS)}")
    split = Split.of(content)
    if len(split.subjects) < sum(map(len, split.parts.values())):
        raise InputError(f"{path}: a subject is in two parts, or twice in one")
    return split


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


def split_content(split: Split) -> dict[str, Any]:
    """A split as plain values, for a file or a checkpoint; :meth:`Split.of` reads it."""
    fractions = None if split.fractions is None else list(split.fractions)
    parts = {part: list(ids) for part, ids in split.parts.items()}
    return {"seed": split.seed, "fractions": fractions, "sha256": split_sha256(split.parts), **parts}


def write_split(path: Path, split: Split) -> None:
    """Write a split as JSON, with the seed and the fractions that it was made from."""
    write_json(path, split_content(split))
