"""A trained network to pass on: its tensors, settings and facts in one safetensors file.

One such file comes with the package: the general network (docs/general_network.md).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fm_unroll.errors import InputError
from fm_unroll.files import whole_file, write_json

SUFFIX = ".safetensors"
FILE = "model.safetensors"  # of a repository on the Hugging Face hub
CONFIG, ORIGIN = "config.yaml", "provenance.json"  # of a run
GENERAL = Path(__file__).with_name("general.safetensors")
KEY = "fm_unroll"  # of the file's metadata: what a checkpoint says besides its tensors
NEEDED = {"hyper_parameters", "fm_unroll"}
PARTS = (*sorted(NEEDED), "epoch", "global_step")  # the last two are missing in hand-made checkpoints
# A path that leads out of where a command is given, within a text.
PLACE = re.compile(r"""(?:^|(?<=[\s=,\[("']))(?:~[\w.-]*|\.\.)?/[^\s,\])"']+""")


def write_release(
    checkpoint: dict[str, Any], path: Path, half: bool, notes: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write what applies a network, and nothing that trains it on.

    Args:
        checkpoint: its content, see :func:`~fm_unroll.models.checkpoints.read_checkpoint`.
        path: the file, ending in ``.safetensors``.
        half: store float16, half the size; the network still computes in float32.
        notes: texts to keep beside, for whoever reads the file's metadata; see :func:`notes_of`.

    Raises:
        InputError: another ending, or a weight that is complex or that float16 does not hold.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: give a name that ends in {SUFFIX}")
    facts = {part: checkpoint[part] for part in PARTS if part in checkpoint}
    facts["hyper_parameters"] = settings_of(checkpoint)
    # copied: weights that a network uses twice share their memory, which the format does not have
    tensors = {name: tensor.contiguous().clone() for name, tensor in checkpoint["state_dict"].items()}
    if half:  # counts and indices stay whole numbers
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.is_complex():  # which would be read as its real part
            raise InputError(f"{name} is complex: a released network holds real numbers")
        if not tensor.isfinite().all():
            raise InputError(f"{name} holds values that are not finite{' in float16' if half else ''}")
    with whole_file(path) as part:  # not `save_file`, which writes for the user alone, whatever the umask
        part.write_bytes(save(tensors, {KEY: json.dumps(facts, default=str), **notes}))


def read_release(path: Path) -> dict[str, Any]:
    """The content of a file of :func:`write_release`, as that of a checkpoint; its real numbers are float32.

    Raises:
        InputError: it cannot be read, or is none of them.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read, or is no safetensors file ({error})") from None
    if not isinstance(facts, dict) or not facts.keys() >= NEEDED:
        raise InputError(f"{path} is no network of fm_unroll: give what the verb `release` wrote")
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    return {**facts, "state_dict": tensors}


def settings_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What builds a checkpoint's network elsewhere; the encoder's hash says which weights it needs."""
    settings: dict[str, Any] = without_places(checkpoint["hyper_parameters"])
    return {name: None if name == "weights" else value for name, value in settings.items()}


def without_places(node: Any) -> Any:
    """Plain values in which of every path that leads elsewhere its last part alone is left.

    A path of the machine of training says nothing elsewhere, and may say who trained there.

    Args:
        node: texts, numbers, and lists and dictionaries of them.
    """
    if isinstance(node, Mapping):
        return {name: without_places(value) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_places(value) for value in node]
    if isinstance(node, Path):
        node = str(node)
    if not isinstance(node, str):
        return node
    if node.startswith(("/", "~/", "../")):  # a path, whatever characters are in it
        return Path(node).name
    return PLACE.sub(lambda path: Path(path[0]).name, node)


def notes_of(checkpoint: Path) -> dict[str, str]:
    """The resolved config and the provenance of a network's run, if they are there, without paths.

    Args:
        checkpoint: ``checkpoints/NAME.ckpt`` of a run; or a released network, which has them in itself.
    """
    if checkpoint.suffix == SUFFIX:
        with safe_open(checkpoint, framework="pt") as file:
            return {name: text for name, text in file.metadata().items() if name in (CONFIG, ORIGIN)}
    run_dir = checkpoint.resolve().parents[1]
    notes = {}
    if (config := run_dir / CONFIG).is_file():
        notes[CONFIG] = yaml.safe_dump(without_places(yaml.safe_load(config.read_text())), sort_keys=False)
    if (origin := run_dir / ORIGIN).is_file():
        notes[ORIGIN] = json.dumps(without_places(json.loads(origin.read_text())), indent=2) + "\n"
    return notes


def require_empty(folder: Path) -> None:
    """Refuse to write among other files, or in the place of one.

    Raises:
        InputError: there is something in the folder, or it is none.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file lies where a folder is to be made; give another path")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: give a new folder, so that nothing is overwritten")


def write_folder(checkpoint: dict[str, Any], folder: Path, half: bool, notes: Mapping[str, str]) -> Path:
    """Write a repository for the Hugging Face hub, but for its model card.

    ``model.safetensors``, the notes as files, and ``config.json``, whose settings build the network.

    Args:
        checkpoint: as for :func:`write_release`.
        folder: new or empty.
        half: as there.
        notes: as there.

    Returns:
        The file of the network.

    Raises:
        InputError: as :func:`require_empty`, or as there.
    """
    require_empty(folder)
    path = folder / FILE
    write_release(checkpoint, path, half, notes)
    for name, text in notes.items():
        (folder / name).write_text(text)
    from fm_unroll import __version__  # whose stub leads back to this module

    write_json(folder / "config.json", {KEY: __version__, "hyper_parameters": settings_of(checkpoint)})
    return path
