"""The physical limit of a training step: its arithmetic and its traffic against what the card can do."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from fm_unroll.training.memory import Step
from fm_unroll_benchmarks.growth import bytes_kept


@dataclass(frozen=True)
class Card:
    """What a maker's data sheet promises.

    Attributes:
        bfloat16: dense tensor-core operations per second.
        bandwidth: bytes per second from and to the card's memory.
    """

    bfloat16: float
    bandwidth: float


CARDS = {
    "H200": Card(989e12, 4.8e12),
    "H100": Card(989e12, 3.35e12),
    "A100": Card(312e12, 2.04e12),
    "RTX 4090": Card(165e12, 1.01e12),
    "RTX 3090": Card(71e12, 0.94e12),
}


@dataclass(frozen=True)
class Work:
    """What one training step must do at the least.

    Attributes:
        operations: floating-point operations of matrix products and convolutions, forward and backward.
        traffic: bytes: activations kept for the backward pass, written and read once; trained parameters with
            gradient and Adam's two moments, read and written once.
    """

    operations: float
    traffic: float

    @classmethod
    def of(cls, step: Step, network: nn.Module) -> "Work":
        """Count a step."""
        with FlopCounterMode(display=False) as counter:
            kept = bytes_kept(step)
        trained = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
        return cls(counter.get_total_flops(), 2 * kept + 8 * trained)

    def bound(self, card: Card) -> float:
        """Shortest time that the card could take, in seconds."""
        return max(self.operations / card.bfloat16, self.traffic / card.bandwidth)

    def utilisation(self, card: Card, seconds: float) -> float:
        """Model FLOP utilisation: operations done over operations possible in that time."""
        return self.operations / seconds / card.bfloat16


def card_of(device: torch.device) -> Card | None:
    """Look up the data sheet of a device; None for a CPU and for cards that are not in ``CARDS``."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((card for known, card in CARDS.items() if known in name), None)


def draw_profile(step: Step, device: torch.device, title: str, path: Path) -> None:
    """Draw where the time of a step goes, by operator, as a bar chart (png)."""
    from matplotlib.figure import Figure

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports, on every CPU, that there is no GPU
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        step()
    field = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {event.key: getattr(event, field) for event in profiler.key_averages()}
    total = sum(times.values())
    longest = sorted(times, key=times.__getitem__, reverse=True)[:15]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.barh([key[:48] for key in longest], [100 * times[key] / total for key in longest], color="#6a51a3")
    axes.invert_yaxis()
    axes.set_xlabel("share of the step's time, %")
    figure.suptitle(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
