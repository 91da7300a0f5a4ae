# %% [markdown]
# # A new loss is one entry

# %%
# --8<-- [start:loss]
from torch import Tensor, nn

from fm_unroll.training.losses import register_loss


@register_loss("l1")
class L1Loss(nn.Module):
    """The mean absolute error, relative to the volume's maximum."""

    def forward(self, prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
        """Compute the loss of images ``(batch, readout, phase)``, with one ``data_range`` per image."""
        error = (prediction - target).abs().mean((-2, -1))
        return (error / data_range).mean()


# --8<-- [end:loss]

# %%
import torch

from fm_unroll.training.losses import build_loss

images = torch.rand(2, 32, 32)
print(build_loss("l1")(images, images, torch.ones(2)))
