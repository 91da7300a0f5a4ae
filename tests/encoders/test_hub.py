"""Fetching encoders' weights from a server on this machine that answers as the Hugging Face hub does."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from safetensors.torch import save

from fm_unroll.commands import encoders as commands
from fm_unroll.encoders import (
    EncoderSpec,
    FrozenEncoder,
    build_encoder,
    hub,
    list_encoders,
    registry,
)
from fm_unroll.errors import InputError
from hub_server import COMMIT, Hub, use_hub
from reference_networks import randomise


@pytest.fixture
def published(tiny: EncoderSpec, monkeypatch: pytest.MonkeyPatch) -> EncoderSpec:
    """The tiny encoder with a repository on the hub."""
    spec = replace(tiny, repository="someone/tiny")
    monkeypatch.setitem(registry._REGISTRY, "tiny", spec)
    return spec


@pytest.fixture(scope="module")
def content() -> bytes:
    return save(randomise(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=6)).state_dict())


def build() -> FrozenEncoder:
    return build_encoder("tiny", image_size=64)


def test_fetched_on_first_use_then_kept(fake_hub: Hub, published: EncoderSpec, content: bytes) -> None:
    fake_hub.publish("someone/tiny", "model.safetensors", content)
    assert hub.cached_weights(published) is None
    assert build().weights_label == "pretrained"
    assert build().weights_label == "pretrained"
    assert fake_hub.downloads == ["/someone/tiny/resolve/main/model.safetensors"]
    assert hub.cached_weights(published).read_bytes() == content


def test_configurations_come_with_the_first_existing_file(
    fake_hub: Hub, published: EncoderSpec, content: bytes
) -> None:
    """Whatever the repository has of them, and before the weights: an interrupted download lacks none."""
    spec = replace(published, files=("model.safetensors", "open_clip_model.safetensors"))
    configs = {"open_clip_config.json", "preprocessor_config.json"}
    for filename in ("open_clip_model.safetensors", *configs):
        fake_hub.publish("someone/tiny", filename, content if "model." in filename else b"{}")
    path = hub.fetch_weights(spec)
    assert path.name == "open_clip_model.safetensors"
    assert {file.name for file in path.parent.iterdir()} == {path.name, *configs}
    assert fake_hub.downloads[-1].endswith(path.name)


def test_configurations_of_weights_that_are_here_already_are_fetched_beside_them(
    fake_hub: Hub, published: EncoderSpec, content: bytes
) -> None:
    """A cache that an earlier version filled; the fetched configuration is then heeded."""
    fake_hub.publish("someone/tiny", "model.safetensors", content)
    path = hub.fetch_weights(published)
    config = {"architecture": "vit_tiny_patch16_224", "model_args": {"act_layer": "quick_gelu"}}
    fake_hub.publish("someone/tiny", "config.json", json.dumps(config).encode(), revision=COMMIT)
    assert build().weights_label == "pretrained"
    assert hub.fetch_weights(published) == path
    assert (path.parent / "config.json").is_file() and fake_hub.downloads[-1].endswith("config.json")
    with pytest.raises(InputError, match=r"config\.json: says .*quick_gelu\) where tiny needs gelu"):
        build()


def test_damaged_download_is_refused_and_removed(
    fake_hub: Hub, published: EncoderSpec, content: bytes
) -> None:
    stated = hashlib.sha256(content).hexdigest()
    fake_hub.publish("someone/tiny", "model.safetensors", content[:-1] + b"!", stated)
    with pytest.raises(InputError, match=f"is not {stated}, the published one"):
        build()
    assert hub.cached_weights(published) is None
    fake_hub.publish("someone/tiny", "model.safetensors", content)
    build()


def test_damage_on_disk_is_found(fake_hub: Hub, published: EncoderSpec, content: bytes) -> None:
    """`verify` only says so; `fetch` removes the file too."""
    fake_hub.publish("someone/tiny", "model.safetensors", content)
    path = hub.fetch_weights(published)
    path.write_bytes(content[:-1] + b"!")
    for command, kept in ((commands.verify, True), (commands.fetch, False)):
        with pytest.raises(InputError, match="the published one"):
            command("tiny")
        assert path.exists() == kept


def test_file_that_its_publisher_replaced_is_refused(
    fake_hub: Hub, published: EncoderSpec, content: bytes
) -> None:
    fake_hub.publish("someone/tiny", "model.safetensors", content)
    pinned = replace(published, sha256="5" * 64)
    with pytest.raises(InputError, match="is not 5555"):
        hub.fetch_weights(pinned)
    assert hub.cached_weights(pinned) is None


def test_nothing_to_fetch(fake_hub: Hub, published: EncoderSpec) -> None:
    with pytest.raises(InputError, match=r"someone/tiny has none of the files model\.safetensors"):
        build()
    with pytest.raises(InputError, match="'random' has no published weights"):
        commands.fetch("random")


def test_hub_out_of_reach(published: EncoderSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to run and which argument to give."""
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    with pytest.raises(InputError, match=r"run `python -m fm_unroll encoders fetch tiny` .* weights=PATH$"):
        build()


def test_commands(
    fake_hub: Hub, published: EncoderSpec, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = replace(published, sha256=hashlib.sha256(content).hexdigest())
    fake_hub.publish("someone/tiny", "model.safetensors", content)
    with pytest.raises(InputError, match=r"encoders fetch tiny"):
        commands.verify("tiny")
    commands.fetch("tiny")
    assert spec.sha256 in capsys.readouterr().out
    commands.verify("tiny")
    assert "encoder      tiny, weights pretrained\n" in capsys.readouterr().out
    commands.list_()
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("tiny "))
    assert " ".join(line.split()) == "tiny vit_tiny_patch16_224 16 64 px half someone/tiny yes - none none"
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == list_encoders()
