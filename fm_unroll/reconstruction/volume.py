"""A whole scan through a network, a few slices at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

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
from fm_unroll.models.classical import ZeroFilled
from fm_unroll.physics import SamplingPattern
from fm_unroll.reconstruction.engine import accelerate, in_float32, reconstruct
from fm_unroll.reconstruction.trust import TrustMaps, leave_lines_out, trust_maps

Item = TypeVar("Item", covariant=True)
Result = TypeVar("Result")


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
        zero_filled: the image without a network, of the same shape.
        target: float32, ``(slices, *crop)``; None for an undersampled scan.
        trust: the trust maps; None where they were not asked for.
    """

    image: Tensor
    zero_filled: Tensor
    target: Tensor | None
    trust: TrustMaps | None

    @classmethod
    def join(cls, parts: Sequence["Reconstruction"]) -> "Reconstruction":
        """The slices of several parts, one after the other."""
        targets = [part.target for part in parts if part.target is not None]
        trust = [part.trust for part in parts if part.trust is not None]
        return cls(
            image=torch.cat([part.image for part in parts]),
            zero_filled=torch.cat([part.zero_filled for part in parts]),
            target=torch.cat(targets) if targets else None,
            trust=TrustMaps.join(trust) if trust else None,
        )

    def metrics(self) -> dict[str, dict[str, float]]:
        """SSIM, PSNR and NMSE of the volume as ``fastmri.evaluate`` computes them.

        Returns:
            One row for ``reconstruction`` and one for ``zero-filled``; no rows without a target.
        """
        if self.target is None:
            return {}
        target, data_range = self.target, self.target.max().expand(len(self.target))
        rows = {"reconstruction": self.image, "zero-filled": self.zero_filled}
        scores = {
            name: volume_metrics(score_slices(image, target, data_range)) for name, image in rows.items()
        }
        return {name: {key: value.item() for key, value in row.items()} for name, row in scores.items()}


def reconstruct_scan(
    scan: Scan,
    networks: Sequence[UnrolledNetwork],
    sampling: SamplingPattern | None,
    device: torch.device,
    batch_size: int = 4,
    subsets: int = 0,
    seed: int = 0,
) -> Reconstruction:
    """Reconstruct every slice under a progress bar.

    Args:
        scan: the scan.
        networks: the first one reconstructs; several give the spread of the trust maps.
        sampling: masks a fully sampled scan; None for undersampled ones.
        device: where the networks are.
        batch_size: slices at once; halved whenever the device's memory does not suffice.
        subsets: number of reconstructions from subsets of the acquired lines, for the spread of one network;
            0 with a single network: no trust maps.
        seed: seed of those subsets.

    Raises:
        InputError: a slice cannot be used, its reconstruction holds NaN, or not even one fits into memory.
    """

    def process(samples: list[KSpaceSample]) -> Reconstruction:
        batch = accelerate(KSpaceBatch.collate(samples).to(device), sampling)
        return reconstruct_batch(batch, networks, subsets, seed)

    parts = []
    with tqdm(total=len(scan), unit="slice", desc=scan.volume.name, delay=1) as progress:
        for part in in_chunks(scan, process, batch_size):
            parts.append(part)
            progress.update(len(part.image))
    return Reconstruction.join(parts)


def reconstruct_batch(
    batch: KSpaceBatch, networks: Sequence[UnrolledNetwork], subsets: int = 0, seed: int = 0
) -> Reconstruction:
    """Reconstruct some undersampled slices of one volume; see :func:`reconstruct_scan`."""
    image = finite_image(networks[0], batch)
    return Reconstruction(
        image=image.cpu(),
        zero_filled=reconstruct(ZeroFilled(), batch).cpu(),
        target=None if batch.target is None else batch.target.cpu(),
        trust=measure_trust(image, batch, networks, subsets, seed) if subsets or len(networks) > 1 else None,
    )


@torch.inference_mode()
def measure_trust(
    image: Tensor, batch: KSpaceBatch, networks: Sequence[UnrolledNetwork], subsets: int, seed: int
) -> TrustMaps:
    """Compare an image with the data, and with reconstructions that should agree with it.

    These are the images of all networks or, with a single network, those of subsets of the lines.
    """
    if len(networks) > 1:
        images = [image, *(finite_image(network, batch) for network in networks[1:])]
    else:
        fewer = (leave_lines_out(batch, seed + index) for index in range(subsets))
        images = [finite_image(networks[0], part) for part in fewer]
    with in_float32(networks[0], batch):
        coil_images = networks[0].coil_images(batch.kspace, batch.mask, batch.num_acs)
    return TrustMaps.join([trust_maps(coil_images, batch, images)])


def finite_image(network: nn.Module, batch: KSpaceBatch) -> Tensor:
    """The image of a batch: float32, ``(batch, *crop)``.

    Raises:
        InputError: it holds NaN or Inf.
    """
    image = reconstruct(network, batch)
    failed = (~image.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    if failed:
        where = f"slice {batch.slice[failed[0]]}, frame {batch.frame[failed[0]]}"
        raise InputError(f"{batch.volume[0]}: the reconstruction of {where} holds NaN or Inf")
    return image


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
