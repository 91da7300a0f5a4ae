"""Perceptual metrics, where what they need is on this machine: HaarPSI and LPIPS.

HaarPSI is ``piq``'s (``pip install fm_unroll[perceptual]``). LPIPS is that of torchmetrics, which is there
anyway, carries the learned linear heads and is maintained; the package ``lpips`` has not been since 2021, and
``piq``'s LPIPS fetches its heads from a web page. Its AlexNet comes from torchvision and is taken from the
hub cache of torch: nothing is ever downloaded in the middle of a run.
"""

import functools
import importlib.util
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from fm_unroll.errors import InputError
from fm_unroll.files import file_sha256

METRICS = ("haarpsi", "lpips")
SMALLEST_SIDE = {"haarpsi": 16, "lpips": 32}
FETCH_ALEXNET = "python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\""


def absent() -> dict[str, str]:
    """The perceptual metrics that this machine cannot compute: name -> why, and what would change it."""
    reasons = {}
    if importlib.util.find_spec("piq") is None:
        reasons["haarpsi"] = "piq is not installed (pip install fm_unroll[perceptual])"
    weights = alexnet_weights()
    published = weights.stem.rpartition("-")[2]  # torchvision names its files by the hash of their content
    if not weights.is_file():
        reasons["lpips"] = f"there is no {weights} (fetch it with {FETCH_ALEXNET})"
    elif not (found := file_sha256(weights)).startswith(published):
        reasons["lpips"] = (
            f"{weights} has the SHA-256 {found[:8]}..., not the published {published}...: delete it"
        )
    return reasons


def alexnet_weights() -> Path:
    """Where torchvision keeps its AlexNet."""
    from torchvision.models import AlexNet_Weights

    return Path(torch.hub.get_dir(), "checkpoints", Path(AlexNet_Weights.DEFAULT.url).name)


def perceptual_scores(
    metrics: tuple[str, ...], prediction: Tensor, target: Tensor, data_range: Tensor
) -> dict[str, Tensor]:
    """Perceptual metrics of each slice, by name.

    Args:
        metrics: names from `METRICS`, none of them `absent`.
        prediction: float, ``(batch, readout, phase)``; values above the data range are clipped to it, as a
            display would.
        target: the same shape.
        data_range: maximum of each slice's target volume, ``(batch,)``.

    Returns:
        ``haarpsi`` (Reisenhofer et al. 2018; 0..1, more is better) and ``lpips`` (Zhang et al. 2018, AlexNet,
        version 0.1; less is better), ``(batch,)`` each, on the CPU; NaN for what was not asked for, for
        images below `SMALLEST_SIDE` and for images with NaN.
    """
    scores = {name: torch.full((len(target),), torch.nan) for name in METRICS}
    unit = data_range.to(target)[:, None, None]
    image, reference = ((values / unit).clamp(0, 1)[:, None] for values in (prediction, target))
    finite = image.flatten(1).isfinite().all(1)
    for name in metrics:
        if finite.any() and min(target.shape[-2:]) >= SMALLEST_SIDE[name]:
            score = _haarpsi if name == "haarpsi" else _lpips
            scores[name][finite.cpu()] = score(image[finite], reference[finite]).cpu()
    return scores


def _haarpsi(image: Tensor, reference: Tensor) -> Tensor:
    import piq

    return piq.haarpsi(image, reference, reduction="none")


def _lpips(image: Tensor, reference: Tensor) -> Tensor:
    """Gray images in 0..1, ``(batch, 1, readout, phase)``, as three equal channels."""
    network = _lpips_network(alexnet_weights(), image.device)
    with torch.inference_mode():
        images = (values.float().expand(-1, 3, -1, -1) for values in (image, reference))
        return network(*images, normalize=True).flatten()


@functools.cache
def _lpips_network(weights: Path, device: torch.device) -> nn.Module:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        # torchvision loads the file without this restriction: what passes here holds tensors only
        torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{weights} cannot be read: {reason}; delete it to do without LPIPS") from None
    return LearnedPerceptualImagePatchSimilarity(net_type="alex").net.to(device)
