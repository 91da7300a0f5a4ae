"""Token maps equal those of the reference implementations, at full width, from files in published formats.

The references have one block more than the encoders use, which must be left out.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import QuickGELU, VisionTransformer
from timm.layers import resample_abs_pos_embed
from torch import nn

from fm_unroll.encoders import FrozenEncoder, build_encoder
from fm_unroll.encoders.weights import resample_position_embedding
from reference_networks import random_image, randomise, standardise, tokens_after


def assert_same_tokens(
    encoder: FrozenEncoder, network: nn.Module, blocks: nn.Module, size: int = 224
) -> None:
    image = random_image(size)
    expected = tokens_after(blocks, lambda: network(standardise(image)))
    torch.testing.assert_close(encoder(image), expected[:-1], rtol=0, atol=1e-5)


def test_clip_equals_open_clip(tmp_path: Path) -> None:
    """Quick GELU, pre-norm, no patch bias; the file is OpenAI's state dict, so it has a text tower too."""
    visual = randomise(
        VisionTransformer(224, 16, 768, layers=7, heads=12, mlp_ratio=4, output_dim=512, act_layer=QuickGELU)
    )
    state = {f"visual.{key}": tensor for key, tensor in visual.state_dict().items()}
    state["transformer.resblocks.0.ln_1.weight"] = torch.ones(512)
    state["token_embedding.weight"] = torch.ones(49408, 2)
    path = tmp_path / "ViT-B-16.pt"
    torch.save(state, path)
    assert_same_tokens(build_encoder("clip", path), visual, visual.transformer.resblocks)


def test_dinov2_equals_timm(tmp_path: Path) -> None:
    """The file has 37 x 37 positions; the reference network is given 16 x 16, resampled by the test."""
    network = randomise(timm.create_model("vit_base_patch14_dinov2", num_classes=0, depth=7))
    path = tmp_path / "dinov2.pt"
    state = network.state_dict()
    torch.save(state, path)
    patches = bicubic_with_offset(state["pos_embed"][:, 1:].numpy(), stored=37, wanted=16)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], torch.from_numpy(patches)], dim=1)
    network.set_input_size(img_size=224)
    network.load_state_dict(state)
    assert_same_tokens(build_encoder("dinov2", path), network, network.blocks)


def test_biomedclip_equals_open_clip(tmp_path: Path) -> None:
    """A folder as the hub lays it out: an open_clip checkpoint, a timm tower in it, and its configuration."""
    visual = TimmModel("vit_base_patch16_224", embed_dim=512, pool="", proj="linear")
    visual.trunk.blocks = visual.trunk.blocks[:7]
    randomise(visual)
    state = {f"visual.{key}": tensor for key, tensor in visual.state_dict().items()}
    state["text.transformer.embeddings.position_ids"] = torch.arange(512)[None]
    state["logit_scale"] = torch.tensor(4.6)
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")
    config = {
        "model_cfg": {
            "embed_dim": 512,
            "vision_cfg": {
                "timm_model_name": "vit_base_patch16_224",
                "timm_model_pretrained": False,
                "timm_pool": "",
                "timm_proj": "linear",
                "image_size": 224,
            },
            "text_cfg": {"hf_proj_type": "mlp", "context_length": 256},
        },
        "preprocess_cfg": {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
        },
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert_same_tokens(build_encoder("biomedclip", tmp_path), visual, visual.trunk.blocks)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("dinov3", "vit_base_patch16_dinov3"), ("siglip2", "vit_base_patch16_siglip_224")],
)
def test_timm_file_equals_timm(name: str, architecture: str, tmp_path: Path) -> None:
    """Rotary positions and registers (DINOv3), no class token and attention pooling (SigLIP 2)."""
    reference = randomise(timm.create_model(architecture, num_classes=0, img_size=64, depth=3))
    path = tmp_path / "model.pt"
    torch.save(reference.state_dict(), path)
    encoder = build_encoder(name, path, blocks=(1, 2), image_size=64)
    assert_same_tokens(encoder, reference, reference.blocks, size=64)


def test_dinov2_position_embedding() -> None:
    """facebookresearch/dinov2's convention, which is far from timm's antialiased resampling."""
    embedding = torch.randn(1, 37 * 37, 5, generator=torch.Generator().manual_seed(0))
    ours = resample_position_embedding(embedding, (16, 16), "dinov2")
    reference = bicubic_with_offset(embedding.numpy(), stored=37, wanted=16)
    np.testing.assert_allclose(ours.numpy(), reference, rtol=0, atol=1e-5)
    antialiased = resample_abs_pos_embed(embedding, (16, 16), (37, 37), num_prefix_tokens=0)
    assert (ours - antialiased).abs().max() > 1
    torch.testing.assert_close(
        resample_position_embedding(embedding, (16, 16), "antialiased"), antialiased, rtol=0, atol=1e-5
    )


def bicubic_with_offset(embedding: np.ndarray, stored: int, wanted: int) -> np.ndarray:
    """Keys' cubic convolution (a = -3/4) at the points where DINOv2's reference samples, written out.

    Cell i of the new grid lies at (i + 1/2) * stored / (wanted + 0.1) - 1/2 of the stored one, whose border
    repeats.
    """
    weights = np.zeros((wanted, stored))
    for i in range(wanted):
        position = (i + 0.5) * stored / (wanted + 0.1) - 0.5
        for cell in range(math.floor(position) - 1, math.floor(position) + 3):
            distance, a = abs(position - cell), -0.75
            if distance <= 1:
                weight = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
            else:
                weight = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
            weights[i, min(max(cell, 0), stored - 1)] += weight
    image = embedding.reshape(stored, stored, -1).astype(np.float64)
    resampled = np.einsum("ir,jc,rcw->ijw", weights, weights, image)
    return resampled.reshape(1, wanted * wanted, -1).astype(np.float32)
