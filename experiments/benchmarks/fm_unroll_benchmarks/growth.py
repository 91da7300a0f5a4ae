"""Growth of cost with coils, matrix size, cascades and slices: the exponent of a power law."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fm_unroll.models import build_model
from fm_unroll.training.memory import ProblemSize, SimulatedBatch, Step, adam, our_step
from fm_unroll_benchmarks.timing import seconds_of

GROWN: dict[str, Callable[[ProblemSize, int], ProblemSize]] = {
    "coils": lambda size, factor: replace(size, coils=factor * size.coils),
    "matrix size": lambda size, factor: replace(size, phase=factor * size.phase),
    "cascades": lambda size, factor: replace(size, cascades=factor * size.cascades),
    "slices": lambda size, factor: replace(size, batch=factor * size.batch),
}
FACTORS = (1, 2, 4)


def exponents(smallest: ProblemSize, device: torch.device) -> dict[str, tuple[float, float]]:
    """Fit the exponents of time and memory of a training step of E2E-VarNet; 1 is linear.

    Args:
        smallest: the size that is multiplied by ``FACTORS``, one property at a time.
        device: where to run.

    Returns:
        For each key of ``GROWN``, the exponents of the time and of the bytes kept for the backward pass.
    """
    fitted = {}
    for name, grow in GROWN.items():
        sizes = [grow(smallest, factor) for factor in FACTORS]
        costs = np.array([step_cost(size, device) for size in sizes])
        slopes = np.polyfit(np.log(FACTORS), np.log(costs), 1)[0]
        fitted[name] = (float(slopes[0]), float(slopes[1]))
    return fitted


def step_cost(size: ProblemSize, device: torch.device) -> tuple[float, int]:
    """Measure a training step: seconds, and bytes that its forward pass keeps for the backward pass."""
    batch = SimulatedBatch.draw(size, device)
    network = build_model("varnet", num_cascades=size.cascades, chans=8, sens_chans=4).to(device)
    step = our_step(network, adam(network), batch, "32-true")
    kept = bytes_kept(step)
    return min(seconds_of(step) for _ in range(3)), kept


def bytes_kept(step: Step) -> int:
    """Count the bytes of all distinct storages that autograd saves in one step."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(storages.values())
