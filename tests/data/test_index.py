"""The index: what it remembers, what it notices, what it refuses."""

import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from fm_unroll.curation.survey import survey
from fm_unroll.data import index as index_module
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import build_index, measure_maxima
from fm_unroll.data.readers import reader as reader_module
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.data.readers.hdf5 import open_file
from fm_unroll.data.scan import open_scan
from fm_unroll.errors import InputError
from fm_unroll.files import reached_again
from fm_unroll.physics import ifft2c, rss
from fm_unroll.provenance import source_sha256
from simulate import random_kspace, write_cmrxrecon, write_fastmri, write_matlab

READER = CMRxReconReader(("cine_sax", "T1map"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three subjects; the second has no T1map."""
    for number, contrasts in enumerate([("cine_sax", "T1map"), ("cine_sax",), ("cine_sax", "T1map")]):
        for contrast in contrasts:
            write_cmrxrecon(
                tmp_path / "data",
                f"P00{number + 1}",
                contrast,
                (8, 6 + 2 * number, 2, 1 + number, 2),
                seed=number,
            )
    return tmp_path / "data"


def names(root: Path, **options) -> list[str]:
    return [volume.name for volume in build_index(root, READER, **options).volumes]


def file_of(root: Path, subject: str) -> Path:
    return root / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / subject / "cine_sax.mat"


def test_lists_volumes_and_names_what_is_missing(root: Path):
    index = build_index(root, READER)
    assert [volume.name for volume in index.volumes] == [
        *("P001/cine_sax", "P002/cine_sax", "P003/cine_sax", "P001/T1map", "P003/T1map")
    ]
    assert index.missing == ["P002/T1map"] and index.problems == []
    assert [volume.phase for volume in index.volumes] == [6, 8, 10, 6, 10]
    assert build_index(root, READER) == index


def test_unchanged_files_are_not_opened_again(root: Path, index_cache: Path):
    path = file_of(root, "P002")
    first = build_index(root, READER)
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert build_index(root, READER) == first
    assert [file.suffix for file in index_cache.iterdir()] == [".json"]

    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(InputError, match=f"{path}: "):
        build_index(root, READER)


def test_a_large_tree_is_described_in_processes_and_then_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = write_cmrxrecon(tmp_path / "data", "P0000", "cine_sax", (8, 6, 2, 1, 2)).read_bytes()
    for number in range(1, 400):
        path = file_of(tmp_path / "data", f"P{number:04}")
        path.parent.mkdir(parents=True)
        path.write_bytes(first)
    reader, opened = CMRxReconReader(("cine_sax",)), []
    monkeypatch.setattr(reader_module, "open_file", lambda path: opened.append(path) or open_file(path))
    monkeypatch.setattr(index_module, "MIN_FILES_FOR_WORKERS", 100)
    cold = build_index(tmp_path / "data", reader, workers=2)
    assert len(cold.volumes) == 400 and opened == []  # not by this process
    warm = build_index(tmp_path / "data", reader, workers=2)
    assert warm == cold and opened == []
    dataset = SliceDataset(tmp_path / "data", reader, warm.volumes)
    assert len(dataset) == 800 and opened == []
    os.utime(file_of(tmp_path / "data", "P0123"))
    assert build_index(tmp_path / "data", reader).volumes == cold.volumes
    assert opened == [file_of(tmp_path / "data", "P0123")]


def test_handles_are_kept_within_a_bound(root: Path, monkeypatch: pytest.MonkeyPatch):
    opened = []
    monkeypatch.setattr(reader_module, "open_file", lambda path: opened.append(path) or open_file(path))
    volumes = build_index(root, READER).volumes
    for limit, opens in [(64, 5), (2, 15)]:
        dataset = SliceDataset(root, READER, volumes, max_open_files=limit)
        opened.clear()
        for _ in range(3):
            for _ in dataset:
                pass
        assert len(opened) == opens


def test_changed_new_and_deleted_files_are_noticed(root: Path):
    build_index(root, READER)
    write_cmrxrecon(root, "P001", "cine_sax", (8, 12, 2, 1, 1))
    write_cmrxrecon(root, "P004", "cine_sax")
    file_of(root, "P002").unlink()
    index = build_index(root, READER)
    assert [volume.name for volume in index.volumes] == [
        *("P001/cine_sax", "P003/cine_sax", "P004/cine_sax", "P001/T1map", "P003/T1map")
    ]
    assert index.volumes[0].phase == 12
    assert index.missing == ["P002/cine_sax", "P002/T1map", "P004/T1map"]


def test_a_changed_mask_is_noticed(tmp_path: Path):
    folder = tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "AccFactor04" / "P001"
    kspace = random_kspace(8, 16, 2, 1, 1)
    write_matlab(folder / "cine_sax.mat", kspace_sub04=kspace)
    reader = CMRxReconReader(("cine_sax",), sampling="AccFactor04")
    assert build_index(tmp_path, reader).volumes[0].num_acs == 16
    mask = np.zeros((8, 16))
    mask[:, 6:10] = 1
    write_matlab(folder / "cine_sax_mask.mat", mask04=mask)
    assert build_index(tmp_path, reader).volumes[0].sampled == (6, 7, 8, 9)


def test_a_torn_or_foreign_cache_is_rebuilt(root: Path, index_cache: Path, monkeypatch: pytest.MonkeyPatch):
    first = build_index(root, READER)
    (cache,) = index_cache.iterdir()
    content = cache.read_text()
    for torn in (
        "",
        content[: len(content) // 2],
        "[]",
        '{"code": 1}',
        content.replace('"crop"', '"crap"'),
    ):
        cache.write_text(torn)
        assert build_index(root, READER) == first
    assert cache.read_text() == content
    cache.write_text(content.replace('"num_coils": 2', '"num_coils": 3'))
    assert build_index(root, READER) != first  # believed as long as the code is the same
    monkeypatch.setattr(index_module, "DECIDING", index_module.DECIDING[1:])
    assert build_index(root, READER) == first


def test_what_another_reader_of_the_layout_found_is_not_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A reader outside of the package is part of the code that decides, edited between two runs."""
    source = tmp_path / "own_reader.py"
    monkeypatch.syspath_prepend(tmp_path)
    for coils in (3, 5):
        source.write_text(
            "from dataclasses import replace\n"
            "from fm_unroll.data.readers.cmrxrecon import CMRxReconReader\n"
            "class OwnReader(CMRxReconReader):\n"
            "    def parse(self, file, path):\n"
            f"        return replace(super().parse(file, path), num_coils={coils})\n"
        )
        monkeypatch.delitem(sys.modules, "own_reader", raising=False)
        source_sha256.cache_clear()
        reader = importlib.import_module("own_reader").OwnReader(("cine_sax",))
        assert {volume.num_coils for volume in build_index(root, reader).volumes} == {coils}


def test_two_layouts_below_one_root_are_remembered_beside_each_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    write_fastmri(root / "multicoil_val" / "a.h5")
    first = [build_index(root, reader) for reader in (READER, FastMRIReader())]
    assert [len(index.volumes) for index in first] == [5, 1]
    opened = []
    monkeypatch.setattr(reader_module, "open_file", lambda path: opened.append(path) or open_file(path))
    assert [build_index(root, reader) for reader in (READER, FastMRIReader())] == first and opened == []


def test_two_shares_of_the_readout_are_remembered_beside_each_other(root: Path):
    for _ in range(2):
        for share, kept in ((0.5, 4), (0.75, 6), (1.0, 8)):
            volumes = build_index(root, READER.with_readout_crop(share)).volumes
            assert {volume.readout for volume in volumes} == {kept}


def test_works_where_nothing_can_be_remembered(root: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setenv("FM_UNROLL_CACHE", str(file_of(root, "P001")))
    assert len(measure_maxima(build_index(root, READER), READER).volumes) == 5
    assert "set FM_UNROLL_CACHE" in caplog.text


def test_broken_files_are_refused_or_listed_never_skipped(root: Path):
    broken = [file_of(root, "P001"), file_of(root, "P003")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=rf"{broken[0]}: .* \(and 1 more; `data check` lists them\)"):
        build_index(root, READER)
    index = build_index(root, READER, strict=False)
    assert [problem.split(": ")[0] for problem in index.problems] == [str(path) for path in broken]
    assert len(index.volumes) == 3 and build_index(root, READER, strict=False) == index


def test_nothing_but_files_that_do_not_count_is_refused_with_the_reason(root: Path):
    for subject in ("P001", "P002"):
        write_matlab(file_of(root, subject), kspace_single_full=random_kspace(8, 6, 2, 2))
    sax = CMRxReconReader(("cine_sax",))
    assert [volume.name for volume in build_index(root, sax).volumes] == ["P003/cine_sax"]
    file_of(root, "P003").unlink()
    file_of(root, "P003").parent.rmdir()
    with pytest.raises(InputError, match=rf"{file_of(root, 'P001')}: single-coil k-space, .* \(and 1 more"):
        build_index(root, sax)
    index = build_index(root, sax, strict=False)
    assert index.volumes == index.problems == [] and len(index.left_out) == 2


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    for part in ("train", "val"):
        write_fastmri(tmp_path / f"multicoil_{part}" / "file1.h5")
    with pytest.raises(InputError, match=r"multicoil_train/file1.h5 and multicoil_val/file1.h5 are both"):
        build_index(tmp_path, FastMRIReader())
    assert len(build_index(tmp_path, FastMRIReader("multicoil_val")).volumes) == 1


def test_links_are_followed_wherever_they_lead(root: Path, tmp_path: Path):
    linked_root = tmp_path / "link"
    linked_root.symlink_to(root)
    assert build_index(linked_root, READER).volumes == build_index(root, READER).volumes

    outside = write_cmrxrecon(tmp_path / "elsewhere", "P009", shape=(8, 6, 2, 1, 1))
    folder = file_of(root, "P005").parent
    folder.symlink_to(outside.parent)
    file_of(root, "P006").parent.mkdir()
    file_of(root, "P006").symlink_to(write_cmrxrecon(tmp_path / "afar", shape=(8, 10, 2, 1, 1)))
    index = build_index(root, READER)
    found = {volume.name: volume.phase for volume in index.volumes}
    # a subject goes by its name in this tree, not by that of the folder that its link leads to
    assert found["P005/cine_sax"] == 6 and found["P006/cine_sax"] == 10 and len(found) == 7
    assert index.left_out == []
    samples = SliceDataset(root, READER, index.volumes)
    assert len([sample for sample in samples if sample.volume.name == "P005/cine_sax"]) == 1


def test_links_that_lead_nowhere_are_named(root: Path):
    file, folder = file_of(root, "P005"), file_of(root, "P006").parent
    for link, goal, reason in [
        (file, root / "x", rf"No such file or directory \(a link to {root / 'x'}\)"),
        (file, file, r"Too many levels of symbolic links \(a link to"),
        (folder, root / "x", rf"No such file or directory \(a link to {root / 'x'}\)"),
        (folder, folder, r"Too many levels of symbolic links \(a link to"),
    ]:
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(goal)
        with pytest.raises(InputError, match=f"^{link}: {reason}"):
            build_index(root, READER)
        (problem,) = build_index(root, READER, strict=False).problems
        assert problem.startswith(str(link))
        link.unlink()


def test_a_file_that_is_reached_twice_counts_once_by_its_own_name(root: Path):
    first, own = file_of(root, "P000"), file_of(root, "P002")
    first.parent.mkdir()
    first.symlink_to(own)
    hard = file_of(root, "P004")
    hard.parent.mkdir()
    hard.hardlink_to(file_of(root, "P001"))
    index = build_index(root, READER)
    assert [volume.subject for volume in index.volumes if volume.contrast == "cine_sax"] == [
        *("P001", "P002", "P003")
    ]
    assert index.left_out == [
        f"{first}: the same file as {own}, by a link",
        f"{hard}: the same file as {file_of(root, 'P001')}, by a link",
    ]


def test_a_linked_folder_stands_for_none_of_its_files(root: Path, tmp_path: Path):
    """Also where it comes first, and where the root itself is reached by a link."""
    own = file_of(root, "P003")
    file_of(root, "P000").parent.symlink_to(own.parent)
    linked_root = tmp_path / "link"
    linked_root.symlink_to(root)
    for top in (root, linked_root):
        index = build_index(top, CMRxReconReader(("cine_sax",)))
        assert [volume.subject for volume in index.volumes] == ["P001", "P002", "P003"]
        first = file_of(top, "P000")
        assert index.left_out == [f"{first}: the same file as {file_of(top, 'P003')}, by a link"]


def test_of_a_linked_folder_s_file_and_a_link_to_it_the_file_counts(tmp_path: Path):
    file = write_fastmri(tmp_path / "elsewhere" / "b.h5")
    file.with_name("a.h5").symlink_to(file)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "multicoil_val").symlink_to(file.parent)
    index = build_index(tmp_path / "data", FastMRIReader())
    assert [volume.path for volume in index.volumes] == ["multicoil_val/b.h5"]


def test_files_of_one_inode_on_two_disks_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    disks = {tmp_path / "a.h5": 1, tmp_path / "b.h5": 2}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", lambda path, **_: SimpleNamespace(st_dev=disks.get(path), st_ino=7))
        again = reached_again(list(disks), tmp_path)
    assert again == {}


@pytest.mark.parametrize("name", ["P004/cine_sax.mat", "P001/cine_sax_mask.mat"])
def test_a_pipe_is_named_and_never_opened(root: Path, name: str):
    """Else whoever opens it would wait for ever."""
    pipe = file_of(root, "P001").parents[1] / name
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    words = f"{pipe}: a pipe, socket or device, no file; rename or remove it"
    with pytest.raises(InputError, match=f"^{words}$"):
        build_index(root, READER)
    assert build_index(root, READER, strict=False).problems == [words]
    assert survey(root).problems == [words]
    with pytest.raises(InputError, match=r"no file|not a file"):
        open_scan(pipe if "mask" not in name else file_of(root, "P001"))
    (file_of(root, "P005")).mkdir(parents=True)
    assert f"{file_of(root, 'P005')}: Is a directory, no file; rename or remove it" in survey(root).problems


def test_hidden_files_are_no_scans(tmp_path: Path):
    write_fastmri(tmp_path / "multicoil_val" / "a.h5")
    for hidden in ("multicoil_val/._a.h5", "multicoil_val/.b.h5", "._a.h5", ".trash.h5"):
        (tmp_path / hidden).write_bytes(bytes.fromhex("00051607") + bytes(200))
    index = build_index(tmp_path, FastMRIReader())
    assert [volume.path for volume in index.volumes] == ["multicoil_val/a.h5"]
    hearts = tmp_path / "hearts"
    path = write_cmrxrecon(hearts)
    path.with_name("._cine_sax.mat").write_bytes(bytes(200))
    path.parent.with_name("._P001").write_bytes(bytes(200))
    (hearts / "MultiCoil" / ".DS_Store").write_bytes(bytes(200))
    write_cmrxrecon(hearts / "MultiCoil" / ".Cine")
    assert [volume.name for volume in build_index(hearts, READER).volumes] == ["P001/cine_sax"]


def touch(path: Path) -> Path:
    """A file that is not to be opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


FULL = "MultiCoil/Cine/TrainingSet/FullSample"


def test_what_looks_like_a_scan_and_is_not_taken_is_named(tmp_path: Path, root: Path):
    knees = tmp_path / "knees"
    write_fastmri(knees / "multicoil_val" / "file1.h5")
    odd = ["multicoil_val/a.hdf5", "multicoil_val/b.H5", "multicoil_val/batch0/c.h5", "new/d.h5"]
    paths = [touch(knees / name) for name in odd]
    (knees / "linked").symlink_to(knees / "multicoil_val")
    (knees / "new" / "loop").symlink_to(knees)
    left_out = build_index(knees, FastMRIReader()).left_out
    assert sorted(line.split(": ")[0] for line in left_out) == sorted(map(str, paths))
    assert all("looks like a scan of fastMRI, but not where its reader looks" in line for line in left_out)

    odd = [f"{FULL}/{name}.mat" for name in ("p002/cine_sax", "P003_2/cine_sax", "Subject04/T1map", "P001/x")]
    odd += [f"{FULL}/P001/T1map.MAT", FULL.replace("Cine", "cine") + "/P009/cine_sax.mat"]
    paths = [touch(root / name) for name in odd]
    left_out = build_index(root, READER).left_out
    assert sorted(line.split(": ")[0] for line in left_out) == sorted(map(str, paths))


def test_nothing_of_a_published_tree_is_named_that_belongs_to_another_part(tmp_path: Path, root: Path):
    knees = tmp_path / "knees"
    write_fastmri(knees / "multicoil_val" / "file1.h5")
    for folder in ("multicoil_test", "multicoil_challenge", "multicoil_test_v2", "singlecoil_val"):
        touch(knees / folder / "file1.h5")
    touch(knees / "readme.txt")
    assert build_index(knees, FastMRIReader()).left_out == []
    assert build_index(knees, FastMRIReader("multicoil_val")).left_out == []

    cine = root / "MultiCoil" / "Cine"
    for part in ("TrainingSet/AccFactor04", "ValidationSet/FullSample", "TestSet/AccFactor10"):
        touch(cine / part / "P001" / "cine_sax.mat")
        touch(cine / part / "P001" / "cine_sax_mask.mat")
    for task, sampling in ((1, "Uniform4"), (2, "ktRadial8")):
        for part in ("TrainingSet", "ValidationSet"):
            touch(cine / part / f"UnderSample_Task{task}" / "P001" / f"cine_sax_kus_{sampling}.mat")
            touch(cine / part / f"Mask_Task{task}" / "P001" / f"cine_sax_mask_{sampling}.mat")
    touch(root / "SingleCoil" / "Cine" / "TrainingSet" / "FullSample" / "P001" / "cine_sax.mat")
    index = build_index(root, READER)
    assert index.left_out == index.unasked == []


def test_contrasts_that_nobody_asked_for_are_listed(root: Path):
    scanner = root / FULL / "Center001" / "UIH_30T_umr780" / "P001"
    for contrast in ("cine_lax_3ch", "cine_sax"):
        (touch(scanner / f"{contrast}.mat")).write_bytes(file_of(root, "P001").read_bytes())
    touch(root / FULL.replace("Cine", "LGE") / "P001" / "lge_lax.mat")
    index = build_index(root, CMRxReconReader())
    assert index.unasked == ["cine_lax_3ch", "lge_lax"] and index.left_out == []
    assert len(index.volumes) == 6
    # who names contrasts knows what is not among them
    named = build_index(root, READER)
    assert named.unasked == named.left_out == [] and len(named.volumes) == 6


def test_maxima_are_measured_once(root: Path):
    index = build_index(root, READER)
    assert {volume.maximum for volume in index.volumes} == {None}
    measured = measure_maxima(index, READER)
    for volume, (contrast, number) in zip(
        measured.volumes, [("sax", 0), ("sax", 1), ("sax", 2), ("T1", 0), ("T1", 2)], strict=True
    ):
        kspace = torch.from_numpy(random_kspace(8, 6 + 2 * number, 2, 1 + number, 2, seed=number))
        image = rss(ifft2c(kspace.permute(4, 3, 2, 0, 1).contiguous()))
        assert contrast in volume.name
        assert volume.maximum == pytest.approx(float(image.max()), rel=1e-5)
    assert build_index(root, READER) == measured
    with h5py.File(file_of(root, "P001"), "r+") as file:
        file["kspace_full"][...] = np.zeros((), file["kspace_full"].dtype)
    assert measure_maxima(measured, READER) == measured


def test_of_undersampled_volumes_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mask = np.arange(12) % 2 == 0
    mask[4:8] = True
    write_fastmri(tmp_path / "full.h5")
    write_fastmri(tmp_path / "under.h5", mask=mask)
    read, original = set(), FastMRIReader.read
    monkeypatch.setattr(
        FastMRIReader, "read", lambda self, *slice_: read.add(slice_[1].name) or original(self, *slice_)
    )
    index = build_index(tmp_path, FastMRIReader())
    full, under = measure_maxima(index, FastMRIReader()).volumes
    assert read == {"full"} and full.maximum is not None
    assert under == index.volumes[1] and under.maximum is None


def test_measuring_goes_on_where_it_stopped(root: Path):
    path = file_of(root, "P003")
    with h5py.File(path, "r+") as file:
        values = file["kspace_full"][()]
        values["real"][1, 2] = np.nan
        file["kspace_full"][...] = values
    index = build_index(root, READER)
    with pytest.raises(InputError, match=f"{path}: slice 2, frame 1: k-space holds NaN"):
        measure_maxima(index, READER)
    again = build_index(root, READER)
    assert [volume.maximum is None for volume in again.volumes] == [False, False, True, False, False]
    lenient = measure_maxima(again, READER, strict=False)
    assert len(lenient.volumes) == 4 and len(lenient.problems) == 1


def test_the_maximum_of_a_cropped_scan_is_that_of_the_crop(tmp_path: Path):
    write_fastmri(tmp_path / "a.h5", (2, 2, 16, 12), (4, 4))
    write_fastmri(tmp_path / "b.h5", (2, 2, 16, 12), (4, 4), attributes={"max": 0.5})
    index = measure_maxima(build_index(tmp_path, FastMRIReader()), FastMRIReader())
    image = rss(ifft2c(torch.from_numpy(random_kspace(2, 2, 16, 12))))[:, 6:10, 4:8]
    for volume in index.volumes:  # whatever a file states
        assert volume.maximum == pytest.approx(float(image.max()), rel=1e-5)
    (line,) = index.contradictions
    assert line.startswith(f"{tmp_path / 'b.h5'}: the stated maximum 0.5 is ")
    assert build_index(tmp_path, FastMRIReader()) == index  # it is remembered


def test_an_empty_reconstruction_is_refused(tmp_path: Path):
    path = write_fastmri(tmp_path / "a.h5", target=np.zeros((3, 8, 8)))
    with pytest.raises(InputError, match=f"{path}: the stored reconstruction is zero everywhere"):
        measure_maxima(build_index(tmp_path, FastMRIReader()), FastMRIReader())


def test_workers_find_the_same_and_leave_the_random_state_alone(
    root: Path, index_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    file_of(root, "P002").write_bytes(b"no scan")
    monkeypatch.setattr(index_module, "MIN_FILES_FOR_WORKERS", 1)
    state = torch.get_rng_state()
    results = []
    for workers in (0, 2):
        for cache in index_cache.iterdir():
            cache.unlink()
        index = build_index(root, READER, workers, strict=False)
        results.append(measure_maxima(index, READER, workers))
    assert results[0] == results[1] and len(results[0].problems) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_readers_of_other_parts_share_what_is_known(root: Path):
    sax = CMRxReconReader(("cine_sax",))
    measured = measure_maxima(build_index(root, sax), sax)
    everything = build_index(root, READER)
    known = [volume for volume in everything.volumes if volume.maximum is not None]
    assert known == measured.volumes and len(known) == 3
    measure_maxima(everything, READER)
    assert build_index(root, sax) == measured
