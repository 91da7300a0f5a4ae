"""The names that publishers give to the tensors of a vision transformer."""

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from fm_unroll.errors import InputError


@dataclass(frozen=True)
class WeightsFormat:
    """Names that one publisher gives to the tensors of a vision transformer.

    Attributes:
        name: what to call the format in messages.
        renames: timm's wording and this format's, replaced one after the other.
        queries_keys_values: the three tensors that timm's ``attn.qkv`` joins; empty where
            the format joins them.
        unused: regular expression of what the tower holds besides its embeddings and blocks.
        prefix: before every tensor of the vision tower; what lies outside it (a text tower) is never read.
        mark: timm's name of the tensor by which files of this format are recognised.
        class_position: whether the class token has a position of its own in the position embedding, also
            where timm's transformer has none and adds it to the class token (DINOv2 with registers).
        biases: regular expression of biases that timm's transformer may leave out: they must be zero then.
    """

    name: str
    renames: tuple[tuple[str, str], ...]
    queries_keys_values: tuple[str, ...]
    unused: str
    prefix: str = ""
    mark: str = "patch_embed.proj.weight"
    class_position: bool = False
    biases: str = ""

    def keys(self, timm_name: str) -> list[str]:
        """Return the key or the three keys of the file that hold timm's tensor of that name."""
        for timm_wording, wording in self.renames:
            timm_name = timm_name.replace(timm_wording, wording)
        if self.queries_keys_values and "attn.qkv" in timm_name:
            names = [timm_name.replace("attn.qkv", part) for part in self.queries_keys_values]
        else:
            names = [timm_name]
        return [self.prefix + name for name in names]


TIMM_FORMAT = WeightsFormat(
    name="timm",
    renames=(),
    queries_keys_values=(),
    unused=r"(norm|fc_norm|head|head_dist|attn_pool|pre_logits)\..+|mask_token",
)
META_DINOV2_REGISTERS_FORMAT = replace(
    TIMM_FORMAT,
    name="Meta's DINOv2 with registers",
    renames=(("reg_token", "register_tokens"),),
    mark="reg_token",
    class_position=True,
)
OPENAI_CLIP_FORMAT = WeightsFormat(
    name="OpenAI CLIP",
    renames=(
        ("cls_token", "class_embedding"),
        ("pos_embed", "positional_embedding"),
        ("patch_embed.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        ("blocks.", "transformer.resblocks."),
        ("norm1", "ln_1"),
        ("norm2", "ln_2"),
        ("attn.qkv.", "attn.in_proj_"),
        ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    ),
    queries_keys_values=(),
    unused=r"ln_post\..+|proj",
    prefix="visual.",
)
HUGGING_FACE_CLIP_FORMAT = WeightsFormat(
    name="Hugging Face CLIPVisionModel",
    renames=(
        ("cls_token", "embeddings.class_embedding"),
        ("pos_embed", "embeddings.position_embedding.weight"),
        ("patch_embed.proj", "embeddings.patch_embedding"),
        ("norm_pre", "pre_layrnorm"),
        ("blocks.", "encoder.layers."),
        ("norm1", "layer_norm1"),
        ("norm2", "layer_norm2"),
        ("attn.proj", "self_attn.out_proj"),
    ),
    queries_keys_values=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    unused=r"post_layernorm\..+|embeddings\.position_ids",
)
HUGGING_FACE_DINOV2_FORMAT = WeightsFormat(
    name="Hugging Face Dinov2Model, with registers or without",
    renames=(
        ("cls_token", "embeddings.cls_token"),
        ("reg_token", "embeddings.register_tokens"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("blocks.", "encoder.layer."),
        ("attn.proj", "attention.output.dense"),
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
    ),
    queries_keys_values=("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    unused=r"layernorm\..+|embeddings\.mask_token",
    class_position=True,
)
HUGGING_FACE_DINOV3_FORMAT = WeightsFormat(
    name="Hugging Face DINOv3ViTModel",
    renames=(
        ("cls_token", "embeddings.cls_token"),
        ("reg_token", "embeddings.register_tokens"),
        ("patch_embed.proj", "embeddings.patch_embeddings"),
        ("blocks.", "layer."),
        ("attn.q_bias", "attention.q_proj.bias"),
        ("attn.v_bias", "attention.v_proj.bias"),
        ("attn.proj", "attention.o_proj"),
        ("gamma_1", "layer_scale1.lambda1"),
        ("gamma_2", "layer_scale2.lambda1"),
        ("mlp.fc1_g", "mlp.gate_proj"),
        ("mlp.fc1_x", "mlp.up_proj"),
        ("mlp.fc1", "mlp.up_proj"),
        ("mlp.fc2", "mlp.down_proj"),
    ),
    queries_keys_values=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    unused=r"norm\..+|embeddings\.mask_token",
    biases=r"layer\.\d+\.attention\.[qkv]_proj\.bias",
)
FORMATS = (
    META_DINOV2_REGISTERS_FORMAT,
    TIMM_FORMAT,
    replace(TIMM_FORMAT, name="open_clip with a timm tower", prefix="visual.trunk."),
    OPENAI_CLIP_FORMAT,
    HUGGING_FACE_CLIP_FORMAT,
    replace(HUGGING_FACE_CLIP_FORMAT, prefix="vision_model."),
    HUGGING_FACE_DINOV2_FORMAT,
    HUGGING_FACE_DINOV3_FORMAT,
)


def recognise_format(keys: Container[str], path: Path) -> WeightsFormat:
    """Recognise the format of a state dict by its keys.

    Raises:
        InputError: none of the known formats has such keys.
    """
    for weights_format in FORMATS:
        if weights_format.keys(weights_format.mark)[0] in keys:
            return weights_format
    known = ", ".join(dict.fromkeys(weights_format.name for weights_format in FORMATS))
    raise InputError(f"{path}: holds no vision transformer in a known format ({known})")
