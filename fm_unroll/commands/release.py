"""The verb ``release``: a trained network for others, as one small file, as a folder, or on the hub."""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fm_unroll.errors import InputError
from fm_unroll.files import at_home, make_folder
from fm_unroll.hub import MAIN, publish, require_token
from fm_unroll.models.checkpoints import build_network, read_checkpoint
from fm_unroll.models.release import SUFFIX, notes_of, require_empty, write_folder, write_release
from fm_unroll.models.sharing import PREFIX, locate, on_hub, repository_of
from fm_unroll.report.model_card import model_card, records_of
from fm_unroll.subjects.population import data_sets_of
from fm_unroll.subjects.split import Split

SOMEWHERE = f"{PREFIX}OWNER/NAME"


def release(
    checkpoint: str,
    output: str,
    half: bool = False,
    weights: Path | None = None,
    license: str | None = None,
    records: Path | None = None,
) -> None:
    """Write a network for others: as a file, or with a model card as a folder or on the Hugging Face hub.

    Whatever takes a checkpoint to apply it takes what was released, from the hub as hf://OWNER/NAME.
    Settings, encoder hash and the facts about its training go along, ids of subjects among them: nobody is to
    be scored whom it was trained on. So do config.yaml and provenance.json of its run, if they lie there,
    without paths. A frozen encoder's weights and the optimiser do not. See docs/sharing.md.

    Args:
        checkpoint: a checkpoint of ``fit``.
        output: a file ending in .safetensors; a new folder, to look at; or hf://OWNER/NAME, to publish.
        half: store the weights in float16, half the size.
        weights: file with the frozen encoder's weights, where the checkpoint's own path no longer holds.
        license: of the trained weights, for the model card: mit, cc-by-nc-4.0, other, ...
        records: records.csv of a cross-domain evaluation of this checkpoint, whose means the card shows.
    """
    check_output(output, license, records)
    path = locate(checkpoint)
    measured = records_of(path, records) if records else None
    content = read_checkpoint(path)
    network = build_network(content, path, weights)  # refuses what would not load
    notes = notes_of(path)
    if license is None:
        file = at_home(output)
        write_release(content, file, half, notes)
        print(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB)")
        return
    name = f"{PREFIX}{repository_of(output)[0]}" if on_hub(output) else SOMEWHERE
    target = None if on_hub(output) else at_home(output)
    if target:
        make_folder(target.parent)
    with TemporaryDirectory(dir=target and target.parent) as place:
        folder = Path(place) / "released"
        file = write_folder(content, folder, half, notes)
        (folder / "README.md").write_text(model_card(content, network, file, name, license, measured))
        told = len(ids_in(content["fm_unroll"]))
        print(f"{file.stat().st_size / 1e6:.1f} MB; {told} ids of subjects go along: make sure that they may")
        if target:
            folder.replace(target)  # whole or not at all
            print(f"written: {target}; publish it by `hf upload OWNER/NAME {target}`")
            return
        commit = publish(folder, repository_of(output)[0], f"fm_unroll release of {path.name}")
        print(f"published: {name}@{commit}\na new repository is private until you open it on its page")


def check_output(output: str, license: str | None, records: Path | None) -> None:
    """Refuse what cannot be written, before anything is read.

    Raises:
        InputError: see above.
    """
    if output.endswith(SUFFIX):
        if on_hub(output):
            raise InputError(f"{output}: a repository of the hub gets a whole folder: give {SOMEWHERE}")
        if license or records:
            raise InputError(
                f"--license and --records are for a model card, which {output} has not: give a folder or "
                f"{SOMEWHERE}, or leave them out"
            )
        return
    folder = at_home(output)
    if on_hub(output):
        _, revision = repository_of(output)
        if revision != MAIN:
            raise InputError(f"{output}: what is published is a new commit: leave out @{revision}")
    elif folder.suffix and not folder.is_dir():
        raise InputError(f"{output}: end it in {SUFFIX}, or give a folder or {SOMEWHERE}")
    if license is None or not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise InputError(
            f"{output} has a model card, which names the licence of the weights as the hub writes it: "
            "give --license, such as mit, cc-by-nc-4.0 or other"
        )
    if on_hub(output):
        require_token()
    else:
        require_empty(folder)


def ids_in(facts: Mapping[str, Any]) -> list[str]:
    """The subjects that a checkpoint names, those of its test part among them."""
    splits = [Split.of(part["subjects"]) for part in data_sets_of(facts)]
    return [subject for split in splits for ids in split.parts.values() for subject in ids]
