# %% [markdown]
# # A network of your own is one class

# %%
# --8<-- [start:network]
from torch import Tensor, nn

from fm_unroll.physics import ifft2c, rss


class SmallNet(nn.Module):
    """A few convolutions that estimate what is missing in the zero-filled image."""

    def __init__(self, channels: int = 16) -> None:
        """Build the convolutions.

        Args:
            channels: channels of the layers between the first and the last.
        """
        super().__init__()
        widths = [(1, channels), (channels, channels), (channels, 1)]
        layers = [layer for width in widths for layer in (nn.Conv2d(*width, 3, padding=1), nn.ReLU())]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        """Reconstruct: k-space ``(batch, coil, readout, phase)`` to image ``(batch, readout, phase)``."""
        image = rss(ifft2c(masked_kspace))
        scale = image.amax((-2, -1), keepdim=True).clamp_min(1e-30)
        return image + scale * self.layers((image / scale)[:, None])[:, 0]


# --8<-- [end:network]
