"""Networks out of checkpoints: the encoder's weights, its hash, evaluation mode, refusals."""

import shutil
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from fm_unroll.errors import InputError
from fm_unroll.models import UnrolledNetwork, build_model
from fm_unroll.models.checkpoints import find_moved_weights, load_network
from reference_networks import TINY_PRIOR, randomise

VARNET = {"method": "varnet", "num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}
PRIOR = {"method": "tiny", **TINY_PRIOR}


def save(path: Path, network: UnrolledNetwork, settings: dict) -> Path:
    """A checkpoint of a network, with what ``fit`` says of its settings and its encoder."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    encoders = [{"sha256": encoder.sha256, "untold": encoder.untold} for encoder in network.encoders]
    facts = {"encoders": encoders, "anatomy": "cardiac"}
    content = {"state_dict": tensors, "hyper_parameters": settings, "fm_unroll": facts}
    torch.save(content, path)
    return path


@pytest.fixture
def published(tiny, tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A file of weights of the tiny encoder, and what is in it."""
    state = randomise(timm.create_model(tiny.architecture, img_size=tiny.native_size)).state_dict()
    torch.save(state, tmp_path / "published.pt")
    return tmp_path / "published.pt", state


def test_weights_that_are_given_are_built_whatever_the_checkpoint_says(published, tmp_path):
    weights, state = published
    trained = build_model(**(PRIOR | {"weights": weights, "pretrained": True}))
    path = save(tmp_path / "a.ckpt", trained, PRIOR)
    loaded = load_network(path, weights)
    key = "blocks.1.attn.qkv.weight"
    assert torch.equal(loaded.encoders[0].vit.state_dict()[key], state[key])
    with pytest.raises(InputError, match="trained over the encoder"):
        load_network(path)  # over random weights, as its settings say


def test_another_encoder_is_loaded_only_where_any_may_be(published, tmp_path):
    weights, state = published
    trained = build_model(**PRIOR)
    with pytest.raises(InputError, match=f"trained over the encoder {trained.encoders[0].sha256[:12]}"):
        load_network(save(tmp_path / "a.ckpt", trained, PRIOR | {"any_encoder": False}), weights)
    loaded = load_network(save(tmp_path / "b.ckpt", trained, PRIOR | {"any_encoder": True}), weights)
    key = "blocks.0.mlp.fc1.weight"
    assert torch.equal(loaded.encoders[0].vit.state_dict()[key], state[key])


LATER = ("mixed x 1, timm/deit_tiny_patch16_224 x 1", "varnet x 1, tiny x 1", "tiny x 1, random x 1")


@pytest.mark.parametrize("method", LATER)
def test_every_encoder_is_kept_and_checked_wherever_it_stands(method, tiny, tmp_path):
    settings = {name: value for name, value in PRIOR.items() if name != "num_cascades"}
    settings |= {"method": method, "prior": "tiny"} if "mixed" in method else {"method": method}
    settings |= {"chans": 2, "pools": 1} if "x 1, tiny" in method or "mixed" in method else {}
    trained = build_model(**settings).eval()
    path = save(tmp_path / "a.ckpt", trained, settings)
    restored = load_network(path).state_dict()
    assert not any("encoder" in name for name in restored)
    assert all(torch.equal(restored[name], tensor) for name, tensor in trained.state_dict().items())
    encoders = torch.load(path, weights_only=True)["fm_unroll"]["encoders"]
    assert len(encoders) == (1 if "varnet" in method else 2)
    for number in range(len(encoders)):
        content = torch.load(path, weights_only=True)
        content["fm_unroll"]["encoders"][number]["sha256"] = "0" * 64
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(InputError, match=f"000000000000 .*this is {encoders[number]['sha256'][:12]}"):
            load_network(tmp_path / "other.ckpt")
        content["fm_unroll"]["encoders"] = encoders[:number]
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(InputError, match=r"over the encoder \(none\)"):
            load_network(tmp_path / "other.ckpt")


def test_moved_weights_of_an_encoder_in_later_cascades_are_found(tiny, tmp_path):
    weights = weights_file(tmp_path / "1.pt", tiny, 1)
    settings = {name: value for name, value in PRIOR.items() if name != "num_cascades"}
    settings |= {"method": "varnet x 1, tiny x 2", "chans": 2, "pools": 1}
    settings |= {"weights": str(weights), "pretrained": True}
    path = save(tmp_path / "a.ckpt", build_model(**settings), settings)
    moved = weights.rename(tmp_path / "2.pt")
    assert find_moved_weights([path], [moved]) == {path: moved}
    load_network(path, moved)


def test_a_network_comes_back_in_evaluation_mode_with_its_tensors(tmp_path):
    trained = build_model(**VARNET).train()
    loaded = load_network(save(tmp_path / "a.ckpt", trained, VARNET))
    assert not any(module.training for module in loaded.modules())
    restored = loaded.state_dict()
    assert restored.keys() == trained.state_dict().keys()
    assert all(torch.equal(restored[name], tensor) for name, tensor in trained.state_dict().items())


@pytest.mark.parametrize("other", [{"chans": 3}, {"pools": 2}, {"num_cascades": 2}])
def test_tensors_of_another_architecture_are_refused_in_one_line(other, tmp_path):
    path = save(tmp_path / "a.ckpt", build_model(**VARNET), VARNET | other)
    with pytest.raises(InputError, match=r"a\.ckpt is of another architecture: ") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def weights_file(path: Path, tiny, seed: int) -> Path:
    state = timm.create_model(tiny.architecture, img_size=tiny.native_size, depth=2).state_dict()
    generator = torch.Generator().manual_seed(seed)
    torch.save(
        {key: 0.02 * torch.randn(value.shape, generator=generator) for key, value in state.items()}, path
    )
    return path


def trained_over(weights: Path) -> Path:
    """A checkpoint whose settings name its encoder's weights, which then move."""
    settings = PRIOR | {"weights": str(weights), "pretrained": True}
    return save(weights.with_suffix(".ckpt"), build_model(**settings), settings)


def test_moved_weights_are_told_by_their_hash(tiny, tmp_path):
    """Whatever the files are called, each goes to the checkpoint that was trained over it."""
    weights = [weights_file(tmp_path / f"{seed}.pt", tiny, seed) for seed in (1, 2)]
    paths = [trained_over(file) for file in weights]
    moved = [file.rename(tmp_path / name) for file, name in zip(weights, ("b.pt", "a.pt"), strict=True)]
    without = save(tmp_path / "varnet.ckpt", build_model(**VARNET), VARNET)
    found = find_moved_weights([*paths, without], sorted(moved))
    assert found == dict(zip(paths, moved, strict=True))
    for path in paths:
        load_network(path, found[path])
    copy = Path(shutil.copy(moved[0], tmp_path / "copy.pt"))
    assert find_moved_weights(paths, [*moved, copy])[paths[0]] in (moved[0], copy)


def test_weights_that_are_nowhere_are_named_before_the_work(tiny, tmp_path):
    path = trained_over(weights_file(tmp_path / "1.pt", tiny, 1))
    assert find_moved_weights([path], []) == {}
    (tmp_path / "1.pt").unlink()
    with pytest.raises(InputError, match=r"1\.ckpt: the weights .* no longer at .*1\.pt.*--weights"):
        find_moved_weights([path], [])


def test_files_of_no_checkpoint_are_refused(published, tiny, tmp_path):
    """With the reason: another hash, another encoder, no such file."""
    path = trained_over(weights_file(tmp_path / "1.pt", tiny, 1))
    other = weights_file(tmp_path / "2.pt", tiny, 2)
    has = build_model(**PRIOR | {"weights": str(other), "pretrained": True}).encoders[0].sha256
    with pytest.raises(InputError, match=rf"--weights .*2\.pt: has the encoder of none.*1\.ckpt.* is {has}"):
        find_moved_weights([path], [other])
    without = save(tmp_path / "varnet.ckpt", build_model(**VARNET), VARNET)
    with pytest.raises(InputError, match=r"has the encoder of none of the checkpoints$"):
        find_moved_weights([without], [published[0]])
    with pytest.raises(InputError, match=r"has the encoder of none .*no such weights file"):
        find_moved_weights([path], [tmp_path / "nowhere.pt"])


def test_weights_in_the_home_folder_are_found(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    weights_file(tmp_path / "1.pt", tiny, 1)
    settings = PRIOR | {"weights": "~/1.pt", "pretrained": True}
    path = save(tmp_path / "a.ckpt", build_model(**settings), settings)
    assert find_moved_weights([path], []) == {}


def test_encoder_that_computes_otherwise_is_refused_though_its_tensors_are_the_same(tiny, tmp_path):
    path = save(tmp_path / "a.ckpt", build_model(**PRIOR), PRIOR)
    load_network(path)
    content = torch.load(path, weights_only=True)
    content["fm_unroll"]["encoders"][0]["untold"]["activation"] = "quick_gelu"
    torch.save(content, path)
    with pytest.raises(InputError, match="with activation quick_gelu, this one has gelu"):
        load_network(path)
    content["hyper_parameters"]["any_encoder"] = True
    torch.save(content, path)
    load_network(path)
