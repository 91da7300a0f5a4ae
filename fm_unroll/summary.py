"""Parameter counts of a config's network."""

import json as json_format
from pathlib import Path

import yaml
from torch import nn

from fm_unroll.errors import InputError
from fm_unroll.task import ReconstructionTask


def summary(*, config: Path, json: bool = False) -> None:
    """Print the parameters of a config's network, trainable and frozen, part by part.

    Args:
        config: a config of ``fit``. The encoder's weights are not needed: counts depend on its architecture.
        json: print JSON instead of a table.
    """
    if not config.is_file():
        raise InputError(f"config {config} is not a file")
    model = (yaml.safe_load(config.read_text()) or {}).get("model", {})
    network = ReconstructionTask(**{**model, "pretrained": False, "weights": None}).network
    counts = count_parameters(network)
    if json:
        print(json_format.dumps({"method": model.get("method", "varnet"), **counts}, indent=2))
        return
    print(f"{'part':28}{'trainable':>14}{'frozen':>14}")
    for part, count in counts["parts"].items():
        print(f"{part:28}{count['trainable']:>14,}{count['frozen']:>14,}")
    print(f"{'total':28}{counts['trainable']:>14,}{counts['frozen']:>14,}")


def count_parameters(network: nn.Module) -> dict:
    """Trainable and frozen parameters of an unrolled network, in all and by part; shared ones count once."""
    groups = {"sensitivity maps": [network.sensitivity], "frozen encoder": [], "denoisers": []}
    for cascade in network.cascades:
        encoder = getattr(cascade.denoiser, "encoder", None)
        groups["frozen encoder"] += [encoder] if encoder is not None else []
        groups["denoisers"].append(cascade)
    seen: set[int] = set()
    parts = {}
    for part, modules in groups.items():
        parameters = [
            parameter
            for module in modules
            for parameter in module.parameters()
            if not (id(parameter) in seen or seen.add(id(parameter)))
        ]
        parts[part] = {
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "frozen": sum(p.numel() for p in parameters if not p.requires_grad),
        }
    totals = {kind: sum(part[kind] for part in parts.values()) for kind in ("trainable", "frozen")}
    return {**totals, "parts": parts}
