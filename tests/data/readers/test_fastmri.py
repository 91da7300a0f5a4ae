"""The fastMRI reader against fastMRI's own, a real file, and damaged ones."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fastmri.data import SliceDataset as FastMRISliceDataset

from fm_unroll.curation.survey import survey
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import build_index
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.readers.hdf5 import open_file
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.scan import open_scan
from fm_unroll.errors import InputError
from fm_unroll.physics import ifft2c, rss
from simulate import HEADER, random_kspace, uniform_lines, write_fastmri, write_matlab

READER = FastMRIReader()


def read(path: Path, slice: int = 0) -> KSpaceSample:
    """Describe a file and read one slice of it."""
    return SliceDataset(path.parent, READER, [READER.describe(path, path.parent)])[slice]


@pytest.mark.parametrize(("phase", "padding"), [(12, (0, 0)), (15, (2, 1)), (20, (0, 3)), (21, (4, 4))])
def test_reads_what_fastmri_reads(tmp_path: Path, phase: int, padding: tuple[int, int]):
    target = np.random.default_rng(1).random((3, 8, 10), dtype=np.float32)
    attributes = {"patient_id": "abc", "acquisition": "CORPD_FBK", "max": float(target.max())}
    path = write_fastmri(
        tmp_path / "file1.h5", (3, 2, 16, phase), (8, 10), padding, target, attributes=attributes
    )
    theirs = FastMRISliceDataset(tmp_path, "multicoil")

    volume = READER.describe(path, tmp_path)
    measured = open_scan(path).volume

    assert (volume.path, volume.name, volume.mask_seed) == ("file1.h5", "file1", "file1.h5")
    assert (volume.subject, volume.contrast) == ("abc", "CORPD_FBK")
    assert volume.num_slices == len(theirs) and volume.num_frames == 1 and volume.fully_sampled
    for slice_, (kspace, _, their_target, metadata, _, _) in enumerate(theirs):
        sample = read(path, slice_)
        np.testing.assert_array_equal(sample.kspace, kspace)
        np.testing.assert_array_equal(sample.target, their_target)
        assert volume.acquired == (metadata["padding_left"], metadata["padding_right"])
        assert volume.crop == metadata["recon_size"][:2]
        assert measured.maximum == pytest.approx(metadata["max"], rel=1e-6)
        lines = np.flatnonzero(KSpaceBatch.collate([sample]).mask)
        assert (lines[0], lines[-1] + 1) == volume.acquired and len(lines) == phase - sum(padding)


@pytest.mark.parametrize(
    ("matrix", "recon", "target", "crop"),
    [
        ((40, 33), (20, 20), None, (20, 20)),
        ((40, 13), (20, 20), None, (13, 13)),  # the square that fastMRI takes of FLAIR scans 203 lines wide
        ((40, 33), (20, 20), (18, 16), (18, 16)),
        # beside a stored reconstruction the header does not count, as in fastMRI's validation
        ((40, 33), (20, 20), (32, 32), (32, 32)),
        ((40, 13), (20, 20), (20, 20), (20, 13)),
    ],
)
def test_crop(tmp_path: Path, matrix, recon, target, crop):
    stored = None if target is None else np.arange(3.0 * np.prod(target)).reshape(3, *target)
    path = write_fastmri(tmp_path / "file1.h5", (3, 2, *matrix), recon, target=stored)
    sample = read(path, 1)
    assert sample.volume.crop == crop
    if stored is not None:
        top, left = (target[0] - crop[0]) // 2, (target[1] - crop[1]) // 2
        expected = stored[1, top : top + crop[0], left : left + crop[1]]
        np.testing.assert_array_equal(sample.target, expected.astype(np.float32))


def test_undersampled_test_file(tmp_path: Path):
    mask = np.zeros(20, bool)
    mask[[0, 3, 8, 9, 10, 11, 15, 19]] = True
    path = write_fastmri(tmp_path / "file1.h5", (2, 2, 16, 20), padding=(1, 1), mask=mask)
    sample = read(path)
    batch = KSpaceBatch.collate([sample])
    assert not batch.fully_sampled and sample.target is None and batch.data_range.isnan()
    assert np.flatnonzero(batch.mask).tolist() == [3, 8, 9, 10, 11, 15]
    assert batch.num_acs == 4
    assert read(write_fastmri(tmp_path / "file2.h5")).volume.fully_sampled


def test_missing_attributes_have_documented_stand_ins(tmp_path: Path):
    path = write_fastmri(tmp_path / "file7.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["patient_id"]
        file.attrs["acquisition"] = np.bytes_(b"AXFLAIR")
        file.attrs["synthetic"] = True
    volume = READER.describe(path, tmp_path)
    assert (volume.subject, volume.contrast, volume.synthetic) == ("file7", "AXFLAIR", True)
    assert volume.maximum is None


def test_find(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        READER.find(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"expected .*/multicoil_val/file1000001\.h5"):
        READER.find(tmp_path)
    train, val, test = (
        write_fastmri(tmp_path / f"multicoil_{part}" / f"file{part}.h5") for part in ("train", "val", "test")
    )
    assert READER.find(tmp_path) == ([train, val], [])
    assert FastMRIReader("multicoil_test").find(tmp_path) == ([test], [])
    assert READER.find(tmp_path / "multicoil_val") == ([val], [])
    full = write_fastmri(tmp_path / "multicoil_test_full" / "filefull.h5")
    assert READER.find(tmp_path) == ([full, train, val], [])


def test_a_file_beside_the_published_folders_hides_none_of_them(tmp_path: Path):
    """The same scans as ``data check`` lists; what does not fit among them is refused by name."""
    paths = [write_fastmri(tmp_path / "multicoil_val" / f"file{number}.h5") for number in (1, 2)]
    stray = write_fastmri(tmp_path / "file3.h5")
    assert READER.find(tmp_path) == ([stray, *paths], [])
    checked = [volume.name for part in survey(tmp_path).data_sets for volume in part.index.volumes]
    assert sorted(checked) == sorted(volume.name for volume in build_index(tmp_path, READER).volumes)
    stray.rename(tmp_path / "file1.h5")
    with pytest.raises(InputError, match=r"file1.h5 and multicoil_val/file1.h5 are both called file1"):
        build_index(tmp_path, READER)
    write_matlab(tmp_path / "file1.h5", weights=np.ones((3, 3)))
    with pytest.raises(InputError, match=f"{tmp_path / 'file1.h5'}: holds no kspace; its keys are weights"):
        build_index(tmp_path, READER)


BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (BOMB, "document type declaration"),
        (OUTSIDE, "document type declaration"),
        ("", "no valid XML"),
        (HEADER[:300], "no valid XML"),
        ("<a/>", "encodedSpace/matrixSize/y is '', expected a whole number >= 1"),
        (HEADER.replace("{rows}", "0"), "reconSpace/matrixSize/x is '0'"),
        (HEADER.replace("{columns}", "8.5"), "reconSpace/matrixSize/y is '8.5'"),
        (HEADER.replace("{last}", "9" * 5000), "kspace_encoding_step_1/maximum is '9"),
        (HEADER.replace("{center}", "-1"), "kspace_encoding_step_1/center is '-1'"),
        (HEADER.replace("{center}", "99"), "first acquired line at -93, k-space has 12"),
    ],
)
def test_hostile_or_broken_headers(tmp_path: Path, header: str, reason: str):
    header = header if "{" in header else header.replace("{", "{{")
    path = write_fastmri(tmp_path / "file1.h5", header=header)
    with pytest.raises(InputError, match=f"{path}: ismrmrd_header.*{reason}") as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("kspace", None, "holds no kspace; its keys are ismrmrd_header, reconstruction_rss"),
        ("kspace", np.ones((3, 16, 12), "c8"), "single-coil k-space, which is not supported"),
        ("kspace", np.ones((3, 2, 16, 12), "f4"), "has type float32"),
        ("kspace", np.ones((3, 640, 16, 12), "c8"), "has shape"),
        ("ismrmrd_header", None, "ismrmrd_header is missing"),
        ("ismrmrd_header", np.ones(3), "expected one text"),
        ("reconstruction_rss", np.ones((2, 8, 8)), "reconstruction_rss is float64"),
        ("reconstruction_rss", np.full((3, 8, 8), np.nan), "slice 0, frame 0: the stored reconstruction"),
        ("mask", np.ones(11), "mask is float64"),
        ("mask", np.zeros(12), "centre of k-space is not sampled"),
        ("mask", np.where(np.arange(12) == 3, np.nan, 1), "mask holds NaN"),
        ("mask", 1.0 - (np.arange(16) == 5)[:, None] * (np.arange(12) == 3), "mask varies along kx"),
    ],
)
def test_what_is_not_a_scan_is_refused(tmp_path: Path, name: str, value: np.ndarray | None, reason: str):
    path = write_fastmri(tmp_path / "file1.h5", target=np.ones((3, 8, 8)))
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value
    with pytest.raises(InputError, match=f"{path}: .*{reason}"):
        read(path)


@pytest.mark.parametrize("maximum", [np.nan, 0.0, -1.0, np.inf, "large", np.ones(2)])
def test_an_impossible_maximum_is_a_contradiction(tmp_path: Path, maximum: object):
    """The file can be used: its measured maximum counts."""
    path = write_fastmri(tmp_path / "file1.h5", attributes={"max": maximum})
    (line,) = open_scan(path).volume.contradictions
    assert line.endswith("no positive number")


def test_a_maximum_may_be_an_array_of_one(tmp_path: Path):
    path = write_fastmri(tmp_path / "file1.h5")
    maximum = open_scan(path).volume.maximum
    with h5py.File(path, "r+") as file:
        file.attrs["max"] = np.array([maximum])
    assert open_scan(path).volume.contradictions == ()


def test_a_mask_under_another_name_is_never_skipped(tmp_path: Path):
    path = write_fastmri(tmp_path / "file1.h5")
    with h5py.File(path, "r+") as file:
        file["sampling_mask"] = np.ones(12)
    with pytest.raises(InputError, match="holds sampling_mask, which is not read: call it mask"):
        open_scan(path)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("attribute", "holds the attribute Mask, which is not read: store it as a data set called mask"),
        ("attribute of kspace", "holds kspace with the attribute Mask, which is not read"),
        ("meta/mask", "holds meta/mask, which is not read: call it mask if it says"),
        ("masks/lines", "holds masks, which is not read"),
    ],
)
def test_a_mask_in_another_place_is_never_skipped(tmp_path: Path, where: str, words: str):
    path = write_fastmri(tmp_path / "file1.h5")
    with h5py.File(path, "r+") as file:
        if "attribute" in where:
            (file["kspace"] if "kspace" in where else file).attrs["Mask"] = np.ones(12)
        else:
            file[where] = np.ones(12)
    with pytest.raises(InputError, match=f"{path}: {words}"):
        open_scan(path)


@pytest.mark.parametrize("shape", [(12,), (1, 1, 12, 1), (1, 12), (16, 12)])
def test_a_mask_may_have_the_axes_by_which_it_is_multiplied(tmp_path: Path, shape: tuple[int, ...]):
    lines = np.arange(12) != 1
    path = write_fastmri(tmp_path / "file1.h5")
    with h5py.File(path, "r+") as file:
        file["kspace"][...] = file["kspace"][()] * lines
        values = lines.reshape(-1, 1) if shape[-1] == 1 else lines
        file["mask"] = np.broadcast_to(values, shape).astype("f4")
    assert open_scan(path).volume.sampled == (0, *range(2, 12))


def test_only_the_asked_slice_is_read(tmp_path: Path):
    path = tmp_path / "file1.h5"
    write_fastmri(path)
    kspace = random_kspace(3, 2, 16, 12)
    with h5py.File(path, "r+") as file:
        del file["kspace"]
        stored = file.create_dataset("kspace", data=kspace, chunks=(1, 2, 16, 12), compression="gzip")
        _, chunk = stored.id.read_direct_chunk((1, 0, 0, 0))
    path.write_bytes(path.read_bytes().replace(chunk, bytes(len(chunk))))
    np.testing.assert_array_equal(read(path, 0).kspace, kspace[0])
    np.testing.assert_array_equal(read(path, 2).kspace, kspace[2])
    volume = READER.describe(path, tmp_path)
    with open_file(path) as file, pytest.raises(OSError, match="filter returned failure"):
        READER.read(file, volume, 1, 0)


def test_the_real_file_reproduces_its_reconstruction(shared: Path):
    (path,), _ = READER.find(shared / "data" / "fastmri_brain")
    volume = open_scan(path).volume
    assert (volume.num_slices, volume.num_coils, volume.crop) == (4, 13, (224, 224))
    samples = list(SliceDataset(path.parent, READER, [volume]))
    assert len(samples) == volume.num_slices
    for sample in samples:
        image = rss(ifft2c(sample.kspace))
        torch.testing.assert_close(image, sample.target, rtol=0, atol=1e-4 * float(sample.target.max()))
        assert float(sample.target.max()) <= volume.maximum * (1 + 1e-6)


def test_kspace_that_was_masked_is_not_fully_sampled(tmp_path: Path):
    lines = uniform_lines(40, 4, 6)
    path = write_fastmri(tmp_path / "file1.h5", (2, 3, 16, 40), mask=lines, padding=(3, 2))
    with h5py.File(path, "r+") as file:
        del file["mask"]
    empty = int((~lines[3:38]).sum())
    words = f"{empty} of 35 acquired lines are empty: undersampled, and no mask says so"
    for use in (read, open_scan):
        with pytest.raises(InputError, match=f"{path}: slice 0, frame 0: {words}"):
            use(path)


@pytest.mark.parametrize(("last", "center"), [(7, 4), (0, 0), (0, 20)])
def test_a_header_with_narrow_limits_makes_no_scan_fully_sampled(tmp_path: Path, last: int, center: int):
    lines = uniform_lines(40, 4, 8)
    header = HEADER.replace("{last}", str(last)).replace("{center}", str(center))
    path = write_fastmri(tmp_path / "file1.h5", (2, 3, 16, 40), mask=lines, header=header)
    with h5py.File(path, "r+") as file:
        del file["mask"]
    for use in (read, open_scan):
        with pytest.raises(InputError, match="acquired lines are empty: undersampled, and no mask says so"):
            use(path)


def test_a_mask_that_is_not_that_of_the_data_is_refused(tmp_path: Path):
    lines = uniform_lines(40, 4, 6)
    path = write_fastmri(tmp_path / "file1.h5", (2, 3, 16, 40), mask=lines)
    assert open_scan(path).volume.sampled == tuple(np.flatnonzero(lines))
    for mask, words in [
        (np.ones(40), "holds none in 25 lines that the sampling mask claims"),
        (uniform_lines(40, 8, 6), "holds data in 4 lines that the sampling mask leaves out"),
        (np.roll(lines, 1), "holds data in .* leaves out and holds none in .* claims"),
    ]:
        with h5py.File(path, "r+") as file:
            del file["mask"]
            file["mask"] = mask
        with pytest.raises(InputError, match=f"{path}: slice 0, frame 0: k-space {words}"):
            open_scan(path)


def test_data_outside_of_the_acquired_lines_are_remarked_on(tmp_path: Path):
    path = write_fastmri(tmp_path / "file1.h5", padding=(2, 1))
    with h5py.File(path, "r+") as file:
        file["kspace"][...] = random_kspace(3, 2, 16, 12)
    (remark,) = open_scan(path).volume.remarks
    assert remark == "3 lines hold data outside of those that the header calls acquired"


def test_single_coil_scans_are_left_out_and_texts_are_no_masks(tmp_path: Path):
    single = write_fastmri(tmp_path / "a.h5")
    with h5py.File(single, "r+") as file:
        kspace = file["kspace"][:, 0]
        del file["kspace"]
        file["kspace"] = kspace
    noted = write_fastmri(tmp_path / "b.h5")
    with h5py.File(noted, "r+") as file:
        file["mask_info"] = "drawn by hand"
    index = build_index(tmp_path, FastMRIReader())
    assert [volume.path for volume in index.volumes] == ["b.h5"] and index.problems == []
    assert index.left_out == [f"{single}: single-coil k-space, which is not supported"]
    with h5py.File(noted, "r+") as file:
        file["brain_mask"] = np.ones((1, 16, 12))
    words = f"{noted}: holds brain_mask, which is not read: call it mask if .* else by a name without this"
    with pytest.raises(InputError, match=words):
        build_index(tmp_path, FastMRIReader())
