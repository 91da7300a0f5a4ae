"""SSIM without readout oversampling: of the middle rows, where the object lies.

Scanners sample the readout twice as densely as the object needs. CMRxRecon's files hold all of it, so half of
such an image is air, in which every method is nearly perfect.
"""

from typing import TYPE_CHECKING

from fm_unroll.evaluation.metric_table import register_metric

if TYPE_CHECKING:
    from torch import Tensor


@register_metric(
    "ssim_half",
    label="SSIM (half readout)",
    group="body",
    convention="without readout oversampling, mean over slices",
    without_oversampling=True,
)
def ssim_half(prediction: "Tensor", target: "Tensor", data_range: "Tensor") -> "Tensor":
    """SSIM of each slice, which is given without its readout oversampling: ``(batch,)``."""
    from fm_unroll.metrics import ssim

    return ssim(prediction, target, data_range)
