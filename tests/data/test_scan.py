"""Files of every kind, recognised by what is in them."""

import numpy as np
import pytest
import torch

from fm_unroll.data.readers.numpy import AXES
from fm_unroll.data.scan import open_scan
from fm_unroll.data.volume import require_acs
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.physics import RandomSampling, UniformSampling, ifft2c, rss
from simulate import random_kspace, rss_image, write_cmrxrecon, write_fastmri, write_matlab


def test_kinds_are_told_by_content_not_by_name(write_ismrmrd, tmp_path):
    kspace = random_kspace(1, 2, 2, 16, 12)
    kinds = {
        write_cmrxrecon(tmp_path): "CMRxRecon",
        write_fastmri(tmp_path / "fast.h5"): "fastMRI",
        write_ismrmrd(tmp_path / "raw.h5", kspace): "ISMRMRD",
    }
    for position, (path, kind) in enumerate(kinds.items()):
        renamed = path.rename(tmp_path / f"scan{position}.dat")
        assert open_scan(renamed).kind == kind
    np.save(tmp_path / "array.npy", kspace)
    renamed = (tmp_path / "array.npy").rename(tmp_path / "array.dat")
    assert open_scan(renamed, AXES).kind == "NumPy"


def test_one_file_gives_the_samples_of_its_data_set(tmp_path):
    path = write_cmrxrecon(tmp_path, shape=(16, 12, 2, 3, 4))
    scan = open_scan(path)
    expected = random_kspace(16, 12, 2, 3, 4)
    assert scan.volume.name == "P001/cine_sax" and scan.anatomy == "cardiac" and len(scan) == 12
    for item in range(12):
        sample = scan[item]
        stored = expected[:, :, :, sample.slice, sample.frame]
        np.testing.assert_array_equal(sample.kspace.numpy(), stored.transpose(2, 0, 1))
        assert item == sample.frame * 3 + sample.slice


@pytest.mark.parametrize("contrast, anatomy", [("AXT2", "brain"), ("CORPDFS_FBK", "knee"), ("X", None)])
def test_fastmri_files_tell_their_anatomy_by_their_acquisition(tmp_path, contrast, anatomy):
    path = write_fastmri(tmp_path / "a.h5", attributes={"acquisition": contrast})
    assert open_scan(path).anatomy == anatomy


def test_undersampled_cmrxrecon_without_a_mask_file_is_searched_for_its_lines(tmp_path):
    kspace = random_kspace(16, 12, 2, 1, 1)
    lines = np.zeros(12, bool)
    lines[[0, 4, 5, 6, 7, 8]] = True
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_sub04=kspace * lines[:, None, None, None])
    volume = open_scan(path).volume
    assert volume.sampled == (0, 4, 5, 6, 7, 8) and volume.num_acs == 5


def test_numpy_axes_are_taken_as_they_are_named(tmp_path):
    kspace = random_kspace(2, 3, 4, 16, 12)
    np.save(tmp_path / "a.npy", kspace.transpose(4, 2, 1, 3, 0))
    scan = open_scan(tmp_path / "a.npy", ("phase", "coil", "slice", "readout", "frame"))
    stack = np.stack([scan[item].kspace.numpy() for item in range(6)])
    np.testing.assert_array_equal(stack.reshape(kspace.shape), kspace)
    np.save(tmp_path / "b.npy", kspace[0, 0])
    scan = open_scan(tmp_path / "b.npy", ("coil", "readout", "phase"))
    np.testing.assert_array_equal(scan[0].kspace.numpy(), kspace[0, 0])


def test_numpy_lines_that_are_zero_were_not_sampled(tmp_path):
    kspace = random_kspace(3, 4, 16, 12)
    kspace[..., [1, 3, 9]] = 0
    np.save(tmp_path / "a.npy", kspace)
    volume = open_scan(tmp_path / "a.npy", ("slice", "coil", "readout", "phase")).volume
    assert volume.sampled == (0, 2, 4, 5, 6, 7, 8, 10, 11) and volume.num_acs == 5


def test_a_scan_without_its_centre_has_no_acs_lines(tmp_path):
    kspace = random_kspace(4, 16, 12)
    kspace[..., [1, 6, 9]] = 0
    np.save(tmp_path / "a.npy", kspace)
    volume = open_scan(tmp_path / "a.npy", ("coil", "readout", "phase")).volume
    assert volume.sampled == (0, 2, 3, 4, 5, 7, 8, 10, 11) and volume.num_acs == 0
    with pytest.raises(InputError, match=r"a\.npy: the centre of k-space is not sampled"):
        require_acs(volume, tmp_path / "a.npy")


def test_files_that_cannot_be_used_are_named(tmp_path):
    complex_ = tmp_path / "complex.npy"
    np.save(complex_, random_kspace(4, 16, 12))
    real = tmp_path / "real.npy"
    np.save(real, np.ones((4, 16, 12)))
    torn = tmp_path / "torn.npy"
    torn.write_bytes(complex_.read_bytes()[:-100])
    code = tmp_path / "code.npy"
    np.save(code, np.array([{}], dtype=object))
    empty = tmp_path / "empty.npy"
    empty.touch()
    many = tmp_path / "many.npy"
    np.save(many, random_kspace(200, 16, 12))
    masked = tmp_path / "masked.npy"
    np.save(masked, random_kspace(4, 16, 12))
    np.save(tmp_path / "masked_mask.npy", np.ones(12, bool))
    text = tmp_path / "text.h5"
    text.write_text("no HDF5")
    other = write_matlab(tmp_path / "other.mat", image=np.ones((4, 4)))
    heart = write_cmrxrecon(tmp_path)
    three = ("coil", "readout", "phase")
    for path, axes, words in (
        (tmp_path / "nothing.npy", (), "is not a file"),
        (complex_, (), "name the 3 axes"),
        (complex_, ("coil", "kx", "ky"), "name the 3 axes"),
        (complex_, ("coil", "coil", "phase"), "name the 3 axes"),
        (complex_, ("slice", *three), "does not have the axes"),
        (real, three, "expected one complex array, found float64"),
        (torn, three, "damaged NumPy file"),
        (code, three, "an array of Python objects, which may hold code and is not read: save numbers"),
        (empty, three, "an empty file: write or copy it again"),
        (many, three, "200 coils by the axes coil, readout, phase: is their order right?"),
        (masked, three, "masked_mask.npy lies beside it, and masks of NumPy files are not read"),
        (text, (), "no HDF5 file"),
        (other, (), "its keys are image"),
        (other, three, "its keys are image"),
        (heart, three, "leave out --axes"),
    ):
        with pytest.raises(InputError) as error:
            open_scan(path, axes)
        assert str(path) in str(error.value) and words in str(error.value)
        assert "\n" not in str(error.value)


def test_a_scan_shows_itself_in_one_line(write_ismrmrd, tmp_path):
    path = write_cmrxrecon(tmp_path, shape=(16, 12, 2, 3, 4))
    scan = open_scan(str(path))
    matrix = "2 coils x 16 readout x 12 phase"
    assert (
        repr(scan) == f"Scan(cine_sax.mat: CMRxRecon cardiac, 3 slices x 4 frames, {matrix}, fully sampled)"
    )
    assert repr(scan[4]) == f"KSpaceSample(P001/cine_sax, slice 1, frame 1: {matrix}, fully sampled)"
    np.save(tmp_path / "a.npy", random_kspace(1, 16, 12))
    array = open_scan(tmp_path / "a.npy", ("coil", "readout", "phase"))
    assert repr(array) == (
        "Scan(a.npy: NumPy, 1 slice x 1 frame, 1 coil x 16 readout x 12 phase, fully sampled)"
    )
    batch = scan.undersample(UniformSampling(4, acs_lines=4))
    assert repr(batch) == (f"KSpaceBatch(12 slices: {matrix}, 6 of 12 lines, 4 ACS lines, target, cpu)")


def test_a_scan_is_undersampled_as_an_evaluation_does(tmp_path):
    path = write_fastmri(tmp_path / "file7.h5", padding=(2, 1))
    scan, pattern = open_scan(path), RandomSampling(2, 0.2)
    batch = scan.undersample(pattern)
    mask = pattern(12, "file7.h5", acquired=(2, 11))
    assert len(batch) == len(scan) == 3 and torch.equal(batch.mask, mask.lines.expand(3, 1, 1, 12))
    assert batch.num_acs == mask.num_acs and batch.true_acceleration == [mask.true_acceleration] * 3
    for position, sample in enumerate(scan):
        assert torch.equal(batch.kspace[position], sample.kspace * mask.lines)
        image = rss(ifft2c(sample.kspace))[4:12, 2:10]
        assert torch.equal(batch.target[position], image)
    assert batch.data_range.tolist() == [batch.target.max()] * 3


def test_the_maximum_that_is_measured_scales_the_metrics_not_the_one_that_is_stated(tmp_path):
    target = rss_image(random_kspace(3, 2, 16, 12))[:, 4:12, 2:10].astype("f4")
    for number, stored in enumerate([None, target]):
        path = write_fastmri(tmp_path / f"file{number}.h5", target=stored, attributes={"max": 7.5})
        scan = open_scan(path)
        batch = scan.undersample(RandomSampling(2, 0.2))
        np.testing.assert_allclose(batch.data_range, target.max(), rtol=1e-6)
        (line,) = scan.volume.contradictions
        assert line.startswith(f"the stated maximum 7.5 is {7.5 / target.max():.4g} times that of the images")


def test_a_path_from_inside_the_subjects_folder_names_the_subject(tmp_path, monkeypatch):
    monkeypatch.chdir(write_cmrxrecon(tmp_path, subject="P007").parent)
    volume = open_scan("cine_sax.mat").volume
    assert (volume.subject, volume.name) == ("P007", "P007/cine_sax")


def test_a_slice_of_a_batch_is_a_batch_that_a_network_takes(tmp_path):
    scan = open_scan(write_cmrxrecon(tmp_path, shape=(16, 12, 2, 3, 4)))
    batch = scan.undersample(UniformSampling(4, acs_lines=4))
    network = build_model("varnet", num_cascades=1, chans=2, pools=1, sens_chans=2, sens_pools=1)
    for item in (0, 5, -1):
        one = batch[item]
        assert len(one) == 1 and (one.slice, one.frame) == ([batch.slice[item]], [batch.frame[item]])
        assert torch.equal(one.kspace[0], batch.kspace[item]) and torch.equal(
            one.target[0], batch.target[item]
        )
        assert network(one.kspace, one.mask, one.num_acs).shape == (1, 16, 12)
    assert batch[2:5].slice == batch.slice[2:5] and len(batch[2:5].data_range) == 3
    assert len(list(batch)) == 12
    with pytest.raises(IndexError, match="slice 12 of a batch of 12 slices"):
        batch[12]


def test_an_undersampled_scan_is_not_undersampled_again(tmp_path):
    kspace = random_kspace(3, 4, 16, 12)
    kspace[..., [1, 3, 9]] = 0
    path = tmp_path / "a.npy"
    np.save(path, kspace)
    scan = open_scan(path, ("slice", "coil", "readout", "phase"))
    with pytest.raises(InputError, match=rf"{path} is undersampled already and has its own mask: scan.batch"):
        scan.undersample(UniformSampling(4, acs_lines=4))


def test_a_network_takes_an_undersampled_scan_as_it_is(tmp_path):
    kspace = random_kspace(3, 4, 16, 12)
    kspace[..., [1, 3, 9]] = 0
    np.save(tmp_path / "a.npy", kspace)
    batch = open_scan(tmp_path / "a.npy", ("slice", "coil", "readout", "phase")).batch()
    np.testing.assert_array_equal(batch.kspace, kspace)
    assert np.flatnonzero(~batch.mask[2, 0, 0]).tolist() == [1, 3, 9] and "9 of 12 lines" in repr(batch)
    network = build_model("varnet", num_cascades=1, chans=2, pools=1, sens_chans=2, sens_pools=1)
    together = network(batch.kspace, batch.mask, batch.num_acs)
    assert together.shape == (3, 16, 12)
    one = batch[1]
    torch.testing.assert_close(network(one.kspace, one.mask, one.num_acs)[0], together[1])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda k: k[1, :, :, :, 1::2].fill(0),
            "slice 0, frame 1 has other lines (6) .* k-t sampling is not",
        ),
        (lambda k: k[0, 1, :, :, 1::2].fill(0), "slice 1, frame 0 has other lines (6) .* slice to slice"),
        (lambda k: k[0, 1, :, :8, 1::2].fill(0), "slice 1, frame 0: line 1 holds data at 50% of the readout"),
        (lambda k: k[0, 1, 2, :, 5].fill(0), "slice 1, frame 0: coil 2 holds data at 0% .* of line 5"),
    ],
)
def test_numpy_lines_are_the_same_in_every_coil_slice_and_frame(tmp_path, spoil, words):
    kspace = random_kspace(2, 3, 4, 16, 12)
    spoil(kspace)
    np.save(tmp_path / "a.npy", kspace)
    with pytest.raises(
        InputError, match=f"{tmp_path / 'a.npy'}: {words}".replace("(", r"\(").replace(")", r"\)")
    ):
        open_scan(tmp_path / "a.npy", AXES)


NAMES = [
    "scan_mask",
    "mask",
    "masks",
    "scan.mask",
    "mask_scan",
    "scan-mask",
    "scan_Mask",
    "sampling_mask",
    "mask_R4",
]


@pytest.mark.parametrize("name", [f"{name}.npy" for name in NAMES] + ["scan_mask.npz", "scan_mask_x4.mat"])
def test_a_mask_beside_an_array_is_known_by_any_name(tmp_path, name):
    path = tmp_path / "scan.npy"
    np.save(path, random_kspace(2, 3, 4, 16, 12))
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"^{path}: {name} lies beside it, and masks of NumPy files are not"):
        open_scan(path, AXES)


def test_what_is_no_mask_of_an_array_is_none(tmp_path):
    for name in ("scan", "scan2", "scan_masked", "unmasked"):
        np.save(tmp_path / f"{name}.npy", random_kspace(2, 3, 4, 16, 12))
    for name in ("scan2_mask.npy", "mask.png", ".mask.npy", "scan_masked_mask.npy"):
        (tmp_path / name).write_bytes(b"")
    assert open_scan(tmp_path / "scan.npy", AXES).volume.fully_sampled
    assert open_scan(tmp_path / "unmasked.npy", AXES).volume.fully_sampled
    with pytest.raises(InputError, match=r"scan2_mask\.npy lies beside it"):
        open_scan(tmp_path / "scan2.npy", AXES)
