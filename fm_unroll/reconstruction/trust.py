"""Three maps of how far an image may be trusted, none of which needs a reference, and their limits.

With y the measured k-space, M the sampled lines, x_c a network's coil images and k = F x_c:

*Data-consistency residual*, RSS of F^-1 M (k - y), and ||M (k - y)|| / ||y||. Where the image contradicts
what was measured. It does not say that the rest is right: an image may agree with every measured line and
still be wrong in the lines between them; nor does a residual mean an error, for y holds noise that a network
may rightly remove.

*Prior's part*, RSS of F^-1 (1 - M) k, and its share ||(1 - M) k||^2 / ||k||^2 of the energy. What the network
added in the null space of the sampling, where nothing was measured. Coil sensitivities are part of the
network, so what parallel imaging would find counts as well. It does not say whether that part is true: an
image without it is the zero-filled one.

*Spread*, the standard deviation of the magnitude over reconstructions that should agree: of several
checkpoints, or of one checkpoint with other subsets of the acquired lines. How much the image depends on
training or on single lines. It is no error bar: it misses what all reconstructions get wrong alike, a smooth
prior makes it small where a detail is lost, and subsets are more accelerated than the scan itself.

None of them has been calibrated against errors. They compare regions of one image and scans of one protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import rss_image
from fm_unroll.errors import InputError
from fm_unroll.physics import fft2c
from fm_unroll.physics.sampling import locate_acs

SHARE_LEFT_OUT = 0.2  # of the acquired lines outside of the centre, in every subset


@dataclass(frozen=True)
class TrustMaps:
    """Maps in the image's units, float32 ``(batch, *crop)``, and the energies ``(batch,)`` of whole slices.

    Attributes:
        residual: data-consistency residual.
        prior: part of the image in lines that were not measured.
        spread: standard deviation over reconstructions.
        residual_energy: ||M (k - y)||^2.
        acquired_energy: ||y||^2.
        prior_energy: ||(1 - M) k||^2.
        total_energy: ||k||^2.
        spread_energy: sum of the squared spread.
        image_energy: sum of the squared mean image.
    """

    residual: Tensor
    prior: Tensor
    spread: Tensor
    residual_energy: Tensor
    acquired_energy: Tensor
    prior_energy: Tensor
    total_energy: Tensor
    spread_energy: Tensor
    image_energy: Tensor

    def numbers(self) -> dict[str, float]:
        """Summarise each map by one number over all slices, a share without a unit.

        Returns:
            ``residual`` and ``spread`` as ratios of norms, ``prior`` as a ratio of energies.
        """

        def ratio(part: Tensor, whole: Tensor) -> float:
            return float(part.double().sum() / whole.double().sum())

        return {
            "residual": ratio(self.residual_energy, self.acquired_energy) ** 0.5,
            "prior": ratio(self.prior_energy, self.total_energy),
            "spread": ratio(self.spread_energy, self.image_energy) ** 0.5,
        }

    @classmethod
    def join(cls, parts: Sequence["TrustMaps"]) -> "TrustMaps":
        """Join the maps of several batches, one after the other, on the CPU."""
        return cls(
            **{name: torch.cat([getattr(part, name).cpu() for part in parts]) for name in vars(parts[0])}
        )


def trust_maps(coil_images: Tensor, batch: KSpaceBatch, images: Sequence[Tensor]) -> TrustMaps:
    """Measure one reconstruction against its data, and several against each other.

    Args:
        coil_images: the reconstruction before combination, complex64, ``(batch, coil, readout, phase)``.
        batch: its undersampled k-space and mask.
        images: reconstructions that should agree, float32 ``(batch, *crop)``, two or more.
    """
    kspace = fft2c(coil_images)
    residual = torch.where(batch.mask, kspace - batch.kspace, 0)
    prior = torch.where(batch.mask, 0, kspace)
    stack = torch.stack(list(images))
    spread = stack.std(0, correction=0)
    return TrustMaps(
        residual=rss_image(residual, batch.crop),
        prior=rss_image(prior, batch.crop),
        spread=spread,
        residual_energy=energy(residual),
        acquired_energy=energy(batch.kspace),
        prior_energy=energy(prior),
        total_energy=energy(kspace),
        spread_energy=energy(spread),
        image_energy=energy(stack.mean(0)),
    )


def energy(values: Tensor) -> Tensor:
    """Sum of squared magnitudes of each slice: float32, ``(batch,)``."""
    return values.abs().square().flatten(1).sum(1)


def leave_lines_out(batch: KSpaceBatch, seed: int) -> KSpaceBatch:
    """Leave a random fifth of the acquired lines outside of the ACS lines out of a batch.

    Args:
        batch: undersampled slices of one volume, which share one mask.
        seed: the same seed leaves out the same lines of every slice of the volume.

    Raises:
        InputError: there is no line that could be left out.
    """
    lines = batch.mask[0].flatten()
    outer = (lines & ~locate_acs(lines, batch.num_acs)).cpu()
    candidates = outer.nonzero().flatten()
    if not len(candidates):
        raise InputError(f"{batch.volume[0]}: has no lines besides its ACS lines; no spread over subsets")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(candidates), generator=generator)
    left_out = candidates[order[: max(1, round(SHARE_LEFT_OUT * len(candidates)))]]
    kept = torch.ones_like(outer)
    kept[left_out] = False
    kept = kept.to(lines.device)
    return replace(batch, kspace=batch.kspace * kept, mask=batch.mask & kept)
