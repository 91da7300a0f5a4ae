"""The guide's layout: one class, and files can be opened, found, trained on and packed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from fm_unroll.commands.pack import pack
from fm_unroll.curation.survey import survey
from fm_unroll.data.readers import registry
from fm_unroll.data.scan import open_scan
from fm_unroll.errors import InputError
from simulate import write_cmrxrecon, write_fastmri

GUIDE = Path(__file__).parents[3] / "docs" / "notebooks" / "new_layout.py"


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The guide's module, whose layout is known until the test ends."""
    registry.list_readers()  # those of the package are known first
    monkeypatch.setattr(registry, "_READERS", dict(registry._READERS))
    spec = importlib.util.spec_from_file_location("new_layout", GUIDE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "new_layout", module)  # where other processes look it up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(lab: ModuleType, tmp_path: Path) -> Path:
    """Five subjects."""
    (tmp_path / "lab").mkdir()
    for number in range(5):
        lab.write_lab(tmp_path / "lab" / f"s{number}.h5", seed=number)
    return tmp_path / "lab"


def test_a_file_is_opened_by_its_content(lab: ModuleType, tmp_path: Path):
    written = lab.write_lab(tmp_path / "anna.dat")
    scan = open_scan(tmp_path / "anna.dat")
    assert repr(scan) == (
        "Scan(anna.dat: Lab knee, 3 slices x 1 frame, 2 coils x 16 readout x 12 phase, fully sampled)"
    )
    for sample, expected in zip(scan, written, strict=True):
        np.testing.assert_array_equal(sample.kspace, expected.swapaxes(-1, -2))


def test_a_folder_is_a_data_set_beside_those_of_the_package(folder: Path):
    write_fastmri(folder.parent / "multicoil_val" / "file1.h5")
    write_cmrxrecon(folder.parent)
    found = survey(folder.parent)
    assert not found.problems and not found.ignored
    assert {data_set.name: len(data_set.index.volumes) for data_set in found.data_sets} == {
        "Lab": 5,
        "CMRxRecon TrainingSet/FullSample": 1,
        "fastMRI multicoil_val": 1,
    }


def test_a_data_module_splits_and_masks_it(lab: ModuleType, folder: Path):
    data = lab.LabData(folder, num_workers=0, batch_size=2)
    data.setup()
    assert {stage: len(subjects) for stage, subjects in data.subjects.items()} == {
        "train": 3,
        "val": 1,
        "test": 1,
    }
    batch = data.on_after_batch_transfer(next(iter(data.loader("val"))), 0)
    assert batch.kspace.shape == (2, 2, 16, 12) and batch.target.shape == (2, 16, 12)
    assert not batch.kspace[:, :, :, ~batch.mask[0, 0, 0]].any() and set(batch.acceleration) == {4}


def test_it_is_packed(lab: ModuleType, folder: Path):
    pack(folder, workers=0)
    for path in sorted(folder.iterdir()):
        source, packed = open_scan(path), open_scan(folder.with_name("lab_packed") / path.name)
        assert all(
            torch.equal(ours.kspace, theirs.kspace) for ours, theirs in zip(packed, source, strict=True)
        )


def test_what_no_layout_recognises_is_refused_with_all_that_are_known(lab: ModuleType, tmp_path: Path):
    path = write_fastmri(tmp_path / "a.h5")
    with registry.open_file(path) as file:
        assert not lab.LabReader().recognises(file)
    import h5py

    with h5py.File(path, "r+") as file:
        file.move("kspace", "image")
    with pytest.raises(InputError, match=r"Lab: raw; CMRxRecon: kspace_full, .*; fastMRI: kspace; ISMRMRD: "):
        open_scan(path)


def test_a_name_is_given_once(lab: ModuleType):
    with pytest.raises(ValueError, match="Lab is registered already"):
        registry.register_reader(lab.LabReader)


def test_of_two_layouts_that_recognise_a_file_the_latest_reads_it(lab: ModuleType, tmp_path: Path):
    lab.write_lab(tmp_path / "anna.h5")
    for name in ("Zebra", "Alpaca", "Mole"):  # not in the order of their names, either way
        registry.register_reader(type(name, (lab.LabReader,), {"name": name}))
        assert open_scan(tmp_path / "anna.h5").kind == name
