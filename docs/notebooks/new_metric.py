# %% [markdown]
# # A new metric is one function

# %%
# --8<-- [start:metric]
from torch import Tensor

from fm_unroll.evaluation.metric_table import register_metric


@register_metric("mae", label="MAE", direction="lower", group="perceptual", convention="mean over slices")
def mean_absolute_error(prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
    """Mean absolute error of each slice over the maximum of its volume: ``(batch,)``."""
    return (prediction - target).abs().mean((-2, -1)) / data_range


# --8<-- [end:metric]

# %%
import torch

from fm_unroll.evaluation.metric_table import METRICS

target = torch.rand(2, 32, 32)
scores = METRICS["mae"].measure(target + 0.1, target, target.amax((-2, -1)))
print(scores["mae"])
