"""The documentation: it builds without a warning, fetches nothing, and what it promises exists."""

import ast
import html
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fm_unroll import physics
from fm_unroll.cli import LIGHTNING, VERBS, main
from fm_unroll.models import registry
from fm_unroll.models.checkpoints import read_checkpoint
from fm_unroll.models.registry import list_denoisers
from fm_unroll.physics import count_acs_lines
from fm_unroll.training import losses
from training_runs import config_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
QUESTIONS = re.split(r"^### ", (DOCS / "faq.md").read_text(), flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_pages_fetch_nothing_from_elsewhere(site: Path):
    pages = {path.name: path.read_text() for path in site.glob("*.html")}
    assert len(pages) >= len(list(DOCS.glob("*.md")))
    for name, page in pages.items():
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(https?:)?//", page)
        fetched += re.findall(r"<link[^>]*(?:stylesheet|preconnect)[^>]*href=[\"']?(https?:)?//", page)
        assert not fetched, name


def test_formulas_and_docstrings_are_rendered(site: Path):
    method = (site / "method.html").read_text()
    assert method.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') == 9
    for page in site.glob("*.html"):
        text = page.read_text()
        assert "8&lt;--" not in text.replace(" ", ""), f"{page.name}: a file was not included"
        assert "```" not in text and "$`" not in text and ":func:" not in text, page.name


def test_files_are_shown_as_they_are(site: Path):
    for page, file in (
        ("notebooks", "docs/notebooks/one_scan.py"),
        ("notebooks", "docs/notebooks/scanner_folder.py"),
        ("notebooks", "docs/notebooks/paper_table.py"),
        ("notebooks", "docs/notebooks/kspace_to_image.py"),
        ("notebooks", "docs/notebooks/compare_priors.py"),
        ("notebooks", "docs/notebooks/own_network.py"),
        ("configuration", "fm_unroll/training/recipe.yaml"),
        ("configuration", "configs/dinov2_x8.yaml"),
    ):
        shown = html.unescape(re.sub(r"<[^>]+>", "", (site / f"{page}.html").read_text()))
        assert (ROOT / file).read_text().strip() in shown, file


def test_every_option_of_a_config_is_in_the_reference(site: Path):
    page = (site / "configuration.html").read_text()
    options = {name for entry in list_denoisers().values() for name in entry.options()}
    sources = ("models/build.py", "training/task.py", "data/modules.py", "phantoms/pictures.py")
    options.update(*(documented_arguments(ROOT / "fm_unroll" / source) for source in sources))
    assert {"chans", "blocks", "num_cascades", "loss", "acceleration"} <= options
    for option in options:
        assert f"<code>{option}</code>" in page, option


def documented_arguments(source: Path) -> set[str]:
    """Parameters that constructors and `build_model` give a default."""
    nodes = ast.walk(ast.parse(source.read_text()))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    chosen = [function for function in functions if function.name in {"__init__", "build_model"}]
    return {
        argument.arg
        for function in chosen
        if function.args.defaults
        for argument in function.args.args[-len(function.args.defaults) :]
    }


def test_every_verb_is_in_the_list_of_commands():
    page = (DOCS / "commands.md").read_text()
    for verb, (target, _) in VERBS.items():
        if target == LIGHTNING:
            assert f"`{verb}`" in page
            continue
        for name, function in (target if isinstance(target, dict) else {"": target}).items():
            assert f"## {verb} {name}".rstrip() + f"\n\n::: {function.replace(':', '.')}\n" in page


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.splitlines()[0])
def test_every_answer_names_tests_that_exist(question: str):
    named = NAMED_TEST.findall(question)
    assert named, "an answer without a test is a promise"
    for path, name in named:
        tests = {node.name for node in ast.parse((ROOT / path).read_text()).body if hasattr(node, "name")}
        assert name in tests, f"{path}::{name}"


def test_every_part_of_the_guide_to_extensions_has_its_example():
    page = (DOCS / "extending.md").read_text()
    table, *sections = re.split(r"^## (?=An? )", page, flags=re.MULTILINE)
    titles = [section.splitlines()[0].lower() for section in sections]
    assert re.findall(r"^\| \[(an? [\w ]+)\]", table, flags=re.MULTILINE) == titles
    shown = [re.findall(r'"docs/notebooks/(new_\w+)\.py:', section) for section in sections]
    assert all(shown)
    examples = {path.stem for path in (DOCS / "notebooks").glob("new_*.py")}
    assert {name for names in shown for name in names} == examples


def run_notebook(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return runpy.run_path(str(DOCS / "notebooks" / f"{name}.py"))


def test_notebook_from_kspace_to_image(tmp_path, monkeypatch):
    left = run_notebook("kspace_to_image", tmp_path, monkeypatch)
    assert left["zero_filled"].shape == left["image"].shape == left["target"].shape
    assert left["scores"]["zero-filled"] < left["scores"]["CG-SENSE"] < 1
    assert (tmp_path / "kspace_to_image.png").stat().st_size > 10_000


def test_notebook_of_one_scan(tmp_path, monkeypatch):
    scores = run_notebook("one_scan", tmp_path, monkeypatch)["scores"]
    assert scores["zero-filled"] < scores["CG-SENSE"] < scores["L1-wavelet"] < scores["general network"]
    assert (tmp_path / "one_scan.png").stat().st_size > 10_000


def test_notebook_of_a_folder_from_the_scanner(tmp_path, monkeypatch, capsys):
    left = run_notebook("scanner_folder", tmp_path, monkeypatch)
    names = ("knee_accelerated", "knee_all_lines")
    suffixes = (".nii.gz", ".png", "_provenance.json")
    assert left["written"] == [f"{name}{suffix}" for name in names for suffix in suffixes]
    printed = capsys.readouterr().out
    assert "undersampled: true acceleration 2" in printed and "against the fully sampled image" in printed


@pytest.mark.slow
def test_notebook_of_the_table_for_a_paper(tmp_path, monkeypatch):
    left = run_notebook("paper_table", tmp_path, monkeypatch)
    assert {"results_cardiac_phantoms", "results_knee_phantoms"} <= set(left["tables"])
    (row,) = [line for line in left["table"].splitlines() if "vit_tiny" in line]
    assert row.split("|")[-2].strip() == "2, 2" and "3 (3)" in row  # seeds of both, subjects


def test_notebook_that_compares_priors(tmp_path, monkeypatch):
    left = run_notebook("compare_priors", tmp_path, monkeypatch)
    assert list(left["scores"]) == ["zero-filled", "U-Net", "frozen random ViT"]
    assert set(left["train"].frame).isdisjoint(left["test"].frame)
    assert all(left["scores"]["zero-filled"] < left["scores"][name] < 1 for name in left["priors"])
    assert (tmp_path / "compare_priors.png").stat().st_size > 10_000


def test_notebook_of_a_network_of_your_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "notebooks")
    left = run_notebook("own_network", tmp_path, monkeypatch)
    assert left["image"].shape == (1, *left["batch"].crop)
    table = left["records"].groupby(["method", "dataset"]).ssim.mean().unstack()
    assert set(table.index) == {"new_network:SmallNet", "zero_filled", "cg_sense"}
    assert table.loc["new_network:SmallNet", "hearts"] > table.loc["zero_filled", "hearts"]


@pytest.mark.parametrize(
    "num_lines, acceleration, fraction", [(320, 4, 0.08), (203, 10, 0.04), (20, 1, 1), (20, 1, 0), (8, 2, 0)]
)
def test_the_pattern_of_the_guide_spends_its_budget(num_lines, acceleration, fraction, tmp_path, monkeypatch):
    pattern = run_notebook("new_pattern", tmp_path, monkeypatch)["GaussianSampling"](acceleration, fraction)
    mask = pattern(num_lines, "P001/cine_sax")
    assert int(mask.lines.sum()) == round(num_lines / acceleration)
    assert mask.lines.equal(pattern(num_lines, "P001/cine_sax").lines)
    assert mask.num_acs == 0 or count_acs_lines(mask.lines) >= mask.num_acs


@pytest.fixture
def metric_of_the_guide(tmp_path, monkeypatch):
    """Its function, registered for one test."""
    from fm_unroll.evaluation import metric_table

    before = dict(metric_table.METRICS)
    yield run_notebook("new_metric", tmp_path, monkeypatch)["mean_absolute_error"]
    metric_table.METRICS.clear()
    metric_table.METRICS.update(before)


def test_the_metric_of_the_guide_reaches_records_statistics_and_tables(metric_of_the_guide, tmp_path):
    """One function, no other file: a column of its own from the slices to the page's tables."""
    from fake_records import fake_records, write_run
    from fm_unroll.evaluation.records import columns, read_records, volume_table
    from fm_unroll.report.analysis import analyse
    from fm_unroll.report.mean_tables import further_tables

    assert list(columns())[-1] == "mae"
    target = torch.ones(1, 8, 8)
    assert metric_of_the_guide(target + 0.5, target, torch.tensor([2.0])).item() == 0.25
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=2, seeds=1)
    records["mae"] = 1 - records.ssim
    path = write_run(tmp_path, records, stored=False)
    assert path.read_text().splitlines()[0].endswith(",mae")
    read = read_records(path)
    volumes = volume_table(read)
    np.testing.assert_allclose(volumes.mae, 1 - volumes.ssim, rtol=1e-12)
    means = analyse(read).means
    mae, ssim = (means[means.metric == name]["mean"].to_numpy() for name in ("mae", "ssim"))
    np.testing.assert_allclose(mae, 1 - ssim, rtol=1e-12)
    (table,) = further_tables(means)
    assert "MAE ↓" in table.markdown() and "MAE" in table.latex() and "mae" in table.csv()
    # records of before the metric was known are read as ever
    records.drop(columns="mae").to_csv(path, index=False)
    assert read_records(path).mae.isna().all()


def test_the_column_of_the_guide_stands_in_every_format(tmp_path, monkeypatch):
    from fake_records import fake_records
    from fm_unroll.report import tables
    from fm_unroll.report.analysis import analyse

    monkeypatch.setattr(tables, "COMPARISON_COLUMNS", list(tables.COMPARISON_COLUMNS))
    run_notebook("new_column", tmp_path, monkeypatch)
    made = analyse(fake_records(("varnet", "clip"), anatomies=("knee",), subjects=2, seeds=1))
    table = tables.comparison_tables(made.comparisons)[0]
    row = table.data.iloc[0]
    percent = f"{100 * row.difference / row.baseline_mean:+.1f}".replace("-", "\N{MINUS SIGN}")
    assert table.body[0][-1].text == percent and len(table.body[0]) == len(table.header[0])
    for text in (table.markdown(), table.text()):
        assert "Δ, % of baseline" in text and percent in text
    assert r"$\Delta$, \% of baseline" in table.latex()


def test_the_pattern_of_the_guide_is_one_file(synthetic, tmp_path, monkeypatch, capsys):
    """From a config through training into a checkpoint and out of it, with no other file than its own."""
    (tmp_path / "gaussian.py").write_text((DOCS / "notebooks" / "new_pattern.py").read_text())
    monkeypatch.setattr(physics, "__path__", [*physics.__path__, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    sampling = {
        "class_path": "fm_unroll.physics.gaussian.GaussianSampling",
        "init_args": {"acceleration": 4.0, "center_fraction": 0.2, "width": 0.25},
    }
    data = {"root": str(synthetic), "split": [0.5, 0.25, 0.25], "num_workers": 0, "sampling": sampling}
    content = {
        "seed_everything": 3,
        "model": {"num_cascades": 1, "chans": 2, "pools": 1, "sens_chans": 2, "sens_pools": 1},
        "data": {"class_path": "CMRxReconData", "init_args": data},
        "trainer": {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "accelerator": "cpu"},
    }
    Path("gaussian.yaml").write_text(yaml.safe_dump(content))
    main(["fit", "--config", "gaussian.yaml"])
    # the folder is named after the pattern's acceleration
    checkpoint = Path("runs/e2e_varnet_x4/seed3/checkpoints/best.ckpt")
    facts = read_checkpoint(checkpoint)["fm_unroll"]
    assert facts["sampling"] == sampling and facts["acceleration"] == 4 and facts["seed"] == 3
    pattern = physics.pattern_from_config(facts["sampling"])
    assert type(pattern).__module__ == "fm_unroll.physics.gaussian" and pattern.width == 0.25
    assert facts["trained_on"]["true_acceleration"] == pytest.approx([4, 4], rel=0.05)

    file = synthetic / "MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat"
    command = ["reconstruct", str(file), "--checkpoint", str(checkpoint), "--output", "a.h5"]
    for options, expected in (
        ([], pattern),
        (["--acceleration", "3", "--center", "0.1"], pattern.at(3.0, physics.Center(fraction=0.1))),
        (
            ["--sampling", "UniformSampling", "--center", "8"],
            physics.UniformSampling(pattern.acceleration, 8),
        ),
    ):
        main([*command, *options])
        assert f"masked by {expected}: " in capsys.readouterr().out


def test_the_encoder_of_the_guide_can_be_built(tmp_path, monkeypatch):
    from fm_unroll.encoders import registry

    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    left = run_notebook("new_encoder", tmp_path, monkeypatch)
    assert left["encoder"].name == "my_vit" and left["encoder"].width == 384


def train_a_step(synthetic: Path, tmp_path: Path, **model: object) -> dict:
    """Hyper-parameters in the checkpoint of a run of one step, started from the command line."""
    sizes = {"num_cascades": 2, "sens_chans": 2, "sens_pools": 2}
    options = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}
    config = config_for(synthetic, tmp_path / "run", model={**sizes, **model}, **options)
    main(["fit", "--config", str(config)])
    return read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["hyper_parameters"]


def test_the_denoiser_of_the_guide_is_trained_by_name(synthetic, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_ENTRIES", list_denoisers())
    run_notebook("new_denoiser", tmp_path, monkeypatch)
    trained = train_a_step(synthetic, tmp_path, method="dncnn", channels=4)
    assert (trained["method"], trained["channels"], trained["depth"]) == ("dncnn", 4, 5)
    assert "chans" not in trained and "blocks" not in trained
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tmp_path / "run.yaml"), "--model.weights", "clip.pt"])
    assert "method 'dncnn' has no option weights: it has channels, depth" in capsys.readouterr().err


def test_the_loss_of_the_guide_is_trained_with_by_name(synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "_LOSSES", dict(losses._LOSSES))
    left = run_notebook("new_loss", tmp_path, monkeypatch)
    trained = train_a_step(synthetic, tmp_path, loss="l1", chans=4, pools=2)
    assert trained["loss"] == "l1"
    images, data_range = left["images"], torch.ones(2)
    assert losses.build_loss("l1")(images, images, data_range) == 0
    assert losses.build_loss("l1")(images + 0.1, images, 2 * data_range) == pytest.approx(0.05)
