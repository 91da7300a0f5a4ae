"""What a config may import: nothing of others, however it names it, unless the user names it as well."""

import sys

import pytest
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
