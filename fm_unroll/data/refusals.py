"""What a verb cannot work on is refused before anything is measured, and what is unusual is named once."""

from collections.abc import Collection, Sequence
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_warn

from fm_unroll.data.index import Index, first_of
from fm_unroll.data.readers.fastmri import FOLDERS
from fm_unroll.data.readers.reader import Reader
from fm_unroll.errors import InputError
from fm_unroll.subjects.population import Population, Seen
from fm_unroll.subjects.split import PARTS, Split

Stage = Literal["train", "val", "test"]
Verb = Literal["fit", "validate", "test", "predict", "cross-domain"]

# the parts of the split that a verb uses, with their names
USES: dict[Verb, dict[Stage, str]] = {
    "fit": {"train": "training", "val": "validation"},
    "validate": {"val": "validation"},
    "test": {"test": "test"},
    "predict": {"test": "test"},
    "cross-domain": {"test": "test"},
}
SCORING: tuple[Verb, ...] = ("validate", "test", "cross-domain")
# a split with which it has what it needs, as one gives it
REMEDIES: dict[Verb, str] = {
    "fit": "--data.split [0.7,0.1,0.2]",
    "validate": "--data.split [0,1,0]",
    "test": "--data.split [0,0,1]",
    "predict": "--data.split [0,0,1]",
    "cross-domain": "`split: [0, 0, 1]` of this data set in the config",
}


def refuse_nameless(
    index: Index, reader: Reader[Any], networks: Sequence[Seen], population: Population
) -> None:
    """Refuse to score files that do not say whose they are, if a network may have seen their subjects.

    Args:
        index: the data set.
        reader: its layout.
        networks: those that are applied to it.
        population: where its subjects come from.

    Raises:
        InputError: there is such a file, and the network does not know it by its name either.
    """
    nameless = [volume for volume in index.volumes if not reader.names_subject(volume)]
    for seen in networks:
        # whoever may have seen everybody is asked for the part, by refuse_seen_parts
        told = seen.all_but is None and seen.population.may_be(population)
        for volume in nameless if told else ():
            if volume.subject not in seen.split.subjects:
                raise InputError(
                    f"{index.root / volume.path} does not say whose it is, and {seen.name} was trained on "
                    f"subjects of {seen.population}: if they are others, name these by data.release"
                )


def refuse_seen_parts(
    index: Index,
    reader: Reader[Any],
    networks: Sequence[Seen],
    population: Population,
    subjects: Collection[str],
) -> None:
    """Refuse to score subjects of a part of a data set of which a network may have seen everybody.

    Args:
        index: the data set.
        reader: its layout.
        networks: those that are applied to it.
        population: where its subjects come from.
        subjects: those that are to be scored.

    Raises:
        InputError: there is one, in a part that the network saw or that nothing names.
    """
    scored = [volume for volume in index.volumes if volume.subject in subjects]
    for seen in networks:
        for volume in scored:
            path = (index.root / volume.path).absolute()
            if seen.may_hold(reader.part_of(path), population):
                raise InputError(
                    f"{path}: {seen.name} may have been trained on it, as on all of {seen.population} but "
                    f"{', '.join(seen.all_but or ()) or 'nothing'}: score it on those folders or on other "
                    "data alone, or leave it out here"
                )


def require_parts(
    index: Index, division: Split, verb: Verb, needs_targets: bool = True, published: bool = False
) -> None:
    """Refuse a split or files that a verb cannot work on.

    Args:
        index: the data set.
        division: the split of its subjects.
        verb: what is to be done.
        needs_targets: whether a training needs them.
        published: whether the split is that of the data set's own folders.

    Raises:
        InputError: a part of the split that it uses is empty, or has no targets though they are needed.
    """
    undersampled = next((volume.name for volume in index.volumes if not volume.fully_sampled), None)
    if undersampled is not None and verb != "predict" and (needs_targets or verb != "fit"):
        without = ", or `fit` with --model.loss self_supervised" if verb == "fit" else ""
        raise InputError(
            f"`{verb}` needs fully sampled files, and {undersampled} in {index.root} is undersampled: "
            f"use `predict` for these files{without}, or give others"
        )
    for part, name in USES[verb].items():
        if any(volume.subject in division.parts[part] for volume in index.volumes):
            continue
        where = f"`{verb}` has no {name} subjects in {index.root}"
        if division.parts[part]:
            raise InputError(f"{where}: the {name} part of the split has no file of the chosen contrasts")
        if published:
            folder = FOLDERS[PARTS.index(part)]
            raise InputError(
                f"{where}: by published_split they are the files of {folder}, and there are none: add them, "
                f"or give a split in place of data.published_split, such as {REMEDIES[verb]}"
            )
        numbers = ", ".join(f"{len(ids)} {other}" for other, ids in division.parts.items())
        fractions = "" if division.fractions is None else f" {list(division.fractions)}"
        more = ", or more subjects" if len(division.subjects) < 3 else ""
        raise InputError(
            f"{where}: its split{fractions} has {numbers} subjects; give another, such as "
            f"{REMEDIES[verb]}{more}"
        )


def warn_of(index: Index) -> None:
    """Warn once of files that do not count or are not there, that contradict themselves, or are unusual."""
    if index.unasked:
        rank_zero_warn(f"{index.root}: not asked for: {', '.join(index.unasked)}; add them to `contrasts`")
    for found, what, lister in (
        (index.left_out, "left out", "data check"),
        (index.missing, "missing", "data check"),
        (index.contradictions, "what files say of themselves is not what they hold", "data check --read"),
        (index.remarks, "unusual data", "data check --read"),
    ):
        if found:
            rank_zero_warn(f"{what}: {first_of(found, lister)}")
