"""A trained network to pass on: its tensors, settings and facts in one safetensors file.

One such file comes with the package: the general network (docs/general_network.md).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fm_unroll.errors import InputError

SUFFIX = ".safetensors"
GENERAL = Path(__file__).with_name("general.safetensors")
KEY = "fm_unroll"  # of the file's metadata: what a checkpoint says besides its tensors
NEEDED = {"hyper_parameters", "fm_unroll"}
PARTS = (*sorted(NEEDED), "epoch", "global_step")  # the last two are missing in hand-made checkpoints


def write_release(
    checkpoint: dict[str, Any], path: Path, half: bool, notes: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write what applies a network, and nothing that trains it on.

    Args:
        checkpoint: its content, see :func:`~fm_unroll.models.checkpoints.read_checkpoint`.
        path: the file, ending in ``.safetensors``.
        half: store float16, half the size; the network still computes in float32.
        notes: texts to keep beside, for whoever reads the file's metadata.

    Raises:
        InputError: another ending, or a weight that float16 does not hold.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: give a name that ends in {SUFFIX}")
    facts = {part: checkpoint[part] for part in PARTS if part in checkpoint}
    # a path of the machine of training says nothing elsewhere: the encoder's hash says which weights
    facts["hyper_parameters"] = {
        name: None if name == "weights" else value for name, value in facts["hyper_parameters"].items()
    }
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint["state_dict"].items()}
    if half:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(f"{name} holds values that are not finite{' in float16' if half else ''}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {KEY: json.dumps(facts, default=str), **notes})


def read_release(path: Path) -> dict[str, Any]:
    """The content of a file of :func:`write_release`, as that of a checkpoint; tensors are float32.

    Raises:
        InputError: it cannot be read, or is none of them.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read, or is no safetensors file ({error})") from None
    if not isinstance(facts, dict) or not facts.keys() >= NEEDED:
        raise InputError(f"{path} is no network of fm_unroll: give what the verb `release` wrote")
    return {**facts, "state_dict": tensors}
