"""The physical limit of a training step: its arithmetic and its traffic against what the card can do."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
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


# By a part of the card's name; the first that fits counts. H100 and H200 are the SXM boards, of which torch
# calls the former "NVIDIA H100 80GB HBM3".
CARDS = {
    "H200": Card(989e12, 4.8e12),
    "H100 PCIe": Card(756e12, 2.0e12),
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


def operations_of(run: Callable[[], object]) -> float:
    """Count the floating-point operations of the matrix products and convolutions in one call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def card_of(device: torch.device) -> Card | None:
    """Look up the data sheet of a device; None for a CPU and for cards that are not in ``CARDS``."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((card for known, card in CARDS.items() if known in name), None)
