"""Whatever its sizes, a scan is read as it was written; crops lie where fastMRI's lie."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from fastmri.data import SliceDataset as FastMRISliceDataset
from fastmri.data.transforms import center_crop as fastmri_center_crop
from hypothesis import assume, given
from hypothesis import strategies as st

from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.undersampling import center_crop, extent
from simulate import random_kspace, write_fastmri, write_matlab

LENGTH = st.integers(1, 40)
FEW = st.integers(1, 3)


@given(
    shape=st.tuples(LENGTH, LENGTH, st.integers(1, 6), FEW, FEW),
    precision=st.sampled_from(["c8", "c16"]),
    seed=st.integers(0, 99),
)
def test_any_heart(shape: tuple[int, ...], precision: str, seed: int):
    assume(shape[2:] != (1, 1, 1))  # MATLAB leaves nothing of the last axes, and the file could be an image
    kspace = random_kspace(*shape, seed=seed).astype(precision)  # (kx, ky, coil, z, t)
    with TemporaryDirectory() as folder:
        path = write_matlab(Path(folder, "P001", "cine_sax.mat"), kspace_full=kspace)
        reader = CMRxReconReader()
        volume = reader.describe(path, Path(folder))
        samples = list(SliceDataset(Path(folder), reader, [volume]))
    assert (volume.readout, volume.phase, volume.num_coils, volume.num_slices, volume.num_frames) == shape
    assert len(samples) == shape[3] * shape[4]
    for sample in samples:
        written = np.moveaxis(kspace[..., sample.slice, sample.frame], 2, 0)
        np.testing.assert_array_equal(sample.kspace, written.astype("c8"))


@given(data=st.data(), slices=FEW, coils=st.integers(1, 5), readout=LENGTH, phase=LENGTH)
def test_any_fastmri_scan(data: st.DataObject, slices: int, coils: int, readout: int, phase: int):
    left = data.draw(st.integers(0, phase // 2), "columns of padding on the left")
    right = data.draw(st.integers(0, phase - left - 1), "and on the right")
    recon = data.draw(st.tuples(LENGTH, LENGTH), "reconstructed matrix")
    centre = phase // 2
    undersampled = data.draw(st.booleans(), "undersampled") and left <= centre < phase - right
    mask = None
    if undersampled:
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=phase, max_size=phase), "mask"))
        mask[centre] = True
    with TemporaryDirectory() as folder:
        path = write_fastmri(
            Path(folder, "file1.h5"), (slices, coils, readout, phase), recon, (left, right), mask=mask
        )
        reader = FastMRIReader()
        volume = reader.describe(path, Path(folder))
        samples = list(SliceDataset(Path(folder), reader, [volume]))
        theirs = list(FastMRISliceDataset(Path(folder), "multicoil"))
    assert volume.fully_sampled != undersampled
    assert len(samples) == len(theirs) == slices
    lines = np.zeros(phase, bool)
    lines[left : phase - right] = True
    for sample, (kspace, _, _, header, _, _) in zip(samples, theirs, strict=True):
        np.testing.assert_array_equal(sample.kspace, kspace)
        assert volume.acquired == (header["padding_left"], header["padding_right"])
        np.testing.assert_array_equal(sample.volume.lines, lines if mask is None else lines & mask)


@given(shape=st.tuples(FEW, LENGTH, LENGTH), data=st.data())
def test_any_crop(shape: tuple[int, ...], data: st.DataObject):
    crop = data.draw(st.tuples(*(st.integers(1, length) for length in shape[1:])))
    image = torch.arange(float(np.prod(shape))).reshape(shape)
    assert torch.equal(center_crop(image, crop), fastmri_center_crop(image, crop))


@given(lines=st.lists(st.booleans(), min_size=1, max_size=40).filter(any))
def test_any_extent(lines: list[bool]):
    first, end = extent(torch.tensor(lines))
    assert lines[first] and lines[end - 1] and not any(lines[:first]) and not any(lines[end:])
