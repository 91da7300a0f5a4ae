"""Parameter counts of a config's network, and the memory that its training takes."""

import json as json_format
from functools import partial
from pathlib import Path

import torch
import yaml
from torch import nn

from fm_unroll.errors import InputError
from fm_unroll.precision import default_precision
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


def build_network(model: dict) -> nn.Module:
    """The network of a config's ``model`` section, its encoder with random weights."""
    return ReconstructionTask(**{**model, "pretrained": False, "weights": None}).network


def measure_memory(model: dict) -> dict:
    """Peak memory of a training step with all and with none of the cascades checkpointed."""
    from fm_unroll_benchmarks.memory import peak_memory
    from fm_unroll_benchmarks.networks import ProblemSize, our_step

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = default_precision(device.type)
    largest = ProblemSize(phase=246)
    step = partial(our_step, precision=precision)
    peaks = {
        checkpoint: peak_memory(
            partial(build_network, {**model, "checkpoint_cascades": checkpoint}), step, largest, device
        )
        for checkpoint in ("none", "all")
    }
    where = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU"
    slice_ = f"one slice, {largest.coils} coils, {largest.readout} x {largest.phase}"
    return {"slice": slice_, "precision": precision, "device": where, "GiB": peaks}


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
