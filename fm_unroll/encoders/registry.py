"""The encoders by name: one entry says everything that is particular to one of them."""

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

from fm_unroll.errors import InputError

if TYPE_CHECKING:
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    # timm's classes of plain vision transformers
    PlainViT: TypeAlias = VisionTransformer | Eva | Beit


class Statistics(NamedTuple):
    """Mean and standard deviation of the three channels by which an encoder's images are standardised."""

    label: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Statistics("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI_CLIP = Statistics(
    "openai_clip", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
HALF = Statistics("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

# Behind a file's name in the label of weights: nothing beside the file says which activation they are for.
RANDOM = "random"  # weights, and the encoder that has no others
SHUFFLED = "shuffled"  # before the label of weights whose elements were permuted
NOT_STATED = " (activation not stated)"


@dataclass(frozen=True)
class EncoderSpec:
    """One encoder.

    Attributes:
        name: name in configurations and on the command line.
        architecture: timm's name of the vision transformer.
        depth: number of blocks of the whole transformer.
        patch: side of a patch, in pixels.
        native_size: side of the images that the published position embedding is for, in pixels.
        statistics: the encoder's own image statistics (used with ``statistics="own"``).
        licence: licence of the weights.
        citation: where the encoder is described.
        repository: repository on the Hugging Face hub, None where there is nothing to fetch.
        files: names of the weights file in the repository, of which the first that exists is taken; empty
            where the encoder's weights are always random.
        sha256: SHA-256 that the hub's page of the first file states; None: not pinned.
        position_embedding: how the position embedding is brought to another grid, see
            :func:`fm_unroll.encoders.weights.resample_position_embedding`.
        label: name in tables and figures; empty: ``name``.
        trained_activation: activation that the published weights were trained with, where their publisher
            notes that it is another than ``architecture`` has; empty: it is the same.
    """

    name: str
    architecture: str
    depth: int
    patch: int
    native_size: int
    statistics: Statistics
    licence: str
    citation: str
    repository: str | None = None
    files: tuple[str, ...] = ("model.safetensors",)
    sha256: str | None = None
    position_embedding: Literal["antialiased", "dinov2"] = "antialiased"
    label: str = ""
    trained_activation: str = ""


_ENTRIES = (
    EncoderSpec(
        name="clip",
        label="CLIP",
        architecture="vit_base_patch16_clip_quickgelu_224",
        depth=12,
        patch=16,
        native_size=224,
        statistics=OPENAI_CLIP,
        licence="MIT",
        citation="arXiv:2103.00020",
        repository="timm/vit_base_patch16_clip_224.openai",
        files=("open_clip_model.safetensors",),
    ),
    EncoderSpec(
        name="clip_large",
        architecture="vit_large_patch14_clip_quickgelu_224",
        depth=24,
        patch=14,
        native_size=224,
        statistics=OPENAI_CLIP,
        licence="MIT",
        citation="arXiv:2103.00020",
        repository="timm/vit_large_patch14_clip_224.openai",
        files=("open_clip_model.safetensors",),
    ),
    EncoderSpec(
        name="dinov2",
        label="DINOv2",
        architecture="vit_base_patch14_dinov2",
        depth=12,
        patch=14,
        native_size=518,
        statistics=IMAGENET,
        licence="Apache-2.0",
        citation="arXiv:2304.07193",
        repository="timm/vit_base_patch14_dinov2.lvd142m",
        sha256="55cbb5d887b336d430e649c277b85a1429e724871f9d02ac16203235886d8c7b",
        position_embedding="dinov2",
    ),
    EncoderSpec(
        name="dinov2_small",
        architecture="vit_small_patch14_dinov2",
        depth=12,
        patch=14,
        native_size=518,
        statistics=IMAGENET,
        licence="Apache-2.0",
        citation="arXiv:2304.07193",
        repository="timm/vit_small_patch14_dinov2.lvd142m",
        position_embedding="dinov2",
    ),
    EncoderSpec(
        name="dinov2_large",
        architecture="vit_large_patch14_dinov2",
        depth=24,
        patch=14,
        native_size=518,
        statistics=IMAGENET,
        licence="Apache-2.0",
        citation="arXiv:2304.07193",
        repository="timm/vit_large_patch14_dinov2.lvd142m",
        position_embedding="dinov2",
    ),
    EncoderSpec(
        name="dinov2_registers",
        architecture="vit_base_patch14_reg4_dinov2",
        depth=12,
        patch=14,
        native_size=518,
        statistics=IMAGENET,
        licence="Apache-2.0",
        citation="arXiv:2309.16588",
        repository="timm/vit_base_patch14_reg4_dinov2.lvd142m",
    ),
    EncoderSpec(
        name="dinov3",
        architecture="vit_base_patch16_dinov3",
        depth=12,
        patch=16,
        native_size=256,
        statistics=IMAGENET,
        licence="DINOv3 License",
        citation="arXiv:2508.10104",
        repository="timm/vit_base_patch16_dinov3.lvd1689m",
    ),
    EncoderSpec(
        name="biomedclip",
        label="BiomedCLIP",
        architecture="vit_base_patch16_224",
        depth=12,
        patch=16,
        native_size=224,
        statistics=OPENAI_CLIP,
        licence="MIT",
        citation="arXiv:2303.00915",
        repository="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        files=("open_clip_pytorch_model.bin",),
        sha256="52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be",
    ),
    EncoderSpec(
        name="siglip2",
        architecture="vit_base_patch16_siglip_224",
        depth=12,
        patch=16,
        native_size=224,
        statistics=HALF,
        licence="Apache-2.0",
        citation="arXiv:2502.14786",
        repository="timm/vit_base_patch16_siglip_224.v2_webli",
    ),
    EncoderSpec(
        name="mae",
        architecture="vit_base_patch16_224",
        depth=12,
        patch=16,
        native_size=224,
        statistics=IMAGENET,
        licence="CC-BY-NC-4.0",
        citation="arXiv:2111.06377",
        repository="timm/vit_base_patch16_224.mae",
    ),
    EncoderSpec(
        name="supervised",
        architecture="vit_base_patch16_224",
        depth=12,
        patch=16,
        native_size=224,
        statistics=HALF,
        licence="Apache-2.0",
        citation="arXiv:2106.10270",
        repository="timm/vit_base_patch16_224.augreg_in21k",
    ),
    EncoderSpec(
        name="random",
        label="Random encoder",
        architecture="vit_base_patch16_224",
        depth=12,
        patch=16,
        native_size=224,
        statistics=IMAGENET,
        licence="none needed",
        citation="a control",
        files=(),
    ),
)

_REGISTRY = {entry.name: entry for entry in _ENTRIES}


def list_encoders() -> list[str]:
    """Return the names of all registered encoders; ``timm/<name>`` are not among them."""
    return list(_REGISTRY)


def register_encoder(spec: EncoderSpec) -> None:
    """Make another encoder known to :func:`fm_unroll.encoders.build_encoder`.

    Raises:
        InputError: an encoder of that name exists.
    """
    if spec.name in _REGISTRY:
        raise InputError(f"encoder '{spec.name}' is registered already: choose another name")
    _REGISTRY[spec.name] = spec


def find_encoder(name: str) -> EncoderSpec:
    """Return the entry of a registered encoder, or make one for ``timm/<name>``.

    Raises:
        InputError: the name is unknown; the message gives the nearest ones.
    """
    if name.startswith("timm/"):
        return _timm_encoder(name.removeprefix("timm/"))
    if name not in _REGISTRY:
        raise InputError(
            f"unknown encoder '{name}': {_nearest(name, list_encoders())} "
            "(`python -m fm_unroll encoders list` shows all)"
        )
    return _REGISTRY[name]


def encoder_label(name: str) -> str:
    """Return the name of an encoder as tables and figures print it; nothing is loaded for it."""
    spec = _REGISTRY.get(name)
    return spec.label or spec.name if spec else name.removeprefix("timm/")


def create_timm(architecture: str, **options: Any) -> "PlainViT":
    """Create a plain vision transformer of timm on the meta device, where it has shapes and no values.

    Raises:
        InputError: timm's model of that name is of another kind.
        RuntimeError: timm has no model of that name.
    """
    import timm
    import torch
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    with torch.device("meta"):
        vit = cast("PlainViT", timm.create_model(architecture, **options))
    if type(vit) not in (VisionTransformer, Eva, Beit):
        raise InputError(f"timm's '{architecture}' is a {type(vit).__name__}, not a plain vision transformer")
    return vit


def natively_quick_gelu(model: str) -> bool:
    """Whether timm notes of its model of that name that QuickGELU is native to its weights."""
    import timm

    try:
        published = timm.get_pretrained_cfg(model)
    except RuntimeError:  # a tag of somebody's own
        return False
    return published is not None and "QuickGELU" in " ".join(published.notes or ())


def _timm_encoder(architecture: str) -> EncoderSpec:
    """Describe a plain vision transformer of timm by what timm knows of it."""
    import timm

    if architecture not in timm.list_models() + timm.list_pretrained():
        known = timm.list_models("vit_*")
        raise InputError(f"timm has no model '{architecture}': {_nearest(architecture, known)}")
    vit = create_timm(architecture)
    published = cast(dict[str, Any], vit.pretrained_cfg)
    own = (tuple(published["mean"]), tuple(published["std"]))
    label = next((known.label for known in (IMAGENET, OPENAI_CLIP, HALF) if known[1:] == own), "timm")
    return EncoderSpec(
        name=f"timm/{architecture}",
        architecture=architecture,
        depth=len(vit.blocks),
        patch=vit.patch_embed.patch_size[0],
        native_size=published["input_size"][-1],
        statistics=Statistics(label, *own),
        trained_activation="quick_gelu" if natively_quick_gelu(architecture) else "",
        licence=published.get("license") or "unknown",
        citation="timm",
        repository=published.get("hf_hub_id"),
        files=(
            "model.safetensors",
            "open_clip_model.safetensors",
            published.get("hf_hub_filename") or "pytorch_model.bin",
        ),
    )


def _nearest(name: str, known: list[str]) -> str:
    """Suggest names that are written alike, or else list all."""
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"did you mean {', '.join(nearest)}?" if nearest else f"known are {', '.join(known)}"
