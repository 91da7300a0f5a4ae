"""``~`` is the home folder wherever a path is given, and no folder of that name is ever made."""

import shutil
from pathlib import Path

import pytest
import yaml

import fm_unroll as fm
from fm_unroll.cli import main
from fm_unroll.config_files import expand_words, load_config
from fm_unroll.data import CMRxReconData
from fm_unroll.errors import InputError
from fm_unroll.files import cache_folder
from fm_unroll.subjects.split import write_split
from fm_unroll.training.sweep import command
from simulate import write_fastmri

OLD_RUN = Path(__file__).parent / "fixtures" / "version_0_1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home folder; the tests run in another one, which has to stay empty."""
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    return home


def test_words_of_a_command_line(home: Path):
    words = ["~/a", "--root=~/b", "-c=~/c", "--a.b=~", "--x=a~/b", "~", "[~/a,b]", "--note=~5", "--y", "~.h5"]
    assert expand_words(words) == [
        *(f"{home}/a", f"--root={home}/b", f"-c={home}/c", f"--a.b={home}"),
        *("--x=a~/b", f"{home}", "[~/a,b]", "--note=~5", "--y", "~.h5"),
    ]
    with pytest.raises(InputError, match=r"^~nobody_here/x: no home folder is known for ~nobody_here"):
        expand_words(["--root=~nobody_here/x"])


def test_every_text_of_a_config(home: Path):
    text = "{a: ~/x, b: {c: [~/y, {d: ~/z/*/best.ckpt}], e: 3, f: null, g: plain~/x}}"
    assert load_config(text) == {
        "a": f"{home}/x",
        "b": {"c": [f"{home}/y", {"d": f"{home}/z/*/best.ckpt"}], "e": 3, "f": None, "g": "plain~/x"},
    }
    assert load_config("[~/a, b]") == [f"{home}/a", "b"]


def test_nested_options_of_training(home: Path, capsys):
    """Whatever class takes a path, at whatever depth: data, weights, loggers, callbacks."""
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": "~/logs"}}
    options = {
        "data": {"class_path": "CMRxReconData", "init_args": {"root": "~/data"}},
        "model": {"method": "clip", "weights": "~/weights/clip.safetensors"},
        "trainer": {"default_root_dir": "~/runs/a", "logger": [logger]},
    }
    (home / "c.yaml").write_text(yaml.safe_dump(options))
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--config=~/c.yaml", "--data.split_seed=3", "--print_config"])
    assert exit_.value.code == 0
    resolved = yaml.safe_load(capsys.readouterr().out)
    assert resolved["data"]["init_args"]["root"] == f"{home}/data"
    assert resolved["model"]["weights"] == f"{home}/weights/clip.safetensors"
    assert resolved["trainer"]["default_root_dir"] == f"{home}/runs/a"
    assert resolved["trainer"]["logger"][0]["init_args"]["save_dir"] == f"{home}/logs"
    assert not list(Path.cwd().iterdir())


def test_verbs_write_where_the_shell_would(home: Path, capsys):
    shutil.copy(OLD_RUN / "records.csv", home)
    write_fastmri(home / "data" / "multicoil_val" / "a.h5")
    main(["data", "pack", "~/data", "--output=~/packed", "--workers=0"])
    main(["data", "check", "~/packed", "--contact_sheet=~/sheets/sheet.png"])
    main(["report", "~/records.csv", "--output=~/report"])
    assert (home / "packed/multicoil_val/a.h5").is_file() and (home / "sheets/sheet.png").is_file()
    assert (home / "report/report.html").is_file()
    assert not list(Path.cwd().iterdir())


def test_sweeps_start_their_runs_with_whole_paths(home: Path):
    sweep = {"command": ["python", "-m", "fm_unroll", "fit", "--config=~/c.yaml", "${args}"]}
    assert command(sweep, {"data.root": "~/data"})[4:] == [
        f"--config={home}/c.yaml",
        f"--data.root={home}/data",
    ]


def test_from_python(home: Path, synthetic: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "data").symlink_to(synthetic)
    shutil.copy(OLD_RUN / "varnet.ckpt", home)
    scan = fm.open_scan("~/data/MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat")
    assert scan.path.is_relative_to(home)
    assert fm.load("~/varnet.ckpt").network is not None
    data = CMRxReconData("~/data", split=(0.5, 0.2, 0.3), num_workers=0)
    data.setup()
    assert data.root == home / "data"
    write_split(home / "split.json", data.division)
    again = CMRxReconData("~/data", split_file="~/split.json", num_workers=0)
    again.setup()
    assert again.division == data.division
    with pytest.raises(InputError, match=f"{home}/no.pt: no such weights file"):
        fm.build_encoder("clip", weights="~/no.pt")
    monkeypatch.setenv("FM_UNROLL_CACHE", "~/cache")
    assert cache_folder() == home / "cache"
