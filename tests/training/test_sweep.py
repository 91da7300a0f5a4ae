"""Sweep files against W&B's own schema, sampler and agent; offline runs in W&B's own log format."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import pytest
import sweeps
import torch
import wandb
import yaml
from wandb import wandb_agent

from fm_unroll.cli import main
from fm_unroll.errors import InputError
from fm_unroll.provenance import commit
from fm_unroll.training import sweep as local
from fm_unroll.training.loggers import default_loggers, forget_empty_variables
from fm_unroll.training.run import check
from fm_unroll.training.run_folder import LOCAL_SWEEP
from wandb_files import WandbRecord, logged, wandb_records

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SWEEPS = [path for path in (ROOT / "experiments/sweeps").glob("*.yaml") if "method" in path.read_text()]
SWEEPS = [path for path in SWEEPS if "command" in yaml.safe_load(path.read_text())]

SIZES = {"num_cascades": 1, "sens_chans": 2, "sens_pools": 2}
TINY = {
    "model": {
        "method": "timm/vit_tiny_patch16_224",
        "pretrained": False,
        "blocks": [1, 2],
        "encoder_image_size": 32,
        "encoder_gradient": "detach",
        "decoder_widths": [4, 4, 4, 4],
        **SIZES,
    },
    "trainer": {
        "max_epochs": 2,
        "accelerator": "cpu",
        "limit_train_batches": 2,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    },
}


@pytest.fixture
def project(tmp_path, synthetic, monkeypatch) -> Path:
    """A working folder in which the configs that sweeps name are tiny, with W&B offline."""
    monkeypatch.chdir(tmp_path)
    data = {"root": str(synthetic), "acs_lines": 8, "contrasts": ["cine_sax"], "num_workers": 0}
    tiny = {**TINY, "data": {"class_path": "CMRxReconData", "init_args": data}}
    knee = {"data": {"class_path": "FastMRIKneeData", "init_args": {"root": str(synthetic / "knee")}}}
    knee["trainer"] = TINY["trainer"]
    files = {
        "configs/dinov2_x8.yaml": tiny,
        # what methods have in common
        "configs/sizes.yaml": {**tiny, "model": SIZES},
        "experiments/sweeps/knee.yaml": knee,
    }
    for path, content in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(yaml.safe_dump(content))
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield tmp_path
    wandb.teardown()


def agent_command(config: dict, parameters: dict, run_id: str, monkeypatch) -> list[str]:
    """The command line and environment with which W&B's own agent would start a point."""
    started = []
    monkeypatch.setattr(
        wandb_agent, "AgentProcess", lambda **process: started.append(process) or process_stub()
    )
    agent = wandb_agent.Agent(api=None, queue=None)
    agent._sweep_command = list(config["command"])
    args = {name: {"value": value} for name, value in parameters.items()}
    # as the agent does where it starts
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_PROJECT", config.get("project", "fm_unroll"))
    for variable in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_DIR"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv(variable, "x")  # so that it is put back after the test
        monkeypatch.delenv(variable)
    reply = agent._process_command(
        {"type": "run", "run_id": run_id, "args": args, "program": config["program"]}
    )
    assert "exception" not in reply, reply
    return started[0]["command"]


def process_stub():
    return type("Process", (), {"last_sigterm_time": None})()


def configuration(records: list[WandbRecord]) -> dict:
    updates = [update for run in logged(records, "run") for update in run.config.update]
    updates += [update for config in logged(records, "config") for update in config.update]
    return {update.key: json.loads(update.value_json) for update in updates}


def history_keys(records: list[WandbRecord]) -> set[str]:
    return {item.key or item.nested_key[0] for history in logged(records, "history") for item in history.item}


@pytest.mark.parametrize("file", SWEEPS, ids=lambda path: path.stem)
def test_sweep_file_is_valid_to_wandb_and_every_value_to_our_parser(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("configs", "experiments"):
        Path(folder).symlink_to(ROOT / folder)
    config = yaml.safe_load(file.read_text())
    config.pop(
        "run_cap", None
    )  # https://docs.wandb.ai/guides/sweeps/sweep-config-keys, newer than the schema
    assert sweeps.schema_violations_from_proposed_config(config) == []
    for path in config["parameters"].get("ckpt_path", {"values": []})["values"]:
        Path(path).parent.mkdir(parents=True)
        shutil.copy(ROOT / "tests/fixtures/version_0_1/varnet.ckpt", path)
    words = config["command"]
    assert words.index("--config") < words.index("${args}"), "options given later win"
    points = list(local.points_to_check(config))
    for name, parameter in config["parameters"].items():
        assert all(any(point[name] == value for point in points) for value in parameter.get("values", []))
    for point in points:
        command = agent_command(config, point, "run", monkeypatch)
        verb = command[3]
        assert command[:3] == ["python", "-m", "fm_unroll"] and verb in {"fit", "test"}
        assert local.command(config, point) == [sys.executable, *command[1:]]
    # parsing takes most of a second
    for point in (points[0], points[-1]):
        check(local.command(config, point)[3:])


def test_the_grid_is_complete():
    config = yaml.safe_load((ROOT / "experiments/sweeps/methods.yaml").read_text())
    points = list(local.sample(config, []))
    assert len({json.dumps(point, sort_keys=True) for point in points}) == len(points) == 7 * 3 * 3


@pytest.mark.parametrize("file, choose", [("methods", "varnet_zero"), ("decoder", None)])
def test_a_point_that_the_agent_starts_is_fully_recorded(file, choose, project, monkeypatch):
    config = yaml.safe_load((ROOT / "experiments/sweeps" / f"{file}.yaml").read_text())
    points = local.sample(config, [])
    point = next(point for point in points if choose is None or point["model.method"] == choose)
    if "model.num_cascades" in point:
        # widths and cascades of real size take minutes: this point has other values of the same kinds
        point |= {"model.num_cascades": 2, "model.decoder_widths": [4, 4, 4, 8]}
    if file == "methods":
        # as the config in the repository, without options that one method alone has
        Path("configs/sizes.yaml").replace("configs/dinov2_x8.yaml")
    command = agent_command(config, point, "abc12345", monkeypatch)
    main(command[3:])

    (run_dir,) = Path("runs").glob("*/abc12345")
    (records,) = wandb_records(run_dir)
    (run,) = logged(records, "run")
    assert (run.run_id, run.project) == ("abc12345", "fm_unroll")
    facts = configuration(records)
    for name, value in point.items():
        assert facts[name] == value, "what the agent asked for, as W&B's sweep knows it"
        resolved = facts
        for key in name.split("."):
            resolved = resolved[key]
        assert resolved == value, "what the run was made of"
    assert facts["commit"] == commit()
    assert facts["split_sha256"] == json.loads((run_dir / "split.json").read_text())["sha256"]
    assert {config["metric"]["name"], "train/loss", "val/psnr", "val/panel", "val/volumes"} <= history_keys(
        records
    )
    summary = {
        (item.key or item.nested_key[0]): json.loads(item.value_json)
        for update in logged(records, "summary")
        for item in update.update
    }
    checkpoint = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)
    best = next(
        state["best_model_score"]
        for name, state in checkpoint["callbacks"].items()
        if "ModelCheckpoint" in name
    )
    assert summary["val/ssim"]["max"] == pytest.approx(best.item())
    (model,) = [artifact for artifact in logged(records, "artifact") if artifact.type == "model"]
    assert [file.path for file in model.manifest.contents] == ["best.ckpt"]
    assert not any("encoder" in name for name in checkpoint["state_dict"])
    (table, *_) = sorted(run_dir.rglob("volumes*.table.json"))
    table = json.loads(table.read_text())
    assert table["columns"] == ["volume", "ssim", "psnr", "nmse"]
    subjects = {volume.split("/")[0] for volume, *_ in table["data"]}
    assert subjects == set(json.loads((run_dir / "split.json").read_text())["val"])


def test_the_evaluation_sweep_tests_a_checkpoint_on_another_anatomy(project, monkeypatch):
    main(
        [
            "fit",
            "--config",
            "configs/dinov2_x8.yaml",
            "--trainer.max_epochs",
            "1",
            "--trainer.logger",
            "false",
        ]
    )
    (checkpoint,) = Path("runs").rglob("best.ckpt")
    config = yaml.safe_load((ROOT / "experiments/sweeps/evaluation.yaml").read_text())
    point = next(local.sample(config, [])) | {"ckpt_path": str(checkpoint)}
    command = agent_command(config, point, "evaluate", monkeypatch)
    main(command[3:])
    (run_dir,) = Path("runs").glob("*/evaluate")
    (records,) = wandb_records(run_dir)
    assert {"test/ssim", "test/volumes"} <= history_keys(records)
    facts = configuration(records)
    assert facts["data"]["init_args"]["center_fraction"] == point["data.init_args.center_fraction"]
    assert facts["model"]["method"] == TINY["model"]["method"], "the network comes from the checkpoint"
    table = json.loads(next(run_dir.rglob("volumes*.table.json")).read_text())
    assert len(table["data"]) == 2, "two knees"


def test_a_resumed_run_is_one_run_to_wandb(project):
    run_dir = Path("runs/one/seed0")
    folder = ["--trainer.default_root_dir", str(run_dir)]
    main(["fit", "--config", "configs/dinov2_x8.yaml", "--trainer.max_epochs", "1", *folder])
    main(["fit", "--resume", str(run_dir), "--trainer.max_epochs", "2"])
    first, second = wandb_records(run_dir)
    ids = [run.run_id for records in (first, second) for run in logged(records, "run")]
    assert ids[0] == ids[1] == (run_dir / "wandb_run_id.txt").read_text()
    # a copied config is another run
    main(["fit", "--config", str(run_dir / "config.yaml"), "--trainer.default_root_dir", "runs/one/copy"])
    (copied,) = wandb_records(Path("runs/one/copy"))
    assert next(logged(copied, "run")).run_id != ids[0]


def test_python_spellings_of_the_agent_are_understood(project, capsys):
    point = {
        "model.weights": None,
        "model.pretrained": False,
        "model.decoder_widths": [8, 8, 8, 8],
        "model.learning_rate": 1e-05,
        "model.method": "timm/vit_tiny_patch16_224",
        "data.init_args.contrasts": ["cine_sax", "T1map"],
    }
    config = {"program": "fm_unroll", "command": ["${interpreter}", "-m", "${program}", "fit", "${args}"]}
    config["command"][4:4] = ["--config", "configs/dinov2_x8.yaml"]
    with pytest.raises(SystemExit):
        main([*local.command(config, point)[3:], "--print_config"])
    parsed = yaml.safe_load(capsys.readouterr().out)
    for name, value in point.items():
        found = parsed
        for key in name.split("."):
            found = found[key]
        assert found == value and type(found) is type(value)


SMALL_SWEEP = {
    "program": "fm_unroll",
    "method": "grid",
    "metric": {"name": "val/ssim", "goal": "maximize"},
    "parameters": {
        "model.method": {"values": ["varnet", "image_skip_only"]},
        "model.learning_rate": {"value": 0.001},
    },
    "command": [
        *("${interpreter}", "-m", "${program}", "fit", "--config", "configs/sizes.yaml", "${args}"),
    ],
}


@pytest.fixture
def in_process(monkeypatch) -> list[str]:
    """Run the commands of a sweep in this process, which has loaded torch already; returns their run ids."""
    ids: list[str] = []

    def execute(words: list[str], run_id: str) -> int:
        ids.append(run_id)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WANDB_RUN_ID", run_id)
            patch.setenv(LOCAL_SWEEP, "1")
            patch.setenv("WANDB_MODE", "disabled")
            if len(ids) == 2:
                # interrupted after its first epoch
                main([*words[3:], "--trainer.max_epochs", "1"])
                raise KeyboardInterrupt
            main(words[3:])
        return 0

    monkeypatch.setattr(local, "execute", execute)
    return ids


def test_a_sweep_without_a_server_goes_on_where_it_was_interrupted(project, in_process, capsys):
    Path("small.yaml").write_text(yaml.safe_dump(SMALL_SWEEP))
    with pytest.raises(KeyboardInterrupt):
        main(["sweep", "small.yaml"])
    main(["sweep", "small.yaml"])
    finished, interrupted, resumed = in_process
    assert interrupted == resumed != finished
    rows = (Path("runs/sweeps/small") / resumed / "metrics.csv").read_text().splitlines()
    epochs = [row.split(",")[rows[0].split(",").index("epoch")] for row in rows[1:]]
    assert set(epochs) == {"0", "1"}, "both epochs, the first of them before the interruption"
    record = json.loads(Path("runs/sweeps/small/sweep.json").read_text())
    points = [tuple(sorted(run["parameters"].items())) for run in record["runs"]]
    assert len(set(points)) == 2 and {run["state"] for run in record["runs"]} == {"finished"}
    capsys.readouterr()
    main(["sweep", "small.yaml"])
    assert len(in_process) == 3, "nothing is left to do"
    table = capsys.readouterr().out.splitlines()
    assert max(run["metric"] for run in record["runs"]) == pytest.approx(
        float(table[1].split()[-1]), abs=1e-6
    )


def test_sampling_is_reproducible_and_learns_from_what_was_run():
    config = {
        "method": "bayes",
        "metric": {"name": "val/ssim", "goal": "maximize"},
        "parameters": {
            "model.learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}
        },
    }
    assert list(islice(local.sample(config, []), 3)) == list(islice(local.sample(config, []), 3))
    runs = [
        {"parameters": {"model.learning_rate": rate}, "state": "finished", "metric": metric}
        for rate, metric in ((1e-5, 0.1), (1e-4, 0.5), (9e-4, 0.9), (1e-2, 0.4), (1e-1, 0.1))
    ]
    suggested = next(local.sample(config, runs))["model.learning_rate"]
    assert 1e-4 < suggested < 1e-2


def test_a_command_knows_its_run_and_ends_with_the_sweep(tmp_path):
    child = "import os, pathlib, time; pathlib.Path(os.environ['WANDB_RUN_ID']).write_text(str(os.getpid()));"
    words = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {child} time.sleep(99)"]

    def stop_the_sweep() -> None:
        while not (tmp_path / "abc").exists() or not (tmp_path / "abc").read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_the_sweep).start()
    with pytest.raises(SystemExit):
        local.execute(words, "abc")
    assert not Path("/proc", (tmp_path / "abc").read_text()).exists()
    assert local.execute([sys.executable, "-c", "raise SystemExit(3)"], "abc") == 3


@pytest.mark.parametrize(
    "change, words",
    [
        ({"parameters": {"model.width": {"values": [1]}}}, "--model.width=1"),
        ({"parameters": {"model.method": {"values": ["varnet", "clp"]}}}, "did you mean clip"),
        ({"parameters": {"model.num_cascades": {"values": [1, "many"]}}}, "model.num_cascades"),
        (
            {"parameters": {"model.method": {"value": "clip"}, "model.weights": {"value": "a/b c.pt"}}},
            "a/b c.pt is not a file",
        ),
        ({"parameters": {"model.blocks": {"value": [1, 2]}}}, "'varnet' has no option blocks"),
        ({"parameters": {"model.loss": {"value": "sim"}}}, "did you mean ssim"),
        ({"parameters": {"model": {"parameters": {"method": {"value": "clip"}}}}}, "give dotted names"),
        ({"program": "train.py"}, "-m train.py fit"),
        ({"command": ["rm", "-rf", "${args}"]}, "only `python -m fm_unroll`"),
        ({"command": ["./mine", "-m", "fm_unroll", "fit"]}, "would start './mine -m fm_unroll fit'"),
        ({"command": ["${interpreter}", "-m", "fm_unroll", "summary"]}, "fit, validate, test"),
        ({"command": ["${args}"]}, "would start '--model.learning_rate=0.001 --model.method=varnet'"),
        ({"method": "random"}, "give --max-runs"),
        ({"method": "grad"}, "'grad' is not one of"),
        ({"metric": {"name": "val/sssim"}}, "use val/ssim"),
        ({"parameters": {"model.learning_rate": {"min": 1, "max": 0.1}}}, "min 1 is not less than max"),
    ],
)
def test_sweeps_that_cannot_be_run_are_refused_before_the_first_run(change, words, project, capsys):
    Path("bad.yaml").write_text(yaml.safe_dump({**SMALL_SWEEP, **change}))
    with pytest.raises(SystemExit) as exit_:
        main(["sweep", "bad.yaml"])
    assert exit_.value.code == 2
    messages = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1 and words in messages[0]
    assert not Path("runs").exists()


def test_a_run_that_logs_no_metric_has_failed(project, in_process, capsys):
    command = [*SMALL_SWEEP["command"], "--trainer.logger", "false"]
    Path("small.yaml").write_text(yaml.safe_dump({**SMALL_SWEEP, "command": command}))
    with pytest.raises(SystemExit) as exit_:
        main(["sweep", "small.yaml", "--max-runs", "1"])
    printed = capsys.readouterr()
    assert exit_.value.code == 2 and "1 of 1 runs failed" in printed.err
    assert "metrics.csv has no val/ssim" in printed.out
    record = json.loads(Path("runs/sweeps/small/sweep.json").read_text())
    assert [run["state"] for run in record["runs"]] == ["failed"]


def test_a_changed_sweep_is_not_mixed_with_its_former_runs(project, in_process, capsys):
    Path("small.yaml").write_text(yaml.safe_dump(SMALL_SWEEP))
    main(["sweep", "small.yaml", "--max-runs", "1"])
    Path("small.yaml").write_text(
        yaml.safe_dump({**SMALL_SWEEP, "parameters": {"seed_everything": {"value": 1}}})
    )
    with pytest.raises(SystemExit):
        main(["sweep", "small.yaml"])
    assert "another version of this sweep" in capsys.readouterr().err


def recorded(**changes) -> dict:
    """A run of SMALL_SWEEP that was interrupted, as its record holds it."""
    point = {"model.method": "varnet", "model.learning_rate": 0.001}
    run = {"id": "0123abcd", "parameters": point, "state": "running", "metric": None}
    return run | {"parameters": point | changes.pop("point", {})} | changes


UNSOUND = "does not hold runs of this sweep as it writes them"


@pytest.mark.parametrize(
    "run, reason",
    [
        (recorded(point={"trust_code": "foreign:Net"}), UNSOUND),
        (recorded(point={"config": "foreign.yaml"}), UNSOUND),
        (recorded(parameters={}), UNSOUND),
        (recorded(id="../../elsewhere"), UNSOUND),
        (recorded(state="new"), UNSOUND),
        ({"id": "0123abcd"}, UNSOUND),
        ("0123abcd", UNSOUND),
        (
            recorded(point={"model.method": "foreign:Net"}),
            "names a network that is not of fm_unroll, foreign:Net",
        ),
        (recorded(point={"model.learning_rate": "fast"}), "model.learning_rate"),
    ],
)
def test_a_record_of_a_sweep_speaks_for_nobody(run, reason, project, in_process, monkeypatch, capsys):
    """Whatever stands there starts only what the sweep itself would; code is trusted on the command line."""
    monkeypatch.syspath_prepend(project)
    Path("foreign.py").write_text("open('imported', 'w').close()")
    Path("small.yaml").write_text(yaml.safe_dump(SMALL_SWEEP))
    record = Path("runs/sweeps/small/sweep.json")
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"sweep": SMALL_SWEEP, "runs": [run]}))
    with pytest.raises(SystemExit) as exit_:
        main(["sweep", "small.yaml"])
    line = capsys.readouterr().err.splitlines()[-1]
    assert exit_.value.code == 2 and reason in line, line
    assert not in_process and not Path("imported").exists()


def test_a_damaged_record_is_refused_in_a_line(project, capsys):
    Path("small.yaml").write_text(yaml.safe_dump(SMALL_SWEEP))
    Path("runs/sweeps/small").mkdir(parents=True)
    Path("runs/sweeps/small/sweep.json").write_text('{"sweep": ')
    with pytest.raises(SystemExit):
        main(["sweep", "small.yaml"])
    assert "sweep.json: not a json file" in capsys.readouterr().err


def test_no_point_changes_what_a_sweep_starts():
    """Of W&B's macros one puts a parameter's name where the program stands."""
    config = SMALL_SWEEP | {"command": ["${args_no_hyphens}", *SMALL_SWEEP["command"][:5]]}
    assert local.command(config, {})[:3] == [sys.executable, "-m", "fm_unroll"]
    with pytest.raises(InputError, match="would start '/bin/echo=1"):
        local.require_runnable(config, {"/bin/echo": 1}, Path("small.yaml"))


def test_an_unknown_mode_of_wandb_is_refused_in_a_line(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(InputError, match="WANDB_MODE is 'ofline': choose one of online, offline, "):
        default_loggers(tmp_path)


def test_empty_variables_are_as_good_as_none(monkeypatch):
    """As `.env` files and containers leave them; W&B itself refuses an empty WANDB_MODE."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WANDB_ENTITY", "anna")
    forget_empty_variables()
    assert {name for name in os.environ if name.startswith("WANDB_")} >= {"WANDB_ENTITY"}
    assert not {"WANDB_MODE", "WANDB_PROJECT", "WANDB_API_KEY"} & os.environ.keys()
