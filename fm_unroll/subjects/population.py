"""Who a subject is, and whom a network has seen: the one notion that every verb asks.

``P001`` of the training set and ``P001`` of the validation set are different people, and so are those of 2023
and 2024, or of a phantom and a patient. Where a file does not say which of them it is, it may be either:
nobody is taken for a stranger only because something is not known.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any

from fm_unroll.subjects.split import Split

UNKNOWN = ("", None)


@dataclass(frozen=True)
class Population:
    """Where subjects come from: within one population, an id is one person.

    Attributes:
        data_set: name of the layout, ``CMRxRecon``, ``fastMRI``, ...
        edition: which of the data sets in that layout: ``2023``, ``knee``, ...; empty where nothing says it.
        subset: ``TrainingSet``, ...; empty where ids are not given anew in each, or where nothing says it.
        synthetic: whether they are phantoms; None where nothing says it.
        stated: whether the user said which edition it is, as ``release``. Said of the data at hand, that
            settles it: an edition that nothing says is another one then.
    """

    data_set: str
    edition: str = ""
    subset: str = ""
    synthetic: bool | None = False
    stated: bool = False

    def may_be(self, other: "Population") -> bool:
        """Whether one id in both may be one person: nothing that is known of both differs.

        An edition that was stated in training does not settle it: the data at hand may be of it, unsaid.

        Args:
            other: that of the data at hand, of which the user may have said which edition it is.
        """
        # of phantoms, who are nobody, it suffices that training said so
        stated = other.stated or (self.stated and self.synthetic)
        if stated and self.edition != other.edition:
            return False
        return all(
            mine == theirs or mine in UNKNOWN or theirs in UNKNOWN
            for mine, theirs in zip(astuple(self)[:-1], astuple(other)[:-1], strict=True)
        )

    def __str__(self) -> str:
        """In words: ``CMRxRecon 2023 TrainingSet``, ``fastMRI knee (synthetic)``."""
        words = " ".join(word for word in (self.data_set, self.edition, self.subset) if word)
        return f"{words} (synthetic)" if self.synthetic else words

    @classmethod
    def common(cls, populations: Iterable["Population"]) -> "Population":
        """What several populations share; what differs between them counts as not known."""
        first, *others = populations
        values: dict[str, Any] = asdict(first)
        for field in fields(cls):
            if any(getattr(other, field.name) != values[field.name] for other in others):
                values[field.name] = None if field.name == "synthetic" else ""
        return cls(**values)


@dataclass(frozen=True)
class Seen:
    """Whom a network has seen: the subjects of its training, and those it was selected on.

    Attributes:
        name: of the network, for messages.
        population: where its subjects come from.
        split: its run's split.
        all_but: parts of the data set whose subjects it has not seen, where it may have seen all others and
            nobody noted who they are; None where the split says whom it has seen.
    """

    name: str
    population: Population
    split: Split
    all_but: tuple[str, ...] | None = None

    @classmethod
    def of(cls, facts: Mapping[str, Any], name: str) -> "tuple[Seen, ...]":
        """What a checkpoint says, data set by data set.

        Args:
            facts: ``checkpoint["fm_unroll"]``.
            name: of the network, for messages.
        """
        parts = data_sets_of(facts)
        names = [name] if len(parts) == 1 else [f"{name} (data set {n})" for n in range(1, len(parts) + 1)]
        return tuple(
            cls(name, Population(**part["population"]), Split.of(part["subjects"]), _all_but(part))
            for name, part in zip(names, parts, strict=True)
        )

    def may_hold(self, part: str, population: Population) -> bool:
        """Whether it may have seen everybody in a part of a data set, as far as anybody noted.

        Args:
            part: of the data at hand, such as ``multicoil_val``; empty where nothing says which it is.
            population: where their subjects come from.
        """
        return self.all_but is not None and part not in self.all_but and self.population.may_be(population)

    def role_of(self, subject: str, population: Population) -> str:
        """What a subject was to the network: ``training``, ``selection``, or empty if it was nothing."""
        if not self.population.may_be(population):
            return ""
        if subject in self.split.train:
            return "training"
        return "selection" if subject in self.split.val else ""

    def among(self, subjects: Iterable[str], population: Population) -> dict[str, str]:
        """Those of some subjects that it has seen, with what they were to it."""
        roles = {subject: self.role_of(subject, population) for subject in sorted(subjects)}
        return {subject: role for subject, role in roles.items() if role}

    def binds(self, subjects: Collection[str], population: Population) -> bool:
        """Whether its split says what these subjects may be used for: some of them are in it, or may be."""
        return self.population.may_be(population) and not self.split.subjects.isdisjoint(subjects)


def _all_but(facts: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The parts of a data set that were not seen, as checkpoints of imported weights name them."""
    return None if (parts := facts.get("all_but")) is None else tuple(parts)


def data_sets_of(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The facts about each data set that a network was trained on.

    Args:
        facts: ``checkpoint["fm_unroll"]``, where those about a single data set stand beside all others.
    """
    parts: list[Mapping[str, Any]] = facts.get("parts", [facts])
    return parts
