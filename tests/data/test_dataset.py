"""The data set of slices: its table, its open files, its workers."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fm_unroll.data.dataset import OpenFiles, SliceDataset, file_identity
from fm_unroll.data.index import build_index
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.sampler import EqualShapeBatchSampler
from fm_unroll.errors import InputError
from simulate import write_cmrxrecon, write_fastmri

READER = CMRxReconReader(("cine_sax",))


@pytest.fixture
def dataset(tmp_path: Path) -> SliceDataset:
    """Five volumes of two shapes."""
    for number in range(5):
        write_cmrxrecon(tmp_path, f"P00{number}", shape=(8, 6 + number % 2, 2, 1 + number, 2), seed=number)
    return SliceDataset(tmp_path, READER, build_index(tmp_path, READER).volumes, max_open_files=2)


def test_every_slice_of_every_frame_is_an_item(dataset: SliceDataset):
    expected = [
        (volume, slice_, frame) for volume in range(5) for frame in range(2) for slice_ in range(1 + volume)
    ]
    assert list(map(tuple, dataset.entries.tolist())) == expected
    assert len(dataset) == len(dataset.shapes) == len(expected)
    for (volume, slice_, frame), shape, sample in zip(expected, dataset.shapes, dataset, strict=True):
        assert (sample.volume.name, sample.slice, sample.frame) == (f"P00{volume}/cine_sax", slice_, frame)
        assert shape == (*sample.kspace.shape, *sample.volume.crop, sample.volume.num_acs)


def test_no_volumes_are_no_items(tmp_path: Path):
    empty = SliceDataset(tmp_path, READER, [])
    assert len(empty) == 0 and empty.shapes == []


def test_few_files_are_open_and_evicted_ones_are_closed(tmp_path: Path):
    paths = [write_fastmri(tmp_path / f"{number}.h5") for number in range(4)]
    files = OpenFiles(FastMRIReader(), 2)

    def get(number: int) -> h5py.File:
        return files.get(paths[number], file_identity(paths[number]))

    first, second = get(0), get(1)
    assert get(0) is first
    third = get(2)
    assert first and third and not second
    get(3)
    assert third and not first
    assert get(0) and get(0) is not first


def test_open_files_do_not_travel_to_other_processes(dataset: SliceDataset):
    expected = dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[0].kspace, expected.kspace)


def test_workers_give_the_same_batches(dataset: SliceDataset):
    def batches(workers: int) -> list[KSpaceBatch]:
        sampler = EqualShapeBatchSampler(dataset.shapes, 4, shuffle=True, seed=1)
        return list(
            DataLoader(
                dataset,
                batch_sampler=sampler,
                num_workers=workers,
                collate_fn=KSpaceBatch.collate,
            )
        )

    alone = batches(0)  # opens files in this process before the others are forked from it
    shared = batches(2)
    assert len(alone) == len(shared) and sum(map(len, alone)) == len(dataset)
    for ours, theirs in zip(alone, shared, strict=True):
        assert torch.equal(ours.kspace, theirs.kspace)
        assert (ours.volume, ours.slice, ours.frame) == (theirs.volume, theirs.slice, theirs.frame)


def test_only_the_asked_slice_is_read(dataset: SliceDataset):
    path = dataset.root / dataset.volumes[4].path
    with h5py.File(path, "r+") as file:
        _, chunk = file["kspace_full"].id.read_direct_chunk((1, 2, 0, 0, 0))
        kspace = file["kspace_full"][()]
    path.write_bytes(path.read_bytes().replace(chunk, bytes(len(chunk))))
    dataset = SliceDataset(dataset.root, READER, dataset.volumes)
    for item, (volume, slice_, frame) in enumerate(dataset.entries.tolist()):
        if volume == 4 and (slice_, frame) == (2, 1):
            with pytest.raises(InputError, match=f"{path}: damaged HDF5 file .*filter"):
                dataset[item]
        elif volume == 4:
            stored = kspace[frame, slice_].swapaxes(-1, -2)
            np.testing.assert_array_equal(dataset[item].kspace, stored["real"] + 1j * stored["imag"])


def test_a_file_that_changed_or_went_away_is_named(tmp_path: Path):
    path = write_fastmri(tmp_path / "a.h5")
    reader = FastMRIReader()
    volumes = build_index(tmp_path, reader).volumes
    write_fastmri(path, (3, 2, 16, 14))
    with pytest.raises(InputError, match=rf"{path}: slice 1, .* \(2, 16, 14\) is no longer \(2, 16, 12\)"):
        SliceDataset(tmp_path, reader, volumes)[1]
    write_fastmri(path, (1, 2, 16, 12))
    with pytest.raises(InputError, match=f"{path}: damaged"):
        SliceDataset(tmp_path, reader, volumes)[1]
    path.unlink()
    with pytest.raises(InputError, match=f"{path}: No such file"):
        SliceDataset(tmp_path, reader, volumes)[1]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("event", ["deleted", "replaced"])
def test_a_file_that_goes_away_during_an_epoch_is_named(dataset: SliceDataset, workers: int, event: str):
    path = dataset.root / dataset.volumes[4].path
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    batches = iter(loader)
    for _ in range(len(dataset) - 9):  # into the last volume, which by now is open
        next(batches)
    if event == "deleted":
        path.unlink()
        reason = "No such file"
    else:
        other = write_cmrxrecon(dataset.root / "other", "P004", shape=(8, 6, 2, 5, 2), seed=99)
        other.replace(path)
        reason = "changed while it was in use"
    with pytest.raises(InputError, match=f"{path}: {reason}"):
        for _ in batches:
            pass


@pytest.mark.parametrize("workers", [0, 2])
def test_lines_that_are_empty_at_other_sides_in_other_slices_are_refused(tmp_path: Path, workers: int):
    """Each slice might be padded, but no scan is padded on another side in each slice."""
    dataset = padded(tmp_path / "at_both_sides", [0, 0, 1, 1])
    loader = DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=KSpaceBatch.collate)
    with pytest.raises(InputError, match=r"slice 2, frame 0 has other lines .* from slice to slice"):
        list(loader)
    assert len(list(padded(tmp_path / "at_one", [0, 0, 0, 0]))) == 4


def padded(root: Path, sides: list[int]) -> SliceDataset:
    """A fully sampled scan whose slices lack two lines each, at the start (0) or at the end (1)."""
    path = write_fastmri(root / "a.h5", shape=(len(sides), 2, 16, 12))
    with h5py.File(path, "r+") as file:
        kspace = file["kspace"][:]
        for slice_, side in enumerate(sides):
            kspace[slice_, ..., slice(-2, None) if side else slice(2)] = 0
        file["kspace"][...] = kspace
    reader = FastMRIReader()
    return SliceDataset(root, reader, build_index(root, reader).volumes)
