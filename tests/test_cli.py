import inspect
import json
import subprocess
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from fm_unroll.cli import VERBS, call, innermost, instead_of, join_values, main, spell_out
from fm_unroll.commands.cross_domain import cross_domain
from fm_unroll.commands.reconstruct import reconstruct
from fm_unroll.commands.undersample import undersample
from fm_unroll.data.augmentation import Augmentation
from fm_unroll.physics import RandomSampling, SamplingPattern

ROOT = Path(__file__).parents[1]


def run_and_fail(capsys, *args: object) -> str:
    """The one line on standard error with which a command ends."""
    with pytest.raises(SystemExit) as exit_:
        main([str(arg) for arg in args])
    assert exit_.value.code == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(message) == 1
    return message[0]


def test_overview_lists_every_verb_without_heavy_imports():
    code = "import sys, fm_unroll.cli; fm_unroll.cli.main(['--help']); print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *overview, modules = output.splitlines()
    assert all(any(line.strip().startswith(verb) for line in overview) for verb in VERBS)
    assert not {"torch", "lightning", "numpy", "timm"} & set(modules.split())


@pytest.mark.parametrize("verb", [verb for verb, (target, _) in VERBS.items() if isinstance(target, str)])
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([verb, "--help"])
    assert exit_.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_summary_counts_parameters(capsys):
    main(["summary", "--config", str(ROOT / "configs/e2e_varnet_x8.yaml"), "--json"])
    counts = json.loads(capsys.readouterr().out)
    assert (counts["trainable"], counts["frozen"]) == (29_936_966, 0)
    main(["summary", "--config", str(ROOT / "configs/clip_x8.yaml"), "--json"])
    counts = json.loads(capsys.readouterr().out)
    assert round(counts["trainable"] / 1e6, 1) == 56.4
    assert round(counts["frozen"] / 1e6) == 43


def test_unknown_words_are_answered_with_the_known_ones(capsys):
    assert "choose one of fit" in run_and_fail(capsys, "train")
    assert "synthesize, check" in run_and_fail(capsys, "data")
    assert "did you mean clip" in run_and_fail(
        capsys, "fit", "--model.method", "clp", "--data.root", "x", "--trainer.logger", "false"
    )


def test_a_wrong_value_of_a_data_set_is_said_without_all_types_that_it_is_not(capsys):
    config = ROOT / "configs/clip_x8.yaml"
    line = run_and_fail(capsys, "fit", "--config", config, "--data.acceleration", "x")
    assert '"acceleration"' in line and "float" in line and "CMRxReconData" in line
    assert "NoneType" not in line and len(line) < 200


def test_a_seed_of_the_data_alone_is_refused(tmp_path, capsys):
    demo = ROOT / "configs/demo/varnet.yaml"
    words = "give --seed_everything instead"
    assert words in run_and_fail(capsys, "fit", "--config", demo, "--data.seed", 5)
    assert words in run_and_fail(capsys, "fit", "--config", demo, "--data.init_args.seed=5")
    config = tmp_path / "config.yaml"
    config.write_text("data: {class_path: CMRxReconData, init_args: {root: x, seed: 5}}")
    assert words in run_and_fail(capsys, "fit", "--config", config)


def test_memory_of_a_training_step(tmp_path, capsys):
    config = tmp_path / "tiny.yaml"
    config.write_text("model: {num_cascades: 3, chans: 4, pools: 2, sens_chans: 2, sens_pools: 2}")
    main(["summary", "--config", str(config), "--memory", "--json"])
    memory = json.loads(capsys.readouterr().out)["training_memory"]
    assert "10 coils, 512 x 246" in memory["slice"]
    kept, checkpointed = memory["GiB"]["none"], memory["GiB"]["all"]
    # a cascade keeps coil images and activations of hundreds of megabytes, and never gigabytes
    assert 0.2 < checkpointed < kept < 4


def test_missing_root_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs/demo/varnet.yaml"
    assert "nowhere" in run_and_fail(capsys, "fit", "--config", config, "--data.root", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content, words",
    [
        ("trainer: {callbacks: [{class_path: subprocess.Popen}]}", "only fm_unroll, lightning, torch"),
        ("model: !!python/object/apply:os.system ['true']", "not plain YAML"),
        ("model: [", "not plain YAML"),
    ],
)
def test_dangerous_and_broken_configs_are_refused(content, words, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(content)
    assert words in run_and_fail(capsys, "fit", "--config", config)
    assert words in run_and_fail(capsys, "cross-domain", f"--config={config}")


def test_missing_config_is_named(capsys):
    assert "nothing.yaml is not a file" in run_and_fail(capsys, "fit", "--config", "nothing.yaml")


def test_debug_shows_the_traceback():
    from fm_unroll.errors import InputError

    with pytest.raises(InputError):
        main(["fit", "--config", "nothing.yaml", "--debug"])


@pytest.mark.parametrize("verb", [verb for verb, (target, _) in VERBS.items() if isinstance(target, dict)])
def test_a_verb_of_several_parts_lists_them(verb, capsys):
    main([verb, "--help"])
    printed = capsys.readouterr().out
    assert all(f"{verb} {part} --help" in printed for part in VERBS[verb][0])


@pytest.mark.parametrize(
    "options, words",
    [
        (["--data.acceleration", "0.5"], "acceleration 0.5 is below 1"),
        (["--data.acs_lines", "-1"], "acs_lines is -1"),
        (["--data.sampling", "RandomSampling", "--data.acs_lines", "24"], "fraction"),
        (["--model.learning_rate", "-1"], "learning_rate is -1"),
        (["--model.chans", "0"], "a U-Net of 0 channels"),
    ],
)
def test_values_that_a_class_refuses_are_named_in_one_line(options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in run_and_fail(
        capsys, "fit", "--data.root", "nowhere", "--model.num_cascades", "1", *options
    )


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    records = ROOT / "tests" / "fixtures" / "version_0_1" / "records.csv"
    message = run_and_fail(capsys, "report", records, "--output", tmp_path / "taken")
    assert "taken" in message and "a file lies where a folder is to be made" in message


def test_several_values_of_an_option_are_a_list() -> None:
    parameters = inspect.signature(cross_domain).parameters
    joined = join_values(
        ["--weights", "a.pt", "b.pt", "--only", "[knee]", "--matched", "--output", "x"], parameters
    )
    assert joined == ["--weights", "[a.pt,b.pt]", "--only", "[knee]", "--matched", "--output", "x"]
    single = join_values(["--only", "knee", "--accelerations", "8", "--weights", "a.pt"], parameters)
    assert single == ["--only", "[knee]", "--accelerations", "[8]", "--weights", "a.pt"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a.h5 --formats nii png", "a.h5 --formats [nii,png]"),
        ("a.h5 --formats nii --method wavelet", "a.h5 --formats [nii] --method wavelet"),
        ("a.h5 --formats nii gif", "a.h5 --formats [nii,gif]"),  # which the parser refuses by name
        ("a.h5 --formats [nii,png] --trust", "a.h5 --formats [nii,png] --trust"),
        ("--formats nii png a.h5", "--formats [nii,png] a.h5"),
        ("--formats [nii] a.h5", "--formats [nii] a.h5"),
        ("--method wavelet a.h5", "--method wavelet a.h5"),
    ],
)
def test_several_values_beside_what_has_no_name(words, expected) -> None:
    assert join_values(words.split(), inspect.signature(reconstruct).parameters) == expected.split()


def test_several_numbers_beside_what_has_no_name() -> None:
    parameters = inspect.signature(undersample).parameters
    joined = join_values(["--accelerations", "4", "8.5", "data", "--subjects", "P001", "P002"], parameters)
    assert joined == ["--accelerations", "[4,8.5]", "data", "--subjects", "[P001,P002]"]


@pytest.mark.parametrize(
    ("words", "acceleration"),
    [
        ("--sampling RandomSampling", None),
        ("--sampling RandomSampling --sampling.acceleration 8", 8),
        ("--sampling RandomSampling --sampling.acceleration 8 --acceleration 5", 5),
    ],
)
def test_what_is_given_of_a_class_is_told_from_its_default(words, acceleration) -> None:
    def verb(file: Path, sampling: SamplingPattern | None = None, acceleration: float | None = None) -> None:
        called.append((sampling, acceleration))

    called: list[tuple[SamplingPattern | None, float | None]] = []
    call(verb, ["a.h5", *words.split()], "verb")
    assert called == [(RandomSampling(8), acceleration)]


@pytest.mark.parametrize(
    ("words", "end"),
    [
        ("--formats gif", "gif is none of h5, png"),
        ("--formats png gif", "gif is none of h5, png"),
        (
            "--sampling VariedSampling --sampling.centers 3",
            "give a list in brackets, such as [3, 3], with as",
        ),
        ("--sampling VariedSampling --sampling.acceleration 3", "not accepted, did you mean accelerations?"),
        ("--augmentation.flip true", "not accepted, did you mean flips?"),
        ("--sampling VariedSampling --sampling.patterns x", "give a list in brackets, such as [x, x]"),
    ],
)
def test_what_is_no_choice_or_no_list_is_said_in_plain_words(words, end) -> None:
    def verb(
        file: Path,
        formats: Sequence[Literal["h5", "png"]] = (),
        sampling: SamplingPattern | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        raise AssertionError

    with pytest.raises(ArgumentError) as error:
        call(verb, ["a.h5", *words.split()], "verb")
    assert end.lower() in (said := innermost(error.value)).lower() and "<class" not in said


@pytest.mark.parametrize(
    ("option", "end"),
    [
        (
            "accelerations",
            "; a range is given as --data.sampling VariedSampling --data.sampling.accelerations",
        ),
        ("centre_fraction", ", did you mean center_fraction?"),
        ("split_sed", "did you mean split_seed, split"),
        ("zzz", ""),
    ],
)
def test_an_option_that_a_data_set_does_not_have_is_answered_with_what_it_has(option, end) -> None:
    said = instead_of(option, "fm_unroll.data.modules.FastMRIKneeData")
    assert said == end or (end and end in said)


def test_an_option_that_is_a_set_of_options_stands_for_their_defaults() -> None:
    parameters = inspect.signature(reconstruct).parameters
    assert spell_out(["--adapt", "--trust", "true"], parameters) == ["--adapt", "{}", "--trust", "true"]
    given = ["a.h5", "--adapt.free", "decoder", "--adapt", "{steps: 3}"]
    assert spell_out(given, parameters) == given
    bare = spell_out(["a.h5", "--trust", "--adapt"], parameters)
    assert bare == ["a.h5", "--trust", "true", "--adapt", "{}"]
    named = ["a.h5", "--sampling", "RandomSampling", "--center", "-1"]
    assert spell_out(named, parameters) == named
