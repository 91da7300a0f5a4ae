"""Raw files against the k-space they were written from."""

import importlib.util
from copy import deepcopy

import h5py
import ismrmrd
import numpy as np
import pytest
import torch
from fastmri.data.transforms import center_crop
from ismrmrd import xsd

from fm_unroll.data.scan import Scan, open_scan
from fm_unroll.errors import InputError
from fm_unroll.physics import ifft2c, rss
from simulate import random_kspace

SHAPE = (2, 3, 2, 16, 12)  # frame, slice, coil, readout, phase


@pytest.fixture
def kspace() -> np.ndarray:
    return random_kspace(*SHAPE)


def read_all(scan: Scan) -> np.ndarray:
    """What the reader makes of a file, (frame, slice, coil, readout, phase)."""
    volume = scan.volume
    stack = np.stack([scan[item].kspace.numpy() for item in range(len(scan))])
    return stack.reshape(volume.num_frames, volume.num_slices, *stack.shape[1:])


@pytest.mark.parametrize("counter", ["repetition", "contrast", "phase", "set"])
def test_every_line_slice_and_frame_comes_to_its_place(write_ismrmrd, tmp_path, kspace, counter):
    scan = open_scan(write_ismrmrd(tmp_path / "raw.h5", kspace, counter=counter))
    np.testing.assert_array_equal(read_all(scan), kspace)
    assert scan.volume.fully_sampled and scan.anatomy == "knee"
    sample = scan[4]
    assert (sample.slice, sample.frame) == (1, 1)


def test_averages_are_averaged(write_ismrmrd, tmp_path, kspace):
    scan = open_scan(write_ismrmrd(tmp_path / "raw.h5", kspace, averages=3))
    np.testing.assert_allclose(read_all(scan), kspace, atol=1e-6)


def test_partial_fourier_lies_where_the_limits_say(write_ismrmrd, tmp_path, kspace):
    lines = np.arange(12) >= 3
    scan = open_scan(write_ismrmrd(tmp_path / "raw.h5", kspace, lines=lines, padding=3))
    np.testing.assert_array_equal(read_all(scan), kspace * lines)
    assert scan.volume.acquired == (3, 12) and scan.volume.fully_sampled


def test_asymmetric_echo_lies_where_its_centre_is(write_ismrmrd, tmp_path, kspace):
    scan = open_scan(write_ismrmrd(tmp_path / "raw.h5", kspace, first_sample=5))
    expected = kspace.copy()
    expected[..., :5, :] = 0
    np.testing.assert_array_equal(read_all(scan), expected)


def test_discarded_samples_are_left_out(write_ismrmrd, tmp_path, kspace):
    def discard(acquisition):
        acquisition.discard_pre, acquisition.discard_post = 2, 1

    scan = open_scan(write_ismrmrd(tmp_path / "raw.h5", kspace, on_acquisition=discard))
    expected = kspace.copy()
    expected[..., :2, :] = expected[..., -1:, :] = 0
    np.testing.assert_array_equal(read_all(scan), expected)


def test_readout_oversampling_is_removed_without_changing_a_pixel(write_ismrmrd, tmp_path, kspace):
    path = write_ismrmrd(tmp_path / "raw.h5", kspace, recon_mm=(120.0, 90.0, 5.0))
    scan = open_scan(path)
    assert scan.volume.readout == 8 and scan.volume.crop == (8, 6)
    whole = rss(ifft2c(torch.from_numpy(kspace)))[..., 4:12, :]
    torch.testing.assert_close(rss(ifft2c(torch.from_numpy(read_all(scan)))), whole, atol=1e-5, rtol=0)


def test_undersampled_files_tell_their_lines(write_ismrmrd, tmp_path, kspace):
    lines = np.zeros(12, bool)
    lines[[0, 3, 5, 6, 7, 9]] = True
    volume = open_scan(write_ismrmrd(tmp_path / "raw.h5", kspace, lines=lines)).volume
    assert volume.sampled == (0, 3, 5, 6, 7, 9) and volume.num_acs == 3
    # limits from line 3 on, as of partial Fourier, do not make the first lines padding
    lines[0] = False
    volume = open_scan(write_ismrmrd(tmp_path / "partial.h5", kspace, lines=lines, padding=3)).volume
    assert volume.sampled == (3, 5, 6, 7, 9) and volume.num_acs == 3 and volume.acquired == (0, 12)


@pytest.mark.parametrize("limits", [(5, 7), (0, 0), (6, 6), (0, 11)])
def test_limits_that_call_few_lines_acquired_hide_no_hole(write_ismrmrd, tmp_path, kspace, limits):
    def on_header(header):
        step = header.encoding[0].encodingLimits.kspace_encoding_step_1
        step.minimum, step.maximum = limits

    lines = np.isin(np.arange(12), [0, 3, 5, 6, 7, 9])
    volume = open_scan(write_ismrmrd(tmp_path / "a.h5", kspace, lines=lines, on_header=on_header)).volume
    assert volume.sampled == (0, 3, 5, 6, 7, 9) and volume.num_acs == 3
    volume = open_scan(write_ismrmrd(tmp_path / "b.h5", kspace, on_header=on_header)).volume
    assert volume.fully_sampled and volume.acquired == (0, 12) and volume.remarks == ()


ONLY = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]
AND_IMAGING = [*ONLY, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING]


@pytest.mark.parametrize(
    "mode, flags, kept",
    [("EMBEDDED", ONLY, True), ("SEPARATE", ONLY, False), ("SEPARATE", AND_IMAGING, True)],
)
def test_calibration_lines_count_where_they_are_of_the_image(
    write_ismrmrd, tmp_path, kspace, mode, flags, kept
):
    def on_header(header):
        header.encoding[0].parallelImaging = xsd.parallelImagingType(
            accelerationFactor=xsd.accelerationFactorType(kspace_encoding_step_1=2, kspace_encoding_step_2=1),
            calibrationMode=xsd.calibrationModeType[mode],
        )

    def on_acquisition(acquisition):
        if acquisition.idx.kspace_encode_step_1 in (5, 7):
            for flag in flags:
                acquisition.set_flag(flag)

    path = tmp_path / "raw.h5"
    write_ismrmrd(path, kspace, on_header=on_header, on_acquisition=on_acquisition)
    scan = open_scan(path)
    assert scan.volume.fully_sampled == kept
    left_out = "12 readouts of a separate calibration scan are left out"
    assert (left_out in scan.notes) != kept


def from_vendor(name):
    def on_header(header):
        header.acquisitionSystemInformation = xsd.acquisitionSystemInformationType(systemVendor=name)

    return on_header


def test_siemens_images_run_against_the_directions_of_the_headers(write_ismrmrd, tmp_path, kspace):
    """The pixel of the field of view's centre lies at the acquisitions' position, LPS turned to RAS."""
    path = write_ismrmrd(tmp_path / "raw.h5", kspace, on_header=from_vendor("SIEMENS"))
    geometry = open_scan(path).geometry
    for slice_ in range(3):
        np.testing.assert_allclose(geometry.affine @ [8, 6, slice_, 1], [-10, 20, 30 + 6 * slice_, 1])
    # one row further: 240 mm / 16 against the read direction, which is towards the back
    np.testing.assert_allclose(geometry.affine[:3, 0], [0, 15, 0])
    assert geometry.voxel_mm == (15, 15, 6) and open_scan(path).notes == ()


@pytest.mark.parametrize("recon_mm", [None, (240.0, 150.0, 5.0)], ids=["whole", "narrower"])
@pytest.mark.parametrize("shape", [(1, 2, 2, 16, 12), (1, 1, 2, 15, 13)])
def test_a_bright_spot_lies_where_siemens_has_it(write_ismrmrd, tmp_path, shape, recon_mm):
    """The scanner's own image is the forward transform of its k-space: there the spot is at a known place."""
    readout, phase = shape[-2:]
    image = np.zeros((readout, phase), complex)
    row, column = readout // 2 + 3, phase // 2 - 4
    image[row, column] = 1
    kspace = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(image), norm="ortho")).astype(np.complex64)
    kspace = np.broadcast_to(kspace, shape)
    path = tmp_path / "raw.h5"
    scan = open_scan(write_ismrmrd(path, kspace, recon_mm=recon_mm, on_header=from_vendor("Siemens")))
    shown = center_crop(rss(ifft2c(scan[0].kspace)), scan.volume.crop)
    assert shown.shape[1] < phase or recon_mm is None
    found = np.unravel_index(shown.argmax().item(), shown.shape)
    # read direction (0, 1, 0) and phase direction (1, 0, 0) from the position (10, -20, 30), in LPS
    left, back = 10 - 4 * 180 / phase, -20 + 3 * 240 / readout
    np.testing.assert_allclose(scan.geometry.affine @ [*found, 0, 1], [-left, -back, 30, 1])


@pytest.mark.parametrize(
    "steps, expected", [((6, 6), True), ((0, 0), False), ((5, 9), False), ((6, 6.5), False)]
)
def test_slices_that_are_no_even_stack_have_no_place(write_ismrmrd, tmp_path, kspace, steps, expected):
    def on_acquisition(acquisition):
        acquisition.position[2] = 30 + sum(steps[: acquisition.idx.slice])

    path = tmp_path / "raw.h5"
    write_ismrmrd(path, kspace, on_header=from_vendor("Siemens"), on_acquisition=on_acquisition)
    assert open_scan(path).geometry.oriented is expected


@pytest.mark.parametrize("name", ["read_dir", "phase_dir"])
@pytest.mark.parametrize(
    "direction, slices",
    [((0.6, 0, 0.8), (2,)), ((0, 0, 0), (0, 1, 2)), ((0, 0.9, 0), (0, 1, 2))],
    ids=["one turned slice", "zero", "no unit"],
)
def test_directions_that_are_none_of_a_stack_are_not_claimed(
    write_ismrmrd, tmp_path, kspace, name, direction, slices
):
    def on_acquisition(acquisition):
        if acquisition.idx.slice in slices:
            getattr(acquisition, name)[:] = direction

    path = tmp_path / "raw.h5"
    write_ismrmrd(path, kspace, on_header=from_vendor("Siemens"), on_acquisition=on_acquisition)
    assert open_scan(path).geometry.affine is None


@pytest.mark.parametrize("vendor", [None, "", "GE MEDICAL SYSTEMS", "Philips", "MRI Simens"])
def test_directions_of_other_vendors_are_not_claimed(write_ismrmrd, tmp_path, kspace, vendor):
    scan = open_scan(write_ismrmrd(tmp_path / "raw.h5", kspace, on_header=from_vendor(vendor)))
    assert scan.geometry.affine is None and not scan.geometry.oriented
    assert scan.geometry.voxel_mm == (15, 15, 5)
    (note,) = scan.notes
    assert note.startswith("orientation unknown: ") and (vendor or "does not name") in note


def refusal(path) -> str:
    with pytest.raises(InputError) as error:
        scan = open_scan(path)
        for item in range(len(scan)):
            scan[item]
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_cartesian_2d_imaging_is_refused(write_ismrmrd, tmp_path, kspace):
    def spiral(header):
        header.encoding[0].trajectory = xsd.trajectoryType.SPIRAL

    def partitions(header):
        header.encoding[0].encodedSpace.matrixSize.z = 8

    def no_limits(header):
        header.encoding[0].encodingLimits.kspace_encoding_step_1 = None

    def centre(header):
        header.encoding[0].encodingLimits.kspace_encoding_step_1.center = 0

    def late_centre(header):
        header.encoding[0].encodingLimits.kspace_encoding_step_1.center = 7

    for change, words in (
        (spiral, "spiral"),
        (partitions, "8 partitions"),
        (no_limits, "encodingLimits"),
        (centre, "put lines 6 to 17 into a matrix of 12"),
        (late_centre, "put lines -1 to 10 into a matrix of 12"),
    ):
        assert words in refusal(write_ismrmrd(tmp_path / "raw.h5", kspace, on_header=change))


def test_acquisitions_that_cannot_be_placed_are_refused(write_ismrmrd, tmp_path, kspace):
    def reversed_(acquisition):
        acquisition.set_flag(ismrmrd.ACQ_IS_REVERSE)

    def off_centre(acquisition):
        acquisition.center_sample = 0

    def missing_line(acquisition):
        if acquisition.idx.slice == 1 and acquisition.idx.kspace_encode_step_1 == 4:
            acquisition.set_flag(ismrmrd.ACQ_IS_NAVIGATION_DATA)

    def other_encoding(acquisition):
        acquisition.encoding_space_ref = 1

    def all_noise(acquisition):
        acquisition.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)

    for change, words in (
        (reversed_, "reversed"),
        (off_centre, "center_sample"),
        (missing_line, "slice 1, frame 0 has other lines (11)"),
        (other_encoding, "encoding that the header does not have"),
        (all_noise, "no imaging acquisition"),
    ):
        path = write_ismrmrd(tmp_path / f"{change.__name__}.h5", kspace, on_acquisition=change)
        assert words in refusal(path)

    def two_encodings(header):
        header.encoding.append(deepcopy(header.encoding[0]))

    def of_both(acquisition):
        acquisition.encoding_space_ref = acquisition.idx.slice % 2

    path = write_ismrmrd(tmp_path / "two.h5", kspace, on_header=two_encodings, on_acquisition=of_both)
    assert "the image has 2 encodings; only one is supported" in refusal(path)


def test_damaged_files_are_named(write_ismrmrd, tmp_path, kspace):
    path = write_ismrmrd(tmp_path / "raw.h5", kspace)
    with h5py.File(path, "r+") as file:
        del file["dataset/data"]
        file["dataset/data"] = np.zeros(3)
    assert "list of acquisitions" in refusal(path)
    with h5py.File(path, "r+") as file:
        file["dataset/xml"][0] = b"<ismrmrdHeader>"
    assert "no valid header" in refusal(path)
    with h5py.File(path, "r+") as file:
        file["dataset/xml"][0] = b'<!DOCTYPE a [<!ENTITY b "c">]><ismrmrdHeader/>'
    assert "document type" in refusal(path)


def test_without_the_package_one_line_says_what_to_install(write_ismrmrd, tmp_path, kspace, monkeypatch):
    path = write_ismrmrd(tmp_path / "raw.h5", kspace)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ismrmrd" else find_spec(name, *rest)
    )
    assert "pip install 'fm_unroll[files]'" in refusal(path)


def test_acquisitions_without_data_are_no_lines(write_ismrmrd, tmp_path, kspace):
    kspace[..., [1, 3, 9]] = 0
    words = "slice 0, frame 0: 3 of 12 acquired lines are empty: undersampled, and no mask says so"
    assert words in refusal(write_ismrmrd(tmp_path / "raw.h5", kspace))


def test_lines_that_change_from_frame_to_frame_are_named(write_ismrmrd, tmp_path, kspace):
    def on_acquisition(acquisition):
        if acquisition.idx.repetition == 1 and acquisition.idx.kspace_encode_step_1 == 3:
            acquisition.set_flag(ismrmrd.ACQ_IS_DUMMYSCAN_DATA)

    words = (
        "slice 0, frame 1 has other lines (11) than slice 0, frame 0 (12): changes from frame to frame: k-t"
    )
    assert words in refusal(write_ismrmrd(tmp_path / "raw.h5", kspace, on_acquisition=on_acquisition))
