"""What is computed once for a measurement that comes again: maps and classical solutions.

In training with masks that are fixed every slice comes once an epoch; in an evaluation it comes to several
methods that begin in the same way.
"""

import hashlib
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from fm_unroll.errors import InputError

SETTING = "FM_UNROLL_START_MEMORY"  # GiB in each process; 0: none
DEFAULT = 4.0
SHARE_OF_MAPS = 0.25  # they take more room than solutions, and less time to compute


class Memory:
    """Results for slices, in the computer's memory, from the second time on that they are computed.

    The first time a slice is only noted: with masks that are drawn anew for every epoch, none comes again.
    Once the memory is full nothing more is kept. Epochs go through all slices in turn, so that dropping the
    oldest result would drop the one that is needed next.
    """

    def __init__(self, share: float, from_the_first: bool = False) -> None:
        """Keep this share of what the setting allows at most; where all comes again, from the first on."""
        self.share = share
        self.from_the_first = from_the_first
        self._bytes = 0
        self._seen: set[Hashable] = set()
        self._kept: dict[Hashable, Tensor] = {}

    def __call__(self, slices: Sequence[Hashable], compute: Callable[[], Tensor]) -> Tensor:
        """The result for a batch of slices: on the CPU if it was kept, else where it is computed.

        Args:
            slices: what tells each of them apart, with whatever else the result depends on.
            compute: computes it, with slices along its first axis.
        """
        if all(slice_ in self._kept for slice_ in slices):
            return torch.stack([self._kept[slice_] for slice_ in slices])
        results = compute()
        for slice_, result in zip(slices, results, strict=True):
            size = result.numel() * result.element_size()
            room = gibibytes(SETTING, DEFAULT) * self.share * 2**30 - self._bytes
            again = self.from_the_first or slice_ in self._seen
            if again and slice_ not in self._kept and size <= room:
                self._kept[slice_] = result.detach().to("cpu", copy=True)
                self._bytes += size
            self._seen.add(slice_)
        return results


known_maps = Memory(SHARE_OF_MAPS)
known_solutions = Memory(1 - SHARE_OF_MAPS)


@contextmanager
def set_apart() -> Iterator[None]:
    """Begin with empty memories that keep from the first time on, and have the former ones back at the end.

    For work that asks for the same few measurements many times, which nobody else will ask for.
    """
    memories = (known_maps, known_solutions)
    former = [vars(memory).copy() for memory in memories]
    for memory in memories:
        vars(memory).update(vars(Memory(memory.share, from_the_first=True)))
    try:
        yield
    finally:
        for memory, state in zip(memories, former, strict=True):
            vars(memory).update(state)


def gibibytes(setting: str, default: float) -> float:
    """What a setting of the environment allows.

    Raises:
        InputError: it is no number.
    """
    given = os.environ.get(setting, "").strip() or default
    try:
        return max(0.0, float(given))
    except ValueError:
        raise InputError(f"{setting} is {given!r}: give GiB, such as 4, or 0 for none") from None


def fingerprints(masked_kspace: Tensor, mask: Tensor, num_acs: int) -> list[bytes]:
    """A hash of all that was measured of each slice; arguments as an unrolled network takes them."""
    lines = mask.flatten(1).expand(len(masked_kspace), -1)
    return [
        _hash(kspace[..., sampled].cpu(), sampled.cpu(), num_acs)
        for kspace, sampled in zip(masked_kspace, lines, strict=True)
    ]


def _hash(samples: Tensor, lines: Tensor, num_acs: int) -> bytes:
    digest = hashlib.sha256(repr((tuple(samples.shape), num_acs)).encode())
    digest.update(lines.numpy().tobytes())
    digest.update(samples.resolve_conj().numpy().tobytes())
    return digest.digest()
