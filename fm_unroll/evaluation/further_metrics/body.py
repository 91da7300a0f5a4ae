"""Metrics inside the body: without the air around it, of which hearts with readout oversampling hold a half.

The body is told by the target alone, so it is the same for all methods: where the target, averaged over 7 x 7
pixels, is above a tenth of its 99th percentile, with whatever that encloses (lungs, ventricles).

Torch is imported by the functions that compute, so that a report can name these metrics without it.
"""

from typing import TYPE_CHECKING

from fm_unroll.evaluation.metric_table import register_metric

if TYPE_CHECKING:
    from torch import Tensor

THRESHOLD = 0.1  # of the 99th percentile of a slice
WINDOW = 7


def body_mask(target: "Tensor") -> "Tensor":
    """Where the body is.

    Args:
        target: float, ``(batch, readout, phase)``.

    Returns:
        bool, the same shape; False everywhere in a slice that is empty.
    """
    import torch
    import torch.nn.functional as F
    from scipy.ndimage import binary_fill_holes

    smooth = F.avg_pool2d(target[:, None].float(), WINDOW, 1, WINDOW // 2)[:, 0].cpu()
    bright = torch.quantile(target.flatten(1).float().cpu(), 0.99, dim=1)
    inside = smooth > THRESHOLD * bright[:, None, None]
    filled = [torch.from_numpy(binary_fill_holes(slice_.numpy())) for slice_ in inside]
    return torch.stack(filled).to(target.device)


@register_metric(
    "ssim_body", label="SSIM (body)", group="body", convention="inside the body, mean over slices"
)
def ssim_body(prediction: "Tensor", target: "Tensor", data_range: "Tensor") -> "Tensor":
    """SSIM of each slice over the windows whose centre lies in the body: ``(batch,)``; NaN without one."""
    from fm_unroll.metrics import ssim_map

    edge = WINDOW // 2
    inside = body_mask(target)[:, edge:-edge, edge:-edge]
    similarity = ssim_map(prediction, target, data_range).double().where(inside, 0.0)
    return similarity.sum((-2, -1)) / inside.sum((-2, -1))


@register_metric(
    "nmse_body",
    label="NMSE (body)",
    direction="lower",
    group="body",
    convention="inside the body, mean over slices",
)
def nmse_body(prediction: "Tensor", target: "Tensor", data_range: "Tensor") -> "Tensor":
    """NMSE of each slice over the pixels of the body: ``(batch,)``; NaN without one."""
    from fm_unroll.metrics import energy

    inside = body_mask(target)
    found: Tensor = energy((prediction - target).where(inside, 0.0)) / energy(target.where(inside, 0.0))
    return found
