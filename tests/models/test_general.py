"""The general network that comes with the package: where it is used, what it says of itself, its worth."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import fm_unroll as fm
from fm_unroll.cli import main
from fm_unroll.evaluation.entrants import baseline
from fm_unroll.metrics import psnr, ssim
from fm_unroll.models.anchored import AnchoredNetwork
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.models.classical import CLASSICAL, CGSense, WaveletCS
from fm_unroll.models.release import GENERAL
from fm_unroll.physics import EquispacedSampling
from fm_unroll.reconstruction.engine import reconstruct
from fm_unroll.subjects.population import data_sets_of
from simulate import complex_noise, disc_scan


@pytest.fixture(scope="module")
def network() -> AnchoredNetwork:
    return load_network(GENERAL)


def test_it_is_small_and_says_that_it_was_trained_on_drawings_alone():
    assert GENERAL.stat().st_size <= 4e6
    facts = read_checkpoint(GENERAL)["fm_unroll"]
    parts = data_sets_of(facts)
    assert {part["anatomy"] for part in parts} == {"pictures", "cardiac", "knee", "brain"}
    assert all(part["synthetic"] and part["population"]["synthetic"] for part in parts)
    assert facts["encoders"] == []


def test_its_card_states_what_it_was_trained_on():
    seen = [part["trained_on"] for part in data_sets_of(read_checkpoint(GENERAL)["fm_unroll"])]
    least = {name: min(each[name][0] for each in seen) for name in ("coils", "readout", "phase")}
    most = {name: max(each[name][1] for each in seen) for name in ("coils", "readout", "phase")}
    card = (Path(__file__).parents[2] / "docs/general_network.md").read_text().split("## ")[0]
    words = " ".join(card.split())
    assert f"trained on {least['coils']} to {most['coils']} coils" in words
    sizes = f"{least['readout']} x {least['phase']} to {most['readout']} x {most['phase']}"
    assert f"matrices from {sizes}" in words


def test_it_is_the_default_of_load_and_of_reconstruct(network, synthetic, tmp_path, capsys):
    file = synthetic / "MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat"
    batch = fm.open_scan(file).undersample(EquispacedSampling(4, 0.08))[:]
    expected = reconstruct(network, batch)
    assert torch.equal(fm.load()(batch), expected)
    main(["reconstruct", str(file), "--output", str(tmp_path / "a.h5")])
    assert "the general network that comes with fm_unroll" in capsys.readouterr().out
    with h5py.File(tmp_path / "a.h5") as written:
        image = written["reconstruction"][()].reshape(expected.shape)
    np.testing.assert_allclose(image, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_lightning_s_verbs_refuse_it_in_one_line(verb, synthetic, capsys):
    data = ["--data", "CMRxReconData", "--data.root", str(synthetic)]
    with pytest.raises(SystemExit) as end:
        main([verb, *data, "--ckpt_path", str(GENERAL)])
    assert end.value.code == 2
    assert "is a released network, which reconstruct and cross-domain take" in capsys.readouterr().err


def test_it_takes_part_at_every_acceleration_and_has_seen_no_one():
    entrant = baseline("general")
    assert entrant.arm.label == "General, embedded" and entrant.arm.kind == "control"
    assert [entrant.train_acceleration(each) for each in (2, 4, 8, 10)] == [2, 4, 8, 10]
    # neither scans nor the demo's phantoms: what it was trained on is of an edition of its own
    assert all(seen.population.synthetic and seen.population.edition for seen in entrant.seen)
    assert isinstance(entrant.load(), AnchoredNetwork)


@pytest.mark.parametrize("coils, readout, phase", [(1, 48, 40), (4, 64, 48), (6, 64, 96), (16, 40, 36)])
@torch.no_grad()
def test_it_is_hardly_ever_worse_than_what_needs_no_training(network, coils, readout, phase):
    """Noisy discs, small matrices, a single coil and many: within 0.1 dB of both."""
    scan = disc_scan(1, coils, readout, phase, acs_lines=8)
    noise = 0.02 * complex_noise(*scan.kspace.shape) * scan.mask
    target = scan.image.abs()
    measured = (scan.kspace + noise, scan.mask, scan.num_acs)
    image = network(*measured)
    for method in ("zero_filled", "cg_sense"):
        rival = CLASSICAL[method]()(*measured)
        assert psnr(image, target, target.amax()) >= psnr(rival, target, target.amax()) - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["file_brain_vfa_13coil.h5", "file_brain_moco7.h5", "file_knee_larson1.h5"])
def test_real_scans_gain_over_methods_without_training(network, shared, name):
    """SSIM of the first slice at x8; nobody of them was trained on."""
    (file,) = (shared / "data").rglob(name)
    batch = fm.open_scan(file).undersample(EquispacedSampling(8, 0.04))[0]
    target, data_range = batch.target, batch.target.amax((1, 2))
    found = {
        method: ssim(reconstruct(net, batch), target, data_range).item()
        for method, net in {"general": network, "cg": CGSense(), "wavelet": WaveletCS()}.items()
    }
    assert found["general"] > max(found["cg"], found["wavelet"])
