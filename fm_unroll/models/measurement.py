"""What a network can be told of a measurement: its noise level and its acceleration."""

import torch
from torch import Tensor

from fm_unroll.models.classical.sense import SenseProblem

QUIETEST = 1e-4  # noise level below which no difference is made
USUAL_NOISE, USUAL_ACCELERATION = 0.01, 4.0


def describe(problem: SenseProblem) -> Tensor:
    """What is known of measurements: noise level and acceleration; float32, ``(batch, 2)``.

    The acceleration is that between the first and the last measured line: beyond them a matrix may be padded.
    """
    lines = torch.fft.fftshift(problem.lines, -1).flatten(1).int()
    span = lines.shape[1] - lines.argmax(1) - lines.flip(1).argmax(1)
    return torch.stack([problem.noise, (span / lines.sum(1)).expand_as(problem.noise)], dim=1)


def relative_logs(facts: Tensor) -> Tensor:
    """Log noise level and log acceleration relative to usual ones: float32, ``(batch, 2)``."""
    noise, acceleration = facts.unbind(1)
    relative = [noise.clamp_min(QUIETEST) / USUAL_NOISE, acceleration / USUAL_ACCELERATION]
    return torch.stack(relative, dim=1).log()
