"""Where an image is likely to be wrong, without a reference: sample it again and see what comes back.

A reconstruction is taken for the truth, sampled at as many lines as the scan, but others, and reconstructed.
It is known how far that image is from the truth that was put in. Where it differs, this sampling and this
network lose or invent what such an object shows there, and so they may have done in the reconstruction. This
is the parametric bootstrap without its noise; that sampling must move to say something, because an image that
keeps the measured lines would come back as it is, is the point of Tachella & Pereyra, "Equivariant
Bootstrapping for Uncertainty Quantification in Imaging Inverse Problems" (AISTATS 2024).

The map ranks the places of one image. It is no error bar: what is lost in the reconstruction altogether
cannot be lost a second time, and noise is not drawn again. ``docs/trust.md`` holds what it was measured to be
worth.
"""

import torch
from torch import Tensor

from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import center_crop
from fm_unroll.errors import InputError
from fm_unroll.models import UnrolledNetwork
from fm_unroll.physics import fft2c, rss
from fm_unroll.physics.sampling import locate_acs
from fm_unroll.reconstruction.engine import in_float32

# what the map was measured to be worth, by experiments/trust_maps.py: see docs/trust.md
WORTH = (
    "A hint where to look, no error bar. Rank correlation with the true error, means of 7 x 7 pixels, "
    "phantoms, a demo network: on hearts as in training 0.79 (x4) and 0.76 (x8), edges of the image alone "
    "0.45 and 0.49. It was worse than these edges on knees, better on brains at x4 alone, and not clearly "
    "better on five real scans."
)
SAMPLINGS = 3  # further ones for a map: every place between the lines of a scan with x4, some of x8


@torch.inference_mode()
def change_map(network: UnrolledNetwork, batch: KSpaceBatch) -> Tensor:
    """How much an image changes when it is sampled again at other lines and reconstructed.

    Args:
        network: the network, in evaluation mode, on the batch's device.
        batch: undersampled slices of one volume, which share one mask.

    Returns:
        The root mean square, over some samplings, of the change of the magnitude, in the image's units:
        float32, ``(batch, *crop)``.

    Raises:
        InputError: there is no line that could be moved.
    """
    lines = batch.mask[0].flatten()
    samplings = moved_lines(lines, batch.num_acs)
    if not samplings:
        raise InputError(f"{batch.volume[0]}: has no lines besides its ACS lines to be moved; no trust map")
    with in_float32(network, batch):
        coil_images = network.coil_images(batch.kspace, batch.mask, batch.num_acs)
        kspace, image = fft2c(coil_images), rss(coil_images)
        again = [network(kspace * moved, moved[None, None, None], batch.num_acs) for moved in samplings]
    changes = torch.stack(again) - image
    return center_crop(changes.square().mean(0).sqrt(), batch.crop)


def moved_lines(lines: Tensor, num_acs: int) -> list[Tensor]:
    """Move the sampled lines sideways by parts of their spacing; the centre stays.

    Args:
        lines: bool, ``(phase,)``: sampled lines.
        num_acs: number of ACS lines.

    Returns:
        Up to ``SAMPLINGS`` other sets of lines, bool, ``(phase,)``; a line that leaves on one side comes in
        on the other.
    """
    centre = locate_acs(lines, num_acs)
    outer = lines & ~centre
    spacing = (len(lines) - num_acs) / max(1, int(outer.sum()))
    furthest = max(1, round(spacing) - 1)  # by the whole spacing they would come to lie on each other
    parts = (round(spacing * part / (SAMPLINGS + 1)) for part in range(1, SAMPLINGS + 1))
    steps = {min(max(1, step), furthest) for step in parts}
    moved = [centre | outer.roll(step) for step in sorted(steps)]
    return [others for others in moved if not torch.equal(others, lines)]
