"""Packed copies: the same bits as the source in the same layout, and never used when they are damaged."""

import dataclasses
import multiprocessing
import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fm_unroll.cli import main
from fm_unroll.commands.pack import pack
from fm_unroll.data import CMRxReconData, FastMRIBrainData, KSpaceBatch
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import build_index, measure_maxima
from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.sample import KSpaceSample
from fm_unroll.errors import InputError
from simulate import random_kspace, write_cmrxrecon, write_fastmri, write_matlab

READER = CMRxReconReader()


@pytest.fixture
def cardiac(tmp_path: Path) -> Path:
    """Five subjects of two matrix sizes; the last has a second contrast."""
    root = tmp_path / "cmrxrecon"
    for number in range(5):
        write_cmrxrecon(root, f"P00{number}", shape=(16, 32 + 2 * (number % 2), 2, 2, 3), seed=number)
    write_cmrxrecon(root, "P004", "T1map", shape=(16, 32, 2, 1, 9), seed=9)
    return root


HEAD = {"acquisition": "AXT2"}


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    """Two fastMRI scans with zero padding; one stores its reconstruction, larger than what counts."""
    root = tmp_path / "brain"
    target = np.random.default_rng(1).random((3, 10, 9), np.float32)
    write_fastmri(
        root / "a.h5", padding=(2, 1), target=target, attributes={"max": float(target.max()), **HEAD}
    )
    write_fastmri(root / "b.h5", shape=(2, 2, 16, 12), seed=2, attributes={"synthetic": True, **HEAD})
    return root


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files(folder)]


def assert_same(ours: object, theirs: object) -> None:
    """Two samples or batches are equal, tensors bit for bit."""
    for field in dataclasses.fields(ours):
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        if isinstance(mine, torch.Tensor):
            # NaN, as of a maximum that is not known, is a bit pattern like others
            assert mine.dtype == other.dtype and mine.numpy().tobytes() == other.numpy().tobytes(), field.name
        else:
            assert mine == other or repr(mine) == repr(other), field.name  # NaN equals NaN


def test_a_packed_root_gives_the_same_batches_to_the_bit(cardiac: Path, brain: Path, tmp_path: Path):
    def batches(data: KSpaceData) -> dict[str, list[KSpaceBatch]]:
        data.setup()
        stages = [stage for stage in data.subjects if data.subjects[stage]]
        loaded = {stage: list(data.loader(stage, shuffle=stage == "train")) for stage in stages}
        return {stage: [data.on_after_batch_transfer(b, 0) for b in loaded[stage]] for stage in stages}

    for kind, root, options in [
        (CMRxReconData, cardiac, {"acceleration": 4, "acs_lines": 8, "split": (0.4, 0.2, 0.4)}),
        (FastMRIBrainData, brain, {"acceleration": 2, "center_fraction": 0.3}),
    ]:
        options |= {"batch_size": 3, "num_workers": 0}
        pack(root, tmp_path / "packed", workers=0)
        source, packed = kind(root, **options), kind(tmp_path / "packed", **options)
        expected, found = batches(source), batches(packed)
        assert packed.subjects == source.subjects and packed.index.volumes == source.index.volumes
        assert sum(map(len, expected.values())) >= 2 and expected.keys() == found.keys()
        for stage in expected:
            assert len(expected[stage]) == len(found[stage])
            for ours, theirs in zip(found[stage], expected[stage], strict=True):
                assert_same(ours, theirs)
        assert names(tmp_path / "packed") == names(root)
        shutil.rmtree(tmp_path / "packed")


def test_everything_else_in_a_file_is_copied(brain: Path, cardiac: Path, tmp_path: Path):
    with h5py.File(brain / "a.h5", "r+") as file:
        file["kspace"].attrs["note"] = "first"
        file["extra/group"] = np.arange(3)
    pack(brain, tmp_path / "packed", workers=0)
    with h5py.File(brain / "a.h5") as source, h5py.File(tmp_path / "packed" / "a.h5") as copy:
        assert set(copy) == set(source)
        for name in ("kspace", "reconstruction_rss", "extra/group"):
            assert copy[name].dtype == source[name].dtype
            np.testing.assert_array_equal(copy[name][()], source[name][()])
        assert copy["ismrmrd_header"][()] == source["ismrmrd_header"][()]
        assert copy["kspace"].attrs["note"] == "first"
        assert {name: copy.attrs[name] for name in source.attrs} == dict(source.attrs)
        for name, chunks in (("kspace", (1, 2, 16, 12)), ("reconstruction_rss", (1, 10, 9))):
            stored = copy[name]
            assert stored.chunks == chunks and stored.fletcher32 and stored.compression is None
    pack(cardiac, tmp_path / "hearts", workers=0)
    path = next(cardiac.rglob("P001/cine_sax.mat"))
    copy = tmp_path / "hearts" / path.relative_to(cardiac)
    assert copy.read_bytes()[:512] == path.read_bytes()[:512]  # by which MATLAB knows its files
    with h5py.File(copy) as file:
        assert file["kspace_full"].chunks == (1, 1, 2, 34, 16)


def test_linked_data_sets_are_packed_as_files(tmp_path: Path, capsys):
    source, output = tmp_path / "data", tmp_path / "packed"
    path = write_fastmri(tmp_path / "store" / "knee" / "a.h5")
    source.mkdir()
    (source / "multicoil_val").symlink_to(path.parent)
    write_fastmri(source / "multicoil_train" / "b.h5", seed=2)
    (source / "multicoil_train" / "c.h5").symlink_to(path)
    pack(source, output, workers=0)
    assert names(output) == ["multicoil_train/b.h5", "multicoil_val/a.h5"]
    assert not any(path.is_symlink() for path in output.rglob("*"))
    assert f"left out: {source / 'multicoil_train/c.h5'}: the same file as" in capsys.readouterr().out


def test_a_copy_is_never_written_over_its_source(tmp_path: Path):
    path = write_fastmri(tmp_path / "data" / "multicoil_val" / "a.h5")
    content = path.read_bytes()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "multicoil_val").symlink_to(path.parent)
    with pytest.raises(SystemExit):
        pack(tmp_path / "data", tmp_path / "packed", workers=0)
    assert path.read_bytes() == content and not path.is_symlink()


def test_scans_that_the_source_has_lost_are_named(tmp_path: Path, capsys):
    for name in ("a", "b"):
        write_fastmri(tmp_path / "data" / "multicoil_val" / f"{name}.h5")
    pack(tmp_path / "data", tmp_path / "packed", workers=0)
    assert "no longer" not in capsys.readouterr().out
    (tmp_path / "data" / "multicoil_val" / "b.h5").unlink()
    pack(tmp_path / "data", tmp_path / "packed", workers=0)
    left = tmp_path / "packed" / "multicoil_val" / "b.h5"
    assert f"no longer in {tmp_path / 'data'}: {left}; delete it" in capsys.readouterr().out


def test_undersampled_scans_are_packed_with_their_masks(tmp_path: Path):
    lines = np.isin(np.arange(12), [0, 4, 5, 6, 7, 8])
    folder = tmp_path / "data" / "MultiCoil" / "Cine" / "TrainingSet" / "AccFactor04" / "P001"
    kspace = random_kspace(8, 12, 2, 2, 2) * lines[None, :, None, None, None]
    write_matlab(folder / "cine_sax.mat", kspace_sub04=kspace)
    write_matlab(folder / "cine_sax_mask.mat", mask04=np.broadcast_to(lines, (8, 12)).astype(float))
    pack(tmp_path / "data", tmp_path / "packed", workers=0)
    assert names(tmp_path / "packed") == names(tmp_path / "data")
    reader = CMRxReconReader(("cine_sax",), sampling="AccFactor04")
    source, packed = (build_index(tmp_path / name, reader) for name in ("data", "packed"))
    assert packed.volumes == source.volumes and packed.volumes[0].num_acs == 5
    for ours, theirs in zip(
        SliceDataset(packed.root, reader, packed.volumes),
        SliceDataset(source.root, reader, source.volumes),
        strict=True,
    ):
        assert not ours.volume.fully_sampled
        assert_same(ours, theirs)


def test_several_data_sets_are_packed_at_once(cardiac: Path, brain: Path, tmp_path: Path):
    (tmp_path / "both").mkdir()
    cardiac.rename(tmp_path / "both" / "hearts")
    brain.rename(tmp_path / "both" / "heads")
    pack(tmp_path / "both", workers=0)
    assert names(tmp_path / "both_packed") == names(tmp_path / "both")
    pack(tmp_path / "both" / "hearts" / "MultiCoil", tmp_path / "part", workers=0)
    assert names(tmp_path / "part") == names(tmp_path / "both" / "hearts" / "MultiCoil")


def test_packing_finds_the_maxima(cardiac: Path, tmp_path: Path, index_cache: Path):
    pack(cardiac, tmp_path / "packed", workers=0)
    known = build_index(tmp_path / "packed", READER)
    for cache in index_cache.iterdir():
        cache.unlink()
    assert known.volumes == measure_maxima(build_index(cardiac, READER), READER).volumes
    assert {volume.maximum is None for volume in known.volumes} == {False}
    for cache in index_cache.iterdir():
        cache.unlink()
    pack(cardiac, tmp_path / "packed", workers=0)  # what is there says it, too
    assert build_index(tmp_path / "packed", READER) == known


def test_packing_again_writes_only_what_is_not_right(cardiac: Path, tmp_path: Path):
    output = tmp_path / "packed"
    pack(cardiac, output, workers=0)
    first = {path: (path.stat().st_ino, path.read_bytes()) for path in files(output)}
    assert len(first) == 6
    gone, *kept = first
    gone.unlink()
    gone.with_name(gone.name + ".part").write_bytes(b"what an interrupted run left")
    pack(cardiac, output, workers=2)
    assert files(output) == list(first)
    assert gone.read_bytes() == first[gone][1]
    assert all(path.stat().st_ino == first[path][0] for path in kept)


def test_a_killed_run_goes_on_where_it_stopped(cardiac: Path, tmp_path: Path):
    output, expected = tmp_path / "packed", tmp_path / "expected"
    pack(cardiac, expected, workers=0)
    run = multiprocessing.get_context("fork").Process(target=pack, args=(cardiac, output, 0))
    run.start()
    deadline = time.monotonic() + 60
    while not list(output.rglob("*.mat")) and time.monotonic() < deadline:
        time.sleep(0.001)
    run.kill()
    run.join()
    whole = {path: path.stat().st_ino for path in output.rglob("*.mat")}
    assert whole
    pack(cardiac, output, workers=0)
    assert [path.read_bytes() for path in files(output)] == [path.read_bytes() for path in files(expected)]
    assert all(path.stat().st_ino == inode for path, inode in whole.items())


def source_changed(source: Path, packed: Path) -> None:
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1))


def source_replaced(source: Path, packed: Path) -> None:
    write_cmrxrecon(source.parents[5], "P000", shape=(16, 32, 2, 2, 4), seed=7)


def truncated(source: Path, packed: Path) -> None:
    with packed.open("r+b") as file:
        file.truncate(packed.stat().st_size - 100)


def flipped(source: Path, packed: Path) -> None:
    with h5py.File(packed) as file:
        place = file["kspace_full"].id.get_chunk_info(3).byte_offset + 40
    content = bytearray(packed.read_bytes())
    content[place] ^= 1
    packed.write_bytes(content)


def not_packed(source: Path, packed: Path) -> None:
    packed.write_bytes(source.read_bytes())


def without_slices(source: Path, packed: Path) -> None:
    with h5py.File(packed, "r+") as file:
        del file["kspace_full"]


@pytest.mark.parametrize(
    "damage", [source_changed, source_replaced, truncated, flipped, not_packed, without_slices]
)
def test_what_is_damaged_or_out_of_date_is_written_anew(cardiac: Path, tmp_path: Path, damage):
    output = tmp_path / "packed"
    pack(cardiac, output, workers=0)
    place = "MultiCoil/Cine/TrainingSet/FullSample/P000/cine_sax.mat"
    damage(cardiac / place, output / place)
    pack(cardiac, output, workers=0)
    source, packed = (measure_maxima(build_index(root, READER), READER) for root in (cardiac, output))
    assert packed.volumes == source.volumes
    for ours, theirs in zip(
        SliceDataset(output, READER, packed.volumes),
        SliceDataset(cardiac, READER, source.volumes),
        strict=True,
    ):
        assert_same(ours, theirs)


def test_no_flipped_bit_of_the_data_is_ever_used(brain: Path, tmp_path: Path):
    output = tmp_path / "packed"
    pack(brain, output, workers=0)
    path, content = output / "a.h5", (output / "a.h5").read_bytes()
    random = np.random.default_rng(0)

    def read() -> list[KSpaceSample]:
        return list(SliceDataset(output, FastMRIReader(), [FastMRIReader().describe(path, output)]))

    expected = read()
    with h5py.File(path) as file:
        stored = [
            file[name].id.get_chunk_info(i) for name in ("kspace", "reconstruction_rss") for i in range(3)
        ]
    for chunk in stored:
        for _ in range(20):
            place = chunk.byte_offset + int(random.integers(chunk.size))
            spoilt = bytearray(content)
            spoilt[place] ^= 1 << int(random.integers(8))
            path.write_bytes(spoilt)
            with pytest.raises(InputError, match=f"{path}: damaged HDF5 file"):
                read()
    for place in random.integers(len(content), size=200):  # anywhere: also in what describes the data
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << int(random.integers(8))
        path.write_bytes(spoilt)
        try:
            found = read()
        except InputError as error:
            assert str(path) in str(error)
        else:
            for ours, theirs in zip(found, expected, strict=True):
                assert torch.equal(ours.kspace, theirs.kspace) and torch.equal(ours.target, theirs.target)
    pack(brain, output, workers=0)
    assert path.read_bytes() == content


def test_what_cannot_be_packed_is_listed_and_the_rest_is_packed(cardiac: Path, tmp_path: Path, capsys):
    silent = write_cmrxrecon(cardiac, "P001", shape=(16, 34, 2, 2, 3))
    with h5py.File(silent, "r+") as file:
        file["kspace_full"][1, 1] = np.zeros((), file["kspace_full"].dtype)
    torn = cardiac / "MultiCoil/Cine/TrainingSet/FullSample/P002/cine_sax.mat"
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(SystemExit) as status:
        main(["data", "pack", str(cardiac), "--workers", "0"])
    assert status.value.code == 1
    output = capsys.readouterr().out
    assert f"unusable: {silent}: slice 1, frame 1: k-space is zero everywhere" in output
    assert f"unusable: {torn}" in output and "4 volumes are packed" in output
    assert len(files(tmp_path / "cmrxrecon_packed")) == 4


def test_what_cannot_be_finished_is_not_begun(cardiac: Path, tmp_path: Path, monkeypatch, capsys):
    with pytest.raises(InputError, match="lies in the data set's own folder"):
        pack(cardiac, cardiac / "packed")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(InputError, match=r"GiB are needed, 0\.0 GiB are free"):
        pack(cardiac, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_a_copy_made_in_another_way_is_written_anew(cardiac: Path, tmp_path: Path, monkeypatch):
    output = tmp_path / "packed"
    pack(cardiac, output, workers=0)
    before = {path: path.stat().st_ino for path in files(output)}
    monkeypatch.setattr("fm_unroll.curation.pack.VERSION", "of another way")
    pack(cardiac, output, workers=0)
    assert files(output) == list(before)
    assert all(path.stat().st_ino != inode for path, inode in before.items())


def test_a_target_that_is_zero_everywhere_is_refused(brain: Path, tmp_path: Path, capsys):
    empty = write_fastmri(brain / "empty.h5", target=np.zeros((3, 8, 8), np.float32))
    with pytest.raises(SystemExit):
        pack(brain, workers=0)
    said = f"unusable: {empty}: the stored reconstruction is zero everywhere"
    assert said in capsys.readouterr().out
    assert names(tmp_path / "brain_packed") == ["a.h5", "b.h5"]


def test_the_space_needed_is_that_of_complex64_kspace(tmp_path: Path, monkeypatch):
    write_cmrxrecon(tmp_path / "data", shape=(16, 12, 2, 3, 4))
    needed = 8 * 16 * 12 * 2 * 3 * 4
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed - 1))
    with pytest.raises(InputError, match="GiB are needed"):
        pack(tmp_path / "data", workers=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed))
    pack(tmp_path / "data", workers=0)
    assert names(tmp_path / "data_packed") == names(tmp_path / "data")


def test_packing_refuses_masked_kspace_and_remembers_contradictions(brain: Path, tmp_path: Path, capsys):
    masked = write_fastmri(brain / "c.h5", (3, 2, 16, 40), mask=np.arange(40) % 2 == 0)
    with h5py.File(masked, "r+") as file:
        del file["mask"]
    with pytest.raises(SystemExit):
        pack(brain, workers=0)
    assert f"unusable: {masked}: slice 0, frame 0: 20 of 40 acquired lines" in capsys.readouterr().out
    assert names(tmp_path / "brain_packed") == ["a.h5", "b.h5"]
    first, second = build_index(tmp_path / "brain_packed", FastMRIReader()).volumes
    assert len(first.contradictions) == 1 and second.contradictions == ()  # random images are no RSS
    masked.unlink()
    assert build_index(tmp_path / "brain_packed", FastMRIReader()).volumes == (
        measure_maxima(build_index(brain, FastMRIReader()), FastMRIReader()).volumes
    )
