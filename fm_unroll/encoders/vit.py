"""The first blocks of a vision transformer, frozen: an image in, one token map per block out."""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fm_unroll.encoders.hub import cached_weights, fetch_weights
from fm_unroll.encoders.registry import IMAGENET, NOT_STATED, RANDOM, SHUFFLED, EncoderSpec, find_encoder
from fm_unroll.encoders.stated import check_stated, untold
from fm_unroll.encoders.weights import load_weights, locate_weights
from fm_unroll.errors import InputError
from fm_unroll.files import at_home
from fm_unroll.precision import bfloat16_or_warning, has_bfloat16

if TYPE_CHECKING:
    from fm_unroll.encoders.registry import PlainViT


class FrozenEncoder(nn.Module):
    """A frozen vision transformer, cut after the last block in use.

    It has no gradients and is in eval mode whatever its parents are told. Its tensors are in no state dict:
    that of a model that holds it has none of them, loads without them, and refuses to load any.

    Attributes:
        name: name in the registry.
        weights_label: ``pretrained``, ``random`` or ``file:<filename>``, followed by ``(activation not
            stated)`` where nothing beside the file states it.
        untold: what the tensors do not tell: ``activation``, ``layer-norm eps``, ``heads``.
        blocks: numbers of the blocks whose tokens are returned; the first block is 1.
        width: length of a token.
        num_prefix_tokens: class and register tokens, which come before the patches.
        grid: rows and columns of patches.
        gradient: ``through`` lets gradients reach the image, ``detach`` computes the tokens without any.
        precision: arithmetic of the blocks: ``float32``, ``bfloat16``, or ``auto``, which is bfloat16 on GPUs
            that have it, and elsewhere whatever surrounds the encoder. Evaluations are in float32, see
            :meth:`in_float32`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        vit: "PlainViT",
        spec: EncoderSpec,
        weights_label: str,
        blocks: tuple[int, ...],
        statistics: Literal["imagenet", "own"],
        gradient: Literal["through", "detach"],
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
    ) -> None:
        """Freeze a transformer; :func:`build_encoder` makes one by name.

        Args:
            vit: timm's transformer, cut after the last block in use.
            spec: the encoder's entry in the registry.
            weights_label: where the weights come from.
            blocks: numbers of the blocks whose tokens are returned, from 1.
            statistics: image statistics, ImageNet's or the encoder's own.
            gradient: whether gradients reach the image.
            precision: arithmetic of the blocks.
        """
        super().__init__()
        self.name = spec.name
        self.weights_label = weights_label
        self.blocks = blocks
        self.gradient = gradient
        self.precision: Literal["auto", "float32", "bfloat16"] = precision
        self.untold = untold(vit)
        self.width: int = vit.embed_dim
        self.num_prefix_tokens: int = vit.num_prefix_tokens
        self.grid: tuple[int, int] = vit.patch_embed.grid_size
        self.image_size: tuple[int, int] = vit.patch_embed.img_size
        self.vit = vit
        self._cast: tuple[object, PlainViT] | None = None  # in a tuple, so that it is no part of the module
        self._compiled = False
        _, mean, std = IMAGENET if statistics == "imagenet" else spec.statistics
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.register_load_state_dict_pre_hook(_keep_own_tensors)  # type: ignore[no-untyped-call]  # torch's own
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode images.

        Args:
            image: float32, ``(batch, 1 or 3, rows, columns)``, values in 0..1. It is resized bilinearly,
                repeated to three equal channels and standardised here.

        Returns:
            One float32 tensor ``(batch, num_prefix_tokens + grid[0] * grid[1], width)`` per block of
            ``blocks``, as it leaves the block (no norm).

        Raises:
            InputError: the image has another shape or values outside 0..1.
        """
        self._check_image(image)
        return self.encode(image)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Encode images that are known to be in 0..1.

        This is :meth:`forward` without a look at their values, for which a GPU would wait in every cascade.
        """
        dtype = image.dtype
        gradients = torch.set_grad_enabled(self.gradient == "through" and torch.is_grad_enabled())
        with gradients, self._arithmetic(image.device.type):
            image = F.interpolate(image, self.image_size, mode="bilinear", align_corners=False)
            image = (image.expand(-1, 3, -1, -1) - self.mean) / self.std
            # timm declares whatever its options could make it return
            maps: Any = self._vit_for(image.device.type).forward_intermediates(
                image,
                indices=[block - 1 for block in self.blocks],
                return_prefix_tokens=self.num_prefix_tokens > 0,
                output_fmt="NLC",
                intermediates_only=True,
            )
        if self.num_prefix_tokens > 0:
            maps = [torch.cat([prefix, patches], dim=1) for patches, prefix in maps]
        return [tokens.to(dtype) for tokens in maps]

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Compute in float32 for a while, whatever precision training asked for."""
        precision, self.precision = self.precision, "float32"
        try:
            yield
        finally:
            self.precision = precision

    def compile_blocks(self) -> None:
        """Compile the transformer's blocks."""
        self._compiled = True
        self._cast = None
        _compile_blocks(self.vit)

    def _vit_for(self, device: str) -> "PlainViT":
        """Give the transformer; under autocast, a copy whose linear layers have been cast already.

        Autocast remembers what it casts of trained weights only. Of frozen ones it would make one copy in
        every cascade, and keep them all for the backward pass.
        """
        if not torch.is_autocast_enabled(device):
            return self.vit
        dtype = torch.get_autocast_dtype(device)
        weights = list(self.vit.parameters())
        # private: torch has no public way to learn that a tensor was changed in place
        state = (dtype, weights[0].device, sum(weight._version for weight in weights))
        if self._cast is None or self._cast[0] != state:
            with torch.inference_mode(False):  # tensors made in inference mode cannot be used in training
                vit = copy.deepcopy(self.vit)
                for layer in vit.modules():
                    if isinstance(layer, nn.Linear):
                        layer.to(dtype)
            if self._compiled:
                _compile_blocks(vit)
            self._cast = (state, vit)
        return self._cast[1]

    def _arithmetic(self, device: str) -> AbstractContextManager[Any]:
        """Set the precision of the blocks on a device; sums of their residual stream stay in float32."""
        if self.precision == "float32":
            return torch.autocast(device, enabled=False)
        if self.precision == "auto":
            low = device == "cuda" and has_bfloat16(device)
        else:
            low = bfloat16_or_warning(device)
        return torch.autocast(device, torch.bfloat16) if low else nullcontext()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the tensors in use, computed once; see :meth:`compute_sha256`."""
        return self.compute_sha256()

    def compute_sha256(self) -> str:
        """Hash names, shapes and float32 values of all tensors in use, in alphabetical order of the names."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.vit.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.float().cpu().contiguous().numpy())
        return digest.hexdigest()

    def identity(self) -> tuple[object, ...]:
        """Equal for encoders of one name that compute the same."""
        statistics = tuple(torch.cat([self.mean, self.std]).flatten().tolist())
        settings = (self.blocks, self.image_size, statistics, self.gradient, self.precision)
        return (self.name, self.weights_label, self.sha256, *sorted(self.untold.items()), *settings)

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in eval mode."""
        return super().train(False)

    def state_dict(  # type: ignore[override]  # torch overloads it by keyword
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Add nothing to the state dict of the model that holds this encoder."""
        return OrderedDict() if destination is None else destination

    def _check_image(self, image: Tensor) -> None:
        """Refuse another shape and values outside 0..1."""
        if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point():
            raise InputError(
                "the encoder takes real images (batch, 1 or 3, rows, columns), "
                f"not {image.dtype} {tuple(image.shape)}"
            )
        low, high = image.aminmax()
        if not (low >= 0 and high <= 1):
            raise InputError(f"the encoder takes images in 0..1, not in {low.item():.4g}..{high.item():.4g}")

    def extra_repr(self) -> str:
        """Describe the encoder for ``print``."""
        return f"{self.name}, {self.weights_label}, blocks={self.blocks}, gradient={self.gradient}"


def _keep_own_tensors(
    encoder: FrozenEncoder,
    state_dict: dict[str, Any],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Report any tensor under an encoder as unexpected, and let its transformer load its own tensors."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        unexpected_keys.append(key)
        del state_dict[key]
    state_dict.update(encoder.vit.state_dict(prefix=f"{prefix}vit.", keep_vars=True))


def _compile_blocks(vit: "PlainViT") -> None:
    """Compile each block in place."""
    for block in vit.blocks:
        block.compile()


def build_encoder(
    name: str,
    weights: str | Path | None = None,
    pretrained: bool = True,
    blocks: Sequence[int] = (1, 2, 3, 4, 5, 6),
    statistics: Literal["imagenet", "own"] = "imagenet",
    seed: int = 0,
    gradient: Literal["through", "detach"] = "through",
    image_size: int = 224,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    shuffled: bool = False,
) -> FrozenEncoder:
    """Build a frozen encoder; only its first ``max(blocks)`` blocks are ever built.

    Args:
        name: a name of ``list_encoders()``, or ``timm/<name>`` for any plain vision transformer of timm.
        weights: weights file, or a folder that holds one as the hub lays it out. None takes the published
            weights, from the hub on first use.
        pretrained: ``False`` gives frozen random weights in the same architecture.
        blocks: numbers of the blocks whose tokens are wanted, in ascending order; the first block is 1.
        statistics: image statistics: ImageNet's for every encoder, as in the paper, or the encoder's ``own``.
        seed: seed of random and of shuffled weights; the state of torch's global generator neither matters
            nor changes.
        gradient: whether gradients pass ``through`` the encoder to the image, or are cut off (``detach``).
        image_size: side of the square that images are resized to, in pixels.
        precision: arithmetic of the blocks, see :class:`FrozenEncoder`.
        shuffled: permute the elements within each tensor: the same values, without their structure.

    Raises:
        InputError: a value cannot be used, or the weights do not fit or cannot be fetched.
    """
    spec = find_encoder(name)
    blocks = tuple(blocks)
    _check_arguments(spec, weights, pretrained, blocks, image_size)
    _check_choice("statistics", statistics, ("imagenet", "own"))
    _check_choice("gradient", gradient, ("through", "detach"))
    _check_choice("precision", precision, ("auto", "float32", "bfloat16"))
    vit = build_vit(spec, max(blocks), image_size, seed)
    label = _load(vit, spec, weights) if weights is not None or (pretrained and spec.files) else RANDOM
    if shuffled:
        if label == RANDOM:
            raise InputError(f"encoder '{name}' has random weights, which have no structure to shuffle")
        shuffle(vit, seed)
        label = f"{SHUFFLED} {label}"
    return FrozenEncoder(vit, spec, label, blocks, statistics, gradient, precision)


def build_vit(spec: EncoderSpec, num_blocks: int, image_size: int, seed: int = 0) -> "PlainViT":
    """Build the first blocks of an encoder's transformer with frozen random weights.

    Weights are uniform with standard deviation 0.02, vision transformers' usual one, biases are zero, and the
    scales of norms and layers are one: DINOv2 starts its training from layer scales of 1e-5, with which
    random blocks would do nothing. The weights come from one generator by subtraction and multiplication
    alone, so that a seed means the same weights, and the same SHA-256, on every machine.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        vit = bare_vit(spec, num_blocks, image_size)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in vit.requires_grad_(False).named_parameters():
        if parameter.ndim > 1:
            parameter.copy_((torch.rand(parameter.shape, generator=generator) - 0.5) * (0.02 * 12**0.5))
        else:
            parameter.fill_(0 if name.endswith("bias") else 1)
    return vit.eval()


def _load(vit: "PlainViT", spec: EncoderSpec, weights: str | Path | None) -> str:
    """Load weights, the published ones unless others are given; return what to call them."""
    path = (
        cached_weights(spec) or fetch_weights(spec) if weights is None else locate_weights(at_home(weights))
    )
    silent = check_stated(path, vit, spec)
    load_weights(vit, path, spec)
    if weights is None:
        return "pretrained"
    return f"file:{path.name}" + (NOT_STATED if "activation" in silent else "")


@torch.no_grad()
def shuffle(vit: nn.Module, seed: int) -> None:
    """Permute the elements within each of a module's tensors, in place."""
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(vit.named_parameters()):
        order = torch.randperm(parameter.numel(), generator=generator)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


def bare_vit(spec: EncoderSpec, num_blocks: int, image_size: int) -> "PlainViT":
    """Build timm's module: the embeddings and the first blocks, without last norm, pooling and head.

    Raises:
        InputError: timm has this transformer in full length alone.
    """
    import timm

    try:
        created = timm.create_model(
            spec.architecture, depth=num_blocks, img_size=image_size, num_classes=0, global_pool=""
        )
    except AssertionError as error:
        raise InputError(
            f"timm's '{spec.architecture}' cannot be cut after {num_blocks} blocks: {error}"
        ) from error
    vit = cast("PlainViT", created)
    vit.norm = nn.Identity()
    return vit


def _check_arguments(
    spec: EncoderSpec,
    weights: str | Path | None,
    pretrained: bool,
    blocks: tuple[int, ...],
    image_size: int,
) -> None:
    """Refuse weights, blocks and sizes that this encoder cannot have."""
    if weights is not None and not pretrained:
        raise InputError("give weights=PATH or pretrained=False, not both")
    if weights is not None and not spec.files:
        raise InputError(f"encoder '{spec.name}' takes no weights: choose the encoder that {weights} is for")
    if not blocks or min(blocks) < 1 or list(blocks) != sorted(set(blocks)):
        raise InputError(f"blocks {list(blocks)}: give ascending numbers, the first block is 1")
    if max(blocks) > spec.depth:
        raise InputError(f"{spec.name} has {spec.depth} blocks, block {max(blocks)} is not one of them")
    if image_size < spec.patch or image_size % spec.patch:
        raise InputError(f"image_size {image_size}: {spec.name} needs a multiple of {spec.patch} pixels")


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices."""
    if value not in choices:
        raise InputError(f"{what} '{value}': choose {', '.join(choices[:-1])} or {choices[-1]}")
