"""A network that is not of this package, fastMRI's VarNet, through every verb."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from fastmri.data.transforms import center_crop
from fastmri.models import VarNet

from fm_unroll.cli import main
from fm_unroll.data.scan import open_scan
from fm_unroll.errors import InputError
from fm_unroll.evaluation.records import read_records, record_arms
from fm_unroll.models.release import FILE
from fm_unroll.physics import UniformSampling
from fm_unroll.reconstruction.engine import load
from fm_unroll.training.callbacks import ReconstructionWriter
from hub_server import fill_cache, go_offline
from training_runs import DATA, config_for, same_weights, weights

pytestmark = pytest.mark.slow

# as docs/extending.md shows it
ADAPTER = """
# --8<-- [start:adapter]
import torch
from fastmri.models import VarNet

class FastMRIVarNet(VarNet):
    def __init__(self, num_cascades: int, sens_chans: int, sens_pools: int, chans: int = 18, pools: int = 4):
        super().__init__(num_cascades, sens_chans, sens_pools, chans, pools)

    def forward(self, masked_kspace, mask, num_acs):
        return super().forward(torch.view_as_real(masked_kspace), mask[..., None], num_acs)
# --8<-- [end:adapter]
"""
NAME = "fastmri_adapter:FastMRIVarNet"
TRUST = ["--trust_code", NAME]
SIZES = {"num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}
FEW = {"limit_train_batches": 2, "limit_val_batches": 1}


@pytest.fixture(scope="module", autouse=True)
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    (folder / "fastmri_adapter.py").write_text(ADAPTER)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    sys.modules.pop("fastmri_adapter", None)


@pytest.fixture(scope="module")
def run_dir(synthetic, tmp_path_factory) -> Path:
    """A run of two epochs, named on the command line alone."""
    run_dir = tmp_path_factory.mktemp("runs") / "own"
    config = config_for(synthetic, run_dir, {"method": "varnet", **SIZES}, **FEW)
    main(["fit", "--config", str(config), "--model.method", NAME])
    return run_dir


def refused(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(list(words))
    assert exit_.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_trained_network_is_brought_back(run_dir, synthetic, tmp_path, capsys):
    """Its image is that of fastMRI's own class with the tensors of the checkpoint."""
    best = run_dir / "checkpoints/best.ckpt"
    scan = open_scan(next((synthetic / "knee").rglob("*.h5")))
    batch = scan.undersample(UniformSampling(4, acs_lines=8))[0]
    theirs = VarNet(**SIZES).eval()
    theirs.load_state_dict({name.removeprefix("network.own."): t for name, t in weights(best).items()})
    with torch.no_grad():
        expected = theirs(torch.view_as_real(batch.kspace), batch.mask[..., None], batch.num_acs)
    image = load(best, trust_code=sys.modules["fastmri_adapter"].FastMRIVarNet)(batch)
    torch.testing.assert_close(image, center_crop(expected, batch.crop), rtol=1e-4, atol=0)
    command = ["reconstruct", str(scan.path), "--checkpoint", str(best), "--output", str(tmp_path / "a.h5")]
    line = refused(capsys, *command)
    assert line.startswith(f"error: {best} names a network") and line.endswith("with the class)")
    assert "leave out --trust" in refused(capsys, *command, "--trust", *TRUST)
    for adapt in (["--adapt"], ["--adapt.free", "decoder"]):
        assert "cannot be adapted: leave out --adapt" in refused(capsys, *command, *adapt, *TRUST)
    main([*command, *TRUST])
    assert "CG-SENSE" in capsys.readouterr().out and (tmp_path / "a.h5").is_file()


def test_a_run_goes_on_as_if_it_had_not_been_interrupted(run_dir, synthetic, tmp_path, capsys):
    config = config_for(synthetic, tmp_path / "own", {"method": NAME, **SIZES}, **FEW | {"max_epochs": 1})
    assert f"{config} names a network" in refused(capsys, "fit", "--config", str(config))
    main(["fit", "--config", str(config), *TRUST])
    resume = ["fit", "--resume", str(tmp_path / "own"), "--trainer.max_epochs", "2"]
    assert f"add --trust_code {NAME}" in refused(capsys, *resume)
    main([*resume, *TRUST])
    assert same_weights(run_dir / "checkpoints/last.ckpt", tmp_path / "own/checkpoints/last.ckpt")


def test_it_is_an_arm_of_the_cross_domain_evaluation(run_dir, synthetic, tmp_path, capsys):
    best = run_dir / "checkpoints/best.ckpt"
    data = {"class_path": "FastMRIKneeData", "init_args": {"root": str(synthetic / "knee"), "num_workers": 0}}
    data["init_args"]["split"] = [0, 0, 1]
    protocol = tmp_path / "protocol.yaml"
    protocol.write_text(yaml.safe_dump({"test_sets": [{"name": "knee", "data": data, "centers": [0.2]}]}))
    common = ["--config", str(protocol), "--accelerations", "4", "--num_workers", "0"]
    command = ["cross-domain", *common, "--output", str(tmp_path / "results")]
    assert f"{best} names a network" in refused(capsys, *command, "--checkpoints", str(best))
    assert not (tmp_path / "results").exists()
    main([*command, "--checkpoints", str(best), *TRUST])
    assert "FastMRIVarNet" in capsys.readouterr().out
    records = read_records(tmp_path / "results/records.csv")
    arms = {arm.label: arm.kind for arm in record_arms(records)}
    assert arms == {"FastMRIVarNet": "own", "Zero-filled": "classical"}
    size = json.loads((tmp_path / "results/priors.json").read_text())[NAME]["size"]
    assert size["flop"] is None and size["trained"] == sum(t.numel() for t in weights(best).values())
    # another command without consent says which rows it cannot keep
    main([*command, "--checkpoints", "[]", "--baselines", "cg_sense"])
    assert f"rows of {NAME}, whose code this command may not run: add" in capsys.readouterr().out


def test_other_verbs_take_it_and_other_methods_work_afterwards(run_dir, synthetic, tmp_path, capsys):
    best = str(run_dir / "checkpoints/best.ckpt")
    init = {"root": str(synthetic), **DATA}
    config = tmp_path / "test.yaml"
    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "default_root_dir": str(tmp_path / "t")}
    content = {"data": {"class_path": "CMRxReconData", "init_args": init}, "trainer": trainer}
    config.write_text(yaml.safe_dump(content))
    command = ["test", "--config", str(config), "--ckpt_path", best]
    assert f"{best} names a network" in refused(capsys, *command)
    main([*command, *TRUST])
    measured = json.loads((tmp_path / "t/test.json").read_text())["metrics"]
    assert 0 < measured["test/ssim"] < 1
    line = refused(capsys, "fit", "--config", str(config), "--model.method", NAME, "--model.chanz", "2")
    assert "there is no option model.chanz, did you mean model.chans" in line
    small = {"num_cascades": 1, "chans": 2, "pools": 1, "sens_chans": 2, "sens_pools": 1}
    options = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}
    main(["fit", "--config", str(config_for(synthetic, tmp_path / "varnet", small, **options))])
    assert pd.read_csv(tmp_path / "varnet/metrics.csv")["val/ssim"].notna().any()
    file = tmp_path / "sweep.yaml"
    program = ["python", "-m", "fm_unroll", "fit", "--config", str(config), "${args}"]
    parameters = {"model.method": {"value": NAME}, "model.chans": {"value": 2}}
    file.write_text(yaml.safe_dump({"method": "grid", "parameters": parameters, "command": program}))
    sweep = ["sweep", str(file), "--max-runs", "0", "--output", str(tmp_path / "sweeps")]
    assert f"names a network that is not of fm_unroll, {NAME}" in refused(capsys, *sweep)
    main([*sweep, *TRUST])


@pytest.mark.filterwarnings("ignore:the hub cannot be reached")
def test_it_is_passed_on_without_its_code(run_dir, synthetic, tmp_path, monkeypatch, capsys):
    """As a folder, and from the hub's cache: whoever takes it needs the class, and says so."""
    best = run_dir / "checkpoints/best.ckpt"
    release = ["release", str(best), str(tmp_path / "own"), "--license", "mit"]
    assert f"{best} names a network" in refused(capsys, *release)
    assert not (tmp_path / "own").exists()
    main([*release, *TRUST])
    assert f"The code of `{NAME}` is not in this repository" in (tmp_path / "own/README.md").read_text()
    go_offline(tmp_path / "cache", monkeypatch)
    files = {file.name: file.read_bytes() for file in (tmp_path / "own").iterdir()}
    fill_cache(tmp_path / "cache", "anna/own", files)
    scan = open_scan(next((synthetic / "knee").rglob("*.h5")))
    batch = scan.undersample(UniformSampling(4, acs_lines=8))[0]
    own = sys.modules["fastmri_adapter"].FastMRIVarNet
    expected = load(best, trust_code=own)(batch)
    for place in (tmp_path / "own" / FILE, "hf://anna/own"):
        with pytest.raises(InputError, match=f"names a network .*, {NAME}: if you know its code"):
            load(place)
        assert torch.equal(load(place, trust_code=own)(batch), expected)
    with pytest.raises(InputError, match="slice 0, frame 0 holds NaN"):  # `predict` writes no such image
        images = torch.full_like(expected, torch.nan)
        ReconstructionWriter().write_on_batch_end(None, None, images, None, batch, 0, 0)
    command = ["reconstruct", str(scan.path), "--checkpoint", "hf://anna/own"]
    assert "hf://anna/own@" in (line := refused(capsys, *command)) and f"add --trust_code {NAME}" in line
    main([*command, "--output", str(tmp_path / "a.h5"), *TRUST])
    assert (tmp_path / "a.h5").is_file()


def test_it_validates_and_predicts(run_dir, synthetic, tmp_path, capsys):
    best = str(run_dir / "checkpoints/best.ckpt")
    data = {"class_path": "CMRxReconData", "init_args": {"root": str(synthetic), **DATA}}
    trainer = {"accelerator": "cpu", "default_root_dir": str(tmp_path / "b")}
    applied = tmp_path / "applied.yaml"
    applied.write_text(yaml.safe_dump({"data": data, "trainer": trainer}))
    for verb in ("validate", "predict"):
        command = [verb, "--config", str(applied), "--ckpt_path", best]
        assert f"{best} names a network" in refused(capsys, *command)
        main([*command, *TRUST])
    assert 0 < json.loads((tmp_path / "b/validate.json").read_text())["metrics"]["val/ssim"] < 1
    assert [*(tmp_path / "b/reconstructions").rglob("*.h5")]
