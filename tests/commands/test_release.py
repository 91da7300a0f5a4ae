"""The verb ``release``: a folder to look at, a repository on the hub, and what comes back from there."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors import safe_open

import fm_unroll as fm
from fm_unroll import hub
from fm_unroll.cli import main
from fm_unroll.commands.cross_domain import cross_domain
from fm_unroll.data import FastMRIBrainData, FastMRIKneeData
from fm_unroll.evaluation.scoring import TestSet
from fm_unroll.files import file_sha256
from fm_unroll.models.build import build_model
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.models.release import FILE, write_folder
from fm_unroll.physics import Center, EquispacedSampling
from fm_unroll.report.model_card import model_card
from fm_unroll.training.task import ReconstructionTask
from hub_server import COMMIT, Hub, fill_cache

VARNET = {"method": "varnet", "num_cascades": 1, "chans": 2, "pools": 1, "sens_chans": 2, "sens_pools": 1}
FACTS = {
    "encoders": [],
    "anatomy": "knee",
    "contrasts": ["PD"],
    "synthetic": True,
    "acceleration": 4.0,
    "sampling": EquispacedSampling(4, 0.2).to_config(),
    "population": {
        "data_set": "fastMRI",
        "edition": "knee",
        "subset": "",
        "synthetic": True,
        "stated": False,
    },
    "subjects": {"seed": 0, "fractions": None, "train": ["knee77", "knee78"], "val": ["knee79"], "test": []},
    "seed": 0,
}
NAME = "hf://anna/knee"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The best checkpoint of a run on a machine whose paths say whose it is."""
    run_dir = tmp_path_factory.mktemp("runs") / "varnet"
    (run_dir / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    task = ReconstructionTask(**VARNET)
    settings = {
        **dict(task.hparams),
        "weights": "/home/otto/my weights/vit.pt",
        "unet_from": Path("/home/otto/u.ckpt"),
    }
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    content = {"state_dict": task.state_dict(), "hyper_parameters": settings, "fm_unroll": FACTS, "epoch": 6}
    torch.save(content, run_dir / "checkpoints/best.ckpt")
    data = {"root": "/mnt/otto/fastmri knee", "split_file": "../otto/split.json", "acceleration": 4}
    config = {"model": VARNET, "data": {"init_args": data}, "trainer": {"default_root_dir": "~otto/runs/a"}}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    command = "python -m fm_unroll fit --config=/home/otto/a.yaml --data.root /mnt/otto/knee --x [/otto/b,1]"
    (run_dir / "provenance.json").write_text(json.dumps({"commit": "abc", "command": command}))
    return run_dir / "checkpoints/best.ckpt"


@pytest.fixture
def folder(checkpoint, tmp_path) -> Path:
    main(["release", str(checkpoint), str(tmp_path / "knee"), "--license", "cc-by-nc-4.0"])
    return tmp_path / "knee"


def error_line(capsys, *args: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["release", *map(str, args)])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_folder_holds_a_repository_with_everything_but_paths(folder, checkpoint):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {FILE, "README.md", "config.json", "config.yaml", "provenance.json"}
    assert not [name for name, content in files.items() if b"otto" in content]
    config = yaml.safe_load(files["config.yaml"])
    assert config["data"]["init_args"] == {
        "root": "fastmri knee",
        "split_file": "split.json",
        "acceleration": 4,
    }
    command = "python -m fm_unroll fit --config=a.yaml --data.root knee --x [b,1]"
    assert json.loads(files["provenance.json"]) == {"commit": "abc", "command": command}
    with safe_open(folder / FILE, framework="pt") as file:
        assert file.metadata()["config.yaml"].encode() == files["config.yaml"]
    # whom it was trained on, that nobody of them is scored
    assert read_checkpoint(folder / FILE)["fm_unroll"]["subjects"] == FACTS["subjects"]
    settings = json.loads(files["config.json"])["hyper_parameters"]
    expected = load_network(checkpoint).state_dict()
    assert build_model(**{name: settings[name] for name in VARNET}).state_dict().keys() == expected.keys()
    found = load_network(folder / FILE).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_release_that_is_interrupted_leaves_no_half_of_a_folder(checkpoint, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    # between the file of the network and the card
    monkeypatch.setattr("fm_unroll.commands.release.model_card", interrupted)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(["release", str(checkpoint), str(tmp_path / "knee"), "--license", "mit"])
    assert sorted(tmp_path.rglob("*")) == before


def test_the_card_is_one_for_the_hub_and_says_what_a_user_needs(folder):
    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert data == {
        "license": "cc-by-nc-4.0",
        "library_name": "fm_unroll",
        "pipeline_tag": "image-to-image",
        "tags": ["mri", "image-reconstruction", "inverse-problems", "knee"],
    }
    for text in (
        "**Not for diagnosis.**",
        "python -m fm_unroll reconstruct scan.h5 --checkpoint hf://OWNER/NAME",
        "undersample(fm.EquispacedSampling(acceleration=4, center_fraction=0.2))",
        "- fastMRI knee (synthetic) (PD): 2 subjects, selected on 1 others; EquispacedSampling at x4",
        f"| SHA-256 of model.safetensors | {file_sha256(folder / FILE)} |",
        "| epoch | 7 |",
        "It has no pretrained encoder.",
        "No measurement was given for this card.",
    ):
        assert text in card.text, text
    assert "knee77" not in card.text


def test_the_card_names_encoders_with_their_licences(checkpoint, tmp_path):
    content = read_checkpoint(checkpoint)
    content["fm_unroll"]["encoders"] = [
        {"name": "dinov2", "weights": "pretrained", "sha256": "ab" * 32},
        {"name": "biomedclip", "weights": "file:own.pt", "sha256": "cd" * 32},
    ]
    file = write_folder(content, tmp_path / "a", half=True, notes={})
    text = model_card(content, load_network(checkpoint), file, NAME, "mit")
    (tmp_path / "README.md").write_text(text)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == [
        "timm/vit_base_patch14_dinov2.lvd142m"
    ]  # of which the hub knows the weights
    assert f"| dinov2 | pretrained | Apache-2.0 | {'ab' * 32} |" in card.text
    assert f"| biomedclip | file:own.pt | MIT | {'cd' * 32} |" in card.text
    assert "not in this repository" in card.text


def test_the_card_shows_the_records_of_this_checkpoint_alone(checkpoint, run, tmp_path, capsys):
    records = pd.read_csv(run, dtype=str, keep_default_na=False)
    network = records[records.method == "varnet"]
    own = network.index[network.seed == network.seed.iloc[0]]
    records.loc[own, "checkpoint_sha256"] = file_sha256(checkpoint)
    records.to_csv(tmp_path / "records.csv", index=False)
    options = ["--license", "mit", "--records", tmp_path / "records.csv"]
    main(["release", str(checkpoint), str(tmp_path / "a"), *map(str, options)])
    card = ModelCard.load(tmp_path / "a/README.md").text
    assert "E2E-VarNet" in card and "Zero-filled" in card and "CLIP" not in card
    capsys.readouterr()
    line = error_line(capsys, checkpoint, tmp_path / "b", *options[:2], "--records", run)
    assert f"no row is of {checkpoint} (sha256 {file_sha256(checkpoint)[:12]})" in line
    assert not (tmp_path / "b").exists()


def test_what_is_published_comes_back_and_no_token_is_left_anywhere(
    fake_hub: Hub, folder, checkpoint, monkeypatch, capsys
):
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    main(["release", str(checkpoint), NAME, "--license", "cc-by-nc-4.0"])
    printed = capsys.readouterr()
    assert f"published: {NAME}@{COMMIT}\n" in printed.out and "3 ids of subjects go along" in printed.out
    (created,) = [content for path, content in fake_hub.told if path == "/api/repos/create"]
    assert (created["organization"], created["name"]) == ("anna", "knee")
    # named otherwise by earlier clients
    assert created.get("visibility") == "private" or created["private"] is True
    files = {path.rpartition("/")[2]: content for path, content in fake_hub.files.items()}
    assert files.keys() == {path.name for path in folder.iterdir()}
    # safetensors writes metadata in an order that differs from file to file, and so does the file's hash
    there, here = hashlib.sha256(files.pop(FILE)).hexdigest(), file_sha256(folder / FILE)
    for name, content in files.items():
        expected = (folder / name).read_text().replace("hf://OWNER/NAME", NAME).replace(here, there)
        assert content.decode() == expected, name
    assert fake_hub.tokens == {"Bearer hf_SECRET"} and "SECRET" not in printed.out + printed.err
    assert not [name for name, content in fake_hub.files.items() if b"SECRET" in content]
    found = fm.load(NAME).network.state_dict()
    assert all(
        torch.equal(found[name], tensor) for name, tensor in load_network(checkpoint).state_dict().items()
    )


def test_a_later_version_goes_into_the_repository_that_is_there(fake_hub: Hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    folder = tmp_path / "network"
    folder.mkdir()
    for version in ("first", "second"):
        (folder / "facts.json").write_text(version)
        assert hub.publish(folder, "anna/knee", version) == COMMIT
    assert list(fake_hub.files.values()) == [b"second"]


def test_a_token_that_may_not_write_is_named_in_one_line(fake_hub: Hub, checkpoint, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    fake_hub.forbidden = True
    line = error_line(capsys, checkpoint, NAME, "--license", "mit")
    assert "the hub refuses anna/knee (403" in line and "with a token that may do this" in line
    assert not fake_hub.files and "SECRET" not in line


def test_a_file_alone_has_the_very_weights_unless_half_of_their_digits_are_asked_for(checkpoint, tmp_path):
    expected = load_network(checkpoint).state_dict()
    for name, options in (("whole", []), ("half", ["--half", "true"])):
        file = tmp_path / f"{name}.safetensors"
        main(["release", str(checkpoint), str(file), *options])
        found = load_network(file).state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items()) is not bool(options)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < sizes[1]


REFUSED = [
    ([NAME], "names the licence of the weights as the hub writes it: give --license, such as mit"),
    (["{}/new", "--license", "MIT License"], "give --license, such as mit"),
    ([NAME, "--license", "mit"], "the hub takes files from whoever is logged in: run `hf auth login`"),
    ([f"{NAME}@v1", "--license", "mit"], f"{NAME}@v1: what is published is a new commit: leave out @v1"),
    (["hf://knee", "--license", "mit"], "hf://knee: write hf://OWNER/NAME"),
    (["{}", "--license", "mit"], "is not empty: give a new folder"),
    (
        ["{}/a.ckpt", "--license", "mit"],
        "a.ckpt: end it in .safetensors, or give a folder or hf://OWNER/NAME",
    ),
    (["{}/a.safetensors", "--license", "mit"], "--license and --records are for a model card"),
    (["{}/a.safetensors", "--records", "records.csv"], "--license and --records are for a model card"),
    (["{}/new", "--license", "mit license"], "give --license, such as mit"),
]


@pytest.mark.parametrize(
    ("words", "expected"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_be_written_is_refused_before_the_checkpoint_is_read(
    words, expected, tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    (tmp_path / "something").touch()
    words = [word.format(tmp_path) for word in words]
    assert expected in error_line(capsys, tmp_path / "no.ckpt", *words)


def test_an_image_says_by_which_commit_it_was_made(folder, synthetic, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    fill_cache(tmp_path / "hub", "anna/knee", {FILE: (folder / FILE).read_bytes()})
    (scan, *_) = sorted((synthetic / "knee").rglob("*.h5"))
    main(["reconstruct", str(scan), "--checkpoint", f"{NAME}@{COMMIT}", "--output", str(tmp_path / "a.h5")])
    assert f"by the network of {NAME}@{COMMIT}\n" in capsys.readouterr().out
    kept = json.loads((tmp_path / "a_provenance.json").read_text())
    assert kept["reconstruction"] == {
        "scan": str(scan),
        "masked_by": str(EquispacedSampling(4, 0.2)),
        "network": f"{NAME}@{COMMIT}",
        "sha256": file_sha256(folder / FILE),
    }
    assert {"fm_unroll", "commit", "packages"} <= kept.keys()


@pytest.mark.slow
def test_an_evaluation_says_which_commit_it_scored_and_knows_it_again(
    folder, synthetic, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    fill_cache(tmp_path / "hub", "anna/knee", {FILE: (folder / FILE).read_bytes()})
    output = tmp_path / "results"

    def evaluate(*checkpoints: str) -> pd.DataFrame:
        sets = [
            TestSet("brain", FastMRIBrainData(synthetic / "brain", num_workers=0), [Center(fraction=0.2)]),
            TestSet("knee", FastMRIKneeData(synthetic / "knee", num_workers=0), [Center(fraction=0.2)]),
        ]
        only = ("brain",) if checkpoints else ("knee",)
        options = {"accelerations": (4,), "num_workers": 0, "only": only}
        cross_domain(test_sets=sets, output=output, checkpoints=list(checkpoints), **options)
        return pd.read_csv(output / "records.csv")

    digest = file_sha256(folder / FILE)
    assert digest in set(evaluate(f"{NAME}@{COMMIT}").checkpoint_sha256)
    protocol = json.loads((output / "provenance.json").read_text())["protocol"]
    assert protocol["checkpoints"] == {f"{NAME}@{COMMIT}": f"varnet, sha256 {digest}"}
    # of another command without it: its rows stay, as its file is where it was
    records = evaluate()
    assert set(records[records.checkpoint_sha256 == digest].dataset) == {"brain"}
    assert "knee" in set(records.dataset)
