"""Image quality: SSIM, PSNR and NMSE of slices and of volumes, on any device, batched.

Three conventions, never mixed. *Slice*: every slice has its own figure; the data range is still its target
volume's maximum. *Volume*: what ``fastmri.evaluate`` computes; errors are summed over the volume before the
ratio is taken, SSIM is averaged over slices. *Challenge*: that of the CMRxRecon 2023 challenge, always under
its own name, because it ignores errors of scale, which the other two count.
"""

import torch
from torch import Tensor

from fm_unroll.errors import InputError
from fm_unroll.metric_formulas import nmse_of_sums, psnr_of_sums

# what :func:`volume_metrics` returns, and what training logs
VOLUME_METRICS = ("ssim", "psnr", "nmse")
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
    return ssim_map(prediction, target, data_range).mean((-2, -1))


def ssim_map(prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
    """Structural similarity of each window inside the images: ``(batch, readout - 6, phase - 6)``.

    See :func:`ssim`, which is its mean, for arguments and errors.
    """
    if min(target.shape[-2:]) < WINDOW:
        raise InputError(f"SSIM needs images of at least {WINDOW} x {WINDOW}, not {tuple(target.shape[-2:])}")
    data_range = torch.as_tensor(data_range, dtype=target.dtype, device=target.device).reshape(-1, 1, 1)
    # Sum and difference of the images stand for the images: four means per window instead of five, and a
    # small difference keeps its digits. Dividing by the range first keeps any unit far from float32's limits.
    total, difference = (prediction + target) / data_range, (prediction - target) / data_range
    total_mean, difference_mean = window_means(total).square(), window_means(difference).square()
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    total_variance = unbiased * (window_means(total.square()) - total_mean)
    difference_variance = unbiased * (window_means(difference.square()) - difference_mean)
    luminance = (total_mean - difference_mean + 2 * K1**2) / (total_mean + difference_mean + 2 * K1**2)
    structure = (total_variance - difference_variance + 2 * K2**2) / (
        total_variance + difference_variance + 2 * K2**2
    )
    similarity: Tensor = luminance * structure
    return similarity


def window_means(images: Tensor) -> Tensor:
    """Means over all windows inside the images: ``(batch, readout - 6, phase - 6)``.

    Sums of two and four neighbours make those of seven: four additions per axis. On a CPU this takes a third
    of the time of a pooling layer, which makes 49 additions per window.
    """
    for axis in (-2, -1):
        windows = images.shape[axis] - WINDOW + 1
        pairs = images.narrow(axis, 0, windows + 5) + images.narrow(axis, 1, windows + 5)
        sums = pairs.narrow(axis, 0, windows) + pairs.narrow(axis, 2, windows)
        sums += pairs.narrow(axis, 4, windows)
        sums += images.narrow(axis, 6, windows)
        images = sums
    return images / WINDOW**2


def psnr(prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each slice in dB: ``(batch,)``."""
    # the mean is taken first: the last digit of the challenge's figures depends on the order
    mean_squared = energy(prediction - target) / target[0].numel()
    ratio: Tensor = psnr_of_sums(mean_squared, 1, torch.as_tensor(data_range).to(mean_squared), torch.log10)
    return ratio


def nmse(prediction: Tensor, target: Tensor, data_range: Tensor | None = None) -> Tensor:
    """Normalised mean squared error of each slice: ``(batch,)``. Needs no data range."""
    ratio: Tensor = nmse_of_sums(energy(prediction - target), energy(target))
    return ratio


def energy(images: Tensor) -> Tensor:
    """Sum of squares of each slice: ``(batch,)``, in float64 where the device has it."""
    precision = torch.float32 if images.device.type == "mps" else torch.float64
    return images.square().sum((-2, -1), dtype=precision)


def score_slices(prediction: Tensor, target: Tensor, data_range: Tensor) -> dict[str, Tensor]:
    """The figures of each slice, and the sums from which those of its volume follow.

    Args:
        prediction: float, ``(batch, readout, phase)``.
        target: the same shape.
        data_range: maximum of each slice's target volume, ``(batch,)``.

    Returns:
        ``ssim``, ``psnr``, ``nmse`` of the slice, and ``squared_error``, ``target_energy``, ``pixels`` from
        which :func:`volume_metrics` follow exactly; float64 (float32 on devices without), ``(batch,)`` each,
        on the CPU.
    """
    data_range = torch.as_tensor(data_range, device=target.device)
    # the temporary images of one slice fit into a CPU's cache, those of a whole batch do not
    at_once = 1 if target.device.type == "cpu" else len(target)
    chunks = zip(*(torch.split(values, at_once) for values in (prediction, target, data_range)), strict=True)
    parts = [_score(*chunk) for chunk in chunks]
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}


def _score(prediction: Tensor, target: Tensor, data_range: Tensor) -> dict[str, Tensor]:
    squared_error, target_energy = energy(prediction - target), energy(target)
    data_range = data_range.to(squared_error)
    pixels = torch.full_like(data_range, target[0].numel())
    return {
        "ssim": ssim(prediction, target, data_range).to(squared_error),
        "psnr": psnr_of_sums(squared_error, pixels, data_range, torch.log10),
        "nmse": nmse_of_sums(squared_error, target_energy),
        "squared_error": squared_error,
        "target_energy": target_energy,
        "pixels": pixels,
        "data_range": data_range,
    }


def challenge_scores(
    prediction: Tensor, target: Tensor, data_range: Tensor | None = None
) -> dict[str, Tensor]:
    """Metrics of each slice as the CMRxRecon 2023 challenge computes them (its ``Evaluation.py``).

    Prediction and target are each divided by their own maximum in the slice, and the data range is 1. Here
    the whole image counts; for its ranking, the challenge kept the centre of a few slices and frames.

    Args:
        prediction: float, ``(batch, readout, phase)``.
        target: the same shape.
        data_range: not needed, each image has its own.

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
        "psnr": psnr_of_sums(squared_error, pixels, scores["data_range"].max(), torch.log10),
        "nmse": nmse_of_sums(squared_error, scores["target_energy"].sum()),
    }
