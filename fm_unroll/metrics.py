"""Image quality: SSIM, PSNR and NMSE of slices and of volumes, on any device, batched.

Three conventions, never mixed. *Slice*: every slice has its own figure; the data range is still its target
volume's maximum. *Volume*: what ``fastmri.evaluate`` computes; errors are summed over the volume before the
ratio is taken, SSIM is averaged over slices. *Challenge*: that of the CMRxRecon 2023 challenge, always under
its own name, because it forgives errors of scale that the other two count.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fm_unroll.errors import InputError

WINDOW = 7
K1, K2 = 0.01, 0.03


def ssim(prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
    """Structural similarity of each slice, as scikit-image's and fastMRI's defaults define it.

    7 x 7 uniform window, k1 0.01, k2 0.03, sample covariance, mean over windows that lie inside the image.

    Args:
        prediction: float, ``(batch, readout, phase)``.
        target: the same shape.
        data_range: maximum of each slice's target volume, ``(batch,)`` or scalar, in the images' units.

    Returns:
        ``(batch,)`` in the images' dtype. Differentiable.

    Raises:
        InputError: the images are smaller than the window.
    """
    if min(target.shape[-2:]) < WINDOW:
        raise InputError(f"SSIM needs images of at least {WINDOW} x {WINDOW}, not {tuple(target.shape[-2:])}")
    data_range = torch.as_tensor(data_range, dtype=target.dtype, device=target.device).reshape(-1, 1, 1)
    # dividing by the range first keeps images of any unit far from float32's limits
    x, y = prediction / data_range, target / data_range
    moments = F.avg_pool2d(torch.stack([x, y, x * x, y * y, x * y], dim=1), WINDOW, stride=1)
    mean_x, mean_y, xx, yy, xy = moments.unbind(1)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    covariance = unbiased * (xy - mean_x * mean_y)
    variances = unbiased * (xx - mean_x.square() + yy - mean_y.square())
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x.square() + mean_y.square() + K1**2)
    structure = (2 * covariance + K2**2) / (variances + K2**2)
    return (luminance * structure).mean((-2, -1))


def psnr(prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each slice in dB: ``(batch,)``."""
    mean_squared = (prediction - target).square().mean((-2, -1))
    return decibel(torch.as_tensor(data_range).to(mean_squared).square() / mean_squared)


def nmse(prediction: Tensor, target: Tensor, data_range: Tensor | None = None) -> Tensor:
    """Normalised mean squared error of each slice: ``(batch,)``. Needs no data range."""
    return (prediction - target).square().sum((-2, -1)) / target.square().sum((-2, -1))


def decibel(power_ratio: Tensor) -> Tensor:
    """10 log10."""
    return 10 * torch.log10(power_ratio)


def score_slices(prediction: Tensor, target: Tensor, data_range: Tensor) -> dict[str, Tensor]:
    """All that is ever needed of each slice, in float64 where the device has it.

    Args:
        prediction: float, ``(batch, readout, phase)``.
        target: the same shape.
        data_range: maximum of each slice's target volume, ``(batch,)``.

    Returns:
        ``ssim``, ``psnr``, ``nmse`` of the slice, and ``squared_error``, ``target_energy``, ``pixels`` from
        which :func:`volume_metrics` follow exactly; ``(batch,)`` each, on the CPU.
    """
    precision = torch.float32 if prediction.device.type == "mps" else torch.float64
    prediction, target = prediction.to(precision), target.to(precision)
    data_range = torch.as_tensor(data_range).to(target)
    scores = {
        "ssim": ssim(prediction, target, data_range),
        "psnr": psnr(prediction, target, data_range),
        "nmse": nmse(prediction, target),
        "squared_error": (prediction - target).square().sum((-2, -1)),
        "target_energy": target.square().sum((-2, -1)),
        "pixels": torch.full_like(data_range, target[0].numel()),
        "data_range": data_range,
    }
    return {name: value.cpu() for name, value in scores.items()}


def challenge_scores(prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Metrics of each slice as the CMRxRecon 2023 challenge computes them (its ``Evaluation.py``).

    Prediction and target are each divided by their own maximum in the slice, and the data range is 1. Here
    the whole image counts; for its ranking, the challenge kept the centre of a few slices and frames.

    Args:
        prediction: float, ``(batch, readout, phase)``.
        target: the same shape.

    Returns:
        ``challenge_ssim``, ``challenge_psnr`` (dB), ``challenge_nmse``: ``(batch,)`` each, on the CPU,
        computed in float64 where the device has it; NaN where an image has no positive maximum.
    """
    precision = torch.float32 if prediction.device.type == "mps" else torch.float64
    maxima = [image.to(precision).amax((-2, -1), keepdim=True) for image in (prediction, target)]
    prediction, target = (
        image / maximum.masked_fill(maximum <= 0, torch.nan)
        for image, maximum in zip((prediction, target), maxima, strict=True)
    )
    unit = torch.ones(len(target), dtype=precision, device=target.device)
    scores = {"ssim": ssim(prediction, target, unit), "psnr": psnr(prediction, target, unit)}
    scores["nmse"] = nmse(prediction, target)
    return {f"challenge_{name}": value.cpu() for name, value in scores.items()}


def volume_metrics(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Metrics of one volume from the scores of its slices, equal to ``fastmri.evaluate``.

    Args:
        scores: of :func:`score_slices`, for all slices of one volume, ``(slices,)`` each.

    Returns:
        Scalars ``ssim``, ``psnr``, ``nmse``.
    """
    squared_error, pixels = scores["squared_error"].sum(), scores["pixels"].sum()
    return {
        "ssim": scores["ssim"].mean(),
        "psnr": decibel(scores["data_range"].max().square() * pixels / squared_error),
        "nmse": squared_error / scores["target_energy"].sum(),
    }
