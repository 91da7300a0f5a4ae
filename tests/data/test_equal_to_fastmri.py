"""fastMRI's own data set and transforms beside our data modules, on the same files: equal to the bit."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fastmri import complex_abs, ifft2c
from fastmri import rss as fastmri_rss
from fastmri.data import SliceDataset
from fastmri.data.subsample import EquispacedMaskFractionFunc, RandomMaskFunc
from fastmri.data.transforms import VarNetDataTransform, center_crop_to_smallest

from fm_unroll.data import FastMRIKneeData
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.scan import open_scan
from fm_unroll.models.classical import ZeroFilled
from fm_unroll.physics import EquispacedSampling, RandomSampling
from fm_unroll.reconstruction.domain import ScanFacts
from fm_unroll.reconstruction.engine import accelerate, reconstruct
from simulate import rss_image, write_fastmri

# widths of the matrix, and lines of padding on its left and right
WIDTHS = [
    (64, (0, 0)), (65, (0, 0)), (64, (5, 7)), (65, (6, 5)), (72, (0, 9)), (71, (4, 0)),
    (48, (3, 3)), (49, (2, 4)), (80, (12, 10)), (81, (0, 0)), (60, (1, 0)), (203, (8, 11)),
]  # fmt: skip
FRACTIONS = {4: 0.08, 8: 0.04, 10: 0.04}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve files as fastMRI publishes them, each with a stored reconstruction and its maximum."""
    root = tmp_path_factory.mktemp("fastmri")
    for number, (width, padding) in enumerate(WIDTHS):
        write_file(root / f"multicoil_val/file{1000000 + 37 * number}.h5", width, (16, 16), padding, number)
    return root


def write_file(
    path: Path, width: int, size: tuple[int, int], padding: tuple[int, int] = (0, 0), seed: int = 0
) -> Path:
    target = np.abs(np.random.default_rng(seed).standard_normal((2, *size))).astype(np.float32)
    write_fastmri(
        path, (2, 2, 20, width), (16, 16), padding, target, attributes={"max": target.max()}, seed=seed
    )
    with h5py.File(path, "r+") as file:
        # negative zeros in lines that are sampled, whose sign fastMRI drops
        file["kspace"][:, 0, 3] = complex(-0.0, -0.0)
    return path


def ours(data: FastMRIKneeData) -> dict[tuple[str, int], KSpaceBatch]:
    data.setup()
    batches = (data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader())
    rows = (batch[number] for batch in batches for number in range(len(batch)))
    return {(row.volume[0], row.slice[0]): row for row in rows}


def same_bits(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    return tensor.dtype == other.dtype and tensor.numpy().tobytes() == other.numpy().tobytes()


@pytest.mark.parametrize("acceleration", FRACTIONS)
@pytest.mark.parametrize(
    "pattern, function",
    [(EquispacedSampling, EquispacedMaskFractionFunc), (RandomSampling, RandomMaskFunc)],
)
def test_validation_slices_are_those_of_fastmri(folder, pattern, function, acceleration):
    fraction = FRACTIONS[acceleration]
    transform = VarNetDataTransform(function([fraction], [acceleration]), use_seed=True)
    data = FastMRIKneeData(folder, sampling=pattern(acceleration, fraction), num_workers=0)
    theirs = SliceDataset(folder / "multicoil_val", "multicoil", transform)
    assert_equal(ours(data), theirs, 24)


def test_slices_of_several_volumes_in_one_batch_are_those_of_fastmri(tmp_path):
    """Batches of three, from volumes of two slices each, with other lines of padding."""
    for number, padding in enumerate([(0, 0), (5, 7), (2, 3)]):
        write_file(tmp_path / f"multicoil_val/file{1000001 + number}.h5", 64, (16, 16), padding, number)
    transform = VarNetDataTransform(RandomMaskFunc([0.08], [4]), use_seed=True)
    data = FastMRIKneeData(tmp_path, sampling=RandomSampling(4, 0.08), batch_size=3, num_workers=0)
    theirs = SliceDataset(tmp_path / "multicoil_val", "multicoil", transform)
    assert_equal(ours(data), theirs, 6)
    assert [len(batch) for batch in data.test_dataloader()] == [3, 3]


def assert_equal(slices: dict[tuple[str, int], KSpaceBatch], theirs: SliceDataset, number: int) -> None:
    """To the bit: masks, masked k-space, targets and data ranges."""
    assert len(slices) == len(theirs) == number
    for sample in theirs:
        batch = slices[sample.fname.removesuffix(".h5"), sample.slice_num]
        assert batch.mask.flatten().equal(sample.mask.flatten())
        assert batch.num_acs == sample.num_low_frequencies
        assert same_bits(torch.view_as_real(batch.kspace[0]), sample.masked_kspace)
        assert same_bits(batch.target[0], sample.target)
        assert batch.data_range.item() == sample.max_value


def test_every_way_to_a_mask_gives_that_of_fastmri(folder):
    """One file alone, before a network, in an evaluation, and beside a checkpoint."""
    pattern = EquispacedSampling(4, 0.08)
    for path in sorted(folder.rglob("*.h5")):
        scan = open_scan(path)
        width, padding = scan.volume.phase, scan.volume.acquired
        seed = tuple(map(ord, path.name))
        mask, _ = EquispacedMaskFractionFunc([0.08], [4])((1, width, 2), seed=seed)
        mask = mask.flatten().bool()
        mask[: padding[0]] = mask[padding[1] :] = False
        assert scan.undersample(pattern).mask[1].flatten().equal(mask)
        assert accelerate(scan.batch(), pattern).mask[0].flatten().equal(mask)
        available = padding[1] - padding[0]
        assert ScanFacts.of(scan, pattern).true_acceleration == available / int(mask.sum())


@pytest.mark.parametrize("width", [24, 25])
@pytest.mark.parametrize("columns", [16, 17, 24, 25, 30, 31])
@pytest.mark.parametrize("rows", [16, 17, 20, 26, 27])
def test_the_scored_region_is_that_of_fastmri(tmp_path, rows, columns, width):
    """The stored target may be larger or smaller than the image along each axis, odd or even."""
    write_file(tmp_path / "multicoil_val/file1000001.h5", width, (rows, columns))
    slices = ours(FastMRIKneeData(tmp_path, 4, 0.08, num_workers=0))
    transform = VarNetDataTransform(EquispacedMaskFractionFunc([0.08], [4]))
    for sample in SliceDataset(tmp_path / "multicoil_val", "multicoil", transform):
        image = fastmri_rss(complex_abs(ifft2c(sample.masked_kspace)))
        target, image = center_crop_to_smallest(sample.target, image)
        batch = slices["file1000001", sample.slice_num]
        assert same_bits(batch.target[0], target)
        prediction = reconstruct(ZeroFilled(), batch)[0]
        assert prediction.shape == image.shape
        torch.testing.assert_close(prediction, image)


def test_without_a_stored_target_the_header_gives_the_region(tmp_path):
    """fastMRI's rule for test files, FLAIR of 203 columns included."""
    wide = write_fastmri(tmp_path / "a.h5", (2, 2, 40, 30), (16, 18))
    narrow = write_fastmri(tmp_path / "b.h5", (2, 2, 40, 15), (16, 18))
    assert [open_scan(path).volume.crop for path in (wide, narrow)] == [(16, 18), (15, 15)]
    image = rss_image(open_scan(wide).batch().kspace.numpy())
    target = open_scan(wide).undersample(EquispacedSampling(4, 0.08)).target
    np.testing.assert_allclose(target, image[:, 12:28, 6:24], rtol=1e-5)
