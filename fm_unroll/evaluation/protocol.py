"""The cross-domain evaluation: every method on every anatomy, centre and acceleration, one row per slice."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from fm_unroll.consent import is_own
from fm_unroll.data.undersampling import mask_of
from fm_unroll.errors import InputError
from fm_unroll.evaluation.along_training import ALONG_TRAINING
from fm_unroll.evaluation.arms import GENERAL_NETWORK
from fm_unroll.evaluation.description import describe, learned_priors, settle_endpoint, standing_adaptations
from fm_unroll.evaluation.earlier import EarlierRows
from fm_unroll.evaluation.elsewhere import Elsewhere
from fm_unroll.evaluation.endpoint import Endpoint
from fm_unroll.evaluation.entrants import (
    Entrant,
    adapted_to_each_volume,
    baseline,
    made_elsewhere,
    refuse_twins,
    saved_epoch,
    trained,
)
from fm_unroll.evaluation.metric_table import measures, obstacles
from fm_unroll.evaluation.parts import Parts
from fm_unroll.evaluation.run import Run, Share, Stopwatch
from fm_unroll.evaluation.scoring import Condition, TestSet
from fm_unroll.files import matching, read_json, write_json
from fm_unroll.models.checkpoints import find_moved_weights
from fm_unroll.models.sharing import locate, on_hub
from fm_unroll.physics import Center
from fm_unroll.provenance import provenance
from fm_unroll.reconstruction.adaptation import require_lines

RUNS = "runs/*/*"
BEST, EPOCHS = "checkpoints/best.ckpt", "epochs/*.ckpt"  # of a run
DEMO, DEMO_CONTROLS = "demo", "demo-controls"


@dataclass(frozen=True)
class Protocol:
    """What is evaluated.

    Attributes:
        test_sets: data sets and how their centre is sampled.
        checkpoints: paths or patterns of checkpoints, or hf://OWNER/NAME; None: see
            :func:`default_checkpoints`.
        baselines: methods without training, and ``general`` for the network that comes with the package.
        accelerations: nominal accelerations of the masks.
        only: names or anatomies of the test sets to evaluate; empty: all.
        centers: the centers to evaluate; empty: all.
        matched: whether a checkpoint is evaluated only at the accelerations it was trained for.
        weights: files of encoder weights that have moved since training; each serves the checkpoints whose
            encoder has its SHA-256.
        primary: the one comparison that the study is about, if one is named.
        along_training: whether checkpoints are those of all saved epochs, not one for each training.
        reconstructions: ``NAME=FOLDER`` of images that were made elsewhere, see
            :mod:`fm_unroll.evaluation.elsewhere`.
        adapt: whether every network also takes part adapted to each volume, as another arm.
    """

    test_sets: list[TestSet]
    checkpoints: Sequence[str] | None = None
    baselines: Sequence[str] = ("zero_filled",)
    accelerations: Sequence[float] = (4, 8, 10)
    only: Sequence[str] = ()
    centers: Sequence[Center] = ()
    matched: bool = True
    weights: Sequence[Path] = ()
    primary: Endpoint | None = None
    along_training: bool = False
    reconstructions: Sequence[str] = ()
    adapt: bool = False

    def __post_init__(self) -> None:
        """Refuse what is named twice: it would be evaluated twice, and its rows would contradict each other.

        Raises:
            InputError: a baseline, acceleration, test set or center is.
        """
        for name in ("baselines", "accelerations", "only", "centers"):
            given = [getattr(value, "number", value) for value in getattr(self, name)]
            if twice := [value for number, value in enumerate(given) if value in given[:number]]:
                raise InputError(f"--{name}: {twice[0]} is given twice, name each once")

    def paths(self) -> list[Path]:
        """The files of the checkpoints."""
        if self.checkpoints is None:
            return default_checkpoints(EPOCHS if self.along_training else BEST)
        return find_checkpoints(self.checkpoints)

    def entrants(self, paths: Sequence[Path]) -> list[Entrant]:
        """What takes part: methods without training, what was made elsewhere, and checkpoints in some files.

        Raises:
            InputError: one is not there or cannot be used, two checkpoints are of one training, or there is
                no network to adapt.
        """
        moved = find_moved_weights(paths, self.weights)
        read = saved_epoch if self.along_training else trained
        found = [*map(baseline, self.baselines), *made_elsewhere(self.reconstructions)]
        found += [read(path, moved.get(path)) for path in paths]
        refuse_twins(found, self.along_training)
        if not self.adapt:
            return found
        networks = [entrant for entrant in found if entrant.seen]
        if not networks:
            raise InputError("--adapt: methods without training have nothing to adapt; give networks")
        for entrant in networks:
            if is_own(entrant.arm.method):
                raise InputError(f"--adapt: {entrant.arm.method} gives no coil images and cannot be adapted")
        return [*found, *map(adapted_to_each_volume, networks)]

    def work(self, entrants: Sequence[Entrant]) -> list[tuple[Entrant, Condition]]:
        """Every entrant with every condition it is applied to, after all of them were checked.

        Raises:
            InputError: a test set or center that is not there, a test set without subjects, an entrant that
                has seen test subjects, reconstructions that cannot be scored, or nothing to do.
        """
        chosen = choose_test_sets(self.test_sets, self.only)
        for test_set in chosen:
            # their own split is taken, or what is asked for is refused where it is another
            test_set.data.serve("cross-domain", [entrant.seen for entrant in entrants])
            test_set.data.prepare_data()
            test_set.data.setup()
        conditions = choose_conditions(chosen, self.centers, self.accelerations)
        work = [
            (entrant, condition)
            for entrant in entrants
            for condition in conditions
            if applies(entrant, condition, self.matched)
        ]
        for condition in {id(condition): condition for _, condition in work}.values():
            require_masks(condition)
        adapting = {id(condition): condition for entrant, condition in work if entrant.adaptation}
        for condition in adapting.values():
            for volume in condition.test_set.data.volumes("test"):
                mask = mask_of(volume, condition.pattern)
                require_lines(mask.lines, mask.num_acs, f"{volume.name} at {condition.folder}")
        for entrant in entrants:
            if entrant.elsewhere:
                require_images(
                    entrant.elsewhere, [own for other, own in work if other is entrant], conditions
                )
        if not work:
            raise InputError(f"nothing to evaluate: {why_nothing(entrants, conditions)}")
        return work

    def facts(
        self, work: Sequence[tuple[Entrant, Condition]], paths: Sequence[Path], output: Path
    ) -> dict[str, Any]:
        """What is evaluated, for ``provenance.json``."""
        facts = describe(work, paths)
        if not self.along_training:
            facts["primary"] = settle_endpoint(self.primary, output)
        return facts


def require_masks(condition: Condition) -> None:
    """Refuse a condition whose mask a volume cannot have, which depends on its number of lines alone.

    Raises:
        InputError: there is one; the message names it.
    """
    volumes = condition.test_set.data.volumes("test")
    for volume in {(volume.phase, volume.acquired): volume for volume in volumes}.values():
        try:
            mask_of(volume, condition.pattern)
        except InputError as error:
            raise InputError(f"{volume.name} at {condition.folder}: {error}") from error


def applies(entrant: Entrant, condition: Condition, matched: bool) -> bool:
    """Whether an entrant is evaluated at a condition.

    Args:
        entrant: the entrant.
        condition: the condition.
        matched: whether checkpoints are evaluated only at accelerations that they were trained for.
    """
    if entrant.elsewhere:
        return entrant.elsewhere.holds(condition.pattern, condition.test_set.data.volumes("test"))
    acceleration = condition.pattern.acceleration
    return not matched or not entrant.seen or entrant.train_acceleration(acceleration) == acceleration


def require_images(made: Elsewhere, own: Sequence[Condition], conditions: Sequence[Condition]) -> None:
    """Refuse reconstructions that were made elsewhere, if one is missing or cannot be scored.

    Args:
        made: the folder.
        own: the conditions for which it has any.
        conditions: all.

    Raises:
        InputError: it has none, a file stands for volumes of two data sets, or see :meth:`Elsewhere.require`.
    """
    if not own:
        expected = ", ".join(dict.fromkeys(condition.pattern.folder for condition in conditions))
        raise InputError(
            f"{made.folder}: holds no test volume of these conditions; its folders are "
            f"{', '.join(made.files)}, expected some of {expected}"
        )
    roots: dict[tuple[str, str], Path] = {}
    for condition in own:
        data = condition.test_set.data
        for volume in data.volumes("test"):
            if (root := roots.setdefault((condition.pattern.folder, volume.name), data.root)) != data.root:
                raise InputError(
                    f"{made.folder}: {volume.name} may be of {root} or of {data.root}: evaluate one of the "
                    "two, by --only"
                )
    test_sets = {id(condition.test_set): condition.test_set for condition in own}
    for key, test_set in test_sets.items():
        patterns = [condition.pattern for condition in own if id(condition.test_set) == key]
        made.require(test_set.data, patterns)
    made.say_unused([(each.pattern, one) for each in own for one in each.test_set.data.volumes("test")])


def evaluate(protocol: Protocol, output: Path, batch_size: int, num_workers: int) -> pd.DataFrame | None:
    """Evaluate every method on every test set, centre and acceleration; write one row per slice.

    A volume's rows are written when it is finished: an interrupted run goes on where it stopped when it is
    started again. Rows that earlier commands left in the folder stay, unless they hold no more: then they are
    left out, and named.

    Args:
        protocol: what to evaluate.
        output: folder for records.csv and the pictures; what is evaluated along training lies below it.
        batch_size: slices reconstructed at once, all of one volume.
        num_workers: reading processes.

    Returns:
        All rows in the folder, as :func:`fm_unroll.evaluation.records.read_records` returns them; None in
        processes that only did their share.

    Raises:
        InputError: a checkpoint, baseline, test set or center that is not there, a test set without subjects,
            a checkpoint that has seen test subjects, two checkpoints of one training, a folder whose
            ``records.csv`` is no table, or one with another primary endpoint.
    """
    if protocol.along_training:
        output = output / ALONG_TRAINING
    paths = protocol.paths()
    entrants = protocol.entrants(paths)
    work = protocol.work(entrants)
    share = Share.of_this_process()
    absent = obstacles()
    parts = Parts(output, tuple(each for each in measures() if absent.keys().isdisjoint(each.columns)))
    if share.leads:
        earlier = EarlierRows(parts, protocol.test_sets, work, protocol.along_training)
        announce(outside_of_general(entrants, protocol), absent, earlier)
    facts = provenance() | {"protocol": protocol.facts(work, paths, output), "left_out": absent}
    stopwatch = Stopwatch(output / "provenance.json", facts)
    run = Run(work, parts, share)
    run.score(batch_size, num_workers, stopwatch)
    share.finish()
    if not share.leads:
        return None
    # asked once more: another command may have finished in this folder meanwhile
    earlier, _ = EarlierRows(parts, protocol.test_sets, work, protocol.along_training).standing()
    records = parts.collect_rows([parts.of_volume(*item) for item in run.items()], earlier)
    stopwatch.save(records)
    if protocol.along_training:
        return records
    run.picture(records)
    keep_facts(output, entrants, run, records)
    stopwatch.save(records)
    return records


def keep_facts(output: Path, entrants: Sequence[Entrant], run: Run, records: pd.DataFrame) -> None:
    """Write what is known of the networks besides their rows: ``priors.json`` and ``adaptations.json``."""
    priors, adaptations = output / "priors.json", output / "adaptations.json"
    write_json(priors, learned_priors(entrants, records, read_json(priors)))
    outcomes = standing_adaptations(run.adaptations(), records, read_json(adaptations))
    if outcomes or adaptations.exists():
        write_json(adaptations, outcomes)


def why_nothing(entrants: Sequence[Entrant], conditions: Sequence[Condition]) -> str:
    """Why none of some entrants applies to any of some conditions, and what to do."""
    if not conditions:
        return "no test set has these --centers and --accelerations; give others"
    if not entrants:
        return "give --baselines or --checkpoints"
    made_for = "; ".join(dict.fromkeys(entrant.made_for for entrant in entrants))
    return f"{made_for}; give such --accelerations, or --matched false"


def outside_of_general(entrants: Sequence[Entrant], protocol: Protocol) -> Iterator[str]:
    """One line if the general network, which is asked for by name, is not made for some accelerations."""
    for entrant in entrants:
        outside = [each for each in protocol.accelerations if entrant.train_acceleration(each) != each]
        if protocol.matched and entrant.arm.method == GENERAL_NETWORK and outside:
            yield f"{entrant.made_for}: left out at {', '.join(f'x{each:g}' for each in outside)}"


def without_images(work: Sequence[tuple[Entrant, Condition]]) -> Iterator[str]:
    """One line for each folder of reconstructions that has none for some of the conditions."""
    conditions = {id(condition): condition for _, condition in work}
    for entrant in dict.fromkeys(entrant for entrant, _ in work if entrant.elsewhere):
        own = {id(condition) for other, condition in work if other is entrant}
        lacking = [each for key, each in conditions.items() if key not in own]
        if lacking:
            names = ", ".join(f"{each.folder} (its folder {each.pattern.folder})" for each in lacking)
            yield f"{entrant.arm.label}: has nothing for {names}"


def announce(limits: Iterable[str], absent: Mapping[str, str], earlier: EarlierRows) -> None:
    """Say which metrics, conditions and rows of earlier commands are left out, and how many rows stay."""
    for line in chain(limits, without_images(earlier.work)):
        print(line)
    for name, reason in absent.items():
        print(f"{name} is left out: {reason}")
    kept, left_out = earlier.standing()
    if len(kept):
        names = ", ".join(sorted(set(kept.dataset)))
        print(f"{len(kept)} rows of earlier commands stay in {earlier.path}: {names}")
    for reason in left_out:
        print(f"left out of {earlier.path}: {reason}")


def default_checkpoints(of_run: str = BEST) -> list[Path]:
    """Checkpoints of all runs below ``runs``, or of the demo's where there are no others.

    Args:
        of_run: a path or pattern within the folder of a run.

    Raises:
        InputError: there is none.
    """
    found = find_checkpoints([f"{RUNS}/{of_run}"])
    own = [path for path in found if path.parts[1] not in (DEMO, DEMO_CONTROLS)]
    return own or find_checkpoints([f"runs/{DEMO}/*/{of_run}"])


def find_checkpoints(patterns: Sequence[str]) -> list[Path]:
    """Checkpoint files, in a fixed order.

    Args:
        patterns: as in :class:`Protocol`.

    Raises:
        InputError: a pattern that matches no file, or see :func:`~fm_unroll.models.sharing.locate`.
    """
    found: list[Path] = []
    for pattern in patterns:
        matches = [locate(pattern)] if on_hub(pattern) else matching(pattern)
        if not matches:
            raise InputError(f"no checkpoint at {pattern}: train one with `fit`, or give --checkpoints")
        found += [path for path in matches if path not in found]
    return found


def choose_test_sets(test_sets: Sequence[TestSet], only: Sequence[str]) -> list[TestSet]:
    """The test sets that are asked for by name or anatomy; all, if none is.

    Raises:
        InputError: a word that stands for none of them.
    """
    for word in only:
        if not any(word in (t.name, t.data.anatomy) for t in test_sets):
            known = dict.fromkeys(word for t in test_sets for word in (t.name, t.data.anatomy))
            raise InputError(f"--only {word}: no such test set, choose from {', '.join(known)}")
    return [t for t in test_sets if not only or t.name in only or t.data.anatomy in only]


def choose_conditions(
    test_sets: Sequence[TestSet], centers: Sequence[Center], accelerations: Sequence[float]
) -> list[Condition]:
    """Every test set at each of its centers (of those asked for, if any is) and every acceleration.

    Raises:
        InputError: a center that no test set has, or that its pattern cannot have.
    """
    known = {center for test_set in test_sets for center in test_set.centers}
    for center in centers:
        if center not in known:
            choice = ", ".join(f"{other.number:g}" for other in sorted(known, key=lambda c: c.order))
            raise InputError(f"--centers {center.number:g}: not in the protocol, choose from {choice}")
    return [
        Condition(test_set, test_set.data.sampling.at(float(acceleration), center))
        for test_set in test_sets
        for center in test_set.centers
        if not centers or center in centers
        for acceleration in accelerations
    ]
