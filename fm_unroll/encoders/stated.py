"""What lies beside weights says what tensors cannot tell: activation, norms, heads, patches, images.

Two networks with other activations have tensors of the same names and shapes. So the files that publishers
put beside their weights are compared with the encoder that the weights are loaded into::

    open_clip_config.json                       open_clip
    config.json                                 Hugging Face transformers; timm
    preprocessor_config.json                    Hugging Face transformers: size and statistics of the images
    processor_config.json                       likewise, below image_processor

Beside weights is beside a link to them, too, and wherever that leads.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fm_unroll.encoders.registry import EncoderSpec, create_timm, natively_quick_gelu
from fm_unroll.errors import InputError

if TYPE_CHECKING:
    from fm_unroll.encoders.registry import PlainViT

OPEN_CLIP_CONFIG = "open_clip_config.json"
CONFIG = "config.json"
PREPROCESSOR_CONFIG = "preprocessor_config.json"
PROCESSOR_CONFIG = "processor_config.json"
CONFIG_FILES = (OPEN_CLIP_CONFIG, CONFIG, PREPROCESSOR_CONFIG, PROCESSOR_CONFIG)

# Keys of an image processor's configuration, and what they say where values 0..1 are standardised.
PREPARATION = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}

# Further keys of it, and what they say of networks that take pictures of any size, as DINOv2's.
PICTURE_SIZES = ("crop_size", "size")
USUAL_CROP = 224

# Facts that change an encoder's tokens and that no name or shape of a tensor shows.
UNTOLD = ("activation", "layer-norm eps", "heads")

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
    "relu": F.relu,
}
# Hugging Face's names of the same functions.
TRANSFORMERS_ACTIVATIONS = {
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "swish": "silu",
}
# Keys of a transformers configuration and the facts that they state.
TRANSFORMERS_KEYS = {
    "hidden_act": "activation",
    "layer_norm_eps": "layer-norm eps",
    "num_attention_heads": "heads",
    "patch_size": "patch",
    "image_size": "image size",
    "num_register_tokens": "register tokens",
    "rope_theta": "rotary base",
}
# A key that is left out stands for the default of the model's own class in transformers.
TRANSFORMERS_DEFAULTS = {
    "clip": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    "clip_vision_model": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    "dinov2": {"hidden_act": "gelu", "layer_norm_eps": 1e-6},
    "dinov2_with_registers": {"hidden_act": "gelu", "layer_norm_eps": 1e-6},
    "dinov3_vit": {"hidden_act": "gelu", "layer_norm_eps": 1e-5},
}


@dataclass(frozen=True)
class Statement:
    """What one key of a configuration says.

    Attributes:
        key: the key, with those above it.
        value: its value, as the file has it.
        fact: the fact that it states, a key of :func:`facts`.
        meaning: the value of that fact.
    """

    key: str
    value: object
    fact: str
    meaning: object


def untold(vit: "PlainViT") -> dict[str, object]:
    """The facts of a transformer that its tensors do not tell, by the names in :data:`UNTOLD`.

    Its blocks are alike, so that the first of a kind speaks for all; what none of them has is left out.
    """
    found: dict[str, object] = {}
    for name, module in vit.blocks.named_modules():
        if name.endswith("act"):
            found.setdefault("activation", activation(module))
        if hasattr(module, "eps"):
            found.setdefault("layer-norm eps", module.eps)
        if hasattr(module, "num_heads"):
            found.setdefault("heads", module.num_heads)
    return {fact: found[fact] for fact in UNTOLD if fact in found}


def activation(function: nn.Module) -> str:
    """Name an activation by what it makes of some numbers."""
    probe = torch.linspace(-4, 4, 33, device="cpu")
    for name, known in ACTIVATIONS.items():
        if torch.allclose(function(probe.clone()), known(probe), rtol=0, atol=1e-6):
            return name
    return type(function).__name__


def facts(vit: "PlainViT", spec: EncoderSpec) -> dict[str, object]:
    """Everything about an encoder that a configuration may state."""
    known = untold(vit) | {
        "width": vit.embed_dim,
        "blocks": spec.depth,
        "patch": spec.patch,
        "register tokens": vit.num_prefix_tokens - (vit.cls_token is not None),
        "mean": spec.statistics.mean,
        "std": spec.statistics.std,
        **PREPARATION,
    }
    if (rope := getattr(vit, "rope", None)) is not None and hasattr(rope, "temperature"):
        known["rotary base"] = rope.temperature
    if vit.pos_embed is not None:
        # weights may also have the position embedding of the very size in use
        known["image size"] = spec.native_size
    return known


def check_stated(path: Path, vit: "PlainViT", spec: EncoderSpec) -> tuple[str, ...]:
    """Compare what lies beside a weights file with the encoder that it is loaded into.

    Args:
        path: the weights file.
        vit: timm's transformer.
        spec: the encoder's entry.

    Returns:
        Those of :data:`UNTOLD` that no file states.

    Raises:
        InputError: a file states another value than the encoder has, or cannot be read.
    """
    known, stated = facts(vit, spec), set()
    if spec.trained_activation and spec.trained_activation != known.get("activation"):
        raise InputError(
            f"{spec.name}: timm notes that these weights were trained with {spec.trained_activation}, and "
            f"this network computes with {known.get('activation')}: choose "
            f"{spec.name.replace('_clip_', '_clip_quickgelu_')}"
        )
    for config in beside(path):
        for said in read_statements(config):
            needed = known.get(said.fact, said.meaning)
            of_pictures = said.key.rpartition(".")[2] in PICTURE_SIZES
            sizes = {vit.patch_embed.img_size[0]} | ({USUAL_CROP} if of_pictures else set())
            if said.fact == "image size" and said.meaning in sizes:
                continue
            if not same(said.meaning, needed):
                as_fact = "" if said.meaning == said.value else f" ({said.fact} {said.meaning})"
                raise InputError(
                    f"{config}: says {said.key} {said.value}{as_fact} where {spec.name} needs {needed}: "
                    "choose the encoder that these weights are of or, if that file is not theirs, move them "
                    "to a folder of their own"
                )
            stated.add(said.fact)
    return tuple(fact for fact in UNTOLD if fact not in stated)


def beside(path: Path) -> list[Path]:
    """The configuration files in the folder of a weights file and, of a link, in each to which it leads."""
    folders = [path.parent]
    while path.is_symlink():
        path = path.parent / path.readlink()
        folders.append(path.parent.resolve())
    return [folder / name for folder in folders for name in CONFIG_FILES if (folder / name).is_file()]


def same(stated: object, needed: object) -> bool:
    """Whether two values are equal, numbers to a tenth of a percent."""
    if isinstance(stated, tuple) and isinstance(needed, tuple):
        return len(stated) == len(needed) and all(map(same, stated, needed))
    if isinstance(stated, int | float) and isinstance(needed, int | float):
        return math.isclose(stated, needed, rel_tol=1e-3)
    return stated == needed


def read_statements(config: Path) -> list[Statement]:
    """What a configuration file says.

    Raises:
        InputError: it cannot be read, or lacks what every file of its kind has.
    """
    kind = "open_clip configuration" if config.name == OPEN_CLIP_CONFIG else "configuration"
    try:
        content = json.loads(config.read_text(encoding="utf-8-sig"))
        if config.name == OPEN_CLIP_CONFIG:
            return list(_open_clip(content))
        if config.name in (PREPROCESSOR_CONFIG, PROCESSOR_CONFIG):
            return list(_image_processor(content))
        return list(_timm(content) if "architecture" in content else _transformers(content))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{config}: not a readable {kind} ({error!r})") from error


def _statistics(content: dict[str, Any], above: str, prefix: str = "") -> Iterator[Statement]:
    """Mean and standard deviation of the images."""
    for name in ("mean", "std"):
        if content.get(f"{prefix}{name}") is not None:
            value = tuple(content[f"{prefix}{name}"])
            yield Statement(f"{above}{prefix}{name}", value, name, value)


def _image_processor(content: dict[str, Any]) -> Iterator[Statement]:
    """``preprocessor_config.json``, or ``processor_config.json`` with the same keys below another."""
    above = "image_processor." if isinstance(content.get("image_processor"), dict) else ""
    content = content["image_processor"] if above else content
    for key in PREPARATION:
        if content.get(key) is not None:
            yield Statement(f"{above}{key}", content[key], key, content[key])
    yield from _statistics(content, above, "image_")
    yield from _picture_size(content, above)


def _picture_size(content: dict[str, Any], above: str) -> Iterator[Statement]:
    """The size of the pictures that an image processor makes: of the crop, else of all of them."""
    for key in PICTURE_SIZES:
        size = content.get(key)
        if size is None or (key == "crop_size" and content.get("do_center_crop") is False):
            continue
        if isinstance(size, dict):
            size = size.get("height", size.get("shortest_edge"))
        yield Statement(f"{above}{key}", content[key], "image size", size)
        return


def _open_clip(content: dict[str, Any]) -> Iterator[Statement]:
    """``open_clip_config.json``; what it leaves out has open_clip's default."""
    model, vision = content["model_cfg"], content["model_cfg"]["vision_cfg"]
    yield from _statistics(content.get("preprocess_cfg", {}), "preprocess_cfg.")
    if "timm_model_name" in vision:
        yield from _of_timm("timm_model_name", vision["timm_model_name"], {})
        return
    above = "model_cfg.vision_cfg."
    quick, approximate = model.get("quick_gelu", False), vision.get("act_kwargs", {}).get("approximate")
    if approximate == "tanh" and not quick:
        yield Statement(f"{above}act_kwargs.approximate", approximate, "activation", "gelu_tanh")
    else:
        yield Statement("model_cfg.quick_gelu", quick, "activation", "quick_gelu" if quick else "gelu")
    for key, fact in {"layers": "blocks", "width": "width", "patch_size": "patch"}.items():
        yield Statement(above + key, vision[key], fact, vision[key])
    if "image_size" in vision:
        size = _side(vision["image_size"])
        yield Statement(f"{above}image_size", size, "image size", size)
    head_width = vision.get("head_width", 64)
    yield Statement(f"{above}head_width", head_width, "heads", vision["width"] // head_width)
    eps = vision.get("norm_kwargs", {}).get("eps", 1e-5)
    yield Statement(f"{above}norm_kwargs.eps", eps, "layer-norm eps", eps)


def _transformers(content: dict[str, Any]) -> Iterator[Statement]:
    """``config.json`` of Hugging Face transformers: of a vision model, or of one that has a vision tower."""
    above = "vision_config." if content.get("vision_config") else ""
    vision = content["vision_config"] if above else content
    kind = str(content.get("model_type", vision.get("model_type")))
    for key, value in {**TRANSFORMERS_DEFAULTS.get(kind, {}), **vision}.items():
        if key in TRANSFORMERS_KEYS:
            meaning = _side(value) if key in ("patch_size", "image_size") else value
            if key == "hidden_act":
                meaning = TRANSFORMERS_ACTIVATIONS.get(str(value).lower(), str(value).lower())
            yield Statement(above + key, value, TRANSFORMERS_KEYS[key], meaning)


def _timm(content: dict[str, Any]) -> Iterator[Statement]:
    """``config.json`` of timm's models on the hub."""
    published = content.get("pretrained_cfg", {})
    yield from _statistics(published, "pretrained_cfg.")
    architecture = content["architecture"]
    tagged = f"{architecture}.{published['tag']}" if published.get("tag") else architecture
    native = natively_quick_gelu(tagged) or "QuickGELU" in " ".join(published.get("notes", ()))
    for said in _of_timm("architecture", architecture, content.get("model_args", {})):
        if said.fact == "activation" and native:
            yield Statement("pretrained_cfg.tag", published.get("tag"), "activation", "quick_gelu")
        else:
            yield said


def _of_timm(key: str, architecture: str, options: dict[str, Any]) -> Iterator[Statement]:
    """What the name of one of timm's transformers says, by timm's own definition of it."""
    try:
        vit = create_timm(architecture, **options)
    except RuntimeError as error:
        raise ValueError(f"{key} {architecture}: not known to the timm that is installed") from error
    known: dict[str, object] = untold(vit) | {"width": vit.embed_dim, "blocks": len(vit.blocks)}
    known["patch"] = vit.patch_embed.patch_size[0]
    for fact, meaning in known.items():
        yield Statement(key, architecture, fact, meaning)


def _side(size: Any) -> Any:
    """The side of a square, which some files give twice."""
    return size[0] if isinstance(size, list) and len(set(size)) == 1 else size
