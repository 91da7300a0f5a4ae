"""Networks to pass on: the same images from one small file, with all facts and without paths."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.models.release import read_release, write_release
from simulate import disc_scan

VARNET = {"method": "varnet", "num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}
FACTS = {"encoders": [], "anatomy": "cardiac", "subjects": {"train": ["P001"]}, "acceleration": 4.0}


def checkpoint(**others) -> dict:
    """What a checkpoint of ``fit`` holds of a small network, an optimiser's state among it."""
    torch.manual_seed(0)
    tensors = {f"network.{name}": tensor for name, tensor in build_model(**VARNET).state_dict().items()}
    settings = {**VARNET, "weights": "/home/anna/weights.pt"}
    content = {"state_dict": tensors, "hyper_parameters": settings, "fm_unroll": FACTS, "epoch": 6}
    return content | {"optimizer_states": [{"step": torch.ones(1)}]} | others


@pytest.mark.parametrize("half", [False, True])
def test_a_released_network_gives_the_same_image(half, tmp_path):
    content, path = checkpoint(), tmp_path / "network.safetensors"
    write_release(content, path, half)
    measured = disc_scan().measured
    network = build_model(**VARNET).eval()
    network.load_state_dict({k.removeprefix("network."): v for k, v in content["state_dict"].items()})
    with torch.no_grad():
        expected, image = network(*measured), load_network(path)(*measured)
    if half:
        assert not torch.equal(image, expected)
        torch.testing.assert_close(image, expected, rtol=1e-2, atol=2e-3 * float(expected.max()))
    else:
        assert torch.equal(image, expected)


def test_facts_go_along_but_neither_paths_nor_what_only_training_needs(tmp_path):
    path = tmp_path / "network.safetensors"
    write_release(checkpoint(), path, half=False)
    content = read_checkpoint(path)
    assert content["epoch"] == 6
    for fact, value in FACTS.items():
        assert content["fm_unroll"][fact] == value, fact
    assert content["hyper_parameters"] == {**VARNET, "weights": None}
    assert "optimizer_states" not in content and b"anna" not in path.read_bytes()


def test_half_is_half_the_size(tmp_path):
    for half, dtype in ((True, torch.float16), (False, torch.float32)):
        write_release(checkpoint(), tmp_path / "n.safetensors", half)
        assert {tensor.dtype for tensor in load_file(tmp_path / "n.safetensors").values()} == {dtype}
        # whoever reads it computes in float32
        read = read_release(tmp_path / "n.safetensors")["state_dict"]
        assert {tensor.dtype for tensor in read.values()} == {torch.float32}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_others_may_read_what_is_released_as_the_umask_says(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write_release(checkpoint(), tmp_path / "new/network.safetensors", half=False)
    finally:
        os.umask(before)
    assert (tmp_path / "new/network.safetensors").stat().st_mode & 0o777 == mode
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["network.safetensors"]


def test_what_cannot_be_released_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"n\.ckpt: give a name that ends in \.safetensors"):
        write_release(checkpoint(), tmp_path / "n.ckpt", half=False)
    large = {"network.large": torch.tensor([1e5])}
    with pytest.raises(InputError, match=r"network\.large holds values that are not finite in float16"):
        write_release(checkpoint(state_dict=large), tmp_path / "n.safetensors", half=True)
    assert not (tmp_path / "n.safetensors").exists()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "n.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"n\.safetensors cannot be read, or is no safetensors file"):
        read_checkpoint(path)
    for metadata in (None, {"fm_unroll": "[1]"}, {"fm_unroll": json.dumps({"hyper_parameters": {}})}):
        save_file({"weight": torch.zeros(2)}, path, metadata)
        with pytest.raises(
            InputError, match="is no network of fm_unroll: give what the verb `release` wrote"
        ):
            read_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"hyper_parameters": []},
        {"hyper_parameters": {}},
        {"hyper_parameters": {"method": 3}},
        {"hyper_parameters": {"method": ["varnet"]}},
        {"hyper_parameters": {"method": "varnet", "num_cascades": "many"}},
        {"hyper_parameters": {"method": "varnet", "num_cascades": 10**9}},
        {"fm_unroll": []},
        {"fm_unroll": {}},
        {"fm_unroll": {"encoders": [{"name": "clip"}], "population": {}}},
    ],
)
def test_settings_of_a_stranger_are_refused_in_one_line(change, tmp_path):
    facts = {"hyper_parameters": {"method": "varnet"}, "fm_unroll": {"encoders": [], "population": {}}}
    path = tmp_path / "network.safetensors"
    save_file({"network.x": torch.zeros(1)}, path, {"fm_unroll": json.dumps(facts | change)})
    with pytest.raises(InputError, match=f"{path} is damaged"):
        read_checkpoint(path)


def test_metadata_nested_too_deep_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "deep.safetensors", {"fm_unroll": "[" * 100_000})
    with pytest.raises(InputError, match="cannot be read"):
        read_release(tmp_path / "deep.safetensors")


def test_weights_used_twice_and_whole_numbers_are_released_as_they_are(tmp_path):
    shared, count = torch.rand(3), torch.tensor([4095, 70_001])  # which float16 does not hold
    content = {**checkpoint(), "state_dict": {"a": shared, "b": shared, "count": count}}
    write_release(content, tmp_path / "network.safetensors", half=True)
    tensors = read_release(tmp_path / "network.safetensors")["state_dict"]
    assert torch.equal(tensors["a"], shared.half().float()) and torch.equal(tensors["b"], tensors["a"])
    assert torch.equal(tensors["count"], count)
