"""The control of the encoder: the same decoder on the tokens of a small embedding that is trained."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fm_unroll.errors import InputError
from fm_unroll.models.denoisers.foundation import FoundationDenoiser, Fusion, one_per_cascade
from fm_unroll.models.registry import register_denoiser


class TrainedEmbedding(nn.Module):
    """Patches of a picture as tokens, by one convolution: what a vision transformer does before its blocks.

    It takes the place of a frozen encoder. Every block's tokens are the same ones.
    """

    def __init__(self, width: int, patch: int, image_size: int, blocks: Sequence[int]) -> None:
        """Make the embedding.

        Args:
            width: size of a token.
            patch: side of a patch, in pixels.
            image_size: side of the square that pictures are resized to, in pixels; a multiple of the patch.
            blocks: numbers of the blocks that it stands for.

        Raises:
            InputError: the sizes do not fit each other.
        """
        super().__init__()
        if min(width, patch, image_size, len(blocks)) < 1 or image_size % patch:
            raise InputError(
                f"a trained embedding of width {width}, patch {patch} and encoder_image_size {image_size} "
                f"for {len(blocks)} blocks: give positive numbers, the size a multiple of the patch"
            )
        self.width = width
        self.blocks = tuple(blocks)
        self.grid = (image_size // patch, image_size // patch)
        self.num_prefix_tokens = 0
        self.image_size = image_size
        self.project = nn.Conv2d(3, width, patch, stride=patch)
        self.position = nn.Parameter(torch.zeros(1, width, *self.grid))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Embed pictures.

        Args:
            image: ``(batch, 1 or 3, rows, columns)``, values in 0..1.

        Returns:
            For each block the same tensor ``(batch, patches, width)``.
        """
        image = F.interpolate(image, (self.image_size,) * 2, mode="bilinear", align_corners=False)
        maps = self.project(image.expand(-1, 3, -1, -1)) + self.position
        return [maps.flatten(2).transpose(1, 2)] * len(self.blocks)


@register_denoiser("trained_embedding")
def trained_embedding(
    num_cascades: int,
    *,
    embedding_width: int = 768,
    embedding_patch: int = 16,
    blocks: Sequence[int] = (1, 2, 3, 4, 5, 6),
    fusion: Fusion = "softmax",
    encoder_image_size: int = 224,
    decoder_widths: Sequence[int] = (384, 192, 128, 64),
    shared_decoder: bool = False,
    zero_head: bool = True,
) -> list[nn.Module]:
    """Build the decoder of the foundation denoiser on one trained embedding, in place of the encoder.

    Args:
        num_cascades: number of denoisers.
        embedding_width: size of a token, as in the encoder that it is compared with (ViT-B: 768).
        embedding_patch: side of a patch, in pixels.
        blocks: numbers of the blocks that the same tokens stand for.
        fusion: how the blocks' token maps become one.
        encoder_image_size: side of the square that the picture is resized to, in pixels.
        decoder_widths: channels of the four decoder stages, coarse to fine.
        shared_decoder: one decoder for all cascades instead of one per cascade.
        zero_head: start the decoder's head at zero.
    """
    embedding = TrainedEmbedding(embedding_width, embedding_patch, encoder_image_size, blocks)
    denoiser = partial(FoundationDenoiser, embedding, decoder_widths, fusion=fusion, zero_head=zero_head)
    return one_per_cascade(denoiser, num_cascades, shared_decoder)
