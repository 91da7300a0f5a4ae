"""Parameter counts of a config's network, and the memory that its training takes."""

import json as json_format
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from fm_unroll.consent import is_own
from fm_unroll.errors import InputError
from fm_unroll.models import UnrolledNetwork
from fm_unroll.models.own import OwnNetwork
from fm_unroll.models.registry import denoiser_options
from fm_unroll.precision import default_precision
from fm_unroll.training.memory import ProblemSize, our_step, peak_memory
from fm_unroll.training.task import ReconstructionTask


def summary(*, config: Path, json: bool = False, memory: bool = False) -> None:
    """Print the parameters of a config's network, trainable and frozen, part by part.

    Args:
        config: a config of ``fit``. The encoder's weights are not needed: counts depend on its architecture.
        json: print JSON instead of a table.
        memory: also measure what a training step takes on CMRxRecon's largest slices, with and without
            ``checkpoint_cascades``; on a CPU this takes minutes.
    """
    if not config.is_file():
        raise InputError(f"config {config} is not a file")
    model = (yaml.safe_load(config.read_text()) or {}).get("model", {})
    counts = count_parameters(build_network(model))
    needed = measure_memory(model) if memory else None
    if json:
        measured = {"training_memory": needed} if memory else {}
        print(json_format.dumps({"method": model.get("method", "varnet"), **counts, **measured}, indent=2))
        return
    print(f"{'part':28}{'trainable':>14}{'frozen':>14}")
    for part, count in counts["parts"].items():
        print(f"{part:28}{count['trainable']:>14,}{count['frozen']:>14,}")
    print(f"{'total':28}{counts['trainable']:>14,}{counts['frozen']:>14,}")
    if needed:
        print(f"a training step of {needed['slice']} in {needed['precision']} on {needed['device']} takes")
        for checkpoint, gigabytes in needed["GiB"].items():
            amount = "not known here" if gigabytes is None else f"{gigabytes:.1f} GiB"
            print(f"  {amount} with checkpoint_cascades: {checkpoint}")


def build_network(model: dict[str, Any]) -> UnrolledNetwork:
    """The network of a config's ``model`` section, its encoders with random weights."""
    options = denoiser_options(model.get("method", "varnet"))
    weightless = {"pretrained": False, "weights": None} if "pretrained" in options else {}
    return ReconstructionTask(**{**model, **weightless}).network


def measure_memory(model: dict[str, Any]) -> dict[str, Any]:
    """Peak memory of a training step with all and with none of the cascades checkpointed, if it has any."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    own = is_own(model.get("method", "varnet"))
    precision = "32-true" if own else default_precision(device.type)
    largest = ProblemSize(phase=246)
    step = partial(our_step, precision=precision)
    peaks = {
        checkpoint: peak_memory(
            partial(build_network, {**model, "checkpoint_cascades": checkpoint}), step, largest, device
        )
        for checkpoint in (("none",) if own else ("none", "all"))
    }
    where = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU"
    slice_ = f"one slice, {largest.coils} coils, {largest.readout} x {largest.phase}"
    return {"slice": slice_, "precision": precision, "device": where, "GiB": peaks}


def count_parameters(network: UnrolledNetwork) -> dict[str, Any]:
    """Count trainable and frozen parameters of a network, in all and by part; shared ones count once."""
    frozen = [parameter for encoder in network.encoders for parameter in encoder.parameters()]
    inside_encoder = {id(parameter) for parameter in frozen}
    groups = {
        "sensitivity maps": list(network.sensitivity.parameters()) if network.sensitivity else [],
        "frozen encoder": frozen,
        "denoisers": [p for p in network.cascades.parameters() if id(p) not in inside_encoder],
    }
    if isinstance(network, OwnNetwork):
        groups = {name: list(child.parameters()) for name, child in network.own.named_children()}
        groups |= {"parameters of its own": list(network.own.parameters(recurse=False))}
    parts = {
        part: {
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "frozen": sum(p.numel() for p in parameters if not p.requires_grad),
        }
        for part, parameters in groups.items()
    }
    totals = {kind: sum(part[kind] for part in parts.values()) for kind in ("trainable", "frozen")}
    return {**totals, "parts": parts}
