"""Files are recognised by what they hold."""

from pathlib import Path

from fm_unroll.curation.survey import survey
from simulate import write_cmrxrecon, write_fastmri


def test_matlab_files_are_found_under_any_suffix(tmp_path: Path):
    path = write_cmrxrecon(tmp_path)
    renamed = path.rename(path.with_suffix(".dat"))
    (problem,) = survey(tmp_path).problems
    assert problem.startswith(f"{renamed}: a CMRxRecon scan by its content")


def test_a_damaged_file_is_reported_once_though_its_content_and_its_place_are_looked_at(tmp_path: Path):
    write_fastmri(tmp_path / "multicoil_val" / "good.h5")
    torn = write_fastmri(tmp_path / "multicoil_val" / "torn.h5")
    torn.write_bytes(torn.read_bytes()[:900])
    found = survey(tmp_path)
    (problem,) = found.problems
    assert str(torn) in problem and found.data_sets[0].index.problems == [problem]
