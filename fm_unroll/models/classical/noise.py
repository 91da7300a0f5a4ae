"""The noise level of a measurement, from its own samples."""

import math

import torch
from torch import Tensor

from fm_unroll.models.classical.sense import SenseProblem
from fm_unroll.physics.fourier import HybridSpace

OUTER = 0.1  # of the readout, at both ends of k-space, where there is hardly signal


def noise_level(problem: SenseProblem) -> Tensor:
    """Estimate the standard deviation of real and imaginary part of the noise in k-space.

    The median of magnitudes is taken at both ends of the readout, over coils and measured lines: robust
    against the little signal there (Donoho and Johnstone, Biometrika 81, 1994, take the finest wavelets for
    the same reason). Magnitudes of complex Gaussian noise follow Rayleigh's distribution, whose median is its
    parameter times sqrt(2 log 2). Zeros are no measurements, such as those of a partial Fourier readout.

    Returns:
        float32, ``(batch,)``, in units of ``problem.scale``; 0 where nothing was measured at the ends.
    """
    kspace = HybridSpace(problem.measured.shape[-1], problem.measured.device).leave(problem.measured)
    width = max(1, round(OUTER * kspace.shape[-2]))
    outer = torch.cat([kspace[..., :width, :], kspace[..., -width:, :]], dim=-2).abs().flatten(1)
    # zeros: lines that are not sampled, after the transforms only nearly zero
    floor = 1e-6 * kspace.abs().flatten(1).amax(1, keepdim=True)
    measured = torch.where(outer > floor, outer, torch.nan)
    return (measured.nanmedian(1).values / math.sqrt(2 * math.log(2))).nan_to_num(0.0)
