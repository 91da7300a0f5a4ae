"""Options that would drop a run's work without a word: refused before its first step."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from fm_unroll.config_files import given_configs, read_config
from fm_unroll.data.training_data import TrainingData
from fm_unroll.errors import InputError
from fm_unroll.files import at_home
from fm_unroll.models.checkpoints import read_checkpoint
from fm_unroll.models.release import SUFFIX
from fm_unroll.subjects.population import data_sets_of
from fm_unroll.training.task import data_of

# the options of the trainer by which a verb does nothing if they are 0
AMOUNTS = {
    "fit": ("max_epochs", "max_steps", "limit_train_batches", "limit_val_batches"),
    "validate": ("limit_val_batches",),
    "test": ("limit_test_batches",),
    "predict": ("limit_predict_batches",),
}


def refuse_release(checkpoint: Path) -> None:
    """Refuse a released network in a checkpoint's place: Lightning does not read it.

    Raises:
        InputError: the file is one, by its name.
    """
    if checkpoint.suffix == SUFFIX:
        raise InputError(
            f"{checkpoint} is a released network, which reconstruct and cross-domain take: "
            "here give a checkpoint of `fit`"
        )


def refuse_data_seed(args: Sequence[str]) -> None:
    """Refuse a seed for the data alone, in whose place the run's would be taken without a word."""
    given = any(arg.partition("=")[0] in {"--data.seed", "--data.init_args.seed"} for arg in args)
    for config in given_configs(args):
        data = read_config(config).get("data")
        options = data.get("init_args") if isinstance(data, dict) else None
        given |= isinstance(options, dict) and "seed" in options
    if given:
        raise InputError(
            "data.seed: order and masks follow the seed of the run, give --seed_everything instead"
        )


def refuse_imported(config: Namespace) -> None:
    """Refuse to train on from weights of which nobody knows the subjects, nor the state of their training.

    Args:
        config: the resolved config of ``fit``.

    Raises:
        InputError: the checkpoint to go on with or to start from is one of ``weights import``.
    """
    # a run that goes on needs the U-Nets from which it began no more: their file may be gone
    name, path = (
        ("ckpt_path", config.ckpt_path) if config.ckpt_path else ("model.unet_from", config.model.unet_from)
    )
    if path and "imported" in read_checkpoint(at_home(path))["fm_unroll"]:
        raise InputError(
            f"--{name} {path}: its weights were trained elsewhere, on subjects whose ids are not known: "
            "fit cannot go on with it"
        )


def refuse_no_work(verb: str, config: Namespace) -> None:
    """Refuse options with which a verb would do nothing, or could not do what the recipe says.

    Args:
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
        config: its resolved config.

    Raises:
        InputError: see above.
    """
    trainer = config.trainer
    if verb != "fit" and not config.ckpt_path:
        raise InputError(
            f"`{verb}` needs a trained network: give --ckpt_path, such as RUN_DIR/checkpoints/best.ckpt"
        )
    if trainer.fast_dev_run:
        return
    for name in AMOUNTS[verb]:
        if trainer[name] == 0:
            purpose = "choose the best epoch by" if (verb, name) == ("fit", "limit_val_batches") else "do"
            raise InputError(
                f"trainer.{name} is 0: nothing is left to {purpose}; leave it out, or give a number above 0"
            )
    if verb != "fit":
        _refuse_parts(verb, trainer)
        return
    if trainer.overfit_batches:
        raise InputError(
            "trainer.overfit_batches puts another sampler in the place of the data module's own: "
            "give --trainer.limit_train_batches instead"
        )
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every and epochs is not None and 0 < epochs < every:
        raise InputError(
            f"trainer.check_val_every_n_epoch is {every}, but trainer.max_epochs {epochs}: no epoch would be "
            f"validated and none could be the best; give at most {epochs}"
        )


def _refuse_parts(verb: str, trainer: Namespace) -> None:
    """Refuse to take a part of the slices: their volumes and subjects would count as scored, or predicted."""
    what = "reconstructions" if verb == "predict" else "metrics"
    # Lightning validates no more than it was to overfit
    also = ("overfit_batches",) if verb == "validate" else ()
    for name in AMOUNTS[verb] + also:
        limit = trainer[name] or None
        # the whole number 1 is one batch
        if isinstance(limit, int) or (limit is not None and limit != 1.0):
            raise InputError(
                f"trainer.{name} is {limit}: {what} of parts of volumes would pass for those of whole ones; "
                "leave it out, or choose fewer subjects by --data.split_file"
            )


def warn_of_crops(checkpoint: str, facts: Mapping[str, Any], data: TrainingData) -> None:
    """Warn that a checkpoint was trained on another share of the readout than the data have.

    Args:
        checkpoint: what to call it.
        facts: its facts, ``checkpoint["fm_unroll"]``.
        data: the data.
    """
    then = sorted({part.get("readout_crop", 1.0) for part in data_sets_of(facts)})
    crops = " and ".join(f"{crop:g}" for crop in then)
    for now in sorted({*data.readout_crops}.difference(then)):
        rank_zero_warn(f"{checkpoint} was trained with readout_crop {crops}, the data have {now:g}")


class ValidationIsReached(Callback):
    """A run that would end before its first validation is refused: it could not choose its best epoch."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the interval with an epoch, before Lightning does so in its own words."""
        every = trainer.val_check_interval
        if trainer.check_val_every_n_epoch is None or not isinstance(every, int):
            return
        batches = len(data_of(trainer).loader("train", shuffle=True))
        if every > batches:
            raise InputError(
                f"trainer.val_check_interval is {every}, but an epoch has {batches} batches: give fewer, or "
                "--trainer.check_val_every_n_epoch null to count batches over epochs"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare numbers of steps, now that the length of an epoch is known."""
        batches = trainer.val_check_batch
        if batches is None:  # validation comes after a time
            return
        epoch, together = trainer.num_training_batches, trainer.accumulate_grad_batches
        if trainer.check_val_every_n_epoch:
            batches = (trainer.check_val_every_n_epoch - 1) * epoch + min(batches, epoch)
        given = epoch * (trainer.max_epochs or -1)
        if 0 <= given < batches:
            raise InputError(
                f"trainer.max_epochs {trainer.max_epochs} gives {given} batches, but validation comes after "
                f"{batches}: the best epoch could not be chosen; lower --trainer.val_check_interval"
            )
        epochs, rest = divmod(batches, epoch)
        # the last batch of an epoch makes a step, however few were accumulated
        needed = int(epochs) * math.ceil(epoch / together) + math.ceil(rest / together)
        if 0 < trainer.max_steps < needed:
            raise InputError(
                f"trainer.max_steps is {trainer.max_steps}, but validation comes after {needed} steps: "
                "the best epoch could not be chosen; give more steps, or --trainer.limit_train_batches"
            )
