# %% [markdown]
# # A new denoiser is one file

# %%
# --8<-- [start:denoiser]
from itertools import pairwise

import torch
from torch import Tensor, nn

from fm_unroll.models.registry import register_denoiser


class ResidualDenoiser(nn.Module):
    """A few convolutions that estimate the error of an image, as DnCNN does (Zhang et al. 2017)."""

    def __init__(self, channels: int, depth: int) -> None:
        """Build the convolutions."""
        super().__init__()
        widths = [2, *[channels] * (depth - 1), 2]
        layers: list[nn.Module] = []
        for inside, outside in pairwise(widths):
            layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor) -> Tensor:
        """Denoise a complex image, ``(batch, readout, phase)``; scaling the input scales the output."""
        scale = image.abs().amax((-2, -1), keepdim=True).clamp_min(1e-30)
        parts = torch.view_as_real(image / scale).permute(0, 3, 1, 2)
        denoised = self.layers(parts).float().permute(0, 2, 3, 1).contiguous()
        return torch.view_as_complex(denoised) * scale


@register_denoiser("dncnn")
def dncnn(num_cascades: int, *, channels: int = 64, depth: int = 5) -> list[nn.Module]:
    """Build plain convolutional denoisers.

    Args:
        num_cascades: number of denoisers.
        channels: channels of the layers between the first and the last.
        depth: number of convolutions.
    """
    return [ResidualDenoiser(channels, depth) for _ in range(num_cascades)]


# --8<-- [end:denoiser]

# %%
from fm_unroll.models import build_model

network = build_model("dncnn", num_cascades=3, channels=16)
print(sum(parameter.numel() for parameter in network.parameters()))
