"""Training losses."""

from torch import Tensor, nn

from fm_unroll.metrics import ssim


class SSIMLoss(nn.Module):
    """1 - SSIM, averaged over the batch: the recipe's loss, with the constants of the metric.

    Equal to ``fastmri.losses.SSIMLoss``.
    """

    def forward(self, prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
        """The loss.

        Args:
            prediction: float32, ``(batch, readout, phase)``.
            target: the same shape.
            data_range: maximum of each slice's target volume, ``(batch,)``.

        Returns:
            A scalar in 0..2.
        """
        return 1 - ssim(prediction, target, data_range).mean()
