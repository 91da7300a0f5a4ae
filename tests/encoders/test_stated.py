"""What lies beside weights is compared with the encoder: activation, norms, heads, patches, images."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from fm_unroll.encoders import build_encoder, list_encoders, registry
from fm_unroll.encoders.stated import activation, check_stated, untold
from fm_unroll.encoders.vit import bare_vit
from fm_unroll.errors import InputError
from reference_networks import random_image

OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
OPEN_CLIP = {
    "model_cfg": {
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    },
    "preprocess_cfg": OPENAI,
}
BIOMEDCLIP = {
    "model_cfg": {"vision_cfg": {"timm_model_name": "vit_base_patch16_224", "image_size": 224}},
    "preprocess_cfg": OPENAI,
}
VISION = {
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "image_size": 224,
    "layer_norm_eps": 1e-05,
    "num_attention_heads": 12,
    "patch_size": 16,
}
CLIP = {"model_type": "clip", "text_config": {"hidden_act": "relu"}, "vision_config": VISION}
DINOV2 = {
    "model_type": "dinov2",
    "hidden_act": "gelu",
    "image_size": 518,
    "layer_norm_eps": 1e-06,
    "num_attention_heads": 12,
    "patch_size": 14,
}
DINOV3 = {
    "model_type": "dinov3_vit",
    "image_size": 224,
    "num_attention_heads": 12,
    "num_register_tokens": 4,
    "patch_size": 16,
    "rope_theta": 100.0,
}
PROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "image_mean": OPENAI["mean"],
    "image_std": OPENAI["std"],
    "crop_size": {"height": 224, "width": 224},
}
TIMM = {
    "architecture": "vit_base_patch16_clip_224",
    "pretrained_cfg": {"tag": "openai", "input_size": [3, 224, 224], **OPENAI},
}
NOTED = {"tag": "mine", "notes": ["natively QuickGELU, use quickgelu model variant"], **OPENAI}
NOTHING_SAID = ("activation", "layer-norm eps", "heads")


def without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


# as transformers saves it: what is the default of its class is left out
SHORT_CLIP = CLIP | {"vision_config": without(VISION, "hidden_act", "layer_norm_eps")}


def said_of(folder: Path, encoder: str, *, grid: int = 16, **configs: dict[str, Any]) -> tuple[str, ...]:
    """Write configurations beside weights, and compare them with an encoder for so many patches a side."""
    for name, content in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    spec = registry.find_encoder(encoder)
    with torch.device("meta"):
        vit = bare_vit(spec, 1, grid * spec.patch)
    return check_stated(folder / "model.safetensors", vit, spec)


@pytest.mark.parametrize(
    ("encoder", "configs", "unstated"),
    [
        ("clip", {}, ("activation", "layer-norm eps", "heads")),
        ("clip", {"open_clip_config": OPEN_CLIP}, ()),
        ("clip", {"config": CLIP}, ()),
        ("clip", {"config": SHORT_CLIP}, ()),
        ("clip", {"config": {"model_type": "clip_vision_model"}}, ("heads",)),
        ("clip", {"config": TIMM, "open_clip_config": OPEN_CLIP}, ()),
        ("clip", {"config": TIMM | {"pretrained_cfg": NOTED}}, ()),
        ("clip", {"preprocessor_config": {"size": 224}}, NOTHING_SAID),
        (
            "clip",
            {"preprocessor_config": {"crop_size": 336, "do_center_crop": False, "size": 224}},
            NOTHING_SAID,
        ),
        ("clip", {"config": {"learning_rate": 1}}, ("activation", "layer-norm eps", "heads")),
        ("biomedclip", {"open_clip_config": BIOMEDCLIP}, ()),
        ("dinov2", {"config": DINOV2, "preprocessor_config": {"image_mean": [0.485, 0.456, 0.406]}}, ()),
        ("dinov2", {"config": DINOV2 | {"image_size": 224}}, ()),
        (
            "dinov2",
            {"config": DINOV2, "preprocessor_config": {"crop_size": {"height": 224, "width": 224}}},
            (),
        ),
        ("dinov2", {"config": {"model_type": "dinov2"}}, ("heads",)),
        ("dinov2_registers", {"config": {"model_type": "dinov2_with_registers"}}, ("heads",)),
        ("dinov3", {"config": DINOV3}, ()),
        ("clip", {"config": CLIP, "preprocessor_config": PROCESSOR}, ()),
        ("clip", {"config": CLIP, "processor_config": {"image_processor": PROCESSOR}}, ()),
        ("clip", {"config": CLIP, "processor_config": {"processor_class": "CLIPProcessor"}}, ()),
    ],
)
def test_published_configurations_agree(
    encoder: str, configs: dict[str, Any], unstated: tuple[str, ...], tmp_path: Path
) -> None:
    assert said_of(tmp_path, encoder, **configs) == unstated


def changed(content: dict[str, Any], **values: object) -> dict[str, Any]:
    """A configuration with other values, of the vision tower if it has one."""
    if "vision_config" in content:
        return content | {"vision_config": content["vision_config"] | values}
    return content | values


def other_open_clip(model: dict[str, Any], preprocess: dict[str, Any], **vision: object) -> dict[str, Any]:
    other = OPEN_CLIP["model_cfg"] | model
    other["vision_cfg"] = other["vision_cfg"] | vision
    return {"model_cfg": other, "preprocess_cfg": OPENAI | preprocess}


@pytest.mark.parametrize(
    ("encoder", "name", "content", "said"),
    [
        ("clip", "open_clip_config", other_open_clip({"quick_gelu": False}, {}), "quick_gelu False"),
        (
            "clip",
            "open_clip_config",
            other_open_clip({"vision_cfg": BIOMEDCLIP["model_cfg"]["vision_cfg"]}, {}),
            r"timm_model_name vit_base_patch16_224 \(activation gelu\) where clip needs quick_gelu",
        ),
        (
            "clip",
            "open_clip_config",
            other_open_clip({}, {"mean": [0.5, 0.5, 0.5]}),
            r"preprocess_cfg\.mean \(0\.5, 0\.5, 0\.5\) where clip needs \(0\.48145466",
        ),
        (
            "clip",
            "open_clip_config",
            OPEN_CLIP | {"model_cfg": without(OPEN_CLIP["model_cfg"], "quick_gelu")},
            r"quick_gelu False \(activation gelu\) where clip needs quick_gelu",
        ),
        ("clip", "open_clip_config", other_open_clip({}, {}, layers=24), "layers 24 where clip needs 12"),
        ("clip", "open_clip_config", other_open_clip({}, {}, width=1024), "width 1024 where clip needs 768"),
        (
            "clip",
            "open_clip_config",
            other_open_clip({}, {}, patch_size=32),
            "patch_size 32 where clip needs 16",
        ),
        (
            "clip",
            "open_clip_config",
            other_open_clip({}, {}, image_size=336),
            "image_size 336 where clip needs 224",
        ),
        (
            "clip",
            "open_clip_config",
            other_open_clip({}, {}, head_width=48),
            r"head_width 48 \(heads 16\) where clip needs 12",
        ),
        (
            "biomedclip",
            "open_clip_config",
            other_open_clip(
                {"quick_gelu": False}, {}, act_kwargs={"approximate": "tanh"}, norm_kwargs={"eps": 1e-6}
            ),
            r"act_kwargs\.approximate tanh \(activation gelu_tanh\) where biomedclip needs gelu",
        ),
        ("biomedclip", "open_clip_config", OPEN_CLIP, r"quick_gelu True \(activation quick_gelu\)"),
        ("biomedclip", "config", SHORT_CLIP, "hidden_act quick_gelu where biomedclip needs gelu"),
        ("clip", "config", changed(CLIP, hidden_act="gelu"), r"vision_config\.hidden_act gelu .* quick_gelu"),
        ("clip", "config", changed(CLIP, layer_norm_eps=1e-6), "layer_norm_eps 1e-06 where clip needs 1e-05"),
        ("clip", "config", changed(CLIP, num_attention_heads=6), "num_attention_heads 6 where clip needs 12"),
        ("clip", "config", changed(CLIP, patch_size=32), "patch_size 32 where clip needs 16"),
        ("clip", "config", changed(CLIP, image_size=336), "image_size 336 where clip needs 224"),
        ("dinov2", "config", changed(DINOV2, hidden_act="quick_gelu"), "hidden_act quick_gelu"),
        ("dinov2", "config", {"model_type": "clip_vision_model"}, "hidden_act quick_gelu"),
        ("dinov2", "config", changed(DINOV2, hidden_act="gelu_pytorch_tanh"), "activation gelu_tanh"),
        (
            "dinov3",
            "config",
            changed(DINOV3, rope_theta=10000.0),
            r"rope_theta 10000\.0 where dinov3 needs 100",
        ),
        ("dinov3", "config", changed(DINOV3, num_register_tokens=0), "num_register_tokens 0"),
        ("dinov2", "preprocessor_config", {"image_std": [1, 1, 1]}, r"image_std \(1, 1, 1\) where dinov2"),
        (
            "clip",
            "preprocessor_config",
            {"crop_size": {"height": 336, "width": 336}},
            r"crop_size .*\(image size 336\) where clip needs 224",
        ),
        ("clip", "preprocessor_config", {"size": 336}, r"size 336 .*clip needs 224"),
        ("clip", "preprocessor_config", {"do_normalize": False}, "do_normalize False where clip needs True"),
        ("clip", "preprocessor_config", {"do_rescale": False}, "do_rescale False where clip needs True"),
        (
            "clip",
            "preprocessor_config",
            {"rescale_factor": 1 / 127.5},
            r"rescale_factor 0\.0078\d* .* 0\.0039",
        ),
        (
            "clip",
            "processor_config",
            {"image_processor": {"image_mean": [0.5, 0.5, 0.5]}},
            r"image_processor\.image_mean \(0\.5, 0\.5, 0\.5\) where clip needs \(0\.48145466",
        ),
        (
            "dinov2",
            "processor_config",
            {"image_processor": {"do_normalize": False}},
            r"image_processor\.do_normalize False where dinov2 needs True",
        ),
        ("dinov2", "config", TIMM, r"pretrained_cfg\.mean"),
        ("biomedclip", "config", TIMM, r"pretrained_cfg\.tag openai \(activation quick_gelu\)"),
        ("clip", "config", TIMM | {"pretrained_cfg": {}}, r"architecture .* \(activation gelu\)"),
        (
            "clip",
            "config",
            TIMM | {"architecture": "vit_base_patch32_clip_224"},
            r"architecture vit_base_patch32_clip_224 \(patch 32\) where clip needs 16",
        ),
    ],
)
def test_contradictions_name_file_key_both_values_and_the_remedy(
    encoder: str, name: str, content: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        said_of(tmp_path, encoder, **{name: content})
    message = str(caught.value)
    assert message.startswith(str(tmp_path / f"{name}.json"))
    assert "choose the encoder that these weights are of" in message and "\n" not in message


def test_the_usual_crop_of_pictures_contradicts_no_size_of_an_encoder(tmp_path: Path) -> None:
    """Preprocessors crop to 224 pixels whatever DINOv2 is used for; its configuration tells its size."""
    crop = {"crop_size": {"height": 224, "width": 224}}
    assert said_of(tmp_path, "dinov2", grid=8, config=DINOV2, preprocessor_config=crop) == ()
    with pytest.raises(InputError, match=r"image_size 224 where dinov2 needs 518"):
        said_of(tmp_path, "dinov2", grid=8, config=DINOV2 | {"image_size": 224})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("open_clip_config", json.dumps(other_open_clip({"vision_cfg": {}}, {}))),
        ("config", "{"),
        ("config", json.dumps(["a", "list"])),
        ("config", json.dumps({"architecture": "vit_of_next_year"})),
    ],
)
def test_what_cannot_be_read_is_no_silence(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(InputError, match=rf"{name}\.json: not a readable"):
        said_of(tmp_path, "clip")


def test_building_an_encoder_looks_beside_the_file(tmp_path: Path) -> None:
    """Whatever the file is called; and the label says when nothing does."""
    path = tmp_path / "mine.safetensors"
    state = timm.create_model("vit_tiny_patch16_224", depth=1).state_dict()
    save_file(state, path)
    name = "timm/vit_tiny_patch16_224"
    assert build_encoder(name, path, blocks=(1,)).weights_label == (
        "file:mine.safetensors (activation not stated)"
    )
    config = {"architecture": "vit_tiny_patch16_224"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert build_encoder(name, path, blocks=(1,)).weights_label == "file:mine.safetensors"
    config["model_args"] = {"act_layer": "quick_gelu"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: says architecture .*quick_gelu.* needs gelu"):
        build_encoder(name, path, blocks=(1,))


@pytest.mark.parametrize("said_beside", ["link", "middle", "target"])
def test_beside_a_link_is_beside_it_and_wherever_it_leads(said_beside: str, tmp_path: Path) -> None:
    for folder in ("link", "middle", "target"):
        (tmp_path / folder).mkdir()
    (tmp_path / "target/blob").write_bytes(b"")
    (tmp_path / "middle/model.safetensors").symlink_to("../target/blob")
    (tmp_path / "link/model.safetensors").symlink_to(tmp_path / "middle/model.safetensors")
    config = tmp_path / said_beside / "config.json"
    config.write_text(json.dumps(changed(CLIP, hidden_act="gelu")))
    with pytest.raises(InputError, match=f"{config}: says vision_config.hidden_act gelu"):
        said_of(tmp_path / "link", "clip")
    config.write_text(json.dumps(CLIP))
    assert said_of(tmp_path / "link", "clip") == ()


def test_names_of_timm_whose_weights_are_natively_quick_gelu(tmp_path: Path) -> None:
    """timm notes it of seventeen names, and has each as a QuickGELU network too."""
    noted = [
        name
        for name in timm.list_pretrained("vit_*_clip_*")
        if "_quickgelu_" not in name and registry.natively_quick_gelu(name)
    ]
    assert len(noted) == 17 and "vit_large_patch14_clip_224.dfn2b" in noted
    assert {name.replace("_clip_", "_clip_quickgelu_") for name in noted} <= set(timm.list_pretrained())
    name = "timm/vit_base_patch32_clip_224.openai"
    with pytest.raises(InputError, match=r"choose timm/vit_base_patch32_clip_quickgelu_224\.openai$"):
        said_of(tmp_path, name)
    said_of(tmp_path, name.replace("_clip_", "_clip_quickgelu_"))
    build_encoder(name, pretrained=False, blocks=(1,), image_size=32)(random_image(32))


def test_activations_are_named_by_what_they_compute() -> None:
    assert activation(nn.GELU()) == "gelu" and activation(nn.GELU("tanh")) == "gelu_tanh"
    assert activation(timm.layers.QuickGELU()) == "quick_gelu" and activation(nn.SiLU()) == "silu"


def test_what_tensors_do_not_tell_of_the_registered_encoders() -> None:
    told = {}
    for name in list_encoders():
        with torch.device("meta"):
            told[name] = tuple(untold(bare_vit(registry.find_encoder(name), 1, 224)).values())
    assert told["clip"] == ("quick_gelu", 1e-5, 12) and told["clip_large"] == ("quick_gelu", 1e-5, 16)
    assert told["dinov2"] == told["biomedclip"] == told["siglip2"] == ("gelu", 1e-6, 12)
    assert told["dinov3"] == ("gelu", 1e-5, 12) and told["dinov2_small"] == ("gelu", 1e-6, 6)


def test_case_byte_order_mark_and_null_are_no_contradictions(tmp_path):
    assert said_of(tmp_path, "dinov2", config={"model_type": "dinov2", "hidden_act": "GELU"}) == ("heads",)
    (tmp_path / "config.json").write_text(json.dumps(CLIP), encoding="utf-8-sig")
    assert said_of(tmp_path, "clip") == ()
    assert (
        said_of(tmp_path, "clip", config=VISION | {"model_type": "clip_vision_model", "vision_config": None})
        == ()
    )
