"""Every bad input ends in one line that names it, without asking for more memory than a scan needs."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bad_input_cases import CASES, HEARTS, KNEES, Case, heart, knee
from fm_unroll.cli import main
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.errors import InputError

BUDGET = 768 * 2**20
PROGRESS = re.compile(r"\d+%\||volume/s|s/volume")


@contextmanager
def limited_memory() -> Iterator[None]:
    """Refuse this process, inside, more than a budget of memory beyond what it has."""
    if sys.platform != "linux":
        yield
        return
    status = Path("/proc/self/status").read_text()
    used = int(status.split("VmData:")[1].split()[0]) * 1024
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + BUDGET, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_bad_input(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = case.make(tmp_path)
    args = case.command(tmp_path)
    if case.words is None:
        main(args)
        return
    with limited_memory(), pytest.raises(SystemExit) as exit_:
        main(args)
    assert exit_.value.code == 2
    output = capsys.readouterr()
    (line,) = (line for line in output.err.splitlines() if line.strip() and not PROGRESS.search(line))
    assert line.startswith("error: ") and case.words in line and path.stem in line
    assert "allocate" not in line and "code ran" not in output.out


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name)
        for name, case in CASES.items()
        if case.command in (HEARTS, KNEES) and case.words is not None and "root:" not in name
    ],
)
def test_data_check_lists_it(case: Case, tmp_path: Path, capsys):
    path = case.make(tmp_path)
    with limited_memory(), pytest.raises(SystemExit) as exit_:
        main(["data", "check", str(tmp_path / "data"), "--read"])
    assert exit_.value.code == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("unusable: ")]
    assert len(lines) == 1 and path.name in lines[0]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the privileges of root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("make", [heart(), knee()], ids=["heart", "knee"])
def test_a_file_that_may_not_be_read(make, tmp_path: Path):
    path = make(tmp_path)
    reader = CMRxReconReader(("cine_sax",)) if path.suffix == ".mat" else FastMRIReader()
    path.chmod(0)
    with as_nobody(), pytest.raises(InputError, match="Permission denied") as error:
        reader.describe(path, tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["two words", "Größe 心臓", "it's (1) & $HOME", "100%", "a,b=[c]"])
def test_folders_of_any_name(name: str, tmp_path: Path, capsys):
    folder = tmp_path / name
    folder.mkdir()
    heart()(folder)
    main(HEARTS(folder))
    assert (folder / "results" / "records.csv").is_file()
    main(["data", "check", str(folder / "data")])
    assert name in capsys.readouterr().out
