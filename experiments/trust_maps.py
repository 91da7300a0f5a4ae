"""What maps of trust are worth: their rank correlation with the true error, beside that of plain edges.

``python experiments/trust_maps.py --config experiments/trust_maps.yaml`` writes ``trust_maps.md``, the tables
of ``docs/trust.md``, and ``trust_maps.csv``, one row per slice. Candidates are all maps that were considered;
``reconstruct --trust`` writes ``change`` alone.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_gradient_magnitude, uniform_filter
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from fm_unroll.cli import call
from fm_unroll.data.modules import Stage
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import center_crop, rss_image
from fm_unroll.evaluation.entrants import Entrant
from fm_unroll.evaluation.further_metrics.body import WINDOW, body_mask
from fm_unroll.evaluation.inference import estimate, holm
from fm_unroll.evaluation.protocol import Protocol
from fm_unroll.evaluation.scoring import Condition, TestSet
from fm_unroll.metrics import energy, nmse, psnr, ssim
from fm_unroll.models import UnrolledNetwork
from fm_unroll.physics import fft2c, ifft2c, rss
from fm_unroll.physics.sampling import locate_acs
from fm_unroll.reconstruction.engine import accelerate, in_float32, reconstruct, require_target
from fm_unroll.reconstruction.trust import change_map

SUBSETS = 5  # each leaves out another fifth of the lines outside of the centre
EDGE_PIXELS = 1.0  # deviation of the Gaussian whose derivative finds edges
LEVEL = 0.9  # of the conformal bounds
IMAGE, EDGES = "the image", "edges of the image"
KEPT, LEFT_OUT = "change when sampled again", "error at lines left out"
LOSSES = {"nmse": "NMSE", "ssim_loss": "1 - SSIM", "peak_loss": "error over peak"}

Image = NDArray[np.float32]


@torch.inference_mode()
def candidates(networks: Sequence[UnrolledNetwork], batch: KSpaceBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """The first network's image and every map, float32 ``(batch, *crop)`` each, all in the image's units."""
    coil_images = coil_images_of(networks[0], batch)
    kspace, image = fft2c(coil_images), center_crop(rss(coil_images), batch.crop)
    maps = {
        KEPT: change_map(networks[0], batch),
        **maps_without_lines(networks[0], batch, coil_images),
        "prior's part": rss_image(torch.where(batch.mask, 0, kspace), batch.crop),
        "data-consistency residual": rss_image(torch.where(batch.mask, kspace - batch.kspace, 0), batch.crop),
    }
    if len(networks) > 1:
        images = torch.stack([image, *(reconstruct(other, batch) for other in networks[1:])])
        maps[f"spread over {len(networks)} seeds"] = images.std(0, correction=0)
    edges = [gaussian_gradient_magnitude(slice_.numpy(), EDGE_PIXELS) for slice_ in image.cpu()]
    return image, maps | {IMAGE: image, EDGES: torch.from_numpy(np.stack(edges)).to(image)}


def coil_images_of(network: UnrolledNetwork, batch: KSpaceBatch) -> Tensor:
    """The reconstruction before combination: complex64, ``(batch, coil, readout, phase)``."""
    with in_float32(network, batch):
        return network.coil_images(batch.kspace, batch.mask, batch.num_acs)


def maps_without_lines(
    network: UnrolledNetwork, batch: KSpaceBatch, coil_images: Tensor
) -> dict[str, Tensor]:
    """Maps from reconstructions that each lack another fifth of the lines outside of the centre.

    The last one joins what is wrong at every line while it is left out, as a change of the magnitude to first
    order.
    """
    lines = batch.mask[0].flatten()
    outer = (lines & ~locate_acs(lines, batch.num_acs)).nonzero().flatten()
    order = torch.randperm(len(outer), generator=torch.Generator().manual_seed(0))
    images, errors = [], torch.zeros_like(batch.kspace)
    for first in range(min(SUBSETS, len(outer))):
        left_out = torch.zeros_like(lines)
        left_out[outer[order[first::SUBSETS]]] = True
        fewer = replace(batch, kspace=batch.kspace * ~left_out, mask=batch.mask & ~left_out)
        found = coil_images_of(network, fewer)
        images.append(center_crop(rss(found), batch.crop))
        errors += torch.where(left_out, fft2c(found) - batch.kspace, 0)
    image, stack = center_crop(rss(coil_images), batch.crop), torch.stack(images)
    along = (coil_images.conj() * ifft2c(errors)).real.sum(1) / rss(coil_images).clamp(min=1e-30)
    return {
        "spread over line subsets": stack.std(0, correction=0),
        "their mean minus the image": (stack.mean(0) - image).abs(),
        LEFT_OUT: center_crop(along, batch.crop).abs(),
    }


def correlations(map_: Image, error: Image, inside: NDArray[np.bool_]) -> dict[str, float]:
    """Spearman's correlation of a map with the error inside the object: of pixels, of means of windows."""
    smooth = [uniform_filter(values, WINDOW)[inside] for values in (map_, error)]
    return {
        "pixels": float(spearmanr(map_[inside], error[inside]).statistic),
        "windows": float(spearmanr(*smooth).statistic),
    }


def rows_of(networks: Sequence[UnrolledNetwork], batch: KSpaceBatch) -> Iterator[dict[str, object]]:
    """One row per slice and map: its correlations, its norm over the image's, and the slice's losses."""
    image, maps = candidates(networks, batch)
    target = require_target(batch)
    inside, error = body_mask(target).cpu().numpy(), (image - target).abs().cpu().numpy()
    losses = {
        "nmse": nmse(image, target),
        "ssim_loss": 1 - ssim(image, target, batch.data_range),
        "peak_loss": 10 ** (-psnr(image, target, batch.data_range) / 20),
    }
    for row in range(len(batch)):
        place = {"subject": batch.subject[row], "slice": batch.slice[row], "frame": batch.frame[row]}
        place |= {name: float(values[row]) for name, values in losses.items()}
        for name, map_ in maps.items():
            number = float((energy(map_[row : row + 1]) / energy(image[row : row + 1])).sqrt())
            found = correlations(map_[row].cpu().numpy(), error[row], inside[row])
            yield place | {"candidate": name, "number": number} | found


def measure(work: Sequence[tuple[Entrant, Condition]], batch_size: int) -> pd.DataFrame:
    """Every slice of the validation and test subjects; see :func:`rows_of`.

    Networks of one arm for one acceleration, which differ in their seeds, are taken together.
    """
    jobs: dict[tuple[str, tuple[str, str, str, float]], list[tuple[Entrant, Condition]]] = {}
    for entrant, condition in work:
        jobs.setdefault((str(entrant.arm), condition.identity), []).append((entrant, condition))
    loaded = {entrant.sha256: entrant.load().eval() for entrant, _ in work}
    rows: list[dict[str, object]] = []
    stages: tuple[Stage, ...] = ("val", "test")
    conditions = [members[0][1] for members in jobs.values()]
    total = sum(v.num_images for c in conditions for stage in stages for v in c.test_set.data.volumes(stage))
    with tqdm(total=total, unit="slice", desc="trust maps") as progress:
        for (arm, (_, anatomy, center, acceleration)), members in jobs.items():
            networks = [loaded[entrant.sha256] for entrant, _ in members]
            condition = members[0][1]
            facts = {"network": arm, "condition": f"{anatomy} x{acceleration:g}, {center}"}
            for stage in stages:
                for batch in batches(condition, stage, batch_size):
                    about = facts | {"acceleration": acceleration, "stage": stage}
                    rows += [about | row for row in rows_of(networks, batch)]
                    progress.update(len(batch))
    return pd.DataFrame(rows)


def batches(condition: Condition, stage: Stage, batch_size: int) -> Iterator[KSpaceBatch]:
    """The undersampled slices of some subjects, a few of one volume at a time."""
    data = condition.test_set.data
    for volume in data.volumes(stage):
        slices = data.slices([volume])
        for first in range(0, len(slices), batch_size):
            chosen = range(first, min(first + batch_size, len(slices)))
            yield accelerate(KSpaceBatch.collate([slices[item] for item in chosen]), condition.pattern)


def of_maps(rows: pd.DataFrame) -> Iterator[str]:
    """The table of correlations of one network: mean over test subjects, and over that of the edges.

    Bold is clearly better than the edges at 5 %, by Holm's correction over the table.
    """
    mean = rows.groupby(["candidate", "condition", "subject"])[["pixels", "windows"]].mean()
    maps, conditions = list(rows.candidate.unique()), list(rows.condition.unique())
    cells, p_values = {}, {}
    for key in ((kind, map_, condition) for kind in mean for map_ in maps for condition in conditions):
        kind, map_, condition = key
        found, of_edges = (mean.loc[(name, condition), kind].to_numpy() for name in (map_, EDGES))
        gain = estimate([found - of_edges], [])
        cells[key] = f"{found.mean():.2f}"
        if map_ != EDGES:
            half = gain.high - gain.value
            cells[key] += f" ({gain.value:+.2f} ± {half:.2f})" if half >= 0 else f" ({gain.value:+.2f})"
            p_values[key] = gain.p_value if gain.value > 0 else 1.0
    for key, p_value in zip(p_values, holm(list(p_values.values())), strict=True):
        cells[key] = f"**{cells[key]}**" if p_value < 0.05 else cells[key]
    for kind, title in (("pixels", "single pixels"), ("windows", f"means of {WINDOW} x {WINDOW} pixels")):
        yield from table(title, conditions, {m: [cells[kind, m, c] for c in conditions] for m in maps})


def of_numbers(rows: pd.DataFrame) -> Iterator[str]:
    """Over the slices of each condition, the correlation of a map's norm with each loss of the slice."""
    conditions = list(rows.condition.unique())
    found: dict[str, list[str]] = {}
    # an image's norm over that of the image is no number of its own
    for map_, of_map in rows[rows.candidate != IMAGE].groupby("candidate", sort=False):
        groups = [of_map[of_map.condition == condition] for condition in conditions]
        found[map_] = [
            ", ".join(f"{spearmanr(group.number, group[loss]).statistic:.2f}" for loss in LOSSES)
            for group in groups
        ]
    yield from table(f"one number per slice: {', '.join(LOSSES.values())}", conditions, found)


def of_scale(rows: pd.DataFrame) -> Iterator[str]:
    """By what factor the error of a slice is larger than the map that is kept."""
    kept = rows[rows.candidate == KEPT]
    factors = (kept.nmse.pow(0.5) / kept.number).groupby(kept.condition, sort=False)
    cells = [f"{few:.1f} to {many:.1f}" for few, many in zip(factors.min(), factors.max(), strict=True)]
    yield from table("root of NMSE over the map's norm", list(factors.groups), {KEPT: cells})


def of_bounds(rows: pd.DataFrame) -> Iterator[str]:
    """How many test subjects keep, in all slices, to a bound calibrated on the validation subjects."""
    conditions = list(rows[rows.stage == "test"].condition.unique())
    found: dict[str, list[str]] = {}
    scales = {f"times the norm of: {name}": rows[rows.candidate == name] for name in (KEPT, LEFT_OUT)}
    scales["alone"] = rows[rows.candidate == IMAGE]  # whose number is 1
    for loss, label in LOSSES.items():
        for how, of_scale in scales.items():
            line = found.setdefault(f"{label}, bound {how}", [])
            for condition in conditions:
                group = of_scale[(of_scale.stage == "test") & (of_scale.condition == condition)]
                alike = of_scale[of_scale.acceleration == group.acceleration.iloc[0]]
                limits = bound(alike[alike.stage == "val"], loss) * group.number
                subjects = (group[loss] <= limits).groupby(group.subject).all()
                kept_to = f"{subjects.sum()} of {len(subjects)} (mean {limits.mean():.2g})"
                line.append(kept_to if limits.max() < math.inf else "too few to calibrate")
    yield from table(f"bound with a promise of {LEVEL:.0%}", conditions, found)


def bound(calibration: pd.DataFrame, loss: str) -> float:
    """Split-conformal bound on a loss over a map's number, for all slices of a further subject.

    Infinite with fewer subjects than the level needs.
    """
    worst = (calibration[loss] / calibration.number).groupby(calibration.subject).max().sort_values()
    rank = math.ceil((len(worst) + 1) * LEVEL)
    return float(worst.iloc[rank - 1]) if rank <= len(worst) else math.inf


def table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The lines of a table in Markdown."""
    yield f"| {title} | {' | '.join(columns)} |"
    yield "|---" * (1 + len(columns)) + "|"
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def report(rows: pd.DataFrame) -> Iterator[str]:
    """The lines of ``trust_maps.md``."""
    for network, group in rows.groupby("network", sort=False):
        tested = group[group.stage == "test"]
        counts = tested.groupby("condition", sort=False).subject.nunique()
        yield f"## {network}: subjects {', '.join(f'{count} ({name})' for name, count in counts.items())}\n"
        yield from (*of_maps(tested), *of_numbers(tested), *of_scale(tested), *of_bounds(group))


def trust_maps(
    *,
    test_sets: list[TestSet],
    checkpoints: list[str] | str | None = None,
    accelerations: Sequence[float] = (4, 8),
    output: Path = Path("results/trust_maps"),
    batch_size: int = 6,
) -> None:
    """Measure maps of trust against the true error.

    Args:
        test_sets: data sets and how their centre is sampled.
        checkpoints: one or more paths or patterns; those of one arm count as its seeds.
        accelerations: nominal accelerations of the masks.
        output: folder for ``trust_maps.md`` and ``trust_maps.csv``.
        batch_size: slices reconstructed at once, all of one volume.
    """
    chosen = [checkpoints] if isinstance(checkpoints, str) else checkpoints
    protocol = Protocol(test_sets, chosen, baselines=(), accelerations=accelerations, matched=False)
    rows = measure(protocol.work(protocol.entrants(protocol.paths())), batch_size)
    output.mkdir(parents=True, exist_ok=True)
    rows.to_csv(output / "trust_maps.csv", index=False)
    (output / "trust_maps.md").write_text("\n".join(report(rows)))
    print(f"written: {output / 'trust_maps.md'}")


if __name__ == "__main__":
    call(trust_maps, sys.argv[1:], prog="trust_maps.py")
