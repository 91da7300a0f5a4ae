"""A whole scan through a network, a few slices at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.scan import Scan
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.metrics import score_slices, volume_metrics
from fm_unroll.models import UnrolledNetwork
from fm_unroll.models.classical import CGSense, ZeroFilled
from fm_unroll.physics import SamplingPattern
from fm_unroll.reconstruction.engine import accelerate, reconstruct
from fm_unroll.reconstruction.trust import change_map

Item = TypeVar("Item", covariant=True)
Result = TypeVar("Result")

# methods without training beside which a reconstruction is measured
COMPARED: Mapping[str, Callable[[], nn.Module]] = {"zero-filled": ZeroFilled, "CG-SENSE": CGSense}


class Indexed(Protocol[Item]):
    """Items by number: a list, or a scan, which reads a slice when it is asked for."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, item: int, /) -> Item:
        """One item."""


@dataclass(frozen=True)
class Reconstruction:
    """Some slices of a volume or all of them, on the CPU.

    Attributes:
        image: float32, ``(slices, *crop)``.
        target: float32, ``(slices, *crop)``; None for an undersampled scan.
        compared: where there is a target, the images of :data:`COMPARED`, of the same shape.
        change: the trust map, of the same shape; None where it was not asked for.
    """

    image: Tensor
    target: Tensor | None
    compared: Mapping[str, Tensor]
    change: Tensor | None

    @classmethod
    def join(cls, parts: Sequence["Reconstruction"]) -> "Reconstruction":
        """The slices of several parts, one after the other."""
        targets = [part.target for part in parts if part.target is not None]
        changes = [part.change for part in parts if part.change is not None]
        return cls(
            image=torch.cat([part.image for part in parts]),
            target=torch.cat(targets) if targets else None,
            compared={name: torch.cat([part.compared[name] for part in parts]) for name in parts[0].compared},
            change=torch.cat(changes) if changes else None,
        )

    def metrics(self) -> dict[str, dict[str, float]]:
        """SSIM, PSNR and NMSE of the volume as ``fastmri.evaluate`` computes them.

        Returns:
            One row for ``reconstruction`` and one for each method of :data:`COMPARED`; no rows without a
            target.
        """
        if self.target is None:
            return {}
        target, data_range = self.target, self.target.max().expand(len(self.target))
        rows = {"reconstruction": self.image, **self.compared}
        scores = {
            name: volume_metrics(score_slices(image, target, data_range)) for name, image in rows.items()
        }
        return {name: {key: value.item() for key, value in row.items()} for name, row in scores.items()}


def reconstruct_scan(
    scan: Scan,
    network: nn.Module,
    sampling: SamplingPattern | None,
    device: torch.device,
    batch_size: int = 4,
    trust: bool = False,
) -> Reconstruction:
    """Reconstruct every slice under a progress bar.

    Args:
        scan: the scan.
        network: the network, in evaluation mode.
        sampling: masks a fully sampled scan; None for undersampled ones.
        device: where the network is.
        batch_size: slices at once; halved whenever the device's memory does not suffice.
        trust: whether to make the trust map too.

    Raises:
        InputError: a slice cannot be used, its reconstruction holds NaN, or not even one fits into memory.
    """

    def process(samples: list[KSpaceSample]) -> Reconstruction:
        batch = accelerate(KSpaceBatch.collate(samples).to(device), sampling)
        return reconstruct_batch(batch, network, trust)

    parts = []
    with tqdm(total=len(scan), unit="slice", desc=scan.volume.name, delay=1) as progress:
        for part in in_chunks(scan, process, batch_size):
            parts.append(part)
            progress.update(len(part.image))
    return Reconstruction.join(parts)


def reconstruct_batch(batch: KSpaceBatch, network: nn.Module, trust: bool = False) -> Reconstruction:
    """Reconstruct some undersampled slices of one volume; see :func:`reconstruct_scan`."""
    methods = {} if batch.target is None else COMPARED
    change = None
    if trust:  # which methods without training do not have: they give no coil images
        change = finite(change_map(cast(UnrolledNetwork, network), batch), batch, "trust map")
    return Reconstruction(
        image=finite(reconstruct(network, batch), batch, "reconstruction"),
        target=None if batch.target is None else batch.target.cpu(),
        compared={name: reconstruct(method(), batch).cpu() for name, method in methods.items()},
        change=change,
    )


def finite(images: Tensor, batch: KSpaceBatch, what: str) -> Tensor:
    """Images of a batch, ``(batch, *crop)``, on the CPU.

    Raises:
        InputError: one holds NaN or Inf.
    """
    failed = (~images.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    if failed:
        where = f"slice {batch.slice[failed[0]]}, frame {batch.frame[failed[0]]}"
        raise InputError(f"{batch.volume[0]}: the {what} of {where} holds NaN or Inf")
    return images.cpu()


def in_chunks(items: Indexed[Item], process: Callable[[list[Item]], Result], size: int) -> Iterator[Result]:
    """Apply a function to chunks of a sequence, in order; chunks are halved when memory does not suffice.

    Yields:
        The results.

    Raises:
        InputError: not even one item fits into the device's memory.
    """
    position = 0
    while position < len(items):
        chunk = [items[index] for index in range(position, min(position + size, len(items)))]
        try:
            result = process(chunk)
        except torch.OutOfMemoryError as error:
            if len(chunk) == 1:
                reason = str(error).split(". ")[0]
                raise InputError(f"one slice does not fit into the device's memory ({reason})") from None
            size = len(chunk) // 2
            continue
        yield result
        position += len(chunk)


def as_volume(slices: Tensor, volume: Volume) -> NDArray[np.float32]:
    """``(frame * slice, row, column)`` to float32 ``(frame, slice, row, column)``."""
    image: NDArray[np.float32] = slices.reshape(
        volume.num_frames, volume.num_slices, *slices.shape[1:]
    ).numpy()
    return image
