"""Weights of fastMRI's own E2E-VarNet: read as tensors alone, with the sizes of the network that they are of.

Source: https://github.com/facebookresearch/fastMRI, ``fastmri/models/varnet.py`` (names of the tensors) and
``fastmri_examples/varnet`` (the files that it publishes, and what its README says of their training).
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fm_unroll.errors import InputError
from fm_unroll.models.build import build_model
from fm_unroll.models.checkpoints import NamesCode, load_tensors
from fm_unroll.models.paper import name_in_fastmri

MODULE = "varnet."  # before the names in a checkpoint of fastMRI's VarNetModule
LOSS = "loss."  # before those of its loss
MAPS, CASCADES = "sens_net.norm_unet.unet.", "cascades."
POOLINGS = "down_sample_layers."
FIRST_CONVOLUTION = "down_sample_layers.0.layers.0.weight"
NAMED = 3  # so many tensors of each kind are named in a message


def read_fastmri_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``fastmri.models.VarNet``, named as there.

    Args:
        path: ``VarNet(...).state_dict()`` in a file, as fastMRI publishes it, or a checkpoint of its
            ``VarNetModule``. Only tensors and plain values are read, never code.

    Raises:
        InputError: no such file, one that cannot be read so, or without the tensors of a VarNet.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file: give a state dict or checkpoint of fastMRI's VarNet")
    try:
        content = load_tensors(path)
    except NamesCode as reason:
        raise InputError(
            f"{path} cannot be read as tensors and plain values ({reason}): if you trust it, write its "
            "tensors to a file of their own, torch.save(torch.load(FILE, weights_only=False)['state_dict'], "
            "'weights.pt'), and give that"
        ) from None
    except InputError as reason:
        raise InputError(f"{path} cannot be read ({reason}): fetch it anew") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise InputError(f"{path} is no state dict: give what VarNet(...).state_dict() returns")
    tensors = {
        name.removeprefix(MODULE): tensor for name, tensor in content.items() if not name.startswith(LOSS)
    }
    for name in (MAPS + FIRST_CONVOLUTION, f"{CASCADES}0.model.unet.{FIRST_CONVOLUTION}"):
        if name not in tensors or tensors[name].ndim != 4:
            raise InputError(f"{path} holds no convolution {name}: give the weights of fastMRI's VarNet")
    return tensors


def sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The arguments of ``fastmri.models.VarNet``, read off the names and shapes of its tensors.

    Args:
        tensors: see :func:`read_fastmri_weights`.
    """
    first = f"{CASCADES}0.model.unet."
    return {
        "num_cascades": _count(tensors, CASCADES),
        "sens_chans": len(tensors[MAPS + FIRST_CONVOLUTION]),
        "sens_pools": _count(tensors, MAPS + POOLINGS),
        "chans": len(tensors[first + FIRST_CONVOLUTION]),
        "pools": _count(tensors, first + POOLINGS),
    }


def named_as_ours(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Some weights of fastMRI's by the names of our network with their sizes, float32, on the CPU.

    Args:
        tensors: see :func:`read_fastmri_weights`.
        path: where they are from, for messages.

    Raises:
        InputError: a tensor is missing, is one too many, has another shape or type, or is not finite.
    """
    sizes: dict[str, Any] = sizes_of(tensors)
    with torch.device("meta"):  # names and shapes alone: a network of whatever size takes no memory
        ours = build_model("varnet", **sizes).state_dict()
    expected = {name_in_fastmri(name): tensor.shape for name, tensor in ours.items()}
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    faults = {
        "missing": [name for name in expected if name not in tensors],
        "unknown": [name for name in tensors if name not in expected],
        "of another size": shapes,
        "no real numbers": [name for name, tensor in tensors.items() if not _is_real(tensor)],
        "not finite": [name for name, t in tensors.items() if _is_real(t) and not t.isfinite().all()],
    }
    if found := [f"{what}: {_first_of(names)}" for what, names in faults.items() if names]:
        said = ", ".join(f"{name} {value}" for name, value in sizes.items())
        raise InputError(f"{path} is not of one VarNet of fastMRI with {said}: {'; '.join(found)}")
    # copied: a part of a larger tensor would be written with the whole of it
    return {name: tensors[name_in_fastmri(name)].float().clone() for name in ours}


def _is_real(tensor: Tensor) -> bool:
    """Whether a tensor holds real numbers, one for each place."""
    return tensor.is_floating_point() and tensor.layout is torch.strided and not tensor.is_meta


def _count(tensors: Collection[str], prefix: str) -> int:
    """How many numbers follow a prefix in the names of tensors."""
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})


def _first_of(names: Collection[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join([*names][:NAMED]) + (f" and {more} more" if more > 0 else "")
