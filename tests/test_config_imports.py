"""What a config may import: nothing of others, however it names it, unless the user names it as well."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from fm_unroll.cli import main

# class_path in a file of its own, in a text, and under names with dots
CONFIGS = {
    "a text": {"data": "foreign.Data"},
    "a name with dots": {"data.class_path": "foreign.Data"},
    "another file": {"data": "other.yaml"},
    "another config": {"config": "whole.yaml"},
    "a list of texts": {"trainer": {"callbacks": ["foreign.Data"]}},
    "a pattern": {
        "data": {"class_path": "CMRxReconData", "init_args": {"root": "x", "sampling": "foreign.Data"}}
    },
    "through an allowed package": {"data": "torch.os.system"},
}


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A package that notes when it is imported, and the file of that note."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign.py").write_text("open('imported', 'w').close()\nclass Data: pass\n")
    (tmp_path / "other.yaml").write_text("class_path: foreign.Data\n")
    (tmp_path / "whole.yaml").write_text("data: {class_path: foreign.Data}\n")
    yield tmp_path / "imported"
    sys.modules.pop("foreign", None)


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([*words])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    return line


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_imports_nothing_of_others(kind, foreign, capsys):
    (foreign.parent / "fit.yaml").write_text(yaml.safe_dump(CONFIGS[kind]))
    line = refused(capsys, "fit", "--config", "fit.yaml")
    assert "only those of fm_unroll, lightning and torch" in line, line
    assert not foreign.exists()


def test_a_verb_without_training_imports_nothing_of_others(foreign, capsys):
    (foreign.parent / "foreign.yaml").write_text("sampling: foreign.Data\n")
    words = ("data", "undersample", "nowhere", "--config", "foreign.yaml")
    assert "the class foreign.Data" in refused(capsys, *words)
    assert not foreign.exists()


def test_what_the_command_line_names_is_imported_for_this_command_alone(foreign, capsys):
    refused(capsys, "data", "undersample", "nowhere", "--sampling", "foreign.Data")  # which is no pattern
    assert foreign.exists()
    (foreign.parent / "foreign.yaml").write_text("sampling: foreign.Data\n")
    line = refused(capsys, "data", "undersample", "nowhere", "--config", "foreign.yaml")
    assert "the class foreign.Data" in line


CALLBACKS, PICKLE = "lightning.pytorch.callbacks", {"f": "pickle.pt", "weights_only": False}
HUB = {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": ".", "model": "Data", "source": "local"}}
STARTED = {"words": ["touch", "called"], "run_id": "x"}


def callback(name: str, **options) -> dict:
    return {"trainer": {"callbacks": [{"class_path": f"{CALLBACKS}.{name}", "init_args": options}]}}


# a function of an allowed package with its arguments, or alone, and classes that are none of a run's
CALLS = {
    "a pickle": callback("LambdaCallback", setup={"class_path": "torch.load", "init_args": PICKLE}),
    "a hub": callback("LambdaCallback", setup=HUB),
    "a process": callback(
        "ThroughputMonitor",
        batch_size_fn={"class_path": "fm_unroll.training.sweep.execute", "init_args": STARTED},
    ),
    "a function alone": callback("LambdaCallback", on_fit_start="torch.hub.load"),
    "a module": callback("LambdaCallback", setup={"class_path": "torch.nn.Identity"}),
    "a hook": {
        "trainer": {
            "strategy": {
                "class_path": "lightning.pytorch.strategies.DDPStrategy",
                "init_args": {"ddp_comm_hook": {"class_path": "torch.load", "init_args": PICKLE}},
            }
        }
    },
    "where anything may stand": {
        "trainer": {
            "profiler": {
                "class_path": "lightning.pytorch.profilers.PyTorchProfiler",
                "init_args": {"filename": "x"},
                "dict_kwargs": {"experimental": {"class_path": "torch.load", "init_args": PICKLE}},
            }
        }
    },
}


class Touch:
    """What leaves a file behind where it is unpickled."""

    def __reduce__(self):
        return open, ("called", "w")


@pytest.mark.parametrize("kind", CALLS)
def test_a_config_calls_nothing(kind, foreign, capsys):
    """Allowed packages hold functions that load pickles, fetch code and start processes."""
    torch.save(Touch(), "pickle.pt")
    (foreign.parent / "hubconf.py").write_text("open('called', 'w').close()\ndef Data(): pass\n")
    data = {"class_path": "CMRxReconData", "init_args": {"root": "nowhere"}}
    (foreign.parent / "fit.yaml").write_text(yaml.safe_dump({"data": data, **CALLS[kind]}))
    line = refused(capsys, "fit", "--config", "fit.yaml", "--trainer.accelerator", "cpu")
    named = re.search("torch.load|torch.hub.load|torch.nn.Identity|[a-z_.]*sweep.execute", str(CALLS[kind]))[
        0
    ]
    assert f"a config names {named}: only classes of callbacks, loggers, " in line, line
    assert not (foreign.parent / "called").exists()


def test_what_the_command_line_names_may_be_called(foreign, capsys):
    """The same function, named there: the run goes on to its data, which are not there."""
    hook = "torch.distributed.algorithms.ddp_comm_hooks.default_hooks.fp16_compress_hook"
    strategy = {
        "class_path": "lightning.pytorch.strategies.DDPStrategy",
        "init_args": {"ddp_comm_hook": hook},
    }
    content = {"trainer": {"strategy": strategy, "accelerator": "cpu"}}
    content["data"] = {"class_path": "CMRxReconData", "init_args": {"root": "nowhere"}}
    (foreign.parent / "fit.yaml").write_text(yaml.safe_dump(content))
    assert "a config names torch.distributed" in refused(capsys, "fit", "--config", "fit.yaml")
    named = f"--trainer.strategy.init_args.ddp_comm_hook={hook}"
    assert "nowhere" in refused(capsys, "fit", "--config", "fit.yaml", named)


def test_a_config_does_not_let_pickles_be_read(foreign, capsys):
    data = {"class_path": "CMRxReconData", "init_args": {"root": "nowhere"}}
    (foreign.parent / "fit.yaml").write_text(yaml.safe_dump({"data": data, "weights_only": False}))
    assert "weights_only is false" in refused(capsys, "fit", "--config", "fit.yaml")


def config_of_wandb(folder: Path, **settings: object) -> None:
    """A config whose logger has settings of W&B."""
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"settings": settings}}
    data = {"class_path": "CMRxReconData", "init_args": {"root": "nowhere"}}
    (folder / "fit.yaml").write_text(yaml.safe_dump({"data": data, "trainer": {"logger": logger}}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_url", "http://127.0.0.1:1"),
        ("api_key", "secret"),
        ("https_proxy", "http://127.0.0.1:1"),
        ("insecure_disable_ssl", True),
    ],
)
def test_a_config_does_not_send_a_key_to_its_own_server(key, value, foreign, capsys):
    config_of_wandb(foreign.parent, **{key: value})
    assert f"{key} is set, which may send your key" in refused(capsys, "fit", "--config", "fit.yaml")


def test_other_settings_of_wandb_are_taken(foreign, capsys):
    """The run goes on to its data, which are not there."""
    config_of_wandb(foreign.parent, silent=True)
    assert "nowhere" in refused(capsys, "fit", "--config", "fit.yaml")
