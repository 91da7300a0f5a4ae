"""Every written file, read back by another library."""

from dataclasses import replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from fm_unroll.data.readers.geometry import Geometry
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.reconstruction.writers import (
    Picture,
    check_writable,
    format_of,
    of_test_phase,
    planned_files,
    ranking_part,
    remark,
    write_h5,
    write_nifti,
    write_png,
    write_ranking,
)

VOLUME = Volume.of_array(
    Path("cine_sax.mat"),
    (4, 5, 2, 20, 15),
    name="P001/cine_sax",
    subject="P001",
    contrast="cine_sax",
    synthetic=True,
)


VALIDATION = Path("/data/MultiCoil/Cine/ValidationSet/AccFactor04/P001/cine_sax.mat")
TEST = Path("/data/MultiCoil/Cine/TestSet/AccFactor04/P001/cine_sax.mat")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((4, 5, 20, 15), dtype=np.float32)


# By hand from run4Ranking.m and crop.m, in MATLAB's own counting: first and last element.
# (slices, kx, ky): slices, kx, ky
MATLAB_RANGES = {
    # round(10/2) = 5; round(512/3) = 171: 257 - 85 .. 256 + 86; round(204/2) = 102: 103 - 51 .. 102 + 51
    (10, 512, 204): ((4, 5), (172, 342), (52, 153)),
    # round(11/2) = 6; round(448/3) = 149: 225 - 74 .. 224 + 75; round(132/2) = 66: 67 - 33 .. 66 + 33
    (11, 448, 132): ((5, 6), (151, 299), (34, 99)),
    # round(5/2) = 3, where Python's round gives 2; 384/3 = 128: 193 - 64 .. 192 + 64; 116/2 = 58
    (5, 384, 116): ((2, 3), (129, 256), (30, 87)),
    # round(3/2) = 2; round(47/3) = 16: 24 - 8 .. 23 + 8; round(25/2) = 13: 13 - 6 .. 12 + 7
    (3, 47, 25): ((1, 2), (16, 31), (7, 19)),
    # fewer than three slices: all; round(246/2) = 123: 124 - 61 .. 123 + 62
    (2, 512, 246): ((1, 2), (172, 342), (63, 185)),
    (1, 512, 162): ((1, 1), (172, 342), (42, 122)),
}


@pytest.mark.parametrize("shape, expected", MATLAB_RANGES.items())
def test_ranking_ranges_are_matlabs(shape, expected):
    parts = ranking_part(VOLUME, (4, *shape))
    assert parts[0] == slice(0, 3)
    assert tuple((part.start + 1, part.stop) for part in parts[1:]) == expected


def test_ranking_file_has_matlabs_order_of_axes(tmp_path, image):
    write_ranking(tmp_path / "cine_sax.mat", Picture(image, VOLUME, None, VALIDATION))
    stored = loadmat(tmp_path / "cine_sax.mat")["img4ranking"]
    assert stored.dtype == np.float32 and stored.shape == (7, 8, 2, 3)
    # MATLAB's img4ranking(kx, ky, z, t) is kx 8..14 and ky 4..11 of slices 2..3, counted from 1
    np.testing.assert_array_equal(stored[0, 0, 0], image[:3, 1, 7, 3])
    np.testing.assert_array_equal(stored[6, 7, 1], image[:3, 2, 13, 10])


def test_mapping_ranks_all_weightings(tmp_path, image):
    volume = replace(VOLUME, contrast="T1map")
    write_ranking(tmp_path / "T1map.mat", Picture(image, volume, None, VALIDATION))
    assert loadmat(tmp_path / "T1map.mat")["img4ranking"].shape == (7, 8, 2, 4)


def test_what_the_challenge_does_not_rank_is_refused_before_the_work():
    with pytest.raises(InputError, match="this is AXT2"):
        check_writable("mat", replace(VOLUME, contrast="AXT2"), TEST)
    with pytest.raises(InputError, match="this cine has 2"):
        check_writable("mat", replace(VOLUME, num_frames=2), VALIDATION)
    check_writable("mat", replace(VOLUME, num_frames=2), TEST)


def test_submission_of_the_test_phase_is_whole(tmp_path, image):
    """SubmissionFormat_Task1.txt: "You don't need to perform reduction during test phase"."""
    picture = Picture(image, VOLUME, None, TEST)
    write_ranking(tmp_path / "cine_sax.mat", picture)
    stored = loadmat(tmp_path / "cine_sax.mat")["img4ranking"]
    np.testing.assert_array_equal(stored, image.transpose(2, 3, 1, 0))
    assert remark("mat", picture) == " (test phase: whole images)"
    assert "validation phase" in remark("mat", Picture(image, VOLUME, None, VALIDATION))


@pytest.mark.parametrize(
    "path, whole",
    [
        (TEST, True),
        (VALIDATION, False),
        ("/data/TestSet/MultiCoil/Cine/ValidationSet/AccFactor04/P001/cine_sax.mat", False),
        ("/data/ValidationSet/MultiCoil/Cine/TestSet/AccFactor04/P001/cine_sax.mat", True),
        ("/TestSet/Cine/ValidationSet/UnderSample_Task1/P001/cine_sax_kus_Uniform8.mat", False),
        ("/ValidationSet/Cine/TestSet/UnderSample_Task1/P001/cine_sax_kus_Uniform8.mat", True),
        ("/data/TestSet/mine/cine_sax.mat", False),
        (
            "/x/TestSet/MultiCoil/Cine/ValidationSet/UnderSample_TaskR1/Center001/S/P001/cine_sax_kus_Uniform8.mat",
            False,
        ),
    ],
)
def test_the_phase_is_told_by_the_subset_of_the_layout_alone(path, whole):
    assert of_test_phase(Path(path)) is whole


def test_the_phase_is_known_from_inside_the_subjects_folder(tmp_path, image, monkeypatch):
    folder = tmp_path / TEST.parent.relative_to("/data")
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    write_ranking(tmp_path / "cine_sax.mat", Picture(image, VOLUME, None, Path("cine_sax.mat")))
    assert loadmat(tmp_path / "cine_sax.mat")["img4ranking"].shape == (20, 15, 5, 4)


def test_the_source_is_never_written_over(tmp_path):
    source, link, other = (tmp_path / f"{name}.h5" for name in ("scan", "link", "other"))
    source.write_bytes(b"scan")
    link.symlink_to(source)
    assert planned_files(other, [], VOLUME, source) == [("h5", other)]
    for output, scan in (source, source), (link, source), (source, link):
        with pytest.raises(InputError, match=f"{output} is the file to be reconstructed"):
            planned_files(output, [], VOLUME, scan)


def test_h5_is_the_submission_layout(tmp_path, image):
    write_h5(tmp_path / "a.h5", image[:1])
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["reconstruction"]
        np.testing.assert_array_equal(file["reconstruction"][()], image[0])
    write_h5(tmp_path / "b.h5", image)
    with h5py.File(tmp_path / "b.h5") as file:
        np.testing.assert_array_equal(file["reconstruction"][()], image)


def test_nifti_has_the_scanners_millimetres(tmp_path, image):
    axes = (np.array([0, 2.0, 0]), np.array([1.5, 0, 0]), np.array([0, 0, 8.0]))
    geometry = Geometry.scanner(axes, centre=(10, 7), position=np.array([5.0, 6.0, 7.0]))
    write_nifti(tmp_path / "a.nii.gz", Picture(image, VOLUME, geometry, VALIDATION))
    nifti = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(nifti.get_fdata(dtype=np.float32), image.transpose(2, 3, 1, 0))
    assert nifti.header.get_zooms()[:3] == (2.0, 1.5, 8.0) and nifti.header.get_xyzt_units()[0] == "mm"
    # rows run to the back (P), columns to the left (L), slices to the head (S)
    assert nibabel.aff2axcodes(nifti.affine) == ("P", "L", "S")
    np.testing.assert_allclose(nifti.affine @ [10, 7, 1, 1], [-5, -6, 15, 1])
    assert int(nifti.header["sform_code"]) == 1


@pytest.mark.parametrize(
    "geometry, zooms, words",
    [
        (Geometry((2, 1.5, 8)), (2, 1.5, 8), b"fm_unroll; orientation unknown"),
        (None, (1, 1, 1), b"fm_unroll; voxel size and orientation unknown"),
    ],
)
def test_nifti_claims_no_orientation_that_it_does_not_know(tmp_path, image, geometry, zooms, words):
    """The voxel's size is all there is: no code, no rotation, no offset; the line printed says so."""
    for frames in (1, 4):
        picture = Picture(image[:frames], VOLUME, geometry, VALIDATION)
        write_nifti(tmp_path / "a.nii", picture)
        nifti = nibabel.load(tmp_path / "a.nii")
        assert nifti.shape[:3] == (20, 15, 5) and nifti.header.get_zooms()[:3] == zooms
        assert bytes(nifti.header["descrip"]).rstrip(b"\0") == words
        assert (int(nifti.header["qform_code"]), int(nifti.header["sform_code"])) == (0, 0)
        fields = ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d")
        fields += ("qoffset_x", "qoffset_y", "qoffset_z")
        assert not any(np.any(nifti.header[field]) for field in fields)
        assert "orientation unknown" in remark("nii", picture)
        np.testing.assert_array_equal(
            nifti.get_fdata(dtype=np.float32).reshape(20, 15, 5, frames),
            image[:frames].transpose(2, 3, 1, 0),
        )


def test_png_shows_every_slice_and_frame_upright(tmp_path):
    image = np.zeros((2, 3, 20, 15), np.float32)
    for frame, slice_ in np.ndindex(2, 3):
        image[frame, slice_, 2 + slice_, 3 + frame] = 1
        image[frame, slice_, -8:, -5:] = 0.5
    write_png(tmp_path / "a.png", Picture(image, VOLUME, None, VALIDATION))
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape == (3 * 22 - 2, 2 * 17 - 2) and pixels.dtype == np.uint8
    for frame, slice_ in np.ndindex(2, 3):
        tile = pixels[22 * slice_ : 22 * slice_ + 20, 17 * frame : 17 * frame + 15]
        assert tile[2 + slice_, 3 + frame] == 255 and tile[-1, -1] > 0 and tile[0, 0] == 0
    write_png(tmp_path / "b.png", Picture(image[:1], VOLUME, None, VALIDATION))
    assert np.asarray(Image.open(tmp_path / "b.png")).size >= 3 * 20 * 15


@pytest.mark.parametrize(
    "name, format",
    [
        ("a.h5", "h5"),
        ("a.MAT", "mat"),
        ("a.b.nii.gz", "nii"),
        ("a.nii", "nii"),
        ("a.dcm", None),
        ("a.png", "png"),
        ("a", None),
    ],
)
def test_the_suffix_names_the_format(tmp_path, name, format):
    assert format_of(tmp_path / name) == format
