"""Perceptual metrics, where what they need is on this machine: HaarPSI and LPIPS.

HaarPSI is ``piq``'s (``pip install fm_unroll[perceptual]``). LPIPS is that of torchmetrics, which is
installed anyway, brings the learned linear heads and is maintained. The package ``lpips`` was last released
in 2021, and ``piq``'s LPIPS fetches its heads from a web page. Its AlexNet comes from torchvision and is
taken from the hub cache of torch: nothing is ever downloaded in the middle of a run.

Torch is imported by the functions that compute, so that a report can name these metrics without it.
"""

import functools
import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fm_unroll.errors import InputError
from fm_unroll.evaluation.metric_table import register_metric
from fm_unroll.files import file_sha256

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FETCH_ALEXNET = "python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\""


def haarpsi_obstacle() -> str:
    """The reason why HaarPSI cannot be computed; empty if it can."""
    if importlib.util.find_spec("piq") is None:
        return "piq is not installed (pip install fm_unroll[perceptual])"
    return ""


def lpips_obstacle() -> str:
    """The reason why LPIPS cannot be computed; empty if it can."""
    weights = alexnet_weights()
    published = weights.stem.rpartition("-")[2]  # torchvision names its files by the hash of their content
    if not weights.is_file():
        return f"there is no {weights} (fetch it with {FETCH_ALEXNET})"
    if not (found := file_sha256(weights)).startswith(published):
        return f"{weights} has the SHA-256 {found[:8]}..., not the published {published}...: delete it"
    return ""


def alexnet_weights() -> Path:
    """Where torchvision keeps its AlexNet."""
    import torch
    from torchvision.models import AlexNet_Weights

    return Path(torch.hub.get_dir(), "checkpoints", Path(AlexNet_Weights.DEFAULT.url).name)


@register_metric("haarpsi", label="HaarPSI", obstacle=haarpsi_obstacle)
def haarpsi(prediction: "Tensor", target: "Tensor", data_range: "Tensor") -> "Tensor":
    """HaarPSI of each slice (Reisenhofer et al. 2018): 0..1, more is better."""
    import piq

    def score(image: "Tensor", reference: "Tensor") -> "Tensor":
        found: Tensor = piq.haarpsi(image, reference, reduction="none")
        return found

    return _score_displayed(score, prediction, target, data_range, smallest_side=16)


@register_metric("lpips", label="LPIPS", direction="lower", obstacle=lpips_obstacle)
def lpips(prediction: "Tensor", target: "Tensor", data_range: "Tensor") -> "Tensor":
    """LPIPS of each slice (Zhang et al. 2018, AlexNet, version 0.1): less is better."""
    import torch

    network = _lpips_network(alexnet_weights(), target.device)

    def score(image: "Tensor", reference: "Tensor") -> "Tensor":
        with torch.inference_mode():
            channels = (values.float().expand(-1, 3, -1, -1) for values in (image, reference))
            found: Tensor = network(*channels, normalize=True).flatten()
            return found

    return _score_displayed(score, prediction, target, data_range, smallest_side=32)


def _score_displayed(
    score: "Callable[[Tensor, Tensor], Tensor]",
    prediction: "Tensor",
    target: "Tensor",
    data_range: "Tensor",
    smallest_side: int,
) -> "Tensor":
    """Score gray images in 0..1, ``(batch, 1, readout, phase)``: clipped at the data range, as displays do.

    Returns:
        ``(batch,)``, on the CPU; NaN for images with NaN and for sides below ``smallest_side``.
    """
    import torch

    scores = torch.full((len(target),), torch.nan)
    unit = data_range.to(target)[:, None, None]
    image, reference = ((values / unit).clamp(0, 1)[:, None] for values in (prediction, target))
    finite = image.flatten(1).isfinite().all(1)
    if finite.any() and min(target.shape[-2:]) >= smallest_side:
        scores[finite.cpu()] = score(image[finite], reference[finite]).cpu()
    return scores


@functools.cache
def _lpips_network(weights: Path, device: "torch.device") -> "nn.Module":
    import torch
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        # torchvision loads the file without this restriction: what passes here holds tensors only
        torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{weights} cannot be read: {reason}; delete it to do without LPIPS") from None
    network: nn.Module = LearnedPerceptualImagePatchSimilarity(net_type="alex").net.to(device)
    return network
