"""The verb ``report-environment``: what a report of a fault needs, without paths and secrets."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch
import yaml

from fm_unroll import __version__, data, physics
from fm_unroll.config_files import read_config
from fm_unroll.consent import is_own
from fm_unroll.data.readers.cmrxrecon import CATEGORIES
from fm_unroll.models.classical.memory import SETTING as START_MEMORY
from fm_unroll.models.classical.stored import SETTING as START_DISK
from fm_unroll.provenance import commit

# Settings that change what happens and tell nothing about anybody.
HARMLESS = (
    "CUDA_VISIBLE_DEVICES",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    START_DISK,
    START_MEMORY,
    "WANDB_MODE",
    "WORLD_SIZE",
)
# Numbers are left out where they may be a secret. Words stay only where they can be nothing that somebody
# made up: choices that this package or Lightning offers.
SECRET = re.compile(r"token|key|secret|pass|auth|credential|api|(^|_)id$")
CHOICES = re.compile(
    r"loss|physics|start|maps|fusion|patterns|accelerator|strategy|precision|devices|monitor|mode|interval"
    r"|subset|acquisition|checkpoint_cascades|encoder_gradient"
)
OURS = re.compile(r"(fm_unroll|lightning|torch)\.[\w.]+")  # classes
LEFT_OUT = "<left out>"


def report_environment(*, config: Path | None = None) -> None:
    """Print versions, device and settings as a report of a fault needs them, without paths and secrets.

    Args:
        config: also print this config, best the ``config.yaml`` of the run's folder.
    """
    facts: dict[str, Any] = {
        "fm_unroll": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [_card(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "packages": _packages(),
        "environment": {name: os.environ[name] for name in HARMLESS if name in os.environ},
    }
    if config is not None:
        facts["config"] = without_private(read_config(config))
    print(yaml.safe_dump(facts, sort_keys=False, width=100), end="")


def _card(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _packages() -> dict[str, str]:
    """The versions of all that fm_unroll needs."""
    names = [re.split(r"[^\w.-]", line)[0] for line in requires("fm_unroll") or () if "extra ==" not in line]
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def without_private(node: Any, option: str = "") -> Any:
    """A part of a config in which paths, names that somebody gave, and secrets are left out.

    Args:
        node: the part.
        option: the name of the option that it is the value of.
    """
    if isinstance(node, dict):
        return {name: without_private(value, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [without_private(value, option) for value in node]
    if node is None or isinstance(node, bool):
        return node
    if not isinstance(node, str):
        return LEFT_OUT if SECRET.search(option) else node
    match option:
        case "class_path":
            harmless = bool(OURS.fullmatch(node)) or hasattr(data, node) or hasattr(physics, node)
        case "method":
            harmless = not is_own(node)
        case "contrasts":
            harmless = node in CATEGORIES
        case _:
            harmless = bool(CHOICES.fullmatch(option))
    return node if harmless else LEFT_OUT
