"""What a network can be told of a measurement: its noise level and its acceleration."""

import torch
from torch import Tensor

from fm_unroll.models.classical.sense import SenseProblem

QUIETEST, LOUDEST = 1e-4, 0.02  # noise levels below and above which networks are told no difference
USUAL_NOISE, USUAL_ACCELERATION = 0.01, 4.0


def describe(problem: SenseProblem) -> Tensor:
    """What is known of measurements: noise level and acceleration; float32, ``(batch, 2)``.

    The acceleration is that between the first and the last measured line: beyond them a matrix may be padded.
    Of more noise than LOUDEST networks are not told, as few see it in training: the general network gains 0.3
    to 1 dB by this on scans with 5 %. What it asks of the physics is never learned (``anchored.caution``).
    """
    lines = problem.sampled.int()
    span = lines.shape[1] - lines.argmax(1) - lines.flip(1).argmax(1)
    noise = problem.noise.clamp_max(LOUDEST)
    return torch.stack([noise, (span / lines.sum(1)).expand_as(noise)], dim=1)


def relative_logs(facts: Tensor) -> Tensor:
    """Log noise level and log acceleration relative to usual ones: float32, ``(batch, 2)``."""
    noise, acceleration = facts.unbind(1)
    relative = [noise.clamp_min(QUIETEST) / USUAL_NOISE, acceleration / USUAL_ACCELERATION]
    return torch.stack(relative, dim=1).log()
