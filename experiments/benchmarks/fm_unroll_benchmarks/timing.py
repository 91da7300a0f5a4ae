"""Times of two functions that do the same, measured in turn, and their ratio."""

import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils import benchmark

MAX_ROUNDS = 50
WARM_UP = 5  # seconds; what takes longer is not changed by cold caches
WARM_UP_ROUNDS = 3  # a GPU's libraries choose their algorithms in the first ones
TIMED = 10  # calls whose median is taken


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
        """Refuse to time what does not agree."""
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
    def of(cls, peer: Sequence[float], ours: Sequence[float], unit: str) -> "Ratio":
        """Divide paired measurements: the peer's by ours."""
        ratios = np.array(peer) / np.array(ours)
        return cls(
            median=float(np.median(ratios)),
            low=float(ratios.min()),
            high=float(ratios.max()),
            rounds=len(ratios),
            ours=float(np.median(ours)),
            peer=float(np.median(peer)),
            unit=unit,
        )


def time_in_turn(pair: Pair, seconds: float, rounds: int = 3) -> Ratio:
    """Time both functions in turn, so that whatever else the machine does meets both.

    Args:
        pair: the functions. First rounds do not count, unless one takes longer than ``WARM_UP``.
        seconds: after this, and ``rounds`` rounds, no further round is begun.
        rounds: at least so many, at most ``MAX_ROUNDS``.
    """
    begin = time.monotonic()
    measured: list[dict[str, float]] = []
    for _ in range(WARM_UP_ROUNDS):
        warm_up = _round(pair, ("ours", "peer"))
        if sum(warm_up.values()) > WARM_UP:
            measured = [warm_up]
            break
    while len(measured) < MAX_ROUNDS and (len(measured) < rounds or time.monotonic() < begin + seconds):
        # whoever comes second may find warmer caches, or a machine that has slowed down
        order = ("peer", "ours") if len(measured) % 2 else ("ours", "peer")
        measured.append(_round(pair, order))
    return Ratio.of([one["peer"] for one in measured], [one["ours"] for one in measured], "s")


def median_seconds(run: Callable[[], object], seconds: float) -> float:
    """Median time of a call, after as many calls as :func:`time_in_turn` makes rounds before any counts.

    Args:
        run: what is timed.
        seconds: after this no further call is begun; one is always timed.
    """
    begin = time.monotonic()
    measured: list[float] = []
    while len(measured) < WARM_UP_ROUNDS + TIMED:
        measured.append(seconds_of(run))
        if time.monotonic() > begin + seconds or measured[-1] > WARM_UP:
            break
    # a first call counts only where there is no other
    counted = measured[WARM_UP_ROUNDS:] or measured[-1:]
    return float(np.median(counted))


def _round(pair: Pair, order: tuple[str, str]) -> dict[str, float]:
    """Time each side once, in this order."""
    return {name: seconds_of(getattr(pair, name)) for name in order}


def seconds_of(run: Callable[[], object]) -> float:
    """Measure one call, until the device has done what was asked of it.

    PyTorch's own ``Timer`` would make two calls more before each that counts.
    """
    return timeit.Timer(run, timer=benchmark.timer).timeit(1)
