"""The denoiser of E2E-VarNet: a U-Net on normalised real and imaginary channels."""

import math

import torch
import torch.nn.functional as F
from fastmri.models.unet import Unet
from torch import Tensor, nn

from fm_unroll.errors import InputError
from fm_unroll.models.registry import register_denoiser

# Pooling halves the matrix up to four times in the default network, so sizes are padded to a multiple.
SIZE_MULTIPLE = 16
MOST_POOLS = 8  # each doubles the channels: with more, weights alone fill a GPU


class NormUnet(nn.Module):
    """U-Net on a complex image, after removing mean and standard deviation of real and imaginary part.

    The same function of the same parameters as ``fastmri.models.varnet.NormUnet`` (Sriram et al. 2020,
    E2E-VarNet), except that a channel without variation gives its mean instead of NaN. A channel that varies
    by less than float32 resolves at the image's magnitude has none: what is left of it is rounding, which
    division by its deviation would blow up, and the gradient with it.
    """

    def __init__(self, chans: int, pools: int, zero_head: bool = False) -> None:
        """Build the U-Net.

        Args:
            chans: channels of its first convolution.
            pools: number of down- and up-sampling steps.
            zero_head: start the last convolution at zero and leave out the mean of the result, so that an
                untrained network returns the zero-filled image.

        Raises:
            InputError: a size that no U-Net has.
        """
        super().__init__()
        if chans < 1 or not 1 <= pools <= MOST_POOLS:
            raise InputError(
                f"a U-Net of {chans} channels and {pools} pooling layers: give chans and sens_chans of 1 or "
                f"more, pools and sens_pools of 1 to {MOST_POOLS}"
            )
        self.unet = Unet(in_chans=2, out_chans=2, chans=chans, num_pool_layers=pools)
        self.zero_head = zero_head
        if zero_head:
            for parameter in self.unet.up_conv[-1][-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, image: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: complex64, ``(batch, readout, phase)``.

        Returns:
            Image of the same shape and dtype.

        Raises:
            InputError: the matrix is a single sample, or shrinks to one under the pooling.
        """
        self.check_size(*image.shape[-2:])
        channels = torch.view_as_real(image).permute(0, 3, 1, 2)
        std, mean = torch.std_mean(channels, dim=(-2, -1), keepdim=True)
        resolved = torch.finfo(std.dtype).eps * channels.abs().amax((-3, -2, -1), keepdim=True)
        flat = std <= resolved
        std = std.masked_fill(flat, 0)
        padded, inside = pad_to_multiple((channels - mean).masked_fill(flat, 0) / std.masked_fill(flat, 1))
        denoised = self.unet(padded)[inside].float() * std
        if not self.zero_head:
            denoised = denoised + mean
        return torch.view_as_complex(denoised.permute(0, 2, 3, 1).contiguous())

    def check_size(self, height: int, width: int) -> None:
        """Refuse a matrix that has no deviation, or none left at the U-Net's coarsest level."""
        pools = self.unet.num_pool_layers
        coarsest = [-(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE >> pools for size in (height, width)]
        if height * width < 2 or math.prod(coarsest) < 2:
            raise InputError(
                f"a matrix of {height} x {width} is too small for a U-Net with {pools} pooling layers: "
                "lower pools and sens_pools, or leave the scan out"
            )


def pad_to_multiple(channels: Tensor) -> tuple[Tensor, tuple[object, slice, slice]]:
    """Zero-pad the last two axes to a multiple of 16 and tell where the original lies in the result."""
    height, width = channels.shape[-2:]
    rows, columns = -height % SIZE_MULTIPLE, -width % SIZE_MULTIPLE
    top, left = rows // 2, columns // 2
    padded = F.pad(channels, (left, columns - left, top, rows - top))
    return padded, (..., slice(top, top + height), slice(left, left + width))


# The wide one has as many trainable parameters as the foundation model, with 12 cascades 57.3 M and 56.4 M.
@register_denoiser("varnet_zero", zero_head=True)
@register_denoiser("varnet_wide", chans=25)
@register_denoiser("varnet")
def unets(num_cascades: int, *, chans: int = 18, pools: int = 4, zero_head: bool = False) -> list[nn.Module]:
    """Build the denoisers of E2E-VarNet.

    Args:
        num_cascades: number of denoisers.
        chans: channels of the first convolution (18, and 25 for ``varnet_wide``).
        pools: pooling layers.
        zero_head: start from zero, so that an untrained network returns the zero-filled image, as those on an
            encoder do (true for ``varnet_zero``).
    """
    return [NormUnet(chans, pools, zero_head) for _ in range(num_cascades)]
