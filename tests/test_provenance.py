"""Hashes of code: what changes them and what does not; the commit."""

import ast
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy
import pytest
import timm
import torch

from fm_unroll import provenance
from fm_unroll.data.index import DECIDING as OF_INDEX
from fm_unroll.evaluation.scoring import DECIDING as OF_ROWS
from fm_unroll.provenance import source_sha256

PACKAGE = Path(provenance.__file__).parent


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package elsewhere, whose files are hashed in place of its own."""
    shutil.copytree(PACKAGE, tmp_path / "fm_unroll", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "fm_unroll")
    source_sha256.cache_clear()
    yield tmp_path / "fm_unroll"
    source_sha256.cache_clear()


def of(*modules: str) -> str:
    source_sha256.cache_clear()
    return source_sha256(*modules)


def test_the_hash_is_the_same_wherever_the_package_lies_and_however_lines_end(copy):
    there = of(*OF_ROWS)
    for path in copy.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (copy / "physics" / "__pycache__").mkdir()
    (copy / "physics" / "notes.txt").write_text("no code")
    assert of(*OF_ROWS) == there == of(*reversed(OF_ROWS))
    provenance.PACKAGE = PACKAGE
    assert of(*OF_ROWS) == there


@pytest.mark.parametrize(
    "file",
    [
        "data/dataset.py",
        "data/readers/fastmri.py",
        "data/undersampling.py",
        "data/volume.py",
        "encoders/vit.py",
        "evaluation/scoring.py",
        "physics/sampling.py",
        "metrics.py",
        "metric_formulas.py",
        "reconstruction/adaptation.py",
        "reconstruction/engine.py",
        "models/classical/cg_sense.py",
        "models/unrolled.py",
    ],
)
def test_what_decides_the_figures_of_a_row_changes_its_hash(copy, file):
    before = of(*OF_ROWS)
    path = copy / file
    path.write_text(path.read_text() + "# another line\n")
    assert of(*OF_ROWS) != before


@pytest.mark.parametrize(
    "file", ["data/readers/hdf5.py", "data/volume.py", "data/undersampling.py", "physics/fourier.py"]
)
def test_what_decides_a_description_changes_the_hash_of_an_index(copy, file):
    before = of(*OF_INDEX)
    path = copy / file
    path.write_text(path.read_text() + "# another line\n")
    assert of(*OF_INDEX) != before


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports from."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in nodes if node.module and node.module.startswith("fm_unroll.")}


# where a row is of and stands, what may be run, a type; encoders and checkpoints have hashes of their own
UNDECIDING = {
    *("compatibility", "consent", "encoders", "errors", "files", "precision", "provenance"),
    "reconstruction.volume",
    *("data.modules", "evaluation.entrants", "evaluation.metric_table", "evaluation.records"),
    *("data.examination", "data.parallel", "subjects.population", "subjects.split"),
}


@pytest.mark.parametrize(
    ("deciding", "allowed"), [(OF_ROWS, UNDECIDING), (OF_INDEX, {*UNDECIDING, "metrics"})]
)
def test_no_helper_of_what_decides_is_forgotten(deciding, allowed):
    known = {*deciding, *(f"fm_unroll.{name}" for name in allowed)}
    for name in deciding:
        path = PACKAGE.joinpath(*name.split(".")[1:])
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            for module in imported(file):
                covered = any(module == other or module.startswith(f"{other}.") for other in known)
                assert covered, f"{file} imports {module}: does it decide too?"


def test_reports_and_commands_decide_nothing(copy):
    before = of(*OF_ROWS), of(*OF_INDEX)
    for file in ("report/page.py", "commands/check.py", "cli.py"):
        (copy / file).write_text("# nothing")
    assert (of(*OF_ROWS), of(*OF_INDEX)) == before


def test_a_file_that_moves_or_a_misspelt_module_does_not_pass(copy):
    before = of("fm_unroll.physics")
    (copy / "physics" / "coils.py").rename(copy / "physics" / "receivers.py")
    assert of("fm_unroll.physics") != before
    with pytest.raises(OSError, match=r"metric\.py"):
        of("fm_unroll.metric")


def test_code_without_a_file_is_never_the_same_twice(monkeypatch):
    monkeypatch.setitem(sys.modules, "typed_in", types.ModuleType("typed_in"))
    assert of("typed_in") != of("typed_in")


def test_the_hash_needs_no_torch():
    code = "import sys; from fm_unroll.provenance import source_sha256 as s; s('fm_unroll.models')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)


def test_the_commit_is_not_that_of_another_project(tmp_path: Path):
    """An environment within another checkout: the package there is not tracked, so it has no commit."""
    package = tmp_path / "project" / ".venv" / "fm_unroll"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    project = ["git", "-C", str(tmp_path / "project"), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*project[:3], "init", "--quiet"], check=True)
    (tmp_path / "project" / "README").write_text("another project")
    subprocess.run([*project, "add", "README"], check=True)
    subprocess.run([*project, "commit", "--quiet", "-m", "one"], check=True)
    code = "from fm_unroll.provenance import commit; print(commit())"

    environment = os.environ | {"PYTHONPATH": str(package.parent)}

    def found() -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=package.parent, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert found() == "not a git checkout"
    subprocess.run([*project, "add", "-f", ".venv"], check=True)
    subprocess.run([*project, "commit", "--quiet", "-m", "two"], check=True)
    head = subprocess.run([*project, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert found() == head.stdout.strip()
    with (package / "errors.py").open("a") as file:
        file.write("# not committed\n")
    assert found() == f"{head.stdout.strip()}-dirty"


def test_provenance_has_the_versions_that_are_in_use():
    packages = provenance.provenance()["packages"]
    assert packages["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert (packages["numpy"], packages["timm"]) == (numpy.__version__, timm.__version__)
