"""Files that version 0.1 wrote are read, evaluated and trained on by this version."""

import json
import pkgutil
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from fm_unroll import data as data_modules
from fm_unroll.cli import main
from fm_unroll.commands.synthesize import synthesize
from fm_unroll.compatibility import MOVED, upgrade_checkpoint, upgrade_config, upgrade_sampling
from fm_unroll.data import FastMRIKneeData
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.physics import EquispacedSampling, RandomSampling, UniformSampling, pattern_from_config

OLD = Path(__file__).parent / "fixtures" / "version_0_1"


@pytest.fixture(scope="module")
def old_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of the old runs, drawn again."""
    root = tmp_path_factory.mktemp("old") / "data"
    synthesize(root, size="tiny", hearts=4, knees=2, heads=1)
    return root


def in_old_folder(old_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Go where the old configs' relative paths lead to the data."""
    (tmp_path / "data").symlink_to(old_data)
    monkeypatch.chdir(tmp_path)


def content(name: str) -> dict:
    return torch.load(OLD / f"{name}.ckpt", weights_only=True)


def score(name: str, folder: Path) -> float:
    """SSIM of an old checkpoint on the validation subjects of its run."""
    main(["validate", "--config", str(OLD / f"{name}.yaml"), "--ckpt_path", str(OLD / f"{name}.ckpt")])
    return json.loads((folder / name / "validate.json").read_text())["metrics"]["val/ssim"]


@pytest.mark.parametrize("name", ["varnet", "foundation"])
def test_an_old_checkpoint_scores_what_it_scored(name, old_data, tmp_path, monkeypatch):
    in_old_folder(old_data, monkeypatch, tmp_path)
    # version 0.1 seeded the masks of knees with the name of their file without its suffix
    monkeypatch.setattr(Volume, "mask_seed", property(lambda volume: volume.name))
    best = next(s for key, s in content(name)["callbacks"].items() if key.startswith("ModelCheckpoint"))
    assert score(name, tmp_path) == pytest.approx(best["best_model_score"].item(), abs=1e-6)


def test_knees_are_masked_with_the_masks_of_fastmri(old_data, tmp_path, monkeypatch):
    """Hearts score what they scored; a figure of knees from version 0.1 cannot be compared."""
    in_old_folder(old_data, monkeypatch, tmp_path)
    assert score("foundation", tmp_path) == pytest.approx(0.533920, abs=1e-6)


def test_an_old_run_goes_on(old_data, tmp_path, monkeypatch):
    in_old_folder(old_data, monkeypatch, tmp_path)
    (tmp_path / "varnet" / "checkpoints").mkdir(parents=True)
    shutil.copy(OLD / "varnet.yaml", "varnet/config.yaml")
    shutil.copy(OLD / "varnet.ckpt", "varnet/checkpoints/last.ckpt")
    main(["fit", "--resume", "varnet", "--trainer.max_epochs", "2"])
    last = read_checkpoint(Path("varnet/checkpoints/last.ckpt"))
    assert last["epoch"] == 1 and last["global_step"] == 2 * content("varnet")["global_step"]
    resolved = yaml.safe_load(Path("varnet/config.yaml").read_text())
    assert resolved["model"]["chans"] == last["hyper_parameters"]["chans"] == 2
    assert "blocks" not in resolved["model"] and "blocks" not in last["hyper_parameters"]


def test_old_hyper_parameters_are_those_of_the_method():
    foreign = {"varnet": {"blocks", "weights", "fusion"}, "foundation": {"chans", "pools"}}
    for name, options in foreign.items():
        assert options <= content(name)["hyper_parameters"].keys()
        assert not options & read_checkpoint(OLD / f"{name}.ckpt")["hyper_parameters"].keys()
        network = load_network(OLD / f"{name}.ckpt")
        saved = content(name)["state_dict"]
        loaded = {f"network.{key}": tensor for key, tensor in network.state_dict().items()}
        assert loaded.keys() == saved.keys()
        assert all(torch.equal(tensor, saved[key]) for key, tensor in loaded.items())


def test_classes_are_named_where_they_are_now():
    callbacks = upgrade_config(yaml.safe_load((OLD / "varnet.yaml").read_text()))["trainer"]["callbacks"]
    assert [callback["class_path"] for callback in callbacks[2:]] == [
        "fm_unroll.training.callbacks.LastCheckpoint",
        "fm_unroll.training.callbacks.ImagePanels",
        "fm_unroll.training.callbacks.ReconstructionWriter",
        "fm_unroll.training.loggers.WandbRecord",
    ]


@pytest.mark.parametrize("name", MOVED.values())
def test_what_moved_is_where_it_is_said_to_be(name):
    assert pkgutil.resolve_name(name)


OF_ALL_METHODS = {
    "learning_rate": 0.001,
    "learning_rate_step": 40,
    "learning_rate_factor": 0.1,
    "any_encoder": False,
    "compile": False,
    "num_cascades": 1,
    "sens_chans": 2,
    "sens_pools": 2,
    "checkpoint_cascades": "none",
}
OF_ALL_DECODERS = {"decoder_widths": [384, 192, 128, 64], "shared_decoder": False}
OF_ALL_ENCODERS = {
    "pretrained": True,
    "blocks": [1, 2, 3, 4, 5, 6],
    "fusion": "softmax",
    "encoder_gradient": "through",
    "statistics": "imagenet",
    "encoder_input": "magnitude",
    "encoder_image_size": 224,
    "encoder_precision": "auto",
}


@pytest.mark.parametrize(
    "method, given, expected",
    [
        ("varnet", {}, {"chans": 2, "pools": 2}),
        ("varnet_wide", {"chans": None}, {"pools": 2}),
        ("none", {}, OF_ALL_DECODERS),
        ("clip", {}, OF_ALL_DECODERS | OF_ALL_ENCODERS),
        ("clip", {"weights": "a.pt"}, OF_ALL_DECODERS | OF_ALL_ENCODERS | {"weights": "a.pt"}),
        ("timm/vit_tiny_patch16_224", {}, OF_ALL_DECODERS | OF_ALL_ENCODERS),
    ],
)
def test_an_old_model_keeps_the_options_of_its_method(method, given, expected):
    old = yaml.safe_load((OLD / "varnet.yaml").read_text())["model"] | {"method": method} | given
    now = {"none": "image_skip_only"}.get(method, method)
    assert upgrade_config({"model": old})["model"] == {"method": now} | OF_ALL_METHODS | expected


@pytest.mark.parametrize(
    "model",
    [
        {"method": "varnet", "blocks": [1]},
        {"method": "varnet", "chans": 2, "pools": 2, "blocks": [1], "weights": None},
        {"method": "clip", "chans": 2, "pools": 2, "blocks": [1]},
    ],
)
def test_what_is_written_by_hand_is_left_as_it_is(model):
    config = {"model": model, "trainer": {"logger": None}}
    assert upgrade_config(config) == config


@pytest.mark.parametrize("kind", ["CMRxReconData", "FastMRIKneeData", "FastMRIBrainData"])
def test_packed_files_stay_in_a_config_and_are_refused_there(kind):
    data = {"class_path": f"fm_unroll.data.{kind}", "init_args": {"root": "x", "packed": "some/path"}}
    assert upgrade_config({"data": data}) == {"data": data}
    with pytest.raises(TypeError, match="packed"):
        getattr(data_modules, kind)(**data["init_args"])
    none = data | {"init_args": {"root": "x", "packed": None}}
    assert upgrade_config({"data": none}) == {"data": data | {"init_args": {"root": "x"}}}


def test_an_old_pattern_is_known_by_class_and_arguments():
    assert content("varnet")["fm_unroll"]["sampling"].startswith("UniformSampling(acceleration=")
    for name, expected in (
        ("varnet", UniformSampling(4.0, acs_lines=8)),
        ("foundation", RandomSampling(4.0, center_fraction=0.08)),
    ):
        facts = read_checkpoint(OLD / f"{name}.ckpt")["fm_unroll"]
        assert repr(expected) == content(name)["fm_unroll"]["sampling"]
        assert pattern_from_config(facts["sampling"]) == expected
        assert upgrade_sampling(facts) == facts
    for text in ("OwnSampling(acceleration=4)", "__import__('os')", "no code at all", "f(x)(y=1)", "1"):
        with pytest.raises(InputError, match="is not known here"):
            pattern_from_config(upgrade_sampling({"sampling": text})["sampling"])


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"pattern": "equispaced", "acceleration": 4, "packed": None}, EquispacedSampling(4, 0.04)),
        ({"pattern": "random"}, RandomSampling(8, 0.04)),
        ({"pattern": "random", "acceleration": 4, "center_fraction": 0.08}, RandomSampling(4, 0.08)),
    ],
)
def test_an_old_choice_of_lines_is_a_pattern(options, expected):
    data = {"class_path": "fm_unroll.data.FastMRIKneeData", "init_args": {"root": "x", **options}}
    old = {"test_sets": [{"name": "knee", "data": data, "centers": [0.08]}], "data": data}
    new = upgrade_config(old)
    assert new["test_sets"][0] == {"name": "knee", "data": new["data"], "centers": [0.08]}
    arguments = new["data"]["init_args"]
    if sampling := arguments.pop("sampling", None):
        arguments["sampling"] = pattern_from_config(sampling)
    assert FastMRIKneeData(**arguments).sampling == expected
    assert "pattern" in data["init_args"], "what was given is left as it is"


@pytest.mark.parametrize("method", ["mixed", "varnet x 1, clip x 2"])
def test_later_methods_have_options_of_all_kinds(method):
    listed = yaml.safe_load((OLD / "varnet.yaml").read_text())["model"] | {"method": method}
    assert upgrade_config({"model": listed})["model"] == listed


@pytest.mark.parametrize(
    ("sha256", "found"), [("0123", [{"name": "clip", "sha256": "0123"}]), ("", [])], ids=["one", "none"]
)
def test_earlier_checkpoints_named_one_encoder(sha256, found):
    facts = {"anatomy": "cardiac", "encoder": {"name": "clip", "sha256": sha256}}
    upgraded = upgrade_checkpoint({"hyper_parameters": {}, "fm_unroll": facts})["fm_unroll"]
    assert upgraded["encoders"] == found and "encoder" not in upgraded
    later = upgrade_checkpoint({"hyper_parameters": {}, "fm_unroll": upgraded})["fm_unroll"]
    assert later["encoders"] == found


@pytest.mark.parametrize(
    "model, seed", [({"method": "random", "pretrained": True}, 0), ({"method": "varnet"}, None)]
)
def test_random_encoders_of_earlier_versions_were_the_same_in_every_run(model, seed):
    old = {"hyper_parameters": model, "fm_unroll": {"anatomy": "cardiac"}}
    assert upgrade_checkpoint(old)["hyper_parameters"].get("encoder_seed") == seed
    later = {"hyper_parameters": model | {"encoder_seed": 7}, "fm_unroll": {"anatomy": "cardiac"}}
    assert upgrade_checkpoint(later)["hyper_parameters"]["encoder_seed"] == 7
