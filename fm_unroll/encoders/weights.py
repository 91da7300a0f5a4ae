"""Weights files: read tensors only, and check every tensor in use."""

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fm_unroll.encoders.formats import WeightsFormat, recognise_format
from fm_unroll.encoders.registry import EncoderSpec
from fm_unroll.errors import InputError

if TYPE_CHECKING:
    from fm_unroll.encoders.registry import PlainViT

FILES_OF_A_FOLDER = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


def locate_weights(path: Path) -> Path:
    """Return the weights file at ``path``: the file itself, or the one in a folder as the hub lays it out.

    Raises:
        InputError: there is no such file, or the folder has none under a known name.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(
            f"{path}: no such weights file or folder; if it has moved, give its present place by --weights, "
            "or by --model.weights to fit, validate, test and predict"
        )
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

    Args:
        vit: timm's transformer with the blocks in use and no head.
        path: weights file.
        spec: the encoder that the file must fit.

    Raises:
        InputError: a tensor is missing, surplus or of another shape, or the file is not readable.
    """
    tensors = read_tensors(path)
    weights_format = recognise_format(tensors, path)
    vit.load_state_dict(to_timm(tensors, weights_format, vit, spec, path))


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
    tensors = _fold_class_position(tensors, weights_format, vit, path)
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
            _check_unused(key, tensors[key], weights_format, len(vit.blocks), spec, path)
    return converted


def _fold_class_position(
    tensors: Mapping[str, Tensor], weights_format: WeightsFormat, vit: "PlainViT", path: Path
) -> Mapping[str, Tensor]:
    """Add the class token's own position to the class token, where timm's transformer has no place for it.

    DINOv2's reference adds the embedding to class token and patches, and puts the registers between them;
    timm keeps the embedding of the patches alone. Both give the same tokens.
    """
    if not (weights_format.class_position and getattr(vit, "no_embed_class", False)):
        return tensors
    (class_key,), (position_key,) = weights_format.keys("cls_token"), weights_format.keys("pos_embed")
    if not {class_key, position_key} <= tensors.keys():
        return tensors  # whoever asks for them says that they are missing
    class_token, positions = tensors[class_key].float(), tensors[position_key].float()
    if positions.ndim != 3 or positions.shape[-1] != class_token.shape[-1]:
        raise InputError(
            f"{path}: '{position_key}' has the shape {tuple(positions.shape)}, expected "
            f"(1, 1 + patches, {class_token.shape[-1]})"
        )
    folded = {class_key: class_token + positions[:, :1], position_key: positions[:, 1:]}
    return {**tensors, **folded}


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
    key: str, tensor: Tensor, weights_format: WeightsFormat, num_blocks: int, spec: EncoderSpec, path: Path
) -> None:
    """Refuse tensors that are no part of the encoder; later blocks, last norm and head are."""
    name = key.removeprefix(weights_format.prefix)
    if re.fullmatch(weights_format.unused, name):
        return
    block = re.match(re.escape(weights_format.keys("blocks.")[0]) + r"(\d+)\.", key)
    if block is not None and num_blocks <= int(block[1]) < spec.depth:
        return
    if weights_format.biases and re.fullmatch(weights_format.biases, name):
        if tensor.any():
            raise InputError(
                f"{path}: the bias '{key}' is not zero, and {spec.name} ({spec.architecture}) has none: "
                f"choose the encoder timm/{spec.architecture.partition('.')[0]}_qkvb"
            )
    else:
        raise InputError(f"{path}: the tensor '{key}' is not part of {spec.name} ({spec.architecture})")
