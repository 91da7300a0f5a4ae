"""One run has one folder, whatever starts it, and goes on by its own config only."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.training.run_folder import (
    LOCAL_SWEEP,
    keep_volumes,
    require_same_config,
    run_folder,
    sweep_run,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_sweep(monkeypatch):
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", LOCAL_SWEEP):
        monkeypatch.delenv(name, raising=False)


def config(content: dict, folder: str | None = None, seed: int = 0) -> Namespace:
    data = content["data"] | {"class_path": f"fm_unroll.data.{content['data']['class_path']}"}
    return Namespace(
        seed_everything=seed,
        model=Namespace(**{"physics": "paper"} | content["model"]),
        data=Namespace(class_path=data["class_path"], init_args=Namespace(**data["init_args"])),
        trainer=Namespace(default_root_dir=folder),
    )


HEARTS = {
    "model": {"method": "timm/vit"},
    "data": {"class_path": "CMRxReconData", "init_args": {"root": "x", "acceleration": 4}},
}


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_a_config_s_run_is_called_as_the_config(path):
    content = yaml.safe_load(path.read_text())
    folder = content.get("trainer", {}).get("default_root_dir")  # only of those that name it themselves
    expected = Path("runs", path.stem) if folder else Path("runs", path.stem, "seed0")
    assert run_folder(config(content, folder)) == expected


def test_checkpoints_that_the_sweep_of_evaluations_lists_lie_where_the_configs_runs_do():
    sweep = yaml.safe_load((ROOT / "experiments/sweeps/evaluation.yaml").read_text())
    names = {path.stem for path in ROOT.glob("configs/*.yaml")}
    assert {Path(path).parts[1] for path in sweep["parameters"]["ckpt_path"]["values"]} <= names


def test_a_run_on_a_range_or_on_several_data_sets_names_both_ends():
    varied = {"class_path": "VariedSampling", "init_args": {"accelerations": [2, 6.5], "centers": [8, 8]}}
    part = {"class_path": "CMRxReconData", "init_args": {"root": "x", "sampling": varied}}
    assert run_folder(config(HEARTS | {"data": part})) == Path("runs/timm-vit_x2-6.5/seed0")
    both = {
        "class_path": "MixedData",
        "init_args": {"parts": [part, HEARTS["data"] | {"init_args": {"root": "x"}}]},
    }
    assert run_folder(config(HEARTS | {"data": both})) == Path("runs/timm-vit_x2-8/seed0")


def test_what_may_change_of_a_run_may_change_in_each_of_its_data_sets():
    def parts(**options) -> dict:
        return {
            "data": {
                "init_args": {
                    "weights": [1, 2],
                    "parts": [{"init_args": {"root": "a"}}, {"init_args": {"root": "b"} | options}],
                }
            }
        }

    require_same_config(Path("run"), parts(), parts(root="elsewhere", split=[1, 0, 0]))
    with pytest.raises(InputError, match=r"data\.init_args\.parts\.1\.init_args\.contrasts is None there"):
        require_same_config(Path("run"), parts(), parts(contrasts=["T1map"]))


def test_a_given_folder_is_taken(monkeypatch):
    assert run_folder(config(HEARTS)) == Path("runs/timm-vit_x4/seed0")
    assert run_folder(config(HEARTS, seed=3)) == Path("runs/timm-vit_x4/seed3")
    assert run_folder(config(HEARTS, "here")) == Path("here")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    assert run_folder(config(HEARTS, "here")) == Path("here/abc")
    assert run_folder(config(HEARTS, "here/abc")) == Path("here/abc")
    assert run_folder(config(HEARTS)) == Path("runs/timm-vit_x4/abc")


@pytest.mark.parametrize(
    "environment, run",
    [
        ({}, None),
        ({"WANDB_RUN_ID": "mine"}, None),
        ({"WANDB_RUN_ID": "mine", "WANDB_SWEEP_ID": ""}, None),
        ({"WANDB_SWEEP_ID": "sweep"}, None),
        ({"WANDB_RUN_ID": "abc", "WANDB_SWEEP_ID": "sweep"}, "abc"),
        ({"WANDB_RUN_ID": "abc", LOCAL_SWEEP: "1"}, "abc"),
    ],
)
def test_only_an_agent_makes_a_run_one_of_a_sweep(environment, run, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert sweep_run() == run
    expected = f"runs/timm-vit_x4/{run or 'seed0'}"
    assert run_folder(config(HEARTS)) == Path(expected)


def volume(name: str, slices: int = 2, maximum: float = 1.0) -> Volume:
    described = Volume.of_array(Path("x.mat"), (1, slices, 3, 16, 12), name=name)
    return replace(described, maximum=maximum)


@pytest.mark.parametrize(
    "now, changed",
    [
        ([volume("a"), volume("b", maximum=1 + 1e-7)], ""),
        ([volume("a"), volume("b", maximum=1.01)], "b"),
        ([volume("a", slices=3), volume("b")], "a"),
        ([volume("a"), volume("c")], "b, c"),
        ([volume("a"), *(volume(f"b{number}") for number in range(7))], "b, b0, b1, b2, b3 and 3 more"),
    ],
)
def test_what_changed_since_a_run_began_is_named_once(now, changed, tmp_path):
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    keep_volumes(tmp_path / "run", [volume("a"), volume("b")], None)
    began = (tmp_path / "run/volumes.json").read_text()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        keep_volumes(tmp_path / "other", now, checkpoint)
    assert [str(warning.message).partition(";")[0] for warning in caught] == [
        f"changed since the run began: {changed}"
    ] * bool(changed)
    assert (tmp_path / "other/volumes.json").read_text() == began


EARLIER = {
    "seed_everything": 0,
    "model": {"learning_rate": 0.001, "weights": "/here/clip.pt"},
    "data": {
        "class_path": "CMRxReconData",
        "init_args": {"root": "/here", "batch_size": 1, "split_seed": None},
    },
    "trainer": {"max_epochs": 5, "precision": "32-true", "devices": 1, "callbacks": []},
}


def changed(section: str, **options: object) -> dict:
    if section == "data":
        return EARLIER | {"data": {**EARLIER["data"], "init_args": EARLIER["data"]["init_args"] | options}}
    return EARLIER | {section: EARLIER[section] | options}


@pytest.mark.parametrize(
    "now",
    [
        EARLIER,
        changed("trainer", max_epochs=9, devices=4, strategy="ddp", callbacks=[{"class_path": "x"}]),
        changed("model", weights="/there/clip.pt", compile=True),
        changed("data", root="/there", num_workers=8, split_seed=0),
    ],
)
def test_a_run_may_go_on_elsewhere_and_for_longer(now):
    require_same_config(Path("run"), EARLIER, now)


@pytest.mark.parametrize(
    "now, words",
    [
        (EARLIER | {"seed_everything": 7}, "seed_everything is 0 there and 7 here"),
        (changed("model", learning_rate=0.1), r"model\.learning_rate is 0\.001 there and 0\.1 here"),
        (changed("data", batch_size=4), r"data\.init_args\.batch_size is 1 there and 4 here"),
        (changed("trainer", precision="bf16-mixed"), r"trainer\.precision is '32-true' there"),
        (changed("trainer", limit_train_batches=2), r"trainer\.limit_train_batches is None there and 2 here"),
        (
            changed("model", learning_rate=0.1) | {"seed_everything": 7},
            r"model\.learning_rate is 0\.001 there and 0\.1 here; seed_everything is 0 there and 7 here",
        ),
    ],
)
def test_what_decides_what_is_trained_is_named_key_by_key(now, words):
    with pytest.raises(InputError, match=words):
        require_same_config(Path("run"), EARLIER, now)


@pytest.mark.parametrize(
    "name",
    [
        "accumulate_grad_batches",
        "check_val_every_n_epoch",
        "gradient_clip_algorithm",
        "gradient_clip_val",
        "limit_train_batches",
        "limit_val_batches",
        "precision",
        "val_check_interval",
    ],
)
def test_an_option_of_the_trainer_that_decides_what_is_trained_stays(name):
    for value in ("other", None):
        with pytest.raises(InputError, match=rf"trainer\.{name} is .* there and .* here"):
            require_same_config(
                Path("run"), changed("trainer", **{name: "one"}), changed("trainer", **{name: value})
            )
