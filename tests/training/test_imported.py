"""Weights of fastMRI's own VarNet as a checkpoint: the same images, in every verb, on strangers alone."""

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from fastmri.models import Unet, VarNet
from jsonargparse import Namespace

from fm_unroll.cli import main
from fm_unroll.data import FastMRIBrainData, FastMRIKneeData
from fm_unroll.errors import InputError
from fm_unroll.evaluation.entrants import trained
from fm_unroll.evaluation.protocol import Protocol
from fm_unroll.evaluation.records import read_records
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.subjects.population import Seen
from fm_unroll.training.fastmri_weights import read_fastmri_weights, sizes_of
from fm_unroll.training.refusals import refuse_imported
from simulate import disc_scan, write_fastmri

SIZES = {"num_cascades": 2, "sens_chans": 3, "sens_pools": 2, "chans": 4, "pools": 1}
GIVEN = ["--anatomy", "knee", "--trained_on", "train", "--accelerations", "[4]"]


def varnet(**sizes: int) -> VarNet:
    torch.manual_seed(0)
    network = VarNet(**(SIZES | sizes)).eval()
    for cascade in network.cascades:
        torch.nn.init.uniform_(cascade.dc_weight, 0.5, 1.5)
    return network


def save(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def imported(source: Path, *options: str) -> Path:
    output = source.with_name("imported.ckpt")
    main(["weights", "import", "fastmri", str(source), "--output", str(output), *options])
    return output


@pytest.fixture(scope="module")
def knee(tmp_path_factory) -> Path:
    """A checkpoint of a file that is named as fastMRI's knee network is."""
    folder = tmp_path_factory.mktemp("published")
    return imported(save(folder / "knee_leaderboard_state_dict.pt", varnet().state_dict()))


def of_module(tensors: dict[str, torch.Tensor]) -> dict[str, object]:
    """What Lightning writes of fastMRI's VarNetModule."""
    named = {f"varnet.{name}": tensor for name, tensor in tensors.items()}
    settings = {**SIZES, "lr": 3e-4, "weight_decay": 0.0}
    return {"epoch": 49, "state_dict": {**named, "loss.w": torch.ones(1)}, "hyper_parameters": settings}


@pytest.mark.parametrize("layout", [dict, of_module])
@torch.no_grad()
def test_imported_weights_give_the_images_of_fastmri(layout, tmp_path):
    theirs = varnet()
    path = imported(save(tmp_path / "last.ckpt", layout(theirs.state_dict())), *GIVEN)
    kspace, mask, num_acs = disc_scan().measured
    expected = theirs(torch.view_as_real(kspace), mask[..., None], num_acs)
    image = load_network(path)(kspace, mask, num_acs)
    assert (image - expected).norm() / expected.norm() < 1e-5


def test_sizes_are_read_off_the_published_network():
    """As fastMRI's run_pretrained_varnet_inference.py builds it."""
    sizes = {"num_cascades": 12, "pools": 4, "chans": 18, "sens_pools": 4, "sens_chans": 8}
    with torch.device("meta"):
        assert sizes_of(VarNet(**sizes).state_dict()) == sizes


def test_names_of_a_huge_network_are_refused_before_it_is_built(tmp_path, monkeypatch, capsys):
    """300 cascades of fastMRI's width would take 3 GB; their names alone take none of it."""
    tensors = varnet(chans=18, pools=4).state_dict()
    tensors |= {f"cascades.{number}.dc_weight": torch.ones(1) for number in range(2, 300)}
    real = []  # what would have been filled with numbers
    monkeypatch.setattr(
        torch.nn.Conv2d,
        "reset_parameters",
        lambda layer: real.append(layer) if not layer.weight.is_meta else None,
    )
    with pytest.raises(SystemExit):
        imported(save(tmp_path / "many.pt", tensors), *GIVEN)
    line = capsys.readouterr().err
    assert "num_cascades 300" in line and "missing: cascades.2.model.unet" in line and not real


def test_what_is_known_of_a_published_file_comes_from_its_name(knee, tmp_path, capsys):
    entrant = trained(knee)
    assert entrant.arm.label == "E2E-VarNet (fastMRI knee, imported)"
    assert entrant.arm.kind != "baseline"
    assert (entrant.train_anatomy, entrant.train_accelerations) == ("knee", (4, 8))
    assert math.isnan(entrant.seed) and math.isnan(entrant.epoch)
    other = save(tmp_path / "brain_leaderboard_state_dict.pt", varnet().state_dict())
    facts = read_checkpoint(imported(other))["fm_unroll"]
    assert facts["anatomy"] == "brain" and "multicoil_val" not in facts["all_but"]
    assert "by its name" in capsys.readouterr().out
    facts = read_checkpoint(imported(save(tmp_path / "mine.pt", varnet().state_dict()), *GIVEN))["fm_unroll"]
    assert facts["acceleration"] == 4 and "multicoil_val" in facts["all_but"]


def test_two_imports_of_one_file_are_no_two_seeds(tmp_path):
    source = save(tmp_path / "mine.pt", varnet().state_dict())
    first, second = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    imported(source, *GIVEN).rename(first)
    imported(source, *GIVEN, "--trained_on", "train+val").rename(second)
    with pytest.raises(InputError, match=r"a\.ckpt and .*b\.ckpt are both E2E-VarNet \(mine, imported\)"):
        Protocol([], [str(first), str(second)], baselines=()).entrants([first, second])


@pytest.mark.slow
def test_an_imported_network_goes_through_every_verb(knee, synthetic, tmp_path, capsys):
    folder = synthetic / "knee"
    scan = next(folder.rglob("*.h5"))
    main(["reconstruct", str(scan), "--checkpoint", str(knee), "--output", str(tmp_path / "image.h5")])
    data = {"class_path": "FastMRIKneeData", "init_args": {"root": str(folder), "num_workers": 0}}
    test = {"data": data, "trainer": {"logger": False, "accelerator": "cpu", "enable_progress_bar": False}}
    for verb in ("test", "predict"):
        config = tmp_path / f"{verb}.yaml"
        config.write_text(yaml.safe_dump(test))
        main([verb, "--config", str(config), "--ckpt_path", str(knee), *run_dir(tmp_path)])
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config), "--ckpt_path", str(knee), *run_dir(tmp_path)])
    assert "fit cannot go on with it" in capsys.readouterr().err
    measured = json.loads((tmp_path / "run/test.json").read_text())["metrics"]
    assert 0 < measured["test/ssim"] < 1
    small = tmp_path / "knee.safetensors"
    main(["release", str(knee), str(small)])
    assert trained(small).arm == trained(knee).arm
    options = {"checkpoints": [str(knee)], "baselines": ["zero_filled"], "accelerations": [4.0, 10.0]}
    protocol = {"test_sets": [{"name": "knee", "data": data, "centers": [0.08]}], **options}
    config = tmp_path / "protocol.yaml"
    config.write_text(yaml.safe_dump({**protocol, "output": str(tmp_path / "results"), "num_workers": 0}))
    main(["cross-domain", "--config", str(config)])
    records = read_records(tmp_path / "results/records.csv")
    own = records[records.method == "imported/fastMRI_knee"]
    assert set(own.acceleration) == {4} and set(records.acceleration) == {4, 10}
    # what comes later into the same folder leaves its rows alone, whose seed nobody knows
    options |= {"checkpoints": [], "accelerations": [4.0], "baselines": ["cg_sense"]}
    config.write_text(yaml.safe_dump({**protocol, **options, "output": str(tmp_path / "results")}))
    main(["cross-domain", "--config", str(config), "--num_workers", "0"])
    later = read_records(tmp_path / "results/records.csv")
    assert set(later.method) == {"imported/fastMRI_knee", "zero_filled", "cg_sense"}
    main(["report", str(tmp_path / "results/records.csv")])
    page = (tmp_path / "results/report.html").read_text()
    assert "E2E-VarNet (fastMRI knee, imported)" in page and "multicoil_val is not unseen" in page


def test_no_training_goes_on_with_it_or_begins_from_it(knee, tmp_path):
    """A run of our own that goes on needs the file no more from which it began."""
    facts = {"population": {}, "encoders": []}
    own = {"state_dict": {}, "hyper_parameters": {"method": "varnet"}, "fm_unroll": facts}
    ours = str(save(tmp_path / "own.ckpt", own))
    for name, ckpt_path, unet_from in (
        ("ckpt_path", str(knee), None),
        ("ckpt_path", str(knee), ours),
        ("model.unet_from", None, str(knee)),
    ):
        config = Namespace(ckpt_path=ckpt_path, model=Namespace(unet_from=unet_from))
        with pytest.raises(
            InputError, match=rf"--{name} .*imported\.ckpt: its weights were trained elsewhere"
        ):
            refuse_imported(config)
    for ckpt_path, unet_from in (
        (None, None),
        (None, ours),
        (ours, None),
        (ours, str(tmp_path / "gone.ckpt")),
    ):
        refuse_imported(Namespace(ckpt_path=ckpt_path, model=Namespace(unet_from=unet_from)))


def run_dir(folder: Path) -> list[str]:
    return ["--trainer.default_root_dir", str(folder / "run")]


@pytest.mark.parametrize(
    "trained_on, folder, seen",
    [
        ("train+val", "multicoil_train", True),
        ("train+val", "multicoil_val", True),
        ("train+val", "multicoil_test_full", False),
        ("train+val", "", True),
        ("train", "multicoil_train", True),
        ("train", "multicoil_val", False),
        ("unknown", "multicoil_test_full", True),
    ],
)
@pytest.mark.parametrize("within", [False, True], ids=["the root holds the folder", "the root is the folder"])
def test_nobody_is_scored_whom_it_may_have_been_trained_on(trained_on, folder, seen, within, tmp_path):
    path = imported(save(tmp_path / "mine.pt", varnet().state_dict()), *GIVEN, "--trained_on", trained_on)
    networks = [Seen.of(read_checkpoint(path)["fm_unroll"], str(path))]
    root = tmp_path / "data"
    for number in range(2):
        attributes = {"patient_id": f"p{number}", "acquisition": "CORPD_FBK"}
        write_fastmri(root / folder / f"file{number}.h5", attributes=attributes)
    data = FastMRIKneeData(root / folder if within else root, num_workers=0)
    data.serve("cross-domain", networks)
    if seen:
        with pytest.raises(InputError, match=r"file0\.h5: .*imported\.ckpt may have been trained on it"):
            data.setup()
    else:
        data.setup()
        assert data.subjects["test"] == ("p0", "p1")


def test_other_people_and_unscored_images_are_free(knee, tmp_path):
    networks = [Seen.of(read_checkpoint(knee)["fm_unroll"], str(knee))]
    for folder, acquisition in (("multicoil_train", "CORPD_FBK"), ("multicoil_test_full", "CORPD_FBK")):
        attributes = {"patient_id": folder, "acquisition": acquisition}
        write_fastmri(tmp_path / "knee" / folder / f"{folder}.h5", attributes=attributes)
    # of the published split it saw the training part only
    data = FastMRIKneeData(tmp_path / "knee", published_split=True, num_workers=0)
    data.serve("cross-domain", networks)
    data.setup()
    assert data.subjects["test"] == ("multicoil_test_full",)
    write_fastmri(tmp_path / "brain/multicoil_val/file.h5", attributes={"acquisition": "AXT2"})
    for data, verb in (
        (FastMRIBrainData(tmp_path / "brain", num_workers=0), "cross-domain"),
        (FastMRIKneeData(tmp_path / "knee", num_workers=0), "predict"),
    ):
        data.serve(verb, networks)
        data.setup()
        assert data.subjects["test"]


def test_reconstruct_warns_of_a_scan_that_it_may_have_been_trained_on(knee, tmp_path, capsys):
    attributes = {"patient_id": "p0", "acquisition": "CORPD_FBK"}
    words = "may have been trained on this scan"
    for folder, seen in (("multicoil_val", True), ("multicoil_test_full", False)):
        scan = write_fastmri(tmp_path / folder / "file.h5", (1, 2, 32, 40), (16, 16), attributes=attributes)
        main(["reconstruct", str(scan), "--checkpoint", str(knee), "--output", str(tmp_path / "image.h5")])
        assert (words in capsys.readouterr().err) is seen


class Pickled:
    """What is no tensor and no plain value."""


def without(name: str) -> Callable[[], dict[str, torch.Tensor]]:
    return lambda: {key: tensor for key, tensor in varnet().state_dict().items() if key != name}


def changed(**tensors: torch.Tensor) -> Callable[[], dict[str, torch.Tensor]]:
    return lambda: varnet().state_dict() | {name.replace("__", "."): t for name, t in tensors.items()}


@pytest.mark.parametrize(
    "content, words",
    [
        (lambda: {**varnet().state_dict(), **varnet(chans=6).cascades[1].state_dict(prefix="cascades.1.")},
         "chans 4, pools 1: of another size: cascades.1.model.unet.down_sample_layers.0.layers.0.weight is "
         "(6, 2, 3, 3), expected (4, 2, 3, 3), "),
        (without("cascades.1.dc_weight"), "missing: cascades.1.dc_weight"),
        (changed(cascades__0__gate=torch.ones(1)), "unknown: cascades.0.gate"),
        (changed(cascades__0__dc_weight=torch.tensor([math.nan])), "not finite: cascades.0.dc_weight"),
        (changed(cascades__0__dc_weight=torch.ones(1, dtype=torch.int64)), "no real numbers: cascades.0"),
        (changed(cascades__0__dc_weight=torch.ones(1, dtype=torch.cfloat)), "no real numbers: cascades.0"),
        (changed(cascades__0__dc_weight=torch.ones(1).to_sparse()), "no real numbers: cascades.0.dc_weight"),
        (lambda: Unet(2, 2, 4, 2).state_dict(), "give the weights of fastMRI's VarNet"),
        (lambda: {"state_dict": varnet().state_dict(), "hyper_parameters": Pickled()}, "if you trust it"),
        (lambda: [torch.ones(1)], "is no state dict"),
    ],
)  # fmt: skip
def test_what_are_no_weights_of_one_varnet_is_named(content, words, tmp_path, capsys):
    source = save(tmp_path / "knee_leaderboard_state_dict.pt", content())
    with pytest.raises(SystemExit):
        imported(source)
    line = capsys.readouterr().err
    assert words in line and str(source) in line
    assert len(line.splitlines()) == 1 and len(line) < 900
    assert not source.with_name("imported.ckpt").exists()


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("mine.pt", ["--anatomy", "knee"], "give --anatomy, --trained_on and --accelerations"),
        ("mine.pt", [*GIVEN, "--accelerations", "[0.5]"], "acceleration 0.5 is below 1"),
        ("knee_leaderboard_state_dict.pt", ["--trained_on", "train"], "--trained_on contradicts"),
        ("knee_leaderboard_state_dict.pt", ["--anatomy", "brain"], "fastMRI's knee network by its name"),
        ("mine.pt", [*GIVEN, "--output", "a.pt"], "ends in .ckpt"),
    ],
)
def test_options_that_cannot_be_are_named(name, options, words, tmp_path, capsys):
    with pytest.raises(SystemExit):
        imported(save(tmp_path / name, varnet().state_dict()), *options)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, words",
    [
        (b"<html>not found</html>", r"cannot be read \(it is damaged, or not of torch.save\): fetch it anew"),
        (b"", r"cannot be read \(it is damaged, or not of torch.save\): fetch it anew"),
        (
            pickle.dumps(Path("anything"), protocol=2),
            r"it names code, pathlib\.\w+, which is not run\): if you trust it",
        ),
    ],
)
def test_only_a_file_that_names_code_is_a_matter_of_trust(content, words, tmp_path):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_fastmri_weights(tmp_path / "weights.pt")
