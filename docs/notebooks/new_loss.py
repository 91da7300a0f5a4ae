# %% [markdown]
# # A new loss is one entry

# %%
# --8<-- [start:loss]
from torch import Tensor, nn

from fm_unroll.metrics import ssim
from fm_unroll.training.losses import register_loss


@register_loss("ssim_l1")
class SSIMAndL1Loss(nn.Module):
    """SSIM and the mean absolute error, each relative to the volume's maximum (Zhao et al. 2017)."""

    def forward(self, prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
        """Compute the loss of images ``(batch, readout, phase)``, with one ``data_range`` per image."""
        structure = 1 - ssim(prediction, target, data_range).mean()
        error = (prediction - target).abs().mean((-2, -1)) / data_range
        return 0.84 * structure + 0.16 * error.mean()


# --8<-- [end:loss]

# %%
import torch

from fm_unroll.training.losses import build_loss

images = torch.rand(2, 32, 32)
print(build_loss("ssim_l1")(images, images, torch.ones(2)))
