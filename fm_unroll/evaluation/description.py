"""What a run evaluates, in words and hashes: the part of ``provenance.json`` that later commands read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import GENERAL_NETWORK
from fm_unroll.evaluation.endpoint import Endpoint
from fm_unroll.evaluation.entrants import Entrant
from fm_unroll.evaluation.records import record_arms
from fm_unroll.evaluation.scoring import PROTOCOL_VERSION, Condition, TestSet
from fm_unroll.files import file_sha256, read_json
from fm_unroll.models.insight import learned_weights, size_of
from fm_unroll.models.release import GENERAL
from fm_unroll.models.sharing import named
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.subjects.split import split_content

SHA256 = "sha256 "


def describe(work: Sequence[tuple[Entrant, Condition]], checkpoints: Sequence[Path]) -> dict[str, Any]:
    """The resolved protocol with the hashes of its checkpoints."""
    entrants = list(dict.fromkeys(entrant for entrant, _ in work))
    # those adapted to each volume are beside the same network as it was trained
    checkpointed = [entrant for entrant in entrants if entrant.sha256 and not entrant.adaptation]
    test_sets = {id(condition.test_set): condition.test_set for _, condition in work}.values()
    paths = {file_sha256(path): path for path in checkpoints}
    paths |= {entrant.sha256: GENERAL for entrant in checkpointed if entrant.arm.method == GENERAL_NETWORK}
    return {
        "version": PROTOCOL_VERSION,
        "test_sets": [
            settings_of(test_set)
            | {
                "population": str(test_set.data.population),
                "subjects": split_content(test_set.data.division),
                "test_volumes": len(test_set.data.volumes("test")),
            }
            for test_set in test_sets
        ],
        "sampling": list(dict.fromkeys(repr(condition.pattern) for _, condition in work)),
        "baselines": [
            entrant.arm.method for entrant in entrants if not (entrant.sha256 or entrant.elsewhere)
        ],
        "reconstructions": {
            entrant.arm.method: f"{made.folder.absolute()}, {SHA256}{made.sha256}"
            for entrant in entrants
            if (made := entrant.elsewhere)
        },
        "checkpoints": {
            named(paths[entrant.sha256]): f"{entrant.arm}, {SHA256}{entrant.sha256}"
            for entrant in checkpointed
        },
        "adapted": {
            str(entrant.arm): f"{entrant.adaptation}, {SHA256}{entrant.sha256}"
            for entrant in entrants
            if entrant.adaptation
        },
        "encoders": {
            str(arm): f"{arm.encoder}, {arm.weights}, {SHA256}{entrant.encoder_sha256}"
            for entrant in checkpointed
            if (arm := entrant.arm).encoder
        },
    }


def settings_of(test_set: TestSet) -> dict[str, Any]:
    """What of a test set decides its volumes and masks, beside their centre and acceleration."""
    data = test_set.data
    return {
        "name": test_set.label,
        "root": str(data.root),
        "reader": repr(data.reader),
        "split": repr(data.splitting),
        "pattern": type(data.sampling).__name__,
    }


def checkpoint_names(description: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 -> name of the checkpoint, as :func:`named` gives it, of all that a description has."""
    checkpoints: Mapping[str, str] = description.get("checkpoints", {})
    return {text.rpartition(SHA256)[2]: name for name, text in checkpoints.items()}


def folder_of_reconstructions(method: str, description: Mapping[str, Any]) -> Path | None:
    """Where the images of ``external/NAME`` were, if a description names them."""
    text: str = description.get("reconstructions", {}).get(method, "")
    return Path(text.rpartition(f", {SHA256}")[0]) if text else None


def settle_endpoint(primary: Endpoint | None, output: Path) -> dict[str, Any] | None:
    """The primary endpoint of what is in a folder, and whether it was named after results were there.

    Args:
        primary: the one that is named now; None: none, and an earlier one stays.
        output: the folder.

    Raises:
        InputError: an earlier command named another one.
    """
    known = read_json(output / "provenance.json")
    earlier = (known.get("protocol") or {}).get("primary") or (known.get("unfinished") or {}).get("primary")
    if primary is None or earlier is None:
        later = (output / "records.csv").is_file()
        return earlier if primary is None else primary.content() | {"after_results": later}
    if Endpoint.of(earlier) != Endpoint.of(primary.content()):
        raise InputError(
            f"{output / 'provenance.json'} names another primary endpoint ({earlier['metric']} of "
            f"{earlier['method']} against {earlier['baseline']}, ...), which is named once, before results: "
            "give another --output"
        )
    return dict(earlier)


def extend(earlier: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """The description of what earlier commands and the present one did in the same folder."""
    both = dict(present)
    test_sets = [*earlier.get("test_sets", []), *present["test_sets"]]
    both["test_sets"] = list({test_set["name"]: test_set for test_set in test_sets}.values())
    for name in ("sampling", "baselines"):
        both[name] = list(dict.fromkeys([*earlier.get(name, []), *present[name]]))
    for name in ("checkpoints", "reconstructions", "adapted", "encoders"):
        both[name] = {**earlier.get(name, {}), **present[name]}
    return both


def limit(description: Mapping[str, Any], records: pd.DataFrame) -> dict[str, Any]:
    """A description without what has no rows any more."""
    datasets, methods, shas = (set(records[name]) for name in ("dataset", "method", "checkpoint_sha256"))
    arms = set(map(str, record_arms(records)))
    checkpoints = description["checkpoints"].items()
    return {
        **description,
        "test_sets": [t for t in description["test_sets"] if t["name"] in datasets],
        "baselines": [name for name in description["baselines"] if name in methods],
        "checkpoints": {path: text for path, text in checkpoints if text.rpartition(SHA256)[2] in shas},
        "reconstructions": {
            name: text for name, text in description["reconstructions"].items() if name in methods
        },
        **{
            name: {arm: text for arm, text in description.get(name, {}).items() if arm in arms}
            for name in ("adapted", "encoders")
        },
    }


def adapted_name(method: str, sha256: str) -> str:
    """How ``adaptations.json`` names a network: ``adapted/METHOD``, and the hash of its checkpoint."""
    return f"{method}, {SHA256}{sha256}"


def standing_adaptations(
    present: Mapping[str, Mapping[str, Any]], records: pd.DataFrame, earlier: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What came of each adaptation whose rows are in a folder.

    Args:
        present: of this run: network as :func:`adapted_name` has it -> ``CONDITION/VOLUME`` -> outcome.
        records: the rows.
        earlier: of earlier commands in the same folder, in the same form.
    """
    place = ["method", "checkpoint_sha256", "dataset", "anatomy", "center", "acceleration", "volume"]
    rows = {
        (adapted_name(method, sha256), f"{dataset}/{anatomy}/{center}_x{acceleration:g}/{volume}")
        for method, sha256, dataset, anatomy, center, acceleration, volume in records[place]
        .drop_duplicates()
        .itertuples(index=False, name=None)
    }
    both = {name: {**earlier.get(name, {}), **present.get(name, {})} for name in {**earlier, **present}}
    kept = {
        name: {volume: outcome for volume, outcome in outcomes.items() if (name, volume) in rows}
        for name, outcomes in both.items()
    }
    return {name: outcomes for name, outcomes in kept.items() if outcomes}


def learned_priors(
    entrants: Sequence[Entrant], records: pd.DataFrame, earlier: Mapping[str, Any]
) -> dict[str, Any]:
    """Size, step sizes and fusion weights of every trained entrant with rows, by the text of its arm.

    Args:
        entrants: of the present run.
        records: the rows.
        earlier: what earlier commands found of the entrants that are not among these.
    """
    pairs = zip(records.checkpoint_sha256, record_arms(records), strict=True)
    arms = {sha256: str(arm) for sha256, arm in pairs if arm.unadapted is None}
    present = {}
    for entrant in entrants:
        if entrant.sha256 and entrant.sha256 in arms:
            network = cast(UnrolledNetwork, entrant.load())  # as whatever was trained
            present[arms[entrant.sha256]] = {**learned_weights(network), "size": size_of(network)}
    return {arm: weights for arm, weights in earlier.items() if arm in arms.values()} | present
