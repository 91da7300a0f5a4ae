"""Reading weights: the published formats, strictness, refusals."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

from fm_unroll.encoders import EncoderSpec, FrozenEncoder, build_encoder
from fm_unroll.errors import InputError
from reference_networks import random_image, randomise, standardise

BLOCKS = (1, 2)

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def state(tiny: EncoderSpec) -> dict[str, Tensor]:
    """The whole tiny network with timm's keys: twelve blocks, last norm and head."""
    return randomise(timm.create_model(tiny.architecture, img_size=tiny.native_size)).state_dict()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def build_tiny(path: Path) -> FrozenEncoder:
    return build_encoder("tiny", path, blocks=BLOCKS, image_size=64)


def error_of(path: Path, name: str = "tiny") -> str:
    """The one line that a user reads."""
    with pytest.raises(InputError) as caught:
        build_encoder(name, path, blocks=BLOCKS, image_size=64)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_hugging_face_clip(prefix: str, path: Path) -> None:
    """`CLIPVisionModel`, in newer files without prefix, and a whole `CLIPModel`, which has a text tower."""
    config = CLIPVisionConfig(num_hidden_layers=3, image_size=64, patch_size=16, hidden_act="quick_gelu")
    reference = randomise(CLIPVisionModel(config))
    reference.save_pretrained(path.parent)
    published = load_file(path.parent / "model.safetensors")
    published = {prefix + key.removeprefix("vision_model."): tensor for key, tensor in published.items()}
    if prefix:
        published["text_model.final_layer_norm.weight"] = torch.ones(8)
        published["visual_projection.weight"] = torch.ones(8, 768)
    save_file(published, path)
    tokens = build_encoder("clip", path, blocks=BLOCKS, image_size=64)(random_image(64))
    expected = reference(standardise(random_image(64)), output_hidden_states=True).hidden_states[1:3]
    torch.testing.assert_close(tokens, list(expected), rtol=0, atol=1e-5)


def test_hugging_face_dinov2(tmp_path: Path) -> None:
    """The folder that `Dinov2Model` saves, with the position embedding of the very grid in use."""
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, num_hidden_layers=3, image_size=56)
    reference = randomise(Dinov2Model(config))
    reference.save_pretrained(tmp_path)
    tokens = build_encoder("dinov2_small", tmp_path, blocks=BLOCKS, image_size=56)(random_image(56))
    expected = reference(standardise(random_image(56)), output_hidden_states=True).hidden_states[1:3]
    torch.testing.assert_close(tokens, list(expected), rtol=0, atol=1e-5)


REGISTERS = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 3, "num_register_tokens": 4}


@pytest.mark.parametrize("size", [56, 518])
def test_dinov2_with_registers_in_both_namings(tmp_path: Path, size: int) -> None:
    """The class token's own position is added to it, and the registers have none."""
    config = Dinov2WithRegistersConfig(**REGISTERS, image_size=size, patch_size=14)
    reference = randomise(Dinov2WithRegistersModel(config))
    reference.save_pretrained(tmp_path / "hub")
    published = load_file(tmp_path / "hub" / "model.safetensors")
    save_file(metas_naming(published), tmp_path / "meta.safetensors")
    expected = reference(standardise(random_image(56)), output_hidden_states=True).hidden_states[1:3]
    for path in (tmp_path / "hub", tmp_path / "meta.safetensors"):
        encoder = build_encoder("dinov2_registers", path, blocks=BLOCKS, image_size=56)
        torch.testing.assert_close(encoder(random_image(56)), list(expected), rtol=0, atol=2e-5)
    assert encoder.weights_label == "file:meta.safetensors (activation not stated)"
    assert encoder.num_prefix_tokens == 5 and encoder.grid == (4, 4)


def metas_naming(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of Hugging Face's DINOv2 under the names that facebookresearch/dinov2 gives them."""
    state = {}
    for key, tensor in published.items():
        name = key.removeprefix("embeddings.").replace("encoder.layer.", "blocks.")
        name = name.replace("patch_embeddings.projection", "patch_embed.proj")
        name = name.replace("position_embeddings", "pos_embed").replace("attention.output.dense", "attn.proj")
        name = name.replace("layer_scale1.lambda1", "ls1.gamma").replace("layer_scale2.lambda1", "ls2.gamma")
        state[name.replace("layernorm.", "norm.")] = tensor
    for key in [key for key in state if ".query." in key]:
        parts = [state.pop(key.replace("query", part)) for part in ("query", "key", "value")]
        state[key.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
    return state


def hugging_face_dinov3(folder: Path) -> DINOv3ViTModel:
    """Random weights of a short DINOv3, saved as the hub has it, without biases of queries and values."""
    reference = randomise(DINOv3ViTModel(DINOv3ViTConfig(**REGISTERS, intermediate_size=3072)))
    for name, parameter in reference.named_parameters():
        if name.endswith(("q_proj.bias", "v_proj.bias")):
            parameter.data.zero_()
    reference.save_pretrained(folder)
    return reference


def test_hugging_face_dinov3(tmp_path: Path) -> None:
    """Rotary positions, registers, no bias in use: the maps are those of `DINOv3ViTModel`."""
    reference = hugging_face_dinov3(tmp_path)
    expected = reference(standardise(random_image(64)), output_hidden_states=True).hidden_states[1:3]
    encoder = build_encoder("dinov3", tmp_path, blocks=BLOCKS, image_size=64)
    torch.testing.assert_close(encoder(random_image(64)), list(expected), rtol=0, atol=2e-5)
    assert encoder.weights_label == "file:model.safetensors"


def test_hugging_face_dinov3_with_a_gate(tmp_path: Path) -> None:
    """Of the two projections that are multiplied, the right one goes through the activation."""
    config = DINOv3ViTConfig(
        **REGISTERS | {"hidden_size": 384, "num_attention_heads": 6},
        intermediate_size=1536,
        use_gated_mlp=True,
        hidden_act="silu",
        query_bias=False,
        value_bias=False,
    )
    reference = randomise(DINOv3ViTModel(config))
    reference.save_pretrained(tmp_path)
    expected = reference(standardise(random_image(64)), output_hidden_states=True).hidden_states[1:3]
    name = "timm/vit_small_plus_patch16_dinov3"
    encoder = build_encoder(name, tmp_path, blocks=BLOCKS, image_size=64)
    torch.testing.assert_close(encoder(random_image(64)), list(expected), rtol=0, atol=2e-5)
    assert encoder.weights_label == "file:model.safetensors"


def test_dinov3_biases_are_used_or_refused(tmp_path: Path) -> None:
    """The registered DINOv3 has none: those of a file must be zero, or the encoder one that has them."""
    reference = hugging_face_dinov3(tmp_path)
    generator = torch.Generator().manual_seed(2)
    for layer in reference.model.layer:
        for projection in (layer.attention.q_proj, layer.attention.v_proj):
            projection.bias.data.normal_(0, 0.5, generator=generator)
    reference.save_pretrained(tmp_path)
    assert "'layer.0.attention.q_proj.bias' is not zero" in error_of(tmp_path, "dinov3")
    assert error_of(tmp_path, "dinov3").endswith("choose the encoder timm/vit_base_patch16_dinov3_qkvb")
    expected = reference(standardise(random_image(64)), output_hidden_states=True).hidden_states[1:3]
    encoder = build_encoder("timm/vit_base_patch16_dinov3_qkvb", tmp_path, blocks=BLOCKS, image_size=64)
    torch.testing.assert_close(encoder(random_image(64)), list(expected), rtol=0, atol=2e-5)


def test_registers_are_not_dropped(tmp_path: Path) -> None:
    """Weights with registers are not weights of the encoder without, nor the other way round."""
    config = Dinov2WithRegistersConfig(**REGISTERS, image_size=56, patch_size=14)
    Dinov2WithRegistersModel(config).save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    path = tmp_path / "model.safetensors"
    published = load_file(path)
    with pytest.raises(InputError, match=r"'embeddings\.register_tokens' is not part of dinov2"):
        build_encoder("dinov2", path, blocks=BLOCKS, image_size=56)
    del published["embeddings.register_tokens"]
    save_file(published, path)
    with pytest.raises(InputError, match=r"needs the tensor 'embeddings\.register_tokens', which is missing"):
        build_encoder("dinov2_registers", path, blocks=BLOCKS, image_size=56)


def test_same_encoder_from_every_kind_of_file(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    torch.save(state, tmp_path / "a.bin", _use_new_zipfile_serialization=False)
    trunk = {f"visual.trunk.{key}": tensor for key, tensor in state.items()}
    save_file({**trunk, "text.proj.weight": torch.ones(2)}, tmp_path / "trunk.safetensors")
    files = ["a.safetensors", "a.pt", "a.bin", "trunk.safetensors"]
    assert len({build_tiny(tmp_path / file).sha256 for file in files}) == 1
    assert build_tiny(tmp_path / "a.pt").weights_label == "file:a.pt (activation not stated)"


def test_half_precision_files_are_upcast(state: dict[str, Tensor], path: Path) -> None:
    save_file({key: tensor.half() for key, tensor in state.items()}, path)
    encoder = build_tiny(path)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    key = "blocks.1.mlp.fc1.weight"
    torch.testing.assert_close(encoder.vit.state_dict()[key], state[key].half().float(), rtol=0, atol=0)


def test_later_blocks_norm_and_head_may_be_missing(state: dict[str, Tensor], path: Path) -> None:
    unused = ("norm.", "head.", "blocks.2.", "blocks.11.")
    save_file({key: tensor for key, tensor in state.items() if not key.startswith(unused)}, path)
    build_tiny(path)


def test_missing_tensor_is_named(state: dict[str, Tensor], path: Path) -> None:
    del state["blocks.1.attn.qkv.bias"]
    save_file(state, path)
    assert "'blocks.1.attn.qkv.bias', which is missing" in error_of(path)


@pytest.mark.parametrize("key", ["blocks.0.attn.rel_pos", "blocks.12.norm1.weight", "dist_token"])
def test_surplus_tensor_is_named(key: str, state: dict[str, Tensor], path: Path) -> None:
    """An unknown tensor of a block in use, a block that the encoder cannot have, an unknown embedding."""
    save_file({**state, key: torch.ones(1)}, path)
    assert f"'{key}' is not part of tiny" in error_of(path)


@pytest.mark.parametrize("key", ["blocks.0.mlp.fc2.weight", "pos_embed"])
def test_wrong_shapes_are_both_named(key: str, state: dict[str, Tensor], path: Path) -> None:
    shape = tuple(state[key].shape)
    state[key] = torch.cat([state[key], state[key]], dim=1)
    save_file(state, path)
    message = error_of(path)
    assert f"'{key}' has the shape {tuple(state[key].shape)}" in message
    assert f"needs {shape}" in message


def test_weights_of_another_size(state: dict[str, Tensor], path: Path) -> None:
    save_file(state, path)
    assert "'cls_token' has the shape (1, 1, 192) where supervised needs (1, 1, 768)" in error_of(
        path, "supervised"
    )


class _Payload:
    """Unpickling it would write a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"patch_embed.proj.weight": _Payload(tmp_path / "ran")}, tmp_path / "w.pt")
    assert "more than tensors" in error_of(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "w.pt")
    assert "TorchScript archive" in error_of(tmp_path / "w.pt")


def test_training_checkpoint_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pt")
    assert "'epoch' is not a tensor" in error_of(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_damaged_file_is_refused(name: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:100_000])
    assert str(path) in error_of(path)


def test_other_paths_are_refused(tmp_path: Path) -> None:
    assert "no such weights file" in error_of(tmp_path / "nowhere.pt")
    assert "folder has no weights file" in error_of(tmp_path)
    (tmp_path / "w.onnx").touch()
    assert "must be .safetensors" in error_of(tmp_path / "w.onnx")
    save_file({"conv1.weight": torch.ones(2)}, tmp_path / "resnet.safetensors")
    assert "no vision transformer in a known format" in error_of(tmp_path / "resnet.safetensors")
