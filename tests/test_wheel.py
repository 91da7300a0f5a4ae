"""The built wheel: installed beside nothing but its dependencies, every verb runs outside of the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLD_RUN = Path(__file__).parent / "fixtures" / "version_0_1"

# of several verbs in one process, which imports torch once
HELP = """
from fm_unroll.cli import main
for verb in ("fit", "cross-domain", "bench", "sweep", "summary"):
    try:
        main([verb, "--help"])
    except SystemExit as end:
        assert not end.code, verb
print("all have help")
"""

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    """The output of a command that must succeed."""
    # a checkout on the path would be taken in place of the wheel
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    result = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    # what is not tracked must not be missed, and nothing may be left in the checkout
    source = folder / "source"
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*build, "--wheel-dir", folder, source, cwd=folder)
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    # The dependencies are lent, several gigabytes of them. A path file of this kind lends packages only: the
    # editable installation of the checkout, which is a path file itself, does not come along.
    installed = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    ).strip()
    Path(installed, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_verbs_run_from_the_wheel(python: Path, tmp_path: Path):
    where = run(python, "-c", "import fm_unroll; print(fm_unroll.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(python.parents[1])
    verb = (python, "-m", "fm_unroll")
    assert "reconstruct" in run(*verb, "--help", cwd=tmp_path)
    run(
        *verb,
        "data",
        "synthesize",
        "--root",
        "data",
        "--size",
        "tiny",
        "--hearts",
        1,
        "--knees",
        1,
        cwd=tmp_path,
    )
    scan = next((tmp_path / "data").rglob("cine_sax.mat"))
    weights = OLD_RUN / "varnet.ckpt"
    run(*verb, "reconstruct", scan, "--checkpoint", weights, "--output", "heart.h5", cwd=tmp_path)
    assert (tmp_path / "heart.h5").stat().st_size > 0
    (tmp_path / "records.csv").write_bytes((OLD_RUN / "records.csv").read_bytes())
    run(*verb, "report", "records.csv", cwd=tmp_path)
    assert "arXiv 2604.22557" in (tmp_path / "report.html").read_text()  # the published rows came along
    assert run(python, "-c", HELP, cwd=tmp_path).splitlines()[-1] == "all have help"
