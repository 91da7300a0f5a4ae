"""One unrolled iteration: soft data consistency and a learned image prior (paper, equation 4)."""

import torch
from torch import Tensor, nn

from fm_unroll.physics import expand, reduce
from fm_unroll.physics.fourier import HybridSpace


class Cascade(nn.Module):
    """k[t+1] = k[t] - mu M (k[t] - k0) - F E D R F^-1 k[t].

    The paper writes the last term with a plus, fastMRI with a minus; only the sign of what the denoiser
    learns differs, and with the minus fastMRI's weights can be loaded.
    """

    def __init__(self, denoiser: nn.Module) -> None:
        """Wrap a denoiser D of complex images and give it a learnable step size mu, starting at 1."""
        super().__init__()
        self.denoiser = denoiser
        self.step_size = nn.Parameter(torch.ones(1))

    def forward(self, kspace: Tensor, measured: Tensor, mask: Tensor, sensitivities: Tensor) -> Tensor:
        """One iteration, in hybrid space (see :class:`~fm_unroll.physics.fourier.HybridSpace`).

        Args:
            kspace: current iterate k[t], complex64, ``(batch, coil, readout, phase)``.
            measured: k0, the same shape, zero off the mask.
            mask: M, bool, ``(batch or 1, 1, 1, phase)``.
            sensitivities: S, complex64, ``(batch, coil, readout, phase)``.

        Returns:
            The next iterate k[t+1].
        """
        # k - mu M (k - k0) in one pass over the data: a step from the iterate towards what was measured
        towards_measured = (self.step_size * mask).to(kspace.dtype)
        consistent = torch.lerp(kspace, measured, towards_measured)
        image = reduce(HybridSpace.to_image(kspace), sensitivities)
        prior = HybridSpace.from_image(expand(self.denoiser(image), sensitivities))
        return consistent - prior
