"""What a file says of itself is compared with its data."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fastmri.data.transforms import center_crop

from fm_unroll.data import FastMRIKneeData
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.examination import examine
from fm_unroll.data.index import examine_volume
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.scan import open_scan
from fm_unroll.data.volume import Volume
from simulate import rss_image, to_kspace, uniform_lines, write_fastmri

READER = FastMRIReader()
SHAPE = (3, 2, 48, 40)
RECON = (32, 32)


def heads() -> np.ndarray:
    """k-space of something that no flip, turn or transposition leaves as it is."""
    rows, columns = np.mgrid[-1:1:48j, -1:1:40j]
    image = ((rows / 0.6) ** 2 + (columns / 0.7) ** 2 < 1) + 2.0 * (
        (rows + 0.3) ** 2 + (columns - 0.15) ** 2 < 0.02
    )
    images = np.stack([image, 1.5 * image, image])[:, None] * np.array([1, 0.7j])[:, None, None]
    return to_kspace(images).astype(np.complex64)


def stored_images(kspace: np.ndarray) -> np.ndarray:
    """What fastMRI stores, cropped by its own function."""
    return center_crop(torch.from_numpy(rss_image(kspace)), RECON).numpy().astype(np.float32)


def write(path: Path, target: np.ndarray | None, maximum: float | None = None, **options) -> Path:
    attributes = {} if maximum is None else {"max": maximum}
    write_fastmri(path, SHAPE, RECON, target=target, attributes=attributes, **options)
    with h5py.File(path, "r+") as file:
        file["kspace"][...] = heads()
    return path


def examined(path: Path, **options) -> Volume:
    return examine_volume(READER.describe(path, path.parent), path.parent, READER, **options)


@pytest.mark.parametrize("every_slice", [False, True])
def test_a_correct_file_contradicts_nothing(tmp_path: Path, every_slice: bool):
    target = stored_images(heads())
    rounded = float(np.float16(target.max()))
    for number, (images, maximum) in enumerate(
        [
            (target, target.max()),
            (target, rounded),
            (target.astype("f2"), rounded),
            (target.astype("f8"), None),
            (None, None),
        ]
    ):
        path = write(tmp_path / f"{number}.h5", images, maximum)
        volume = examined(path, every_slice=every_slice)
        assert volume.contradictions == () and volume.remarks == ()
        assert volume.maximum == pytest.approx(float(target.max()), rel=1e-3)


def test_small_differences_contradict_nothing(tmp_path: Path):
    """The maximum may be rounded to half precision; images may be off by 1 % in scale and 5 % in norm."""
    target = stored_images(heads())
    farthest = float(target.max()) * (1 + 2**-11)  # that half precision rounds
    noise = np.random.default_rng(0).standard_normal(target.shape, dtype=np.float32)
    noisy = target + 0.02 * np.sqrt((target**2).mean((1, 2), keepdims=True)) * noise
    for number, (images, maximum) in enumerate([(target, farthest), (1.005 * target, None), (noisy, None)]):
        volume = examined(write(tmp_path / f"{number}.h5", images, maximum))
        assert volume.contradictions == ()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda image: 2.5 * image, "slice 0: the stored image is 2.5 times the RSS of its k-space"),
        (lambda image: image * np.float32(1e-6), "is 1e-06 times the RSS of its k-space"),
        (lambda image: 1.02 * image, "is 1.02 times the RSS of its k-space"),
        (lambda image: image[:, ::-1], "slice 0: the stored image is flipped up-down"),
        (lambda image: image[:, :, ::-1], "slice 0: the stored image is flipped left-right"),
        (lambda image: image[:, ::-1, ::-1], "is turned by 180 degrees"),
        (lambda image: image.swapaxes(1, 2), "slice 0: the stored image is transposed"),
        (lambda image: np.rot90(image, 1, (1, 2)), "is turned by 90 degrees"),
        (lambda image: np.rot90(image, 3, (1, 2)), "is turned by 270 degrees"),
        (lambda image: image[:, ::-1, ::-1].swapaxes(1, 2), "is transposed about the other diagonal"),
        (lambda image: image + image[:, ::-1], "slice 0: the stored image is not the RSS of its k-space: "),
        (lambda image: np.roll(image, 4, 1), "slice 0: the stored image is not the RSS of its k-space: "),
    ],
)
def test_stored_images_are_compared_with_the_kspace(tmp_path: Path, change, line: str):
    target = np.ascontiguousarray(change(stored_images(heads())))
    volume = examined(write(tmp_path / "a.h5", target, target.max()))
    (found,) = volume.contradictions
    assert line in found
    assert volume.maximum == pytest.approx(float(target.max()), rel=1e-6)


def test_a_factor_and_a_flip_are_both_named(tmp_path: Path):
    target = 3 * stored_images(heads())[:, ::-1]
    flipped, scaled = examined(write(tmp_path / "a.h5", target)).contradictions
    assert "flipped up-down" in flipped and "3 times the RSS" in scaled


@pytest.mark.parametrize("factor", [1e-6, 0.99, 1.002, 1e6])
def test_a_stated_maximum_of_other_images_is_named_with_its_factor(tmp_path: Path, factor: float):
    target = stored_images(heads())
    path = write(tmp_path / "multicoil_val" / "a.h5", target, factor * target.max())
    line = f"the stated maximum {factor * target.max():.6g} is {factor:.4g} times that of the images"
    for volume in (examined(path), open_scan(path).volume):
        assert volume.contradictions == (f"{line}, {target.max():.6g}",)
        assert volume.maximum == pytest.approx(float(target.max()), rel=1e-6)


def test_the_stated_maximum_is_that_of_whole_images_and_the_data_range_that_of_what_counts(tmp_path: Path):
    target = np.pad(rss_image(heads()).astype(np.float32), ((0, 0), (0, 0), (2, 2)))
    target[0, 0, 0] = 10 * target.max()  # beside the matrix
    volume = examined(write(tmp_path / "a.h5", target, target.max()))
    assert volume.crop == (48, 40) and volume.contradictions == ()
    assert volume.maximum == pytest.approx(float(target[..., 2:-2].max()), rel=1e-6)


def test_an_undersampled_file_s_maximum_and_images_are_not_those_of_its_data(tmp_path: Path):
    lines = uniform_lines(40, 4, 8)
    path = write(tmp_path / "a.h5", 2 * stored_images(heads()), 7.5, mask=lines)
    with h5py.File(path, "r+") as file:
        file["kspace"][...] = heads() * lines
    volume = examined(path)
    assert not volume.fully_sampled and volume.maximum is None and volume.contradictions == ()


def test_the_slice_in_the_middle_is_looked_at_for_remarks(tmp_path: Path):
    path = write(tmp_path / "a.h5", None)
    with h5py.File(path, "r+") as file:
        file["kspace"][1, 1] = 0
    assert examined(path).remarks == ("1 coil of 2 hold nothing but zeros (1)",)


def test_images_in_another_order_of_slices_are_found(tmp_path: Path):
    path = write(tmp_path / "a.h5", None)
    with h5py.File(path, "r+") as file:
        file["kspace"][...] = heads() * np.arange(1, 4, dtype="f4")[:, None, None, None]
        file["reconstruction_rss"] = stored_images(file["kspace"][()])[::-1]
    for every_slice in (False, True):
        assert "3 times the RSS of its k-space" in examined(path, every_slice=every_slice).contradictions[0]


def test_one_image_of_another_slice_is_found_where_all_are_read(tmp_path: Path):
    target = stored_images(heads())
    target[2] *= 2
    path = write(tmp_path / "a.h5", target)
    assert "slice 2: the stored image is 2 times" in examined(path, every_slice=True).contradictions[0]


def test_of_stored_images_two_slices_of_kspace_are_read_and_else_all(tmp_path: Path, monkeypatch):
    read: list[int] = []
    original = FastMRIReader.read
    monkeypatch.setattr(
        FastMRIReader, "read", lambda self, file, v, s, f: read.append(s) or original(self, file, v, s, f)
    )
    examined(write(tmp_path / "a.h5", stored_images(heads())))
    assert read == [0, 1]
    read.clear()
    examined(write(tmp_path / "b.h5", None))
    assert read == [0, 1, 2]


def test_a_part_of_the_slices_does_not_tell_the_maximum(tmp_path: Path):
    path = write(tmp_path / "a.h5", None)
    slices = SliceDataset(tmp_path, READER, [READER.describe(path, tmp_path)])
    assert examine(slices, [0, 2]).maximum is None
    assert examine(slices, [0, 1, 2]).maximum == pytest.approx(float(stored_images(heads()).max()), rel=1e-5)


def test_training_warns_once_of_a_data_set_and_uses_what_was_measured(tmp_path: Path):
    target = stored_images(heads())
    for name in ("a", "b"):
        write(tmp_path / f"{name}.h5", target, 1e-6 * target.max())
    for _ in range(2):  # also when all is known already
        data = FastMRIKneeData(tmp_path, acceleration=4, center_fraction=0.2, num_workers=0)
        with pytest.warns(UserWarning, match=r"a.h5: the stated maximum .* is 1e-06 .*and 1 more") as warned:
            data.prepare_data()
            data.setup("fit")
            data.setup("test")
        assert len(warned) == 1
    batch = next(iter(data.test_dataloader()))
    np.testing.assert_allclose(batch.data_range, target.max(), rtol=1e-6)


def test_training_warns_of_unusual_data(tmp_path: Path):
    """Empty lines at the end of the matrix, which the header counts among the acquired ones."""
    path = write(tmp_path / "a.h5", None)
    with h5py.File(path, "r+") as file:
        file["kspace"][..., 36:] = 0
    data = FastMRIKneeData(tmp_path, acceleration=4, center_fraction=0.2, num_workers=0)
    with pytest.warns(
        UserWarning, match=r"unusual data: .*a\.h5: of 40 lines, 0 at the start and 4"
    ) as warned:
        data.setup("fit")
    assert len(warned) == 1
