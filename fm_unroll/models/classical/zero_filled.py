"""No reconstruction at all."""

from torch import Tensor, nn

from fm_unroll.physics import ifft2c, rss


class ZeroFilled(nn.Module):
    """Root-sum-of-squares of what was measured, zeros elsewhere: what every method must beat."""

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        """Arguments and result as in :meth:`fm_unroll.models.UnrolledNetwork.forward`."""
        return rss(ifft2c(masked_kspace))
