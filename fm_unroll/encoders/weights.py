"""Weights files: read tensors only, recognise the format by its keys, check every tensor in use."""

import json
import math
import re
import zipfile
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fm_unroll.encoders.registry import EncoderSpec
from fm_unroll.errors import InputError

if TYPE_CHECKING:
    from fm_unroll.encoders.registry import PlainViT

OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
FILES_OF_A_FOLDER = (*OPEN_CLIP_FILES, "model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class WeightsFormat:
    """Names that one publisher gives to the tensors of a vision transformer.

    Attributes:
        name: what to call the format in messages.
        renames: timm's wording and this format's, replaced one after the other.
        queries_keys_values: the three tensors that timm's ``attn.qkv`` joins; empty where
            the format joins them.
        unused: regular expression of what the tower holds after its blocks.
        prefix: before every tensor of the vision tower; what lies outside it (a text tower) is never read.
    """

    name: str
    renames: tuple[tuple[str, str], ...]
    queries_keys_values: tuple[str, ...]
    unused: str
    prefix: str = ""

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
    name="Hugging Face Dinov2Model",
    renames=(
        ("cls_token", "embeddings.cls_token"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("blocks.", "encoder.layer."),
        ("attn.proj", "attention.output.dense"),
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
    ),
    queries_keys_values=("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    unused=r"layernorm\..+|embeddings\.mask_token",
)
FORMATS = (
    TIMM_FORMAT,
    replace(TIMM_FORMAT, name="open_clip with a timm tower", prefix="visual.trunk."),
    OPENAI_CLIP_FORMAT,
    HUGGING_FACE_CLIP_FORMAT,
    replace(HUGGING_FACE_CLIP_FORMAT, prefix="vision_model."),
    HUGGING_FACE_DINOV2_FORMAT,
)


def locate_weights(path: Path) -> Path:
    """Return the weights file at ``path``: the file itself, or the one in a folder as the hub lays it out.

    Raises:
        InputError: there is no such file, or the folder has none under a known name.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such weights file or folder")
    for name in FILES_OF_A_FOLDER:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path}: the folder has no weights file (looked for {', '.join(FILES_OF_A_FOLDER)})")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running any code that the file may carry.

    Both kinds of file are mapped into memory, so tensors that nobody asks for are never loaded.

    Args:
        path: a safetensors file (``.safetensors``), or one of torch's (``.pt``, ``.pth``, ``.bin``).

    Raises:
        InputError: the file is damaged, holds anything but tensors, or is of another kind.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pt", ".pth", ".bin"):
        return _read_torch_file(path)
    raise InputError(f"{path}: weights must be .safetensors, .pt, .pth or .bin")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a file that can hold nothing but tensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    """Read a pickle of tensors by torch's restricted reader."""
    zipped = zipfile.is_zipfile(path)
    if zipped and _is_torchscript(path):
        raise InputError(
            f"{path}: a TorchScript archive carries code: save its tensors alone, "
            "torch.save(torch.jit.load(archive).state_dict(), 'tensors.pt')"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # a damaged pickle raises nearly any
        raise InputError(
            f"{path}: refused, it holds more than tensors or is damaged: save the state dict alone"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}: save the state dict alone")
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{path}: its entry '{key}' is not a tensor: save the state dict alone")
    return dict(content)


def _is_torchscript(path: Path) -> bool:
    """Whether an archive carries code."""
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def load_weights(vit: "PlainViT", path: Path, spec: EncoderSpec) -> None:
    """Load a weights file into the first blocks of a vision transformer, checking every tensor of theirs.

    A file that lies beside its ``open_clip_config.json`` is checked against that too, for what tensors cannot
    tell: the activation function and the image statistics.

    Args:
        vit: timm's transformer with the blocks in use and no head.
        path: weights file.
        spec: the encoder that the file must fit.

    Raises:
        InputError: a tensor is missing, surplus or of another shape, or the file is not readable.
    """
    config = path.parent / OPEN_CLIP_CONFIG
    if path.name in OPEN_CLIP_FILES and config.is_file():
        _check_open_clip_config(config, vit, spec)
    tensors = read_tensors(path)
    weights_format = recognise_format(tensors, path)
    vit.load_state_dict(to_timm(tensors, weights_format, vit, spec, path))


def recognise_format(keys: Container[str], path: Path) -> WeightsFormat:
    """Recognise the format of a state dict by its keys.

    Raises:
        InputError: none of the known formats has such keys.
    """
    for weights_format in FORMATS:
        if weights_format.keys("patch_embed.proj.weight")[0] in keys:
            return weights_format
    known = ", ".join(dict.fromkeys(weights_format.name for weights_format in FORMATS))
    raise InputError(f"{path}: holds no vision transformer in a known format ({known})")


def to_timm(
    tensors: Mapping[str, Tensor],
    weights_format: WeightsFormat,
    vit: "PlainViT",
    spec: EncoderSpec,
    path: Path,
) -> dict[str, Tensor]:
    """Bring the tensors of the blocks in use to timm's names and shapes.

    Args:
        tensors: the file's tensors.
        weights_format: their format.
        vit: transformer that tells which tensors are in use, and their shapes (it may be on the meta device).
        spec: the encoder.
        path: the file, for messages.

    Raises:
        InputError: a tensor is missing, surplus or of another shape.
    """
    converted, used = {}, set()
    for name, expected in vit.state_dict().items():
        keys = weights_format.keys(name)
        for key in keys:
            if key not in tensors:
                raise InputError(f"{path}: {spec.name} needs the tensor '{key}', which is missing")
        if name == "pos_embed":
            converted[name] = _fit_position_embedding(tensors[keys[0]], vit, spec, f"{path}: '{keys[0]}'")
        else:
            shape = (expected.shape[0] // len(keys), *expected.shape[1:])
            parts = [_reshape(tensors[key], shape, spec, f"{path}: '{key}'") for key in keys]
            converted[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
        used.update(keys)
    for key in tensors:
        if key.startswith(weights_format.prefix) and key not in used:
            _check_unused(key, weights_format, len(vit.blocks), spec, path)
    return converted


def resample_position_embedding(
    embedding: Tensor, grid: tuple[int, int], convention: Literal["antialiased", "dinov2"]
) -> Tensor:
    """Resample the position embedding of the patches to another grid, bicubically.

    ``dinov2`` is what facebookresearch/dinov2 does for its models without registers:
    ``interpolate_pos_encoding`` in ``dinov2/models/vision_transformer.py``, with ``interpolate_offset=0.1``
    and ``interpolate_antialias=False`` of ``dinov2/hub/backbones.py``. There is no antialiasing, and the
    scale factor (cells + 0.1) / stored cells replaces a size, which moves the sampling points a little. From
    37 x 37 to 16 x 16, on a trained ViT-S/14 whose values are at most 0.16, this differs by at most 0.014
    from Hugging Face's ``Dinov2Model`` (no antialiasing, but a size) and by at most 0.042 from timm's
    antialiased resampling.

    ``antialiased`` is what timm, open_clip and DINOv2's models with registers do.

    The arithmetic is in float64, so that rounding to float32 gives the same embedding, and the encoder the
    same SHA-256, on every machine.

    Args:
        embedding: float32, ``(1, rows * columns, width)``, of a square grid.
        grid: rows and columns wanted.
        convention: see above.

    Returns:
        float32, ``(1, grid[0] * grid[1], width)``.
    """
    side = math.isqrt(embedding.shape[1])
    image = embedding.double().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if convention == "dinov2":
        scale_factor = tuple((cells + 0.1) / side for cells in grid)
        image = F.interpolate(image, scale_factor=scale_factor, mode="bicubic")
    else:
        image = F.interpolate(image, size=grid, mode="bicubic", antialias=True)
    return image.permute(0, 2, 3, 1).flatten(1, 2).to(embedding.dtype)


def _fit_position_embedding(embedding: Tensor, vit: "PlainViT", spec: EncoderSpec, what: str) -> Tensor:
    """Take an embedding of the encoder's native grid and resample it, or one of the very grid in use."""
    wanted = vit.get_parameter("pos_embed")
    rows, columns = vit.patch_embed.grid_size
    num_prefix = wanted.shape[1] - rows * columns
    if embedding.numel() == wanted.numel():
        return _reshape(embedding, tuple(wanted.shape), spec, what)
    native = (1, num_prefix + (spec.native_size // spec.patch) ** 2, wanted.shape[2])
    embedding = _reshape(embedding, native, spec, what).float()
    prefix, patches = embedding[:, :num_prefix], embedding[:, num_prefix:]
    patches = resample_position_embedding(patches, (rows, columns), spec.position_embedding)
    return torch.cat([prefix, patches], dim=1)


def _reshape(tensor: Tensor, shape: tuple[int, ...], spec: EncoderSpec, what: str) -> Tensor:
    """Add or remove axes of length one, in which formats differ."""
    if [length for length in tensor.shape if length > 1] != [length for length in shape if length > 1]:
        raise InputError(f"{what} has the shape {tuple(tensor.shape)} where {spec.name} needs {shape}")
    return tensor.reshape(shape)


def _check_unused(
    key: str, weights_format: WeightsFormat, num_blocks: int, spec: EncoderSpec, path: Path
) -> None:
    """Refuse tensors that are no part of the encoder; later blocks, last norm and head are."""
    if re.fullmatch(weights_format.unused, key.removeprefix(weights_format.prefix)):
        return
    block = re.match(re.escape(weights_format.keys("blocks.")[0]) + r"(\d+)\.", key)
    if block is None or not num_blocks <= int(block[1]) < spec.depth:
        raise InputError(f"{path}: the tensor '{key}' is not part of {spec.name} ({spec.architecture})")


def _check_open_clip_config(config: Path, vit: "PlainViT", spec: EncoderSpec) -> None:
    """Compare an ``open_clip_config.json`` with the encoder: its vision tower and its images."""
    from timm.layers import QuickGELU

    try:
        content = json.loads(config.read_text())
        model, vision = content["model_cfg"], content["model_cfg"]["vision_cfg"]
        stated: dict[str, Any] = {key: tuple(content["preprocess_cfg"][key]) for key in ("mean", "std")}
        needed: dict[str, Any] = {"mean": spec.statistics.mean, "std": spec.statistics.std}
        if "timm_model_name" in vision:
            stated["timm_model_name"] = vision["timm_model_name"]
            needed["timm_model_name"] = spec.architecture.partition(".")[0]
        else:
            stated |= {key: vision[key] for key in ("layers", "width", "patch_size")}
            stated["quick_gelu"] = model.get("quick_gelu", False)
            needed |= {"layers": spec.depth, "width": vit.embed_dim, "patch_size": spec.patch}
            needed["quick_gelu"] = isinstance(vit.blocks[0].get_submodule("mlp.act"), QuickGELU)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{config}: not a readable open_clip configuration ({error!r})") from error
    for key, value in stated.items():
        if value != needed[key]:
            raise InputError(f"{config}: says {key} {value} where {spec.name} needs {needed[key]}")
