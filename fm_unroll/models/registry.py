"""A method's name to its network: the one place where baselines, priors and controls are told apart."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fm_unroll.encoders import build_encoder, list_encoders
from fm_unroll.errors import InputError
from fm_unroll.models.denoisers.foundation import EncoderInput, FoundationDenoiser, Fusion
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.sensitivity import SensitivityModel
from fm_unroll.models.unrolled import UnrolledNetwork

# First-convolution channels of the U-Net denoisers. The wide one is the control with as many trainable
# parameters as the foundation model: 57.3 M against 56.4 M with 12 cascades.
UNET_CHANNELS = {"varnet": 18, "varnet_wide": 25}


def list_methods() -> list[str]:
    """Names that :func:`build_model` takes, besides ``timm/<architecture>``."""
    return [*UNET_CHANNELS, "none", *list_encoders()]


def check_method(method: str) -> None:
    """Refuse a name that :func:`build_model` does not know.

    Raises:
        InputError: with the nearest names.
    """
    if method not in list_methods() and not method.startswith("timm/"):
        near = difflib.get_close_matches(method, list_methods()) or list_methods()
        raise InputError(f"unknown method {method!r}: did you mean {', '.join(near)}?")


def build_model(
    method: str,
    num_cascades: int = 12,
    sens_chans: int = 8,
    sens_pools: int = 4,
    chans: int | None = None,
    pools: int = 4,
    weights: Path | None = None,
    pretrained: bool = True,
    blocks: Sequence[int] = (1, 2, 3, 4, 5, 6),
    fusion: Fusion = "softmax",
    encoder_gradient: Literal["through", "detach"] = "through",
    statistics: Literal["imagenet", "own"] = "imagenet",
    encoder_input: EncoderInput = "magnitude",
    encoder_image_size: int = 224,
    decoder_widths: Sequence[int] = (384, 192, 128, 64),
    shared_decoder: bool = False,
    encoder_precision: Literal["auto", "float32", "bfloat16"] = "auto",
    checkpoint_cascades: Literal["none", "all"] | int = "none",
) -> UnrolledNetwork:
    """Build an unrolled network.

    Args:
        method: ``varnet`` (E2E-VarNet), ``varnet_wide`` (the same with as many trainable parameters as the
            foundation model), an encoder's name (``clip``, ``dinov2``, ``biomedclip``, ``random``, ...; a
            frozen prior), or ``none`` (the foundation model's decoder without an encoder).
        num_cascades: unrolled iterations.
        sens_chans: channels of the sensitivity estimator's first convolution.
        sens_pools: pooling layers of the sensitivity estimator.
        chans: U-Net denoisers: channels of the first convolution. None: 18, and 25 for ``varnet_wide``.
        pools: U-Net denoisers: pooling layers.
        weights: foundation denoisers: a file with the encoder's weights. None: from the hub's cache.
        pretrained: foundation denoisers: False for frozen random encoder weights (a control, no download).
        blocks: foundation denoisers: the encoder's blocks whose tokens are used, counted from 1.
        fusion: foundation denoisers: how the blocks' token maps become one.
        encoder_gradient: foundation denoisers: whether gradients flow through the frozen encoder to earlier
            cascades, or stop at it (cheaper).
        statistics: foundation denoisers: ImageNet's mean and deviation, as the paper says, or the encoder's
            own.
        encoder_input: foundation denoisers: what the encoder's three channels show.
        encoder_image_size: foundation denoisers: side of the square that the encoder's picture is resized to.
        decoder_widths: foundation denoisers: channels of the four decoder stages.
        shared_decoder: foundation denoisers: one decoder for all cascades instead of one each.
        encoder_precision: foundation denoisers: arithmetic of the frozen encoder. ``auto``: bfloat16 on GPUs
            that have it, elsewhere what surrounds it.
        checkpoint_cascades: cascades that trade time for memory in training: ``all``, ``none``, or one in
            every so many. A checkpointed cascade computes its activations a second time.

    Returns:
        The network, on the CPU.

    Raises:
        InputError: unknown method (with the nearest names), a number out of range, weights that do not fit.
    """
    if num_cascades < 1:
        raise InputError(f"num_cascades is {num_cascades}: give 1 or more")
    checkpoint_every = {"none": 0, "all": 1}.get(checkpoint_cascades, checkpoint_cascades)
    if checkpoint_every < 0:
        raise InputError(f"checkpoint_cascades is {checkpoint_cascades}: give all, none, or a whole number")
    sensitivity = SensitivityModel(sens_chans, sens_pools)
    if method in UNET_CHANNELS:
        chans = chans or UNET_CHANNELS[method]
        unets = [NormUnet(chans, pools) for _ in range(num_cascades)]
        return UnrolledNetwork(sensitivity, unets, checkpoint_every)
    check_method(method)
    encoder = None
    if method != "none":
        encoder = build_encoder(
            method,
            weights=weights,
            pretrained=pretrained,
            blocks=blocks,
            statistics=statistics,
            gradient=encoder_gradient,
            image_size=encoder_image_size,
            precision=encoder_precision,
        )

    def denoiser() -> FoundationDenoiser:
        return FoundationDenoiser(encoder, decoder_widths, encoder_input=encoder_input, fusion=fusion)

    denoisers = [denoiser()] * num_cascades if shared_decoder else [denoiser() for _ in range(num_cascades)]
    return UnrolledNetwork(sensitivity, denoisers, checkpoint_every)
