# %% [markdown]
# # A new metric is one function

# %%
# --8<-- [start:metric]
from typing import TYPE_CHECKING

from fm_unroll.evaluation.metric_table import register_metric

if TYPE_CHECKING:
    from torch import Tensor


@register_metric("mae", label="MAE", direction="lower", group="perceptual", convention="mean over slices")
def mean_absolute_error(prediction: "Tensor", target: "Tensor", data_range: "Tensor") -> "Tensor":
    """Mean absolute error of each slice, divided by the maximum of its volume: ``(batch,)``."""
    return (prediction - target).abs().mean((-2, -1)) / data_range


# --8<-- [end:metric]

# %%
import torch

from fm_unroll.evaluation.metric_table import METRICS

target = torch.rand(2, 32, 32)
scores = METRICS["mae"].measure(target + 0.1, target, target.amax((-2, -1)))
print(scores["mae"])
