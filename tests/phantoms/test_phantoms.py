"""The synthetic data set has the published structure; its scanner obeys Fourier, noise and coil physics."""

import json
from pathlib import Path
from xml.etree import ElementTree

import fastmri
import h5py
import numpy as np
import pytest
import torch
from fastmri.data import SliceDataset

from fm_unroll.commands import synthesize as commands
from fm_unroll.commands.synthesize import synthesize
from fm_unroll.errors import InputError
from fm_unroll.phantoms.coils import CoilArray
from fm_unroll.phantoms.contact_sheet import contact_sheet
from fm_unroll.phantoms.shapes import Noise, Plane
from fm_unroll.phantoms.simulate import Acquisition, Scan, root_sum_of_squares
from fm_unroll.phantoms.tissue import TISSUES, balanced_steady_state, spin_echo

CINE = "MultiCoil/Cine/TrainingSet"
MAPPING = "MultiCoil/Mapping/TrainingSet"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    synthesize(folder, size="tiny", hearts=2, knees=2, heads=3, accelerations=[4])
    return folder


def fastmri_rss(kspace: np.ndarray) -> np.ndarray:
    """Root sum of squares by the fastMRI library; kspace (..., coil, readout, phase)."""
    images = fastmri.ifft2c(torch.view_as_real(torch.from_numpy(kspace)))
    return fastmri.rss(fastmri.complex_abs(images), dim=-3).numpy()


def contents(root: Path) -> dict[str, bytes]:
    """Every file below the root but the pictures."""
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".png")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


# --- files ------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "shape"),
    [
        (f"{CINE}/FullSample/P001/cine_sax.mat", (2, 2, 3, 36, 48)),
        (f"{CINE}/FullSample/P002/cine_sax.mat", (2, 2, 3, 40, 48)),
        (f"{CINE}/FullSample/P001/cine_lax.mat", (1, 3, 3, 36, 48)),
        (f"{MAPPING}/FullSample/P001/T1map.mat", (9, 1, 3, 36, 48)),
        (f"{MAPPING}/FullSample/P001/T2map.mat", (3, 1, 3, 32, 40)),
    ],
)
def test_heart_files_are_matlab_files_in_the_challenge_layout(root, file, shape):
    header = (root / file).read_bytes()[:128]
    assert header.startswith(b"MATLAB 7.3 MAT-file")
    assert header[116:] == bytes(8) + b"\x00\x02IM"
    with h5py.File(root / file) as opened:
        assert opened.userblock_size == 512
        assert list(opened) == ["kspace_full"]
        kspace = opened["kspace_full"]
        assert kspace.shape == shape
        assert kspace.dtype == np.dtype([("real", "<f4"), ("imag", "<f4")])
        assert kspace.attrs["MATLAB_class"] == b"single"
        assert np.isfinite(kspace["real"]).all()


def test_structure_equals_that_of_a_real_heart_file(root, shared):
    real_path = shared / "data/cmrxrecon" / CINE / "FullSample/P001/cine_sax.mat"
    with h5py.File(real_path) as real, h5py.File(root / CINE / "FullSample/P001/cine_sax.mat") as synthetic:
        a, b = real["kspace_full"], synthetic["kspace_full"]
        assert (a.dtype, a.ndim, a.compression, a.shuffle) == (b.dtype, b.ndim, b.compression, b.shuffle)
        assert a.attrs["MATLAB_class"] == b.attrs["MATLAB_class"]
        assert real.userblock_size == synthetic.userblock_size


def test_undersampled_heart_is_the_masked_full_one(root):
    folder = root / CINE / "AccFactor04" / "P001"
    with (
        h5py.File(root / CINE / "FullSample/P001/cine_sax.mat") as full,
        h5py.File(folder / "cine_sax.mat") as undersampled,
        h5py.File(folder / "cine_sax_mask.mat") as mask_file,
    ):
        mask = mask_file["mask04"][()]
        full, undersampled = full["kspace_full"][()], undersampled["kspace_sub04"][()]
    assert mask.shape == (36, 48)
    # 36 lines: the centre 24 are 6..29; every 4th outside of them is 0, 4, 32.
    assert np.flatnonzero(mask[:, 0]).tolist() == [0, 4, *range(6, 30), 32]
    assert (mask == mask[:, :1]).all()
    kept = mask.astype(bool)
    assert (undersampled[..., kept] == full[..., kept]).all()
    assert not undersampled["real"][..., ~kept].any()
    assert not undersampled["imag"][..., ~kept].any()


@pytest.mark.parametrize("anatomy", ["knee", "brain"])
def test_volumes_read_by_fastmri_itself(root, anatomy):
    dataset = SliceDataset(root / anatomy / "multicoil_val", challenge="multicoil")
    seen = set()
    for kspace, _, target, attributes, name, _ in dataset:
        assert kspace.dtype == np.complex64
        assert kspace.ndim == 3
        assert kspace.shape[:2] == (3, 64)
        assert attributes["encoding_size"][:2] == kspace.shape[1:]
        assert attributes["recon_size"][:2] == target.shape == (32, 32)
        top, left = (64 - 32) // 2, (kspace.shape[-1] - 32) // 2
        image = fastmri_rss(kspace)[top : top + 32, left : left + 32]
        np.testing.assert_allclose(image, target, rtol=1e-5, atol=1e-9)
        measured = np.flatnonzero(np.abs(kspace).sum((0, 1)))
        assert measured.tolist() == list(range(attributes["padding_left"], attributes["padding_right"]))
        assert 1e-5 < attributes["max"] < 1e-2
        seen.add((name.rsplit("_", 1)[0] if anatomy == "brain" else anatomy, attributes["acquisition"]))
    expected = {"knee": {"CORPD_FBK", "CORPDFS_FBK"}, "brain": {"AXT1", "AXT2", "AXFLAIR"}}[anatomy]
    assert {acquisition for _, acquisition in seen} == expected


def test_ragged_heads_have_padded_columns(root):
    widths = {}
    for path in (root / "brain/multicoil_val").glob("*.h5"):
        with h5py.File(path) as file:
            header = ElementTree.fromstring(file["ismrmrd_header"][()])
            limits = header.find(".//{*}kspace_encoding_step_1")
            lines = int(limits.find("{*}maximum").text) - int(limits.find("{*}minimum").text) + 1
            widths[file["kspace"].shape[-1]] = lines
            assert float(file.attrs["norm"]) == pytest.approx(
                np.linalg.norm(file["reconstruction_rss"]), rel=1e-5
            )
            assert file.attrs["max"] == file["reconstruction_rss"][()].max()
    assert widths == {32: 32, 40: 32}


def test_everything_says_that_it_is_synthetic(root):
    label = json.loads((root / "synthetic.json").read_text())
    assert "nobody was scanned" in label["synthetic"]
    files = [*root.rglob("*.h5"), *root.rglob("*.mat")]
    assert len(files) == 2 * 4 * 3 + 2 + 3
    for path in files:
        with h5py.File(path) as file:
            assert "nobody was scanned" in file.attrs["synthetic"]
            assert file.attrs["generator_version"] == label["generator_version"]
    assert contact_sheet(root).read_bytes().startswith(b"\x89PNG")


# --- determinism, resuming, refusing ----------------------------------


def test_subjects_do_not_depend_on_their_number_and_the_seed_matters(root, tmp_path):
    synthesize(tmp_path / "fewer", size="tiny", hearts=1, knees=1, heads=1)
    fewer, all_of_them = contents(tmp_path / "fewer"), contents(root)
    assert len(fewer) == 7
    assert {name: all_of_them[name] for name in fewer} == fewer
    synthesize(tmp_path / "other", size="tiny", hearts=0, knees=1, heads=0, seed=1)
    other = contents(tmp_path / "other")
    assert other["knee/multicoil_val/file1000001.h5"] != fewer["knee/multicoil_val/file1000001.h5"]


def test_an_interrupted_run_is_completed_to_the_same_tree(tmp_path, monkeypatch):
    options = {"size": "tiny", "hearts": 1, "knees": 1, "heads": 1, "accelerations": [8]}
    synthesize(tmp_path / "whole", **options)
    calls = 0
    write = h5py.Group.create_dataset

    def stop_in_the_third_file(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return write(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(h5py.Group, "create_dataset", stop_in_the_third_file)
        with pytest.raises(KeyboardInterrupt):
            synthesize(tmp_path / "stopped", **options)
    (first,) = (tmp_path / "stopped").glob("**/FullSample/P001/*.mat")
    written = first.stat().st_mtime_ns
    synthesize(tmp_path / "stopped", **options)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    assert first.stat().st_mtime_ns == written


def test_refuses_a_root_that_holds_something_else(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not empty"):
        synthesize(tmp_path, size="tiny")
    with pytest.raises(InputError, match="not a folder"):
        synthesize(tmp_path / "file", size="tiny")
    with pytest.raises(InputError, match=r"seed 0 \(asked: 5\)"):
        synthesize(root, size="tiny", seed=5)
    with pytest.raises(InputError, match=r"size tiny \(asked: demo\)"):
        synthesize(root)
    (tmp_path / "synthetic.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        synthesize(tmp_path, size="tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "synthetic.json"]


def test_a_newer_generator_does_not_mix_with_older_files(root, monkeypatch):
    monkeypatch.setattr(commands, "GENERATOR_VERSION", commands.GENERATOR_VERSION + 1)
    with pytest.raises(InputError, match="generator_version"):
        synthesize(root, size="tiny")


@pytest.mark.parametrize(
    "options",
    [
        {"size": "huge"},
        {"hearts": -1},
        {"seed": -1},
        {"accelerations": [1]},
        {"hearts": 0, "knees": 0, "heads": 0},
    ],
)
def test_refuses_bad_options_and_writes_nothing(options, tmp_path):
    with pytest.raises(InputError):
        synthesize(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


# --- content ----------------------------------------------------------


def test_the_heart_beats_and_the_chest_does_not(root):
    with h5py.File(root / CINE / "FullSample/P001/cine_sax.mat") as file:
        first, second = fastmri_rss(file["kspace_full"][:, 0].view(np.complex64).swapaxes(-2, -1))
    change = np.abs(first - second)
    heart, back = change[14:30, 10:30], change[36:, :]
    assert heart.max() > 8 * back.max()


def test_contrasts_are_those_of_their_sequences():
    t1, t2, flair = spin_echo(500, 10), spin_echo(5000, 100), spin_echo(9000, 120, ti=2500)
    white, grey, fluid = (TISSUES[name] for name in ("white_matter", "grey_matter", "cerebrospinal_fluid"))
    assert t1(white) > t1(grey) > t1(fluid) > 0
    assert t2(fluid) > t2(grey) > t2(white) > 0
    assert flair(grey) > flair(white) > 10 * abs(flair(fluid))
    assert spin_echo(3000, 30, fat_suppression=0.95)(TISSUES["fat"]) < 0.1 * spin_echo(3000, 30)(
        TISSUES["fat"]
    )
    cine = balanced_steady_state(3.2, 50)
    assert cine(TISSUES["blood"]) > 2 * cine(TISSUES["myocardium"]) > 0 > cine(TISSUES["fat"])
    myocardium = TISSUES["myocardium"]
    null = balanced_steady_state(2.7, 35, inversion=myocardium.t1 * np.log(2))
    assert null(myocardium) == pytest.approx(0, abs=1e-9)
    prepared = [balanced_steady_state(3, 35, t2_preparation=te)(myocardium) for te in (0, myocardium.t2)]
    assert prepared[1] / prepared[0] == pytest.approx(np.exp(-1))


def test_subjects_differ_widely(root):
    volumes = []
    for path in sorted((root / "brain/multicoil_val").glob("*.h5")):
        with h5py.File(path) as file:
            volumes.append(file["reconstruction_rss"][0] / file.attrs["max"])
    for i, a in enumerate(volumes):
        for b in volumes[:i]:
            assert np.linalg.norm(a - b) > 0.3 * np.linalg.norm(a)


# --- the simulated scanner --------------------------------------------


def gaussian(plane: Plane, x: float, y: float, width: float) -> np.ndarray:
    return np.exp(-((plane.x - x) ** 2 + (plane.y - y) ** 2) / (2 * width**2))


def test_sampling_agrees_with_the_analytic_fourier_transform():
    """A Gaussian's continuous transform is known: F(k) = 2 pi w^2 exp(-2 pi^2 w^2 |k|^2 - 2 pi i k.r)."""
    acquisition = Acquisition((48, 40), (240.0, 160.0))
    width, x, y = 7.0, 21.0, -33.0
    kspace = acquisition.sample(gaussian(acquisition.plane(), x, y, width))
    ky = (np.arange(48) - 24)[:, None] / 240
    kx = (np.arange(40) - 20)[None] / 160
    transform = 2 * np.pi * width**2 * np.exp(-2 * (np.pi * width) ** 2 * (kx**2 + ky**2))
    transform = transform * np.exp(-2j * np.pi * (kx * x + ky * y))
    voxel = (240 / 48) * (160 / 40)
    np.testing.assert_allclose(kspace, transform / voxel / np.sqrt(48 * 40), atol=1e-5)


def test_object_beyond_the_phase_field_wraps_and_image_keeps_its_place_and_scale():
    acquisition = Acquisition((48, 40), (240.0, 160.0))
    plane = acquisition.plane()
    image = root_sum_of_squares(acquisition.sample(gaussian(plane, 88.0, 20.0, 6.0))[None])
    coarse = Plane.grid(48, 40, (240 / 48, 160 / 40))
    wrapped = gaussian(coarse, 88.0, 20.0, 6.0) + gaussian(coarse, 88.0 - 160.0, 20.0, 6.0)
    np.testing.assert_allclose(image, wrapped, atol=1e-3)


def test_simulation_is_not_inverted_by_its_own_grid():
    """A sharp edge drawn on the finer grid rings in the image, as on a scanner."""
    acquisition = Acquisition((48, 40), (240.0, 160.0))
    plane = acquisition.plane()
    image = root_sum_of_squares(acquisition.sample((np.abs(plane.x) < 41.0).astype(np.float32))[None])
    assert 1.05 < image.max() < 1.2


@pytest.fixture(scope="module")
def coils() -> CoilArray:
    return CoilArray.around(np.random.default_rng(3), 6, (110, 125), 70, main_field=(0, 0, 1))


def test_noise_has_the_std_and_the_correlation_that_were_asked_for(coils):
    acquisition = Acquisition((128, 64), (300.0, 200.0), padding=(5, 3))
    scan = Scan(acquisition, coils, Noise(np.random.default_rng(0), 200), 1.0, scale=1.0, noise_std=2e-6)
    plane = acquisition.plane()
    (kspace,) = scan.acquire([np.zeros_like(plane.x)], plane, np.random.default_rng(1))
    assert not kspace[..., :5].any()
    assert not kspace[..., 61:].any()
    noise = kspace[..., 5:61].reshape(6, -1)
    np.testing.assert_allclose(noise.std(1), 2e-6, rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(noise), coils.noise_covariance, atol=0.04)
    assert np.abs(coils.noise_covariance - np.eye(6)).max() > 0.1


def test_air_beside_the_head_holds_only_the_noise_that_the_file_states(tmp_path):
    synthesize(tmp_path, size="demo", hearts=0, knees=0, heads=1)
    with h5py.File(next(tmp_path.rglob("*.h5"))) as file:
        kspace, noise_std = torch.from_numpy(file["kspace"][()]), file.attrs["noise_std"]
    images = torch.view_as_complex(fastmri.ifft2c(torch.view_as_real(kspace)))
    assert images[..., :25, :].std().item() == pytest.approx(noise_std, rel=0.1)


def test_a_loop_on_its_axis_follows_biot_and_savart():
    """|B| on the axis of a loop of radius R goes as (R^2 + d^2 + a^2)^-1.5, a = 15 mm for the conductor."""
    loop = CoilArray(
        np.array([[-100.0, 0, 0]]), np.array([[1.0, 0, 0]]), np.array([60.0]), (0, 0, 1), np.ones((1, 1))
    )
    plane = Plane.grid(41, 41, (4.0, 4.0))
    on_axis = np.abs(loop.sensitivities(plane)[0, 20])
    distance = 100.0 + plane.x[20]
    expected = ((60.0**2 + 100.0**2 + 15.0**2) / (60.0**2 + distance**2 + 15.0**2)) ** 1.5
    np.testing.assert_allclose(on_axis, expected, rtol=2e-3)


def test_sensitivities_are_smooth_and_distinct(coils):
    maps = coils.sensitivities(Plane.grid(64, 64, (2.0, 2.0)))
    assert maps.dtype == np.complex64
    assert np.linalg.norm(maps[:, 32, 32]) == pytest.approx(1, rel=1e-3)
    # Curvature against size: a map may bend over centimetres, not over millimetres.
    curvature = np.abs(np.diff(maps, n=2, axis=-1)).max() / np.abs(maps).max()
    assert curvature < 0.01
    flat = maps.reshape(6, -1)
    similarity = np.abs(flat @ flat.conj().T) / np.outer(*[np.linalg.norm(flat, axis=1)] * 2)
    assert (similarity - np.eye(6)).max() < 0.9
