"""The general network beside methods without training, on fully sampled scans: the tables of its model card.

``python experiments/general_network.py scan.h5 another.mat`` prints a Markdown table: for each scan and
sampling SSIM and PSNR of the volume by every method, and whether the network reaches the better one of
CG-SENSE and L1-wavelet. Other networks: ``--checkpoint best.ckpt``; means over all scans given, in one row
for each sampling: ``--together hearts``.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import nn
from tqdm import tqdm

from fm_unroll.cli import call
from fm_unroll.data.scan import Scan, open_scan
from fm_unroll.models.checkpoints import load_network
from fm_unroll.models.classical import CLASSICAL
from fm_unroll.models.release import GENERAL
from fm_unroll.physics import EquispacedSampling
from fm_unroll.reconstruction.engine import reconstruct, require_target
from fm_unroll.reconstruction.volume import Reconstruction

SAMPLINGS = [EquispacedSampling(acceleration, center) for acceleration in (4, 8) for center in (0.08, 0.04)]
Scores = Mapping[str, float]


def measure(network: nn.Module, scan: Scan, sampling: EquispacedSampling, slices: int) -> Scores:
    """SSIM and PSNR over the first slices of a scan, against their own maximum."""
    batch = scan.undersample(sampling)[:slices]
    image = torch.cat([reconstruct(network, batch[number]) for number in range(len(batch))])
    return Reconstruction(image, require_target(batch), compared={}, change=None).metrics()["reconstruction"]


def mean(scores: Sequence[Scores]) -> Scores:
    """The mean of every metric over scans."""
    return {name: fmean(each[name] for each in scores) for name in scores[0]}


def row(name: str, coils: str, sampling: EquispacedSampling, scores: Mapping[str, Scores]) -> str:
    """A line of the table; the network's value is in bold where it reaches the better of its two rivals."""
    cells = [name, coils, f"x{sampling.acceleration:g}, {sampling.center_fraction:g}"]
    floor = {name: max(scores[rival][name] for rival in ("cg_sense", "wavelet")) for name in ("ssim", "psnr")}
    for method, values in scores.items():
        texts = {"ssim": f"{values['ssim']:.3f}", "psnr": f"{values['psnr']:.1f}"}
        if method == "general":
            texts = {
                name: f"**{text}**" if values[name] >= floor[name] else text for name, text in texts.items()
            }
        cells.append(" / ".join(texts.values()))
    return f"| {' | '.join(cells)} |"


def general_network(
    *, files: Sequence[Path], checkpoint: Path = GENERAL, slices: int = 4, together: str | None = None
) -> None:
    """Print the table.

    Args:
        files: fully sampled scans.
        checkpoint: the network.
        slices: of each scan, at most.
        together: name of all scans, of which the means are printed.
    """
    networks = {name: build() for name, build in CLASSICAL.items()} | {"general": load_network(checkpoint)}
    print(f"| scan | coils | sampling | {' | '.join(networks)} |\n|{'---|' * (3 + len(networks))}")
    groups = [files] if together else [[file] for file in files]
    for paths in tqdm(groups, unit="scan"):
        group = [open_scan(path) for path in paths]
        name = together or group[0].volume.name
        numbers = [scan.volume.num_coils for scan in group]
        coils = " to ".join(str(number) for number in sorted({min(numbers), max(numbers)}))
        for sampling in SAMPLINGS:
            scores = {
                method: mean([measure(network, scan, sampling, slices) for scan in group])
                for method, network in networks.items()
            }
            print(row(name, coils, sampling, scores), flush=True)


if __name__ == "__main__":
    call(general_network, sys.argv[1:], prog="general_network.py")
