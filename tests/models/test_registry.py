"""Methods by name: options of their own, and none of the others'."""

import inspect
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from fm_unroll.errors import InputError
from fm_unroll.models import build_model, list_methods, register_denoiser, registry
from fm_unroll.models.denoisers.unet import NormUnet


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> str:
    """A registered denoiser of one option."""
    monkeypatch.setattr(registry, "_ENTRIES", registry.list_denoisers())

    @register_denoiser("scaled_half", factor=0.5)
    @register_denoiser("scaled")
    def scaled(num_cascades: int, *, factor: float = 1.0) -> list[nn.Module]:
        return [Scaled(factor) for _ in range(num_cascades)]

    return "scaled"


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.factor * image


@pytest.mark.parametrize(
    "method",
    [
        *("varnet", "varnet_wide", "varnet_zero", "drunet", "trained_embedding", "image_skip_only", "random"),
        "timm/vit_tiny_patch16_224",
    ],
)
def test_every_option_has_a_type_a_default_and_a_line_in_the_docstring(method):
    entry = registry.find_denoiser(method)
    assert entry.options()
    for name, option in entry.options().items():
        assert option.annotation is not option.empty and option.default is not option.empty
        assert f"        {name}: " in entry.build.__doc__


def test_options_have_the_defaults_of_the_name(scaled):
    assert registry.effective_options("varnet", {}) == {"chans": 18, "pools": 4, "zero_head": False}
    assert registry.effective_options("varnet_wide", {"pools": 2}) == {
        "chans": 25,
        "pools": 2,
        "zero_head": False,
    }
    factors = [build_model(name, 2).cascades[1].denoiser.factor for name in ("scaled", "scaled_half")]
    assert factors == [1.0, 0.5]
    assert build_model("scaled_half", 1, factor=3.0).cascades[0].denoiser.factor == 3.0


def test_a_registered_denoiser_is_a_method_like_others(scaled):
    assert {"scaled", "varnet", "clip"} <= set(list_methods())
    assert "<encoder>" not in list_methods()
    with pytest.raises(InputError, match="'scaled' is registered already"):
        register_denoiser("scaled")(lambda num_cascades: [])


@pytest.mark.parametrize(
    "method, options, words",
    [
        ("varnet", {"weights": "clip.pt"}, "method 'varnet' has no option weights: it has chans, pools"),
        (
            "image_skip_only",
            {"blocks": (1, 2)},
            "method 'image_skip_only' has no option blocks: it has decoder_widths, shared",
        ),
        ("random", {"chans": 8}, "method 'random' has no option chans: it has weights"),
        ("timm/vit_tiny_patch16_224", {"pools": 8}, "has no option pools"),
        ("varnet", {"cans": 8}, "has no option cans"),
    ],
)
def test_an_option_of_another_method_is_refused(method, options, words):
    with pytest.raises(InputError, match=words):
        build_model(method, 1, **options)


@pytest.mark.parametrize("method", ["hub/vit", "timm", "clip/timm/vit_tiny_patch16_224"])
def test_a_name_from_elsewhere_than_timm_is_refused(method):
    with pytest.raises(InputError, match=f"unknown method '{method}'"):
        build_model(method, 1)


def test_none_stands_for_an_option_that_is_not_given():
    network = build_model("varnet", 1, weights=None, chans=None, pools=2)
    assert isinstance(network.cascades[0].denoiser, NormUnet)
    assert registry.effective_options("varnet", {"chans": None}) == {
        "chans": 18,
        "pools": 4,
        "zero_head": False,
    }


def test_every_file_of_the_folder_is_found():
    builders = {entry.build.__module__ for entry in registry.list_denoisers().values()}
    assert {"fm_unroll.models.denoisers.unet", "fm_unroll.models.denoisers.foundation"} <= builders
    assert all(inspect.getdoc(entry.build) for entry in registry.list_denoisers().values())


def test_types_survive_postponed_annotations():
    assert registry.find_denoiser("image_skip_only").options()["decoder_widths"].annotation == Sequence[int]


@pytest.mark.parametrize(
    "method, options, words",
    [
        ("varnet", {"chans": 2.5}, "chans is 2.5, expected int"),
        ("varnet", {"chans": "wide"}, "chans is 'wide', expected int"),
        ("varnet", {"chans": 0}, "a U-Net of 0 channels"),
        ("varnet", {"pools": 40}, "40 pooling layers"),
        ("image_skip_only", {"decoder_widths": "wide"}, "decoder_widths is 'wide'"),
        ("timm/vit_tiny_patch16_224", {"pretrained": False, "fusion": "sum"}, "fusion is 'sum'"),
    ],
)
def test_values_that_an_option_cannot_have_are_refused(method, options, words):
    with pytest.raises(InputError, match=words):
        build_model(method, num_cascades=1, **options)
