"""Coil sensitivity maps from the ACS lines."""

from torch import Tensor, nn

from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.physics import rss


class SensitivityModel(nn.Module):
    """The estimator of E2E-VarNet: a small U-Net on every coil's low-resolution image.

    The same function of the same parameters as ``fastmri.models.varnet.SensitivityModel`` (Sriram et al.
    2020, https://arxiv.org/abs/2004.06688), except that points where every coil is zero get zero sensitivity
    instead of NaN.
    """

    def __init__(self, chans: int, pools: int) -> None:
        """Build the U-Net, shared by all coils."""
        super().__init__()
        self.norm_unet = NormUnet(chans, pools)

    def forward(self, acs_images: Tensor) -> Tensor:
        """Estimate the maps.

        Args:
            acs_images: complex64, ``(batch, coil, readout, phase)``: coil images of the ACS lines alone.

        Returns:
            Sensitivity maps of the same shape and dtype, with root-sum-of-squares 1 over coils.
        """
        maps: Tensor = self.norm_unet(acs_images.flatten(0, 1)).unflatten(0, acs_images.shape[:2])
        energy = rss(maps)
        return maps / energy.masked_fill(energy == 0, 1).unsqueeze(1)
