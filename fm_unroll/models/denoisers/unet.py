"""The denoiser of E2E-VarNet: a U-Net on normalised real and imaginary channels."""

import torch
import torch.nn.functional as F
from fastmri.models.unet import Unet
from torch import Tensor, nn

# Pooling halves the matrix up to four times in the default network, so sizes are padded to a multiple.
SIZE_MULTIPLE = 16


class NormUnet(nn.Module):
    """U-Net on a complex image, after removing mean and standard deviation of real and imaginary part.

    The same function of the same parameters as ``fastmri.models.varnet.NormUnet`` (Sriram et al. 2020,
    E2E-VarNet), except that an image without variation gives zeros instead of NaN.
    """

    def __init__(self, chans: int, pools: int) -> None:
        """Build the U-Net.

        Args:
            chans: channels of its first convolution.
            pools: number of down- and up-sampling steps.
        """
        super().__init__()
        self.unet = Unet(in_chans=2, out_chans=2, chans=chans, num_pool_layers=pools)

    def forward(self, image: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: complex64, ``(batch, readout, phase)``.

        Returns:
            Image of the same shape and dtype.
        """
        channels = torch.view_as_real(image).permute(0, 3, 1, 2)
        std, mean = torch.std_mean(channels, dim=(-2, -1), keepdim=True)
        std = std.clamp_min(torch.finfo(std.dtype).tiny)
        padded, inside = pad_to_multiple((channels - mean) / std)
        denoised = self.unet(padded)[inside].float() * std + mean
        return torch.view_as_complex(denoised.permute(0, 2, 3, 1).contiguous())


def pad_to_multiple(channels: Tensor) -> tuple[Tensor, tuple[object, slice, slice]]:
    """Zero-pad the last two axes to a multiple of 16 and tell where the original lies in the result."""
    height, width = channels.shape[-2:]
    rows, columns = -height % SIZE_MULTIPLE, -width % SIZE_MULTIPLE
    top, left = rows // 2, columns // 2
    padded = F.pad(channels, (left, columns - left, top, rows - top))
    return padded, (..., slice(top, top + height), slice(left, left + width))
