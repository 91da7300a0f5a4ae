"""A network as it is beside the same network adapted to each scan: the table of docs/adaptation.md.

``python experiments/adaptation.py scan.h5 another.mat`` prints a Markdown table: for each scan and sampling
SSIM and PSNR of the volume without and with adaptation, the errors at the lines held out of the network as it
was and of CG-SENSE, the step that was taken, and the seconds that adapting took. Other networks:
``--checkpoint best.ckpt``; another way to adapt: ``--adapt.free decoder``.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from fm_unroll.cli import call
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.scan import Scan, open_scan
from fm_unroll.errors import InputError
from fm_unroll.models.checkpoints import load_network
from fm_unroll.models.release import GENERAL
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.physics import EquispacedSampling
from fm_unroll.reconstruction.adaptation import Adaptation, adapted
from fm_unroll.reconstruction.engine import reconstruct, require_target
from fm_unroll.reconstruction.volume import Reconstruction


def scores(network: UnrolledNetwork, slices: Sequence[KSpaceBatch]) -> tuple[float, float]:
    """SSIM and PSNR over some slices, against their own maximum."""
    image = torch.cat([reconstruct(network, batch) for batch in slices])
    target = torch.cat([require_target(batch) for batch in slices])
    found = Reconstruction(image, target, compared={}, change=None).metrics()["reconstruction"]
    return found["ssim"], found["psnr"]


def row(
    network: UnrolledNetwork, scan: Scan, sampling: EquispacedSampling, slices: int, adapt: Adaptation
) -> str:
    """A line of the table."""
    whole = scan.undersample(sampling)[:slices]
    batches = [whole[number] for number in range(len(whole))]
    before, start = scores(network, batches), time.monotonic()
    cells = [
        f"{scan.volume.name}, {len(batches)}",
        str(scan.volume.num_coils),
        f"x{sampling.acceleration:g}, {sampling.center_fraction:g}",
        f"{before[0]:.4f} / {before[1]:.2f}",
    ]
    try:
        with adapted(network, batches, adapt) as outcome:
            seconds = time.monotonic() - start
            after = scores(network, batches) if outcome.chosen else before
    except InputError as refusal:
        return f"| {' | '.join([*cells, '', f'refused: {refusal}', '', '', ''])} |"
    not_adapted = "fits" if outcome.fits else "declined"
    cells += [
        f"{outcome.error(0):.2f}, {outcome.without_training.loss:.2f}",
        f"{after[0]:.4f} / {after[1]:.2f}",
        f"{after[0] - before[0]:+.4f} / {after[1] - before[1]:+.2f}" if outcome.chosen else not_adapted,
        f"{outcome.chosen} of {max(outcome.looks)}",
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def adaptation(
    *,
    files: Sequence[Path],
    checkpoint: Path = GENERAL,
    accelerations: Sequence[float] = (4, 8),
    center_fraction: float = 0.08,
    slices: int = 4,
    adapt: Adaptation = Adaptation(),  # noqa: B008  # frozen
) -> None:
    """Print the table.

    Args:
        files: fully sampled scans.
        checkpoint: the network.
        accelerations: of equispaced masks.
        center_fraction: of the same.
        slices: of each scan, at most.
        adapt: how it is adapted.
    """
    network = load_network(checkpoint)
    head = "scan, slices|coils|sampling|without|errors|adapted|change|steps taken|seconds"
    print(f"|{head}|\n|{'---|' * (head.count('|') + 1)}")
    for file in tqdm(files, unit="scan"):
        scan = open_scan(file)
        for acceleration in accelerations:
            sampling = EquispacedSampling(acceleration, center_fraction)
            print(row(network, scan, sampling, slices, adapt), flush=True)


if __name__ == "__main__":
    call(adaptation, sys.argv[1:], prog="adaptation.py")
