"""Times of two functions that do the same, measured in turn, and their ratio."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.benchmark import Timer

MIN_ROUNDS, MAX_ROUNDS = 3, 15


@dataclass(frozen=True)
class Pair:
    """Two ways to the same result.

    Attributes:
        ours: our way; its return value is not looked at.
        peer: the peer's.
        difference: how far their results lie apart, relative to the peer's; measured before any timing.
        tolerance: what is allowed.
    """

    ours: Callable[[], object]
    peer: Callable[[], object]
    difference: float
    tolerance: float

    def __post_init__(self) -> None:
        """Nothing is timed that does not agree."""
        if not self.difference <= self.tolerance:
            raise AssertionError(f"results differ by {self.difference:.2e}, more than {self.tolerance:.0e}")


@dataclass(frozen=True)
class Ratio:
    """How many times as fast, or as small, ours is.

    Attributes:
        median: over the rounds.
        low: the smallest round.
        high: the largest.
        rounds: how many.
        ours: median of ours, in ``unit``.
        peer: median of the peer's, in ``unit``.
        unit: ``s`` or ``GiB``.
    """

    median: float
    low: float
    high: float
    rounds: int
    ours: float
    peer: float
    unit: str

    @classmethod
    def of(cls, peer: list[float], ours: list[float], unit: str) -> "Ratio":
        """The ratios of paired measurements."""
        ratios = np.array(peer) / np.array(ours)
        spread = (np.median(ratios), ratios.min(), ratios.max())
        return cls(*map(float, spread), len(ratios), float(np.median(ours)), float(np.median(peer)), unit)


def time_in_turn(pair: Pair, seconds: float) -> Ratio:
    """Time both functions in turn, so that whatever else the machine does meets both.

    Args:
        pair: the functions. Each runs once untimed.
        seconds: after this, and `MIN_ROUNDS` rounds, no further round is begun.
    """
    pair.ours()
    pair.peer()
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    end = time.monotonic() + seconds
    while len(times["ours"]) < MAX_ROUNDS and (len(times["ours"]) < MIN_ROUNDS or time.monotonic() < end):
        # whoever comes second may find warmer caches, or a machine that has slowed down
        order = ("peer", "ours") if len(times["ours"]) % 2 else ("ours", "peer")
        for name in order:
            timer = Timer("run()", globals={"run": getattr(pair, name)}, num_threads=torch.get_num_threads())
            times[name].append(timer.timeit(1).median)
    return Ratio.of(times["peer"], times["ours"], "s")
