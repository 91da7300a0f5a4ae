"""What is computed once for a measurement that comes again, as in training with masks that are fixed."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor


class Memory:
    """Results for slices, in the computer's memory, from the second time on that they are computed.

    The first time a slice is only noted: with masks that are drawn anew for every epoch, none comes again.
    Once the memory is full nothing more is kept. Epochs go through all slices in turn, so that dropping the
    oldest result would drop the one that is needed next.
    """

    def __init__(self, gibibytes: float) -> None:
        """Keep at most so much."""
        self._bytes_left = int(gibibytes * 2**30)
        self._seen: set[bytes] = set()
        self._kept: dict[bytes, Tensor] = {}

    def __call__(self, slices: list[bytes], compute: Callable[[], Tensor]) -> Tensor:
        """The result for a batch of slices: on the CPU if it was kept, else where it is computed.

        Args:
            slices: their :func:`fingerprints`.
            compute: computes it, with slices along its first axis.
        """
        if all(slice_ in self._kept for slice_ in slices):
            return torch.stack([self._kept[slice_] for slice_ in slices])
        results = compute()
        for slice_, result in zip(slices, results, strict=True):
            size = result.numel() * result.element_size()
            if slice_ in self._seen and slice_ not in self._kept and size <= self._bytes_left:
                self._kept[slice_] = result.detach().to("cpu", copy=True)
                self._bytes_left -= size
            self._seen.add(slice_)
        return results


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
