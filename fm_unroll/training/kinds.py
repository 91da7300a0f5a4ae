"""What a config may have made: objects of the kinds that a run has a use for.

Where a class of Lightning takes a function, the parser lets a config name any function of an allowed package,
and calls it with the arguments beside it: ``torch.load`` with ``weights_only: false`` and the file of
somebody's pickle. So what a config names is looked at once it is parsed, before any of it is made.
"""

import sys
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.pytorch import Callback
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fm_unroll.config_files import named_by_user
from fm_unroll.data.training_data import TrainingData
from fm_unroll.errors import InputError
from fm_unroll.physics import SamplingPattern

KINDS: tuple[type, ...] = (
    *(Callback, Logger, Profiler, Strategy, Accelerator),
    *(Precision, ClusterEnvironment, CheckpointIO, LayerSync),  # the trainer's plugins
    *(TrainingData, SamplingPattern),
    *(Optimizer, LRScheduler),
)
# settings of W&B by which its record, and the key with it, would go to somebody else
WANDB_SERVER = {
    *("base_url", "api_key", "http_proxy", "https_proxy"),
    *("x_proxies", "insecure_disable_ssl", "x_extra_http_headers"),
}


def require_kinds(config: Namespace) -> None:
    """Refuse a config that has something else called, or made, than a run has a use for.

    Args:
        config: of a verb, parsed; nothing of it has been made yet.

    Raises:
        InputError: it names a function, or a class of another kind, that the command line does not name; it
            lets Lightning read pickles; or it says to which server W&B's record, and the user's key, go.
    """
    if config.get("weights_only") is False:
        raise InputError(
            "weights_only is false: checkpoints are read as tensors and plain values alone; leave it out"
        )
    keys = {key for node in _nodes(config) if isinstance(node, Mapping) for key in node}
    if server := sorted(WANDB_SERVER & keys):
        raise InputError(
            f"{server[0]} is set, which may send your key for W&B to somebody else: leave it out, and name "
            "your server by WANDB_BASE_URL or `wandb login --host`"
        )
    named = [_imported(path) for path in named_by_user()]
    for path, found in _named(config):
        kind = isinstance(found, KINDS) or (isinstance(found, type) and issubclass(found, KINDS))
        if not kind and not any(found is one for one in named if one is not None):
            raise InputError(
                f"a config names {path}: only classes of callbacks, loggers, profilers, strategies, "
                "accelerators, plugins, data, sampling patterns and optimizers may be used there; what else "
                "you want called, name on the command line itself"
            )


def _named(config: Namespace) -> Iterator[tuple[str, object]]:
    """What a config names, with its path: what is described by ``class_path``, and functions and classes."""
    for node in _nodes(config):
        if isinstance(node, Mapping):
            if isinstance(path := node.get("class_path"), str):
                yield path, _imported(path)
        elif callable(node) and not isinstance(node, PathLike):  # the parser's own paths can be called
            yield f"{node.__module__}.{getattr(node, '__qualname__', type(node).__qualname__)}", node


def _nodes(node: object) -> Iterator[object]:
    """A part of a config and all that is in it, at whatever depth."""
    if isinstance(node, Namespace):
        node = vars(node)
    yield node
    if isinstance(node, Mapping):
        node = node.values()
    elif not isinstance(node, list | tuple | set):
        return
    for value in node:
        yield from _nodes(value)


def _imported(path: str) -> Any:
    """What a path stands for, if the parser has imported it; nothing is imported here."""
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:length]))
        if found is not None:
            for name in parts[length:]:
                found = getattr(found, name, None)
            return found
    return None
