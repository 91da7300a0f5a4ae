"""Packed volumes: the same bits as the source, and never used when they are not."""

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
from fm_unroll.data.packed import PackedReader, pack_volume, packed_volumes

from fm_unroll.cli import main
from fm_unroll.data import CMRxReconData, FastMRIBrainData, KSpaceBatch, KSpaceSample
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import build_index, measure_maxima
from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.pack import pack
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.readers.hdf5 import open_file
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


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    """Two fastMRI scans with zero padding; one stores its reconstruction, larger than what counts."""
    root = tmp_path / "brain"
    target = np.random.default_rng(1).random((3, 10, 9), np.float32)
    write_fastmri(root / "a.h5", padding=(2, 1), target=target, attributes={"max": float(target.max())})
    write_fastmri(root / "b.h5", shape=(2, 2, 16, 12), seed=2, attributes={"synthetic": True})
    return root


def packed_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def assert_same(ours: object, theirs: object) -> None:
    """Two samples or batches are equal, tensors bit for bit."""
    for field in dataclasses.fields(ours):
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        if isinstance(mine, torch.Tensor):
            assert mine.dtype == other.dtype and torch.equal(mine, other), field.name
        else:
            assert repr(mine) == repr(other), field.name  # NaN equals NaN


def test_a_packed_data_module_gives_the_same_batches_to_the_bit(cardiac: Path, brain: Path, tmp_path: Path):
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
        source, packed = kind(root, **options), kind(root, packed=tmp_path / "packed", **options)
        expected, found = batches(source), batches(packed)
        assert packed.subjects == source.subjects and packed.index == source.index
        assert sum(map(len, expected.values())) >= 2 and expected.keys() == found.keys()
        for stage in expected:
            assert len(expected[stage]) == len(found[stage])
            for ours, theirs in zip(found[stage], expected[stage], strict=True):
                assert_same(ours, theirs)
        shutil.rmtree(tmp_path / "packed")


def test_undersampled_scans_can_be_packed(tmp_path: Path):
    lines = np.isin(np.arange(12), [0, 4, 5, 6, 7, 8])
    folder = tmp_path / "data" / "MultiCoil" / "Cine" / "TrainingSet" / "AccFactor04" / "P001"
    kspace = random_kspace(8, 12, 2, 2, 2) * lines[None, :, None, None, None]
    write_matlab(folder / "cine_sax.mat", kspace_sub04=kspace)
    write_matlab(folder / "cine_sax_mask.mat", mask04=np.broadcast_to(lines, (8, 12)).astype(float))
    reader = CMRxReconReader(("cine_sax",), sampling="AccFactor04")
    index = build_index(tmp_path / "data", reader)
    pack_volume(index.volumes[0], index.root, reader, tmp_path / "packed", "complex64")
    volumes = packed_volumes(tmp_path / "packed", index.volumes, index.root, reader)
    for ours, theirs in zip(
        SliceDataset(tmp_path / "packed", PackedReader(), volumes),
        SliceDataset(index.root, reader, index.volumes),
        strict=True,
    ):
        assert not ours.fully_sampled and ours.num_acs == 5
        assert_same(ours, theirs)


def test_packing_finds_the_maxima(cardiac: Path, tmp_path: Path, index_cache: Path):
    pack(cardiac, tmp_path / "packed", workers=0)
    known = build_index(cardiac, READER)
    for cache in index_cache.iterdir():
        cache.unlink()
    assert known == measure_maxima(build_index(cardiac, READER), READER)
    assert {volume.maximum is None for volume in known.volumes} == {False}
    for cache in index_cache.iterdir():
        cache.unlink()
    pack(cardiac, tmp_path / "packed", workers=0)  # what is there says it, too
    assert build_index(cardiac, READER) == known


@pytest.mark.parametrize("magnitude", [1e-7, 1.0, 1e6])
def test_half_precision_states_the_error_that_it_makes(tmp_path: Path, magnitude: float, capsys):
    root = tmp_path / "data"
    path = write_fastmri(root / "a.h5", target=np.ones((3, 8, 8), np.float32) / 3)
    with h5py.File(path, "r+") as file:  # the centre of k-space is 1e5 times as large as its edge
        falloff = np.exp(-(np.linspace(-3.4, 3.4, 16) ** 2))[:, None] * magnitude
        file["kspace"][...] = file["kspace"][...] * falloff
    pack(root, tmp_path / "full", workers=0)
    pack(root, tmp_path / "half", precision="float16", workers=0)
    stated = float(capsys.readouterr().out.split("at most ")[1].split()[0])
    index = build_index(root, FastMRIReader())
    full, half = (
        SliceDataset(
            folder, PackedReader(), packed_volumes(folder, index.volumes, index.root, FastMRIReader())
        )
        for folder in (tmp_path / "full", tmp_path / "half")
    )
    exact = torch.stack([sample.kspace for sample in full]).to(torch.complex128)
    error = torch.stack([sample.kspace for sample in half]).to(torch.complex128) - exact
    assert stated == pytest.approx(float(error.norm() / exact.norm()), rel=0.05)
    assert 0 < stated < 2**-11  # half a unit in the last of 11 bits
    parts = torch.view_as_real(error).abs() <= torch.view_as_real(exact).abs() * 2**-11 * 1.001
    assert parts.float().mean() > 0.999  # each value keeps its 11 bits, the small ones too
    for ours, theirs in zip(half, full, strict=True):
        assert_same(dataclasses.replace(ours, kspace=theirs.kspace), theirs)
    with open_file(tmp_path / "half" / "a.h5") as file:
        assert file["kspace"].nbytes == exact.numel() * 4
        assert file.attrs["relative_error"] == pytest.approx(stated, rel=0.05)


def test_packing_again_writes_only_what_is_not_right(cardiac: Path, tmp_path: Path):
    output = tmp_path / "packed"
    pack(cardiac, output, workers=0)
    first = {path: (path.stat().st_ino, path.read_bytes()) for path in packed_files(output)}
    assert len(first) == 6
    gone, *kept = first
    gone.unlink()
    gone.with_name(gone.name + ".part").write_bytes(b"what an interrupted run left")
    pack(cardiac, output, workers=2)
    assert packed_files(output) == list(first)
    assert gone.read_bytes() == first[gone][1]
    assert all(path.stat().st_ino == first[path][0] for path in kept)


def test_a_killed_run_goes_on_where_it_stopped(cardiac: Path, tmp_path: Path):
    output, expected = tmp_path / "packed", tmp_path / "expected"
    pack(cardiac, expected, workers=0)
    run = multiprocessing.get_context("fork").Process(target=pack, args=(cardiac, output, "complex64", 0))
    run.start()
    deadline = time.monotonic() + 30
    while not list(output.rglob("*.h5")) and time.monotonic() < deadline:
        time.sleep(0.001)
    run.kill()
    run.join()
    whole = {path: path.stat().st_ino for path in output.rglob("*.h5")}
    assert whole
    pack(cardiac, output, workers=0)
    assert [path.read_bytes() for path in packed_files(output)] == [
        path.read_bytes() for path in packed_files(expected)
    ]
    assert all(path.stat().st_ino == inode for path, inode in whole.items())


def source_changed(source: Path, packed: Path) -> None:
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1))


def source_replaced(source: Path, packed: Path) -> None:
    write_cmrxrecon(source.parents[5], "P000", shape=(16, 32, 2, 2, 4), seed=7)


def truncated(source: Path, packed: Path) -> None:
    with packed.open("r+b") as file:
        file.truncate(packed.stat().st_size - 100)


def other_version(source: Path, packed: Path) -> None:
    with h5py.File(packed, "r+") as file:
        file.attrs["version"] = 0


def no_packed_file(source: Path, packed: Path) -> None:
    packed.write_bytes(source.read_bytes())


def missing(source: Path, packed: Path) -> None:
    packed.unlink()


def without_slices(source: Path, packed: Path) -> None:
    with h5py.File(packed, "r+") as file:
        del file["kspace"]


def other_description(source: Path, packed: Path) -> None:
    with h5py.File(packed, "r+") as file:
        file.attrs["volume"] = file.attrs["volume"].replace('"crop": [16', '"crop": [14')


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (source_changed, "is out of date: .*cine_sax.mat has changed since it was packed"),
        (source_replaced, "is out of date: .*cine_sax.mat has changed"),
        (truncated, "truncated"),
        (other_version, "is of packed format 0, this is 1"),
        (no_packed_file, "damaged HDF5 file"),
        (missing, "P000/cine_sax is not packed"),
        (without_slices, "is damaged: it lacks slices"),
        (other_description, "was described otherwise before"),
    ],
)
def test_what_is_not_right_is_refused_before_training_and_repaired(cardiac, tmp_path, damage, reason):
    output = tmp_path / "packed"
    pack(cardiac, output, workers=0)
    source = cardiac / "MultiCoil/Cine/TrainingSet/FullSample/P000/cine_sax.mat"
    packed = output / "MultiCoil/Cine/TrainingSet/FullSample/P000/cine_sax.h5"
    damage(source, packed)
    index = build_index(cardiac, READER)
    with pytest.raises(InputError, match=rf"{packed}:? .*{reason}.*run `data pack`") as error:
        packed_volumes(output, index.volumes, index.root, READER)
    assert "\n" not in str(error.value)
    pack(cardiac, output, workers=0)
    volumes = packed_volumes(output, index.volumes, index.root, READER)
    for ours, theirs in zip(
        SliceDataset(output, PackedReader(), volumes),
        SliceDataset(index.root, READER, measure_maxima(index, READER).volumes),
        strict=True,
    ):
        assert_same(dataclasses.replace(ours, data_range=theirs.data_range), theirs)


def test_another_precision_is_packed_anew(cardiac: Path, tmp_path: Path):
    pack(cardiac, tmp_path / "packed", precision="float16", workers=0)
    pack(cardiac, tmp_path / "packed", workers=0)
    pack(cardiac, tmp_path / "fresh", workers=0)
    for ours, fresh in zip(packed_files(tmp_path / "packed"), packed_files(tmp_path / "fresh"), strict=True):
        assert ours.read_bytes() == fresh.read_bytes()


def test_no_flipped_bit_is_ever_used(brain: Path, tmp_path: Path):
    output = tmp_path / "packed"
    pack(brain, output, workers=0)
    index = build_index(brain, FastMRIReader())
    expected = list(SliceDataset(index.root, FastMRIReader(), index.volumes[:1]))
    path, content = output / "a.h5", (output / "a.h5").read_bytes()
    random = np.random.default_rng(0)

    def read() -> list[KSpaceSample]:
        volumes = packed_volumes(output, index.volumes[:1], index.root, FastMRIReader())
        return list(SliceDataset(output, PackedReader(), volumes))

    refused = 0
    for _ in range(300):
        position, bit = random.integers(len(content)), 1 << random.integers(8)
        path.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])
        try:
            found = read()
        except InputError as error:
            assert str(path) in str(error)
            refused += 1
        else:  # a byte that means nothing
            for ours, theirs in zip(found, expected, strict=True):
                assert_same(ours, theirs)
    assert refused > 200
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
    assert f"unusable: {torn}" in output and "4 volumes packed in complex64" in output
    assert len(list((tmp_path / "cmrxrecon_packed").rglob("*.h5"))) == 4


def test_what_cannot_be_finished_is_not_begun(cardiac: Path, tmp_path: Path, monkeypatch, capsys):
    with pytest.raises(InputError, match="lies in the data set's own folder"):
        pack(cardiac, cardiac / "packed")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(InputError, match=r"GiB are needed, 0\.0 GiB are free"):
        pack(cardiac, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_fit_says_in_one_line_what_is_not_packed(cardiac: Path, tmp_path: Path, capsys):
    options = ["--data.root", str(cardiac), "--data.packed", str(tmp_path / "packed")]
    network = ["--model.num_cascades", "1", "--model.chans", "2", "--model.sens_chans", "2"]
    with pytest.raises(SystemExit):
        main(["fit", *options, *network, "--data.num_workers", "0", "--trainer.fast_dev_run", "1"])
    assert "is not packed; run `data pack`" in capsys.readouterr().err.splitlines()[-1]
