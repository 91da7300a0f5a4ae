"""Learning from a scan itself: some measured lines are given to the network, others are what it must predict.

No fully sampled scan is needed. Of the measured lines the ACS lines are always given; of the others some are
drawn at random and left out, and the network's coil images, transformed back, are compared with them:

    loss(y, v) = 1/2 |v - y|_2 / |y|_2 + 1/2 |v - y|_1 / |y|_1   over the lines that were left out.

The idea and the loss are those of SSDU (Yaman et al., Magn. Reson. Med. 84, 2020,
https://doi.org/10.1002/mrm.28378) and of its use on one scan, ZS-SSL (Yaman et al., ICLR 2022,
https://arxiv.org/abs/2102.07737), for which its authors claim a patent. The same: two disjoint sets of what
was measured, the loss, a further set held out to decide when to stop. What differs: they draw single
samples; here whole lines are drawn, all as likely, so that what is given is a scan with a mask of lines, as
the networks know it.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.physics import fft2c
from fm_unroll.physics.sampling import locate_acs

Free: TypeAlias = Literal["all", "step_sizes_and_gates", "decoder"]
HELD_OUT = 0.2  # of the measured lines that are not ACS lines: what steps are chosen by
PREDICTED = 0.4  # of the others: what is learned from
FEWEST_LINES = 8  # measured lines besides the ACS lines: of fewer no two would be held out


def lines_to_divide(mask: Tensor, num_acs: int) -> Tensor:
    """The measured lines that are not ACS lines, of the shape of the mask; arguments as of networks."""
    return mask & ~locate_acs(mask, num_acs)


def leave_out(
    mask: Tensor, num_acs: int, share: float, random: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Divide measured lines at random into those that stay and those that are left out.

    Args:
        mask: bool, ``(batch or 1, 1, 1, phase)``: measured lines.
        num_acs: ACS lines, which stay.
        share: how many of the others are left out; at least one is, where there is one.
        random: draws them, of each mask anew, on the CPU; None: torch's own generator.

    Returns:
        Two masks of the shape and dtype of the given one, which have no line in common and all together.
    """
    others = lines_to_divide(mask, num_acs).flatten(1)
    counts = others.sum(1, keepdim=True)
    number = (share * counts).round().clamp_min(1).minimum(counts)
    # the others in random order: lines that may not be drawn come last
    draws = torch.rand(others.shape, generator=random).to(mask.device).masked_fill(~others, 2)
    out = (draws.argsort(1).argsort(1) < number).reshape(mask.shape)
    return mask & ~out, out


def predict_kspace(network: UnrolledNetwork, kspace: Tensor, given: Tensor, num_acs: int) -> Tensor:
    """What a network makes of some lines of k-space, as k-space again.

    Args:
        network: the network.
        kspace: complex64, ``(batch, coil, readout, phase)``.
        given: bool, ``(batch or 1, 1, 1, phase)``: the lines that it is given; of others it sees nothing.
        num_acs: ACS lines among them.

    Returns:
        The transform of its coil images: complex64, of the shape of the k-space.

    Raises:
        InputError: it gives none, as a network of the user's own.
    """
    return fft2c(network.coil_images(torch.where(given, kspace, 0), given, num_acs))


def kspace_loss(prediction: Tensor, kspace: Tensor, lines: Tensor) -> Tensor:
    """Half the relative L1 error and half the relative L2 error over some lines.

    Arguments as of :func:`relative_errors`.

    Returns:
        float32, ``(batch,)``; 0 where nothing was measured.
    """
    return relative_errors(prediction, kspace, lines).mean(1)


def relative_errors(prediction: Tensor, kspace: Tensor, lines: Tensor, each_line: bool = False) -> Tensor:
    """The L1 and the L2 norm of what is wrong over that of what was measured.

    Args:
        prediction: complex64, ``(batch, coil, readout, phase)``.
        kspace: what was measured, of the same shape. Zeros are no measurements, such as those of a partial
            Fourier readout.
        lines: bool, ``(batch or 1, 1, 1, phase)``: the lines that count.
        each_line: of every line on its own instead of all together.

    Returns:
        float32, ``(batch, 2)``, of each line ``(batch, 2, phase)``; 0 where nothing counts.
    """
    counts = lines & (kspace != 0)
    error, measured = torch.where(counts, prediction - kspace, 0), torch.where(counts, kspace, 0)
    axes = (1, 2) if each_line else (1, 2, 3)
    errors = []
    for order in (1, 2):
        # the gradient of these norms is finite where there is no error
        size = torch.linalg.vector_norm(measured, order, axes)
        errors.append(torch.linalg.vector_norm(error, order, axes) / size.masked_fill(size == 0, 1))
    return torch.stack(errors, dim=1)


def free_parameters(network: UnrolledNetwork, free: Free) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of a network that may change, with their names; never those of a frozen encoder.

    Args:
        network: the network.
        free: ``all`` that are trained; ``step_sizes_and_gates``: what each cascade has besides its denoiser
            (step size, or strength and pull), and the gates of mixed denoisers; ``decoder``: the denoisers
            without such gates.
    """
    for name, parameter in network.named_parameters():
        parts = name.split(".")
        in_cascade, in_denoiser = parts[0] == "cascades", "denoiser" in parts
        of_step = in_cascade and (not in_denoiser or "gate" in parts)
        chosen = {
            "all": True,
            "step_sizes_and_gates": of_step,
            "decoder": in_denoiser and not of_step,
        }
        if parameter.requires_grad and chosen[free]:
            yield name, parameter
