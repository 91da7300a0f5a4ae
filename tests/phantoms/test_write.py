"""Files have the published structure, and the fastMRI library reads those in its layout."""

from xml.etree import ElementTree

import fastmri
import h5py
import numpy as np
import pytest
import torch
from fastmri.data import SliceDataset

CINE = "MultiCoil/Cine/TrainingSet"
MAPPING = "MultiCoil/Mapping/TrainingSet"


def fastmri_rss(kspace: np.ndarray) -> np.ndarray:
    """Root sum of squares by the fastMRI library; kspace (..., coil, readout, phase)."""
    images = fastmri.ifft2c(torch.view_as_real(torch.from_numpy(kspace)))
    return fastmri.rss(fastmri.complex_abs(images), dim=-3).numpy()


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
