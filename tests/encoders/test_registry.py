"""The registry: its facts against timm's, names, new entries."""

import pytest
import timm
import torch

from fm_unroll.encoders import EncoderSpec, build_encoder, list_encoders, register_encoder, registry
from fm_unroll.errors import InputError
from reference_networks import random_image


@pytest.mark.parametrize("name", list_encoders())
def test_entry_agrees_with_timm(name: str) -> None:
    """Depth and patch of every entry; resolution and statistics of what timm publishes too."""
    spec = registry.find_encoder(name)
    with torch.device("meta"):
        vit = timm.create_model(spec.architecture)
    assert spec.depth == len(vit.blocks)
    assert (spec.patch, spec.patch) == vit.patch_embed.patch_size
    if spec.repository is not None and spec.repository.startswith("timm/"):
        published = timm.get_pretrained_cfg(spec.repository.removeprefix("timm/"))
        assert published.input_size == (3, spec.native_size, spec.native_size)
        assert (published.mean, published.std) == spec.statistics[1:]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dinov22", "did you mean dinov2"),
        ("biomed_clip", "did you mean biomedclip"),
        ("timm/vit_base_patch61_224", "did you mean vit_base_patch16_224"),
        ("timm/resnet50", "a ResNet, not a plain vision transformer"),
        ("timm/vit_base_patch16_sapiens2", "cannot be cut after 6 blocks"),
    ],
)
def test_unknown_names(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_encoder(name)


@pytest.mark.parametrize(
    ("architecture", "num_prefix_tokens"),
    [
        ("vit_tiny_patch16_224", 1),
        ("deit3_small_patch16_224", 1),
        ("beit_base_patch16_224", 1),
        ("vit_tiny_patch16_dinov3_qkvb", 5),
    ],
)
def test_any_vision_transformer_of_timm(architecture: str, num_prefix_tokens: int) -> None:
    name = f"timm/{architecture}"
    encoder = build_encoder(name, pretrained=False, blocks=(1, 3), image_size=32)
    shape = (1, num_prefix_tokens + 4, encoder.width)
    assert [tuple(tokens.shape) for tokens in encoder(random_image(40))] == [shape, shape]
    spec = registry.find_encoder(name)
    assert (spec.repository or "").startswith(f"timm/{architecture}.")


def test_new_encoder_is_one_entry() -> None:
    spec = EncoderSpec(
        name="my_encoder",
        architecture="vit_small_patch32_224",
        depth=12,
        patch=32,
        native_size=224,
        statistics=registry.IMAGENET,
        licence="Apache-2.0",
        citation="arXiv:2106.10270",
        repository="timm/vit_small_patch32_224.augreg_in21k",
    )
    register_encoder(spec)
    try:
        assert "my_encoder" in list_encoders()
        encoder = build_encoder("my_encoder", pretrained=False)
        assert [tuple(tokens.shape) for tokens in encoder(random_image(64))] == [(1, 50, 384)] * 6
        with pytest.raises(InputError, match="registered already"):
            register_encoder(spec)
    finally:
        del registry._REGISTRY["my_encoder"]
