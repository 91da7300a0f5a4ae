"""Which callbacks a run has, and which options are refused before its first step."""

import pytest
from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from fm_unroll.errors import InputError
from fm_unroll.training.options import settled_model
from fm_unroll.training.recipe import class_of, complete_callbacks, recipe_callbacks
from fm_unroll.training.refusals import ValidationIsReached, refuse_no_work

NAMES = [
    "EarlyStopping",
    "ModelCheckpoint",
    "LastCheckpoint",
    "ImagePanels",
    "ReconstructionWriter",
    "WandbRecord",
]


def callback(path: str, **options: object) -> Namespace:
    return Namespace(class_path=path, init_args=Namespace(**options))


def names(callbacks: list[Namespace]) -> list[str]:
    return [class_of(callback).__name__ for callback in callbacks]


def test_the_recipe_s_callbacks_have_all_their_options():
    assert names(recipe_callbacks()) == NAMES
    stopping = recipe_callbacks()[0].init_args
    assert (stopping.monitor, stopping.patience, stopping.min_delta) == ("val/ssim", 5, 0.0)


@pytest.mark.parametrize("given", [None, []])
def test_a_config_that_lists_none_has_the_recipe_s(given):
    assert names(complete_callbacks(given, ())) == NAMES


def test_a_user_s_callback_is_added():
    own = callback("lightning.pytorch.callbacks.LearningRateMonitor")
    assert names(complete_callbacks([own], ())) == [*NAMES, "LearningRateMonitor"]


def test_the_recipe_s_own_in_a_config_are_not_the_user_s():
    """As in the config that a run has written."""
    assert names(complete_callbacks(recipe_callbacks(), ())) == NAMES
    assert names(complete_callbacks(recipe_callbacks(), ["EarlyStopping", "ModelCheckpoint"])) == NAMES[2:]


@pytest.mark.parametrize(
    "module", ["lightning.pytorch.callbacks", "lightning.pytorch.callbacks.early_stopping"]
)
def test_one_of_the_same_class_takes_the_recipe_s_place(module):
    own = callback(f"{module}.EarlyStopping", monitor="val/psnr", patience=9)
    completed = complete_callbacks([own], ())
    assert sorted(names(completed)) == sorted(NAMES)
    assert next(c for c in completed if class_of(c).__name__ == "EarlyStopping").init_args.patience == 9


@pytest.mark.parametrize(("monitor", "number"), [("val/ssim", 1), ("train/loss", 2), (None, 2)])
def test_further_checkpoints_are_kept_beside_the_best(monitor, number):
    own = callback("lightning.pytorch.callbacks.ModelCheckpoint", monitor=monitor, save_top_k=-1)
    assert names(complete_callbacks([own], ())).count("ModelCheckpoint") == number
    both = complete_callbacks([own, own], ())
    assert names(both).count("ModelCheckpoint") == number + 1


def test_a_subclass_is_another_class():
    """LastCheckpoint is a ModelCheckpoint: neither stands for the other."""
    own = callback("fm_unroll.training.callbacks.LastCheckpoint", minutes=0)
    assert sorted(names(complete_callbacks([own], ()))) == sorted(NAMES)


def test_what_is_left_out_is_said_by_name():
    assert names(complete_callbacks(None, ["EarlyStopping", "ImagePanels"])) == [
        name for name in NAMES if name not in ("EarlyStopping", "ImagePanels")
    ]
    own = callback("lightning.pytorch.callbacks.ModelCheckpoint", monitor="train/loss")
    (only,) = [c for c in complete_callbacks([own], ["ModelCheckpoint"]) if class_of(c) is ModelCheckpoint]
    assert only is own
    path = ["lightning.pytorch.callbacks.EarlyStopping"]
    assert "EarlyStopping" not in names(complete_callbacks(None, path))
    with pytest.raises(InputError, match="leave_out EarlyStoping: the recipe has EarlyStopping, "):
        complete_callbacks(None, ["EarlyStoping"])


def config(**trainer: object) -> Namespace:
    usual = {
        "fast_dev_run": False,
        "max_epochs": 5,
        "max_steps": -1,
        "overfit_batches": 0.0,
        "check_val_every_n_epoch": 1,
        **{f"limit_{part}_batches": None for part in ("train", "val", "test", "predict")},
    }
    return Namespace(ckpt_path="best.ckpt", trainer=Namespace(**usual | trainer))


@pytest.mark.parametrize(
    "verb, trainer, words",
    [
        (
            "fit",
            {"limit_val_batches": 0},
            "limit_val_batches is 0: nothing is left to choose the best epoch by",
        ),
        ("fit", {"limit_train_batches": 0.0}, "limit_train_batches is 0"),
        ("fit", {"max_epochs": 0}, "max_epochs is 0"),
        ("fit", {"max_steps": 0}, "max_steps is 0"),
        ("fit", {"check_val_every_n_epoch": 6}, "check_val_every_n_epoch is 6, but trainer.max_epochs 5"),
        ("fit", {"overfit_batches": 1}, "overfit_batches"),
        ("validate", {"limit_val_batches": 0}, "limit_val_batches is 0"),
        ("test", {"limit_test_batches": 0}, "limit_test_batches is 0"),
        ("predict", {"limit_predict_batches": 0}, "limit_predict_batches is 0"),
        ("test", {"limit_test_batches": 1}, "metrics of parts of volumes"),
        ("validate", {"limit_val_batches": 0.5}, "metrics of parts of volumes"),
        ("validate", {"overfit_batches": 2}, "overfit_batches is 2: metrics of parts of volumes"),
        ("predict", {"limit_predict_batches": 1}, "limit_predict_batches is 1: reconstructions of parts"),
        ("predict", {"limit_predict_batches": 0.5}, "leave it out, or choose fewer subjects"),
    ],
)
def test_options_that_leave_nothing_to_do_are_refused(verb, trainer, words):
    refuse_no_work(verb, config())
    with pytest.raises(InputError, match=words):
        refuse_no_work(verb, config(**trainer))


def test_options_of_other_verbs_do_not_matter():
    refuse_no_work("test", config(max_epochs=0, limit_val_batches=0, limit_test_batches=1.0))
    refuse_no_work("predict", config(limit_predict_batches=1.0, limit_test_batches=1, overfit_batches=1))
    refuse_no_work("fit", config(check_val_every_n_epoch=6, max_epochs=-1))
    refuse_no_work("fit", config(check_val_every_n_epoch=5, max_epochs=5))
    refuse_no_work("fit", config(limit_val_batches=0, fast_dev_run=True))


class Validated(BoringModel):
    """Lightning's smallest network, which notes whether it was validated."""

    times = 0

    def on_validation_epoch_end(self) -> None:
        self.times += 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options, steps",
    [
        ({}, 4),
        ({"accumulate_grad_batches": 2}, 2),
        ({"check_val_every_n_epoch": 2}, 8),
        ({"check_val_every_n_epoch": 2, "val_check_interval": 0.5}, 6),
        # the last batch of an epoch makes a step of its own where it completes none
        ({"accumulate_grad_batches": 3}, 2),
        ({"accumulate_grad_batches": 3, "check_val_every_n_epoch": 2}, 4),
        ({"accumulate_grad_batches": 3, "check_val_every_n_epoch": None, "val_check_interval": 9}, 5),
    ],
)
def test_just_enough_steps_for_a_validation_are_allowed(options, steps, tmp_path):
    """Epochs of four batches: with one step less, nothing would be validated."""

    def validations(max_steps: int, *callbacks: Callback) -> int:
        trainer = Trainer(
            max_steps=max_steps,
            limit_train_batches=4,
            limit_val_batches=1,
            num_sanity_val_steps=0,
            callbacks=[*callbacks],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            **options,
        )
        model = Validated()
        trainer.fit(model)
        return model.times

    assert validations(steps) == validations(steps, ValidationIsReached()) == 1
    assert validations(steps - 1) == 0
    with pytest.raises(InputError, match=rf"max_steps is {steps - 1}, .* comes after {steps} steps"):
        validations(steps - 1, ValidationIsReached())


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_an_untrained_network_is_not_scored(verb):
    untrained = config()
    untrained.ckpt_path = None
    refuse_no_work("fit", untrained)
    with pytest.raises(InputError, match=f"`{verb}` needs a trained network: give --ckpt_path"):
        refuse_no_work(verb, untrained)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"method": "random"}, 3),
        ({"method": "random", "encoder_seed": 5}, 5),
        ({"method": "dinov2", "shuffled": True}, 3),
        ({"method": "varnet"}, None),
    ],
)
def test_random_encoders_are_drawn_from_the_seed_of_the_run(model, expected):
    config = Namespace(model=Namespace(model), seed_everything=3)
    settled = settled_model(config).as_dict()
    assert settled.get("encoder_seed") == expected
    # once settled, it stays: a run that goes on, or is tested, has the encoder that it was trained with
    again = Namespace(model=Namespace(settled), seed_everything=4)
    assert settled_model(again).as_dict().get("encoder_seed") == expected
