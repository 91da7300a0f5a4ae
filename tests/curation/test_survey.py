"""Files are recognised by what they hold."""

import errno
import os
from pathlib import Path

import pytest

from fm_unroll.curation.survey import survey
from fm_unroll.data.index import build_index
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.errors import InputError
from simulate import write_cmrxrecon, write_fastmri


def test_matlab_files_are_found_under_any_suffix(tmp_path: Path):
    path = write_cmrxrecon(tmp_path)
    renamed = path.rename(path.with_suffix(".dat"))
    (problem,) = survey(tmp_path).problems
    assert problem.startswith(f"{renamed}: a CMRxRecon scan by its content")


def test_of_a_folder_that_cannot_be_read_no_other_file_suffers(tmp_path: Path, monkeypatch):
    closed = [write_cmrxrecon(tmp_path, "P002").parent, tmp_path / "knee" / "multicoil_train"]
    write_cmrxrecon(tmp_path, "P001")
    write_fastmri(tmp_path / "knee" / "multicoil_val" / "a.h5")
    closed[1].mkdir()

    def refusing(function):
        def call(folder):
            if Path(folder) in closed:
                raise PermissionError(errno.EACCES, "Permission denied")
            return function(folder)

        return call

    monkeypatch.setattr(Path, "iterdir", refusing(Path.iterdir))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    found = survey(tmp_path)
    assert sorted(found.problems) == [f"{folder}: Permission denied" for folder in closed]
    assert [(part.name, len(part.index.volumes)) for part in found.data_sets] == [
        ("CMRxRecon TrainingSet/FullSample", 1),
        ("fastMRI multicoil_val", 1),
    ]
    with pytest.raises(InputError, match=f"^{closed[0]}: Permission denied$"):
        build_index(tmp_path, CMRxReconReader())
    scanner = closed[0].parents[1] / "ValidationSet"
    closed[:] = [scanner]
    scanner.mkdir()
    index = build_index(tmp_path, CMRxReconReader())
    assert len(index.volumes) == 2 and index.left_out == [f"{scanner}: Permission denied"]


def test_a_damaged_file_is_reported_once_though_its_content_and_its_place_are_looked_at(tmp_path: Path):
    write_fastmri(tmp_path / "multicoil_val" / "good.h5")
    torn = write_fastmri(tmp_path / "multicoil_val" / "torn.h5")
    torn.write_bytes(torn.read_bytes()[:900])
    found = survey(tmp_path)
    (problem,) = found.problems
    assert str(torn) in problem and found.data_sets[0].index.problems == [problem]
