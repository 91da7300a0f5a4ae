"""Networks of the Hugging Face hub: from its cache, from a server, at one commit, and nothing but tensors."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import fm_unroll as fm
from fm_unroll import hub
from fm_unroll.commands.release import check_output
from fm_unroll.errors import InputError
from fm_unroll.evaluation.protocol import find_checkpoints
from fm_unroll.models import build_model
from fm_unroll.models.checkpoints import load_network
from fm_unroll.models.release import GENERAL, write_release
from fm_unroll.models.sharing import kept_at, locate, named
from hub_server import COMMIT, Hub, fill_cache, go_offline, use_hub
from simulate import disc_scan

VARNET = {"method": "varnet", "num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}
NAME = "hf://anna/heart.net-2"
LATER = "f" * 40


class Trap:
    """Unpickled, it ends the process."""

    def __reduce__(self):
        return os._exit, (66,)


def network_file(path: Path, seed: int = 0) -> bytes:
    """The content of a released network with random weights."""
    torch.manual_seed(seed)
    tensors = {f"network.{name}": tensor for name, tensor in build_model(**VARNET).state_dict().items()}
    facts = {"encoders": [], "anatomy": "cardiac", "subjects": {"train": ["P001"], "val": [], "test": []}}
    write_release({"state_dict": tensors, "hyper_parameters": VARNET, "fm_unroll": facts}, path, half=False)
    return path.read_bytes()


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return network_file(tmp_path / "network.safetensors")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client without a network, and its empty cache."""
    cache = tmp_path / "cache"
    go_offline(cache, monkeypatch)
    return cache


@pytest.mark.filterwarnings("ignore:the hub cannot be reached")
def test_a_network_of_the_cache_gives_the_image_of_its_file(offline, content, tmp_path):
    snapshot = fill_cache(offline, "anna/heart.net-2", {"model.safetensors": content, "README.md": b"card"})
    measured = disc_scan().measured
    with torch.no_grad():
        expected = load_network(tmp_path / "network.safetensors")(*measured)
        for name in (NAME, f"{NAME}@main", f"{NAME}@{COMMIT}"):
            path = locate(name)
            assert path == snapshot / "model.safetensors"
            assert torch.equal(fm.load(name).network(*measured), expected)
    assert find_checkpoints([NAME, f"{NAME}@{COMMIT}"]) == [path]


@pytest.mark.filterwarnings("ignore:the hub cannot be reached")
def test_its_name_holds_the_commit_and_leads_back_to_it(offline, content):
    fill_cache(offline, "anna/heart.net-2", {"model.safetensors": content})
    path = locate(NAME)
    assert named(path) == f"{NAME}@{COMMIT}" and kept_at(named(path)) == path
    # what main is later changes nothing of it
    fill_cache(offline, "anna/heart.net-2", {"model.safetensors": b"another"}, commit=LATER)
    assert kept_at(f"{NAME}@{COMMIT}") == path and kept_at(f"{NAME}@{LATER}") != path
    assert kept_at(f"{NAME}@{'e' * 40}") is None and kept_at("gone.ckpt") is None
    assert named(GENERAL) == str(GENERAL) and kept_at(str(GENERAL)) == GENERAL


def test_a_commit_in_the_cache_is_taken_without_a_word_and_a_branch_with_a_warning(offline, content, recwarn):
    fill_cache(offline, "anna/heart.net-2", {"model.safetensors": content})
    locate(f"{NAME}@{COMMIT}")
    assert not recwarn
    with pytest.warns(
        UserWarning, match=rf"HF_HUB_OFFLINE is set.*taking {NAME}@{COMMIT}, which was fetched"
    ):
        locate(NAME)


def test_what_is_not_in_the_cache_of_a_machine_without_network(offline, tmp_path, monkeypatch):
    line = rf"^{NAME}: the hub cannot be reached for anna/heart\.net-2 \(HF_HUB_OFFLINE is set\), and no copy"
    with pytest.raises(
        InputError, match=line + r".*: give the command once where there is a network, or the path"
    ):
        locate(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use_hub("http://127.0.0.1:9", offline, monkeypatch)
    with pytest.raises(
        InputError, match=rf"^{NAME}: the hub cannot be reached for .* give the command once "
    ):
        locate(NAME)


def test_a_download_that_never_asked_the_hub_is_not_taken_for_a_file_that_is_not_there(offline):
    with pytest.raises(hub.OutOfReach, match=r"cannot be reached for anna/heart\.net-2"):
        hub.download("anna/heart.net-2", "model.safetensors")


def test_only_large_files_are_named_by_their_sha256(tmp_path):
    """Small ones have the name that git gives them."""
    for name, stated in (("a" * 64, "a" * 64), ("b" * 40, None), ("model.safetensors", None)):
        link = tmp_path / f"link of {name}"
        link.symlink_to(tmp_path / name)
        assert hub.stated_sha256(link) == stated


def test_a_repository_of_pickles_is_refused(fake_hub: Hub, offline, monkeypatch):
    """Whether the hub says that it has no other file, or the cache has noted it."""
    refused = rf"^{NAME} has no model\.safetensors, and nothing else is loaded, as pickles can run code"
    trap = pickle.dumps(Trap())
    snapshot = fill_cache(offline, "anna/heart.net-2", {"pytorch_model.bin": trap, "best.ckpt": trap})
    note = snapshot.parents[1] / ".no_exist" / COMMIT / "model.safetensors"
    note.parent.mkdir(parents=True)
    note.touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(offline))
    with pytest.raises(InputError, match=refused):
        locate(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fake_hub.publish("anna/heart.net-2", "pytorch_model.bin", trap)
    with pytest.raises(InputError, match=refused):
        locate(NAME)
    assert not fake_hub.downloads


def test_a_pickle_by_the_name_of_tensors_is_not_run(fake_hub: Hub):
    fake_hub.publish("anna/heart.net-2", "model.safetensors", pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read, or is no safetensors file"):
        fm.load(NAME)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            "RepoNotFound",
            r"^the hub has no repository anna/heart\.net-2, or it is private: check the name, or log",
        ),
        ("GatedRepo", r"^anna/heart\.net-2 is for whoever its owner lets in: ask on its page, then log in"),
        (
            "RevisionNotFound",
            r"^anna/heart\.net-2 has no revision v9: give a branch, tag or commit of its page",
        ),
    ],
)
def test_what_the_hub_does_not_give_is_said_in_one_line(code, line, fake_hub: Hub):
    fake_hub.refused["anna/heart.net-2"] = code
    with pytest.raises(InputError, match=line) as caught:
        locate(f"{NAME}@v9")
    assert "\n" not in str(caught.value)


def test_it_is_fetched_once_at_the_commit_that_the_hub_states(fake_hub: Hub, content):
    fake_hub.publish("anna/heart.net-2", "model.safetensors", content)
    fake_hub.publish("anna/heart.net-2", "pytorch_model.bin", pickle.dumps(Trap()))
    first, again = locate(NAME), locate(NAME)
    assert first == again and first.read_bytes() == content and named(first) == f"{NAME}@{COMMIT}"
    assert fake_hub.downloads == ["/anna/heart.net-2/resolve/main/model.safetensors"]


def test_a_revision_is_fetched_where_main_has_no_tensors(fake_hub: Hub, content):
    fake_hub.publish("anna/heart.net-2", "pytorch_model.bin", pickle.dumps(Trap()))
    fake_hub.publish("anna/heart.net-2", "model.safetensors", content, revision="v1")
    assert locate(f"{NAME}@v1").read_bytes() == content
    assert fake_hub.downloads == ["/anna/heart.net-2/resolve/v1/model.safetensors"]


def test_damage_in_the_cache_is_found(offline, content):
    fill_cache(offline, "anna/heart.net-2", {"model.safetensors": content})
    blob = offline / "models--anna--heart.net-2/blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=f"is not {blob.name}, the published one: delete {blob}"):
        locate(f"{NAME}@{COMMIT}")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "hf://heart",
            "hf://a/b/c",
            "hf://a/b@",
            "hf://../b/model.safetensors",
            "hf://",
            "hf:///b",
            "hf://a/",
        ),
        # no names of the hub, by its own rule
        *("hf://../b", "hf://.a/b", "hf://a--b/c", "hf://a/b.git", "hf://a/b c"),
    ],
)
def test_other_spellings_are_refused(text):
    with pytest.raises(InputError, match=r"write hf://OWNER/NAME, or hf://OWNER/NAME@|is no name on the hub"):
        locate(text)


@pytest.mark.parametrize(
    "text", ["hf://.a/b", "hf://a/..", "hf://a--b/c", "hf://a/b.git", "hf://a/b@../../c", "hf://a/b@c d"]
)
def test_names_that_the_hub_does_not_have_are_refused_before_any_path_is_made(text):
    with pytest.raises(InputError, match=r"no name on the hub|has no revision"):
        locate(text)


def test_a_repository_gets_no_single_file():
    with pytest.raises(
        InputError, match=r"^hf://anna/net/model\.safetensors: a repository of the hub gets a"
    ):
        check_output("hf://anna/net/model.safetensors", None, None)


@pytest.mark.slow
def test_the_environment_s_own_settings_hold(content, tmp_path, checkout):
    """In a process of its own: HF_HUB_CACHE and HF_HUB_OFFLINE as the client reads them."""
    fill_cache(tmp_path / "hub", "anna/heart.net-2", {"model.safetensors": content})
    code = (
        f"import fm_unroll as fm; print(type(fm.load({NAME + '@' + COMMIT!r})).__name__); fm.load('hf://a/b')"
    )
    settings = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert done.stdout == "Reconstructor\n"
    assert "hf://a/b: the hub cannot be reached for a/b (HF_HUB_OFFLINE is set)" in done.stderr
