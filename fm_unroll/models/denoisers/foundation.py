"""The foundation-model denoiser: a frozen vision encoder and a small trainable decoder (paper, section 3)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fm_unroll.encoders import build_encoder
from fm_unroll.errors import InputError
from fm_unroll.models.registry import ANY_ENCODER, register_denoiser

Fusion = Literal["softmax", "mean", "last"]
EncoderInput = Literal["magnitude", "magnitude_phase"]


class TokenSource(Protocol):
    """What a decoder stands on: a frozen encoder, or what takes its place in a control."""

    blocks: tuple[int, ...]
    width: int
    grid: tuple[int, int]
    num_prefix_tokens: int

    def encode(self, image: Tensor) -> list[Tensor]:
        """The tokens of images ``(batch, 1 or 3, rows, columns)`` in 0..1: one tensor for each block."""
        ...


class FoundationDenoiser(nn.Module):
    """Denoiser of complex images through the features of a frozen vision encoder.

    The encoder sees the image as a picture; the decoder climbs from its coarsest features to the image's own
    matrix in four stages, the last of which sees the complex image itself. All that is trained is here; the
    encoder is shared with the other cascades.

    Where the paper is silent: percentiles 1 and 99; the skips are the layer-normalised token maps; the last
    stage goes to the image's own matrix rather than to the encoder's 224 x 224, so that no detail is lost;
    the complex image is divided by its 99th percentile on the way in and multiplied on the way out, so that
    the denoiser scales with its input; the head starts at zero, so that an untrained network returns the
    zero-filled image (from a random head, training on the embedded hearts was still near it after 900 steps).
    """

    def __init__(
        self,
        encoder: TokenSource | None,
        widths: Sequence[int] = (384, 192, 128, 64),
        encoder_input: EncoderInput = "magnitude",
        fusion: Fusion = "softmax",
        zero_head: bool = True,
        percentiles: tuple[float, float] = (1, 99),
    ) -> None:
        """Build the decoder on an encoder.

        Args:
            encoder: what gives tokens: the shared frozen encoder, or a trained embedding in its place; None
                for the last stage alone.
            widths: channels of the four decoder stages, coarse to fine.
            encoder_input: the encoder's three channels: three times the magnitude, or real, imaginary and
                magnitude.
            fusion: how the blocks' token maps become one: learnable softmax weights (the paper), the plain
                mean, or the last block alone.
            zero_head: whether the head starts at zero; otherwise at random, as U-Nets do.
            percentiles: of the magnitude, mapped to 0 and 1 for the encoder.

        Raises:
            InputError: not four widths, or percentiles out of order.
        """
        super().__init__()
        if len(widths) != 4 or min(widths) < 1:
            raise InputError(f"decoder widths {list(widths)}: give four positive numbers, coarse to fine")
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise InputError(f"percentiles {list(percentiles)}: give two rising numbers from 0 to 100")
        self.encoder = encoder
        self.quantiles = (percentiles[0] / 100, percentiles[1] / 100)
        self.encoder_input = encoder_input
        channels = 0
        if encoder is not None:
            self.fusion = TokenFusion(len(encoder.blocks), encoder.width, fusion)
            self.stages = nn.ModuleList()
            channels = encoder.width
            for width in widths[:-1]:
                self.stages.append(DecoderStage(channels, nn.Conv2d(encoder.width, width, 1), width))
                channels = width
        self.image_stage = DecoderStage(channels, nn.Conv2d(2, widths[-1], 3, padding=1), widths[-1])
        self.head = nn.Conv2d(widths[-1], 2, 3, padding=1)
        self.zero_head = zero_head
        if zero_head:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, image: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: complex64, ``(batch, readout, phase)``.

        Returns:
            Image of the same shape and dtype; scaling the input scales the output.
        """
        low, high = magnitude_range(image, self.quantiles)
        scale = nonzero(high)
        scaled = torch.view_as_real(image / scale).permute(0, 3, 1, 2)
        features = None
        if self.encoder is not None:
            tokens = self.encoder.encode(self.picture(image, low, high))
            maps = self.fusion.token_maps(tokens, self.encoder)
            features = self.fusion(maps)
            # the coarse stages are joined by the maps of the blocks below the last, from deep to shallow
            for stage, depth in zip(self.stages, (-2, -3, -4), strict=True):
                skip = maps[max(depth, -len(maps))]
                features = stage(features, skip, [2 * side for side in features.shape[-2:]])
        features = self.image_stage(features, scaled, scaled.shape[-2:])
        denoised = self.head(features).float().permute(0, 2, 3, 1).contiguous()
        return torch.view_as_complex(denoised) * scale

    def picture(self, image: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The complex image as the encoder sees it: ``(batch, 1 or 3, readout, phase)`` in 0..1."""
        magnitude = ((image.abs() - low) / nonzero(high - low)).clamp(0, 1)
        if self.encoder_input == "magnitude":
            return magnitude[:, None]
        signed = torch.view_as_real(image / nonzero(high)).clamp(-1, 1)
        return torch.stack([*((signed + 1) / 2).unbind(-1), magnitude], dim=1)


class TokenFusion(nn.Module):
    """One feature map from the layer-normalised token maps of several blocks."""

    def __init__(self, num_blocks: int, width: int, fusion: Fusion) -> None:
        """Make one LayerNorm per block and, for ``softmax``, one learnable weight per block."""
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_blocks))
        if fusion == "softmax":
            self.logits = nn.Parameter(torch.zeros(num_blocks))
        elif fusion == "mean":
            self.register_buffer("logits", torch.zeros(num_blocks), persistent=False)
        else:
            last_only = torch.full((num_blocks,), float("-inf"))
            last_only[-1] = 0
            self.register_buffer("logits", last_only, persistent=False)

    def token_maps(self, tokens: list[Tensor], encoder: TokenSource) -> list[Tensor]:
        """Turn tokens ``(batch, prefix + patches, width)`` into normalised maps ``(batch, width, *grid)``."""
        return [
            norm(block[:, encoder.num_prefix_tokens :]).transpose(1, 2).unflatten(2, encoder.grid)
            for norm, block in zip(self.norms, tokens, strict=True)
        ]

    def weights(self) -> Tensor:
        """The weight of every block, summing to one: ``(blocks,)``."""
        return self.logits.softmax(0)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """The weighted sum of the maps."""
        fused: Tensor = sum(weight * token for weight, token in zip(self.weights(), maps, strict=True))
        return fused


class DecoderStage(nn.Module):
    """One step up of the UNETR-style decoder: upsample, refine, join the skip, merge."""

    def __init__(self, channels: int, skip: nn.Conv2d, width: int) -> None:
        """Build the stage.

        Args:
            channels: channels of the coarser features; 0 when there are none below.
            skip: projects the skip connection to ``width`` channels.
            width: channels of the result.
        """
        super().__init__()
        self.refine = (
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
                nn.Conv2d(channels, width, 1),
                nn.InstanceNorm2d(width),
                nn.ReLU(),
            )
            if channels
            else None
        )
        self.skip = skip
        self.merge = nn.Sequential(
            nn.Conv2d(2 * width if channels else width, width, 3, padding=1),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
        )

    def forward(self, features: Tensor | None, skip: Tensor, size: Sequence[int]) -> Tensor:
        """Bring features and skip to ``size`` and merge them: ``(batch, width, *size)``.

        The 1x1 projection of a token map commutes with its bilinear resize, so it runs on the small map.
        """
        joined = resize(self.skip(skip), size)
        if self.refine is not None:
            assert features is not None, "a stage that refines stands on a coarser one"
            joined = torch.cat([self.refine(resize(features, size)), joined], dim=1)
        merged: Tensor = self.merge(joined)
        return merged


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of the last two axes."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def nonzero(divisor: Tensor) -> Tensor:
    """The divisor, with 1 for zero: a quotient by the smallest float has gradients that overflow."""
    return divisor.masked_fill(divisor == 0, 1)


def magnitude_range(image: Tensor, quantiles: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Two quantiles of each image's magnitude, both of shape ``(batch, 1, 1)``."""
    magnitudes = image.abs().flatten(1)
    # filled on the device: for a copy from the host a GPU would be waited for, in every cascade
    probabilities = torch.stack([magnitudes.new_full((), quantile) for quantile in quantiles])
    low, high = torch.quantile(magnitudes, probabilities, dim=1)
    return low[:, None, None], high[:, None, None]


@register_denoiser(ANY_ENCODER)
def foundation(
    num_cascades: int,
    encoder: str,
    *,
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
    zero_head: bool = True,
    shuffled: bool = False,
    encoder_seed: int | None = None,
    encoder_precision: Literal["auto", "float32", "bfloat16"] = "auto",
) -> list[nn.Module]:
    """Build denoisers around one frozen encoder.

    Args:
        num_cascades: number of denoisers.
        encoder: name of the encoder.
        weights: file with the encoder's weights. None: from the hub's cache.
        pretrained: False for frozen random encoder weights (a control, no download).
        blocks: numbers, from 1, of the encoder's blocks whose tokens are used.
        fusion: how the blocks' token maps become one.
        encoder_gradient: through: gradients reach earlier cascades through it; detach: they stop, cheaper.
        statistics: mean and deviation of ImageNet, as the paper says, or the encoder's own.
        encoder_input: what the encoder's three channels show.
        encoder_image_size: side of the square that the encoder's picture is resized to, in pixels.
        decoder_widths: channels of the four decoder stages, coarse to fine.
        shared_decoder: one decoder for all cascades instead of one per cascade.
        zero_head: start the head at zero: an untrained network returns the zero-filled image.
        shuffled: permute the elements within each of the encoder's tensors (a control without structure).
        encoder_seed: seed of random and of shuffled weights; None: in training that of the run, else 0.
        encoder_precision: arithmetic of the frozen encoder in training. auto: bfloat16 on GPUs that have it,
            elsewhere what surrounds it. Validation and evaluation are in float32.
    """
    arithmetic = (encoder_gradient, encoder_image_size, encoder_precision)
    frozen = build_encoder(
        encoder, weights, pretrained, blocks, statistics, encoder_seed or 0, *arithmetic, shuffled
    )
    denoiser = partial(FoundationDenoiser, frozen, decoder_widths, encoder_input, fusion, zero_head)
    return one_per_cascade(denoiser, num_cascades, shared_decoder)


@register_denoiser("image_skip_only")
def image_skip_only(
    num_cascades: int, *, decoder_widths: Sequence[int] = (384, 192, 128, 64), shared_decoder: bool = False
) -> list[nn.Module]:
    """Build the control without tokens: the decoder's last stage alone, which sees 7 x 7 pixels.

    Args:
        num_cascades: number of denoisers.
        decoder_widths: channels of the four decoder stages; the last is used.
        shared_decoder: one decoder for all cascades instead of one per cascade.
    """
    return one_per_cascade(partial(FoundationDenoiser, None, decoder_widths), num_cascades, shared_decoder)


def one_per_cascade(
    build: Callable[[], FoundationDenoiser], num_cascades: int, shared: bool
) -> list[nn.Module]:
    """Build a denoiser for every cascade, or one that stands in all of them."""
    return [build()] * num_cascades if shared else [build() for _ in range(num_cascades)]
