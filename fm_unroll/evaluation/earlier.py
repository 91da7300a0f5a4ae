"""The rows of earlier commands in the folder of a run: which of them stand, and why the others do not.

``records.csv`` holds everything that was finished in its folder and is still true: a command adds its rows to
those of commands for other test sets, checkpoints, methods or accelerations. Rows are left out, and named, if
other code made them, their checkpoint has changed or is gone, or their test set is another one by now.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from fm_unroll.consent import OPTION, consented, is_own
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import EXTERNAL
from fm_unroll.evaluation.description import checkpoint_names, folder_of_reconstructions, settings_of
from fm_unroll.evaluation.elsewhere import Elsewhere
from fm_unroll.evaluation.entrants import Entrant, folder_of, settings_hash
from fm_unroll.evaluation.parts import Parts
from fm_unroll.evaluation.records import CONDITION, RUN, TRAINING, VOLUME, columns, read_records, read_text
from fm_unroll.evaluation.scoring import PROTOCOL_VERSION, Condition, TestSet, deciding_code
from fm_unroll.files import file_sha256, read_json
from fm_unroll.models.sharing import kept_at
from fm_unroll.physics import Center

GROUP = ("protocol_version", "code", "encoder_weights", *TRAINING, *RUN, *CONDITION, *VOLUME)
REPLACED = "replaced"


class Group(NamedTuple):
    """The columns that are the same in all rows of a volume, as text."""

    protocol_version: str
    code: str
    encoder_weights: str
    training_data: str
    hyper_parameters: str
    method: str
    train_acceleration: str
    seed: str
    checkpoint_sha256: str
    dataset: str
    anatomy: str
    center: str
    acceleration: str
    subject: str
    volume: str


class EarlierRows:
    """The rows that ``records.csv`` holds beside a command's work."""

    def __init__(
        self,
        parts: Parts,
        test_sets: Sequence[TestSet],
        work: Sequence[tuple[Entrant, Condition]],
        along_training: bool = False,
    ) -> None:
        """Keep what rows are compared with; nothing is read.

        Args:
            parts: the finished parts in the folder.
            test_sets: all of the protocol, whether this command evaluates them or not.
            work: every entrant with every condition that this command evaluates.
            along_training: whether a training may have several checkpoints.
        """
        self.along_training = along_training
        self.parts = parts
        self.path = parts.output / "records.csv"
        self.test_sets = {(t.label, t.data.anatomy): t for t in test_sets}
        self.work = work
        self.chosen = {condition.identity[:2] for _, condition in work}
        self._known: dict[tuple[str, bool], str] = {}

    def standing(self) -> tuple[pd.DataFrame, list[str]]:
        """The rows to keep, as text, and one line for each reason to leave others out.

        Raises:
            InputError: ``records.csv`` is no table of records.
        """
        if not self.path.is_file():
            return pd.DataFrame(columns=list(columns())), []
        read_records(self.path)  # refuses what is no such table
        table = read_text(self.path)
        table = table.assign(**{name: "" for name in GROUP if name not in table})
        groups = list(table[list(GROUP)].itertuples(index=False, name=None))
        reasons = {group: self._reason(Group(*group)) for group in dict.fromkeys(groups)}
        of_rows = pd.Series([reasons[group] for group in groups], index=table.index)
        counts = Counter(reason for reason in of_rows if reason not in ("", REPLACED))
        return table[of_rows == ""], [f"{number} rows {reason}" for reason, number in counts.items()]

    def _reason(self, row: Group) -> str:
        """Why the rows of a volume do not stand; empty where they do."""
        if self._identity(row) in self._own:
            return REPLACED
        if is_own(row.method) and row.method not in consented():
            return f"of {row.method}, whose code this command may not run: add {OPTION} {row.method}"
        settings = self._settings(row.method, bool(row.checkpoint_sha256))
        if row.protocol_version != str(PROTOCOL_VERSION) or row.code != deciding_code(settings):
            of_files = " of other files or" if row.method.startswith(EXTERNAL) else ""
            return f"made{of_files} by other code: give the command that made them again"
        folder = folder_of(row.method, row.checkpoint_sha256, settings)
        return self._reason_of_checkpoint(row) or self._reason_of_test_set(row, folder)

    def _reason_of_checkpoint(self, row: Group) -> str:
        sha256 = row.checkpoint_sha256
        if not sha256:
            return ""
        where = self._names.get(sha256, f"a checkpoint (sha256 {sha256[:12]})")
        if sha256 not in self._valid_checkpoints:
            return f"of {where} ({row.method}), which has changed or is gone"
        twins = self._own_trainings.get(_training_of(row), [])
        counted = float(row.acceleration), float(row.train_acceleration)
        alike = [twin for twin in twins if twin.train_acceleration(counted[0]) == counted[1]]
        if any(twin.sha256 != sha256 for twin in alike) and not self.along_training:
            return f"of {where} ({row.method}), of the same training and seed as one that is given"
        return ""

    def _reason_of_test_set(self, row: Group, folder: str) -> str:
        test_set = self.test_sets.get((row.dataset, row.anatomy))
        if test_set is None:  # of another protocol file, which this one does not contradict
            return ""
        if (row.dataset, row.anatomy) not in self.chosen:
            then, now = self._then.get(row.dataset, {}), settings_of(test_set)
            if changed := [name for name in now if then.get(name) != now[name]]:
                return f"of {row.dataset}, evaluated with another {' and '.join(changed)}"
            return ""
        volumes = self._volumes[row.dataset, row.anatomy]
        try:
            pattern = test_set.data.sampling.at(float(row.acceleration), Center.parse(row.center))
        except InputError:
            return f"of {row.dataset} with center {row.center}, which its pattern cannot have"
        volume = volumes.get((row.subject, row.volume))
        if volume is None or not self.parts.hold(row.code, folder, Condition(test_set, pattern), volume):
            return f"of volumes of {row.dataset} that have changed or are not among its test volumes"
        return ""

    @staticmethod
    def _identity(row: Group) -> tuple[Any, ...]:
        condition = (row.dataset, row.anatomy, row.center, float(row.acceleration))
        return row.method, row.checkpoint_sha256, condition, row.subject, row.volume

    def _settings(self, method: str, trained: bool) -> str:
        """Hash of a method's settings; empty for a method that is not known here."""
        if (method, trained) not in self._known:
            try:
                made = method.startswith(EXTERNAL)
                self._known[method, trained] = (
                    self._files_hash(method) if made else settings_hash(method, trained)
                )
            except InputError:
                self._known[method, trained] = ""
        return self._known[method, trained]

    def _files_hash(self, method: str) -> str:
        """The settings of what was made elsewhere: the hash of its files, as they are now.

        Raises:
            InputError: they are gone.
        """
        given = {entrant.arm.method: entrant.settings for entrant, _ in self.work}
        folder = folder_of_reconstructions(method, self._description)
        if method in given or folder is None:
            return given.get(method, "")
        return Elsewhere.below(method.removeprefix(EXTERNAL), folder).sha256

    @cached_property
    def _own(self) -> set[tuple[Any, ...]]:
        return {
            (entrant.arm.method, entrant.sha256, condition.identity, volume.subject, volume.name)
            for entrant, condition in self.work
            for volume in condition.test_set.data.volumes("test")
        }

    @cached_property
    def _own_trainings(self) -> dict[tuple[str, ...], list[Entrant]]:
        """The trained entrants by what makes their trainings, beside the acceleration."""
        found: dict[tuple[str, ...], list[Entrant]] = {}
        for entrant, _ in self.work:
            if entrant.sha256:
                found.setdefault(_training_of(entrant), []).append(entrant)
        return found

    @cached_property
    def _volumes(self) -> dict[tuple[str, str], dict[tuple[str, str], Volume]]:
        """Of every chosen test set: subject and name -> volume."""
        return {
            key: {(volume.subject, volume.name): volume for volume in test_set.data.volumes("test")}
            for key, test_set in self.test_sets.items()
            if key in self.chosen
        }

    @cached_property
    def _description(self) -> dict[str, Any]:
        """What earlier commands evaluated."""
        description: dict[str, Any] = read_json(self.parts.output / "provenance.json").get("protocol", {})
        return description

    @cached_property
    def _then(self) -> dict[str, dict[str, Any]]:
        """The settings of every test set when it was evaluated."""
        return {settings["name"]: settings for settings in self._description.get("test_sets", [])}

    @cached_property
    def _names(self) -> dict[str, str]:
        return checkpoint_names(self._description)

    @cached_property
    def _valid_checkpoints(self) -> set[str]:
        """SHA-256 of the checkpoints that are given, and of those that lie where they were."""
        given = {entrant.sha256 for entrant, _ in self.work}
        unchanged = {
            sha256
            for sha256, name in self._names.items()
            if sha256 not in given and (path := kept_at(name)) and file_sha256(path) == sha256
        }
        return given | unchanged


def _training_of(row: Group | Entrant) -> tuple[str, ...]:
    """What makes the training of a row or an entrant, beside its acceleration."""
    named = (row.method, row.encoder_weights) if isinstance(row, Group) else (row.arm.method, row.arm.weights)
    # as a text: of imported networks nobody knows the seed, and NaN equals nothing; a row's is empty
    return (*named, row.training_data, row.hyper_parameters, str(float(str(row.seed) or "nan")))
