"""HaarPSI, where the optional package ``piq`` is installed (``pip install fm_unroll[perceptual]``)."""

import importlib.util

import torch
from torch import Tensor

SMALLEST_SIDE = 16


def haarpsi(prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
    """Haar wavelet perceptual similarity of each slice (Reisenhofer et al. 2018), by ``piq``.

    Args:
        prediction: float, ``(batch, readout, phase)``; values above the data range are clipped to it, as a
            display would.
        target: the same shape.
        data_range: maximum of each slice's target volume, ``(batch,)``.

    Returns:
        ``(batch,)`` in 0..1; NaN without ``piq``, for images below 16 x 16 and for images with NaN.
    """
    scores = torch.full((len(target),), torch.nan)
    if importlib.util.find_spec("piq") is None or min(target.shape[-2:]) < SMALLEST_SIDE:
        return scores
    import piq

    unit = data_range.to(target)[:, None, None]
    image, reference = ((values / unit).clamp(0, 1)[:, None] for values in (prediction, target))
    finite = image.flatten(1).isfinite().all(1)
    if finite.any():
        scores[finite.cpu()] = piq.haarpsi(image[finite], reference[finite], reduction="none").cpu()
    return scores
