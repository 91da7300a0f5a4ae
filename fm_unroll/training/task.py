"""The LightningModule: how a network is trained, validated and applied."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fm_unroll.compatibility import upgrade_checkpoint
from fm_unroll.data.epoch import reopen
from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.training_data import TrainingData
from fm_unroll.data.undersampling import center_crop
from fm_unroll.errors import InputError
from fm_unroll.files import at_home
from fm_unroll.metrics import VOLUME_METRICS, score_slices, volume_metrics
from fm_unroll.models import build_model
from fm_unroll.models.checkpoints import require_encoders, start_from, tensors_of
from fm_unroll.models.compilation import compile_denoisers
from fm_unroll.models.insight import learned_weights
from fm_unroll.models.own import OwnNetwork, require_fit, require_same_statistics
from fm_unroll.models.registry import effective_options, number_of_cascades, source_of
from fm_unroll.reconstruction.adaptation import require_lines
from fm_unroll.reconstruction.engine import reconstruct, require_target
from fm_unroll.training.losses import LossWithoutTarget, build_loss


class ReconstructionTask(LightningModule):
    """Training of one method by the paper's recipe: Adam, SSIM loss, a learning rate that falls in steps."""

    # of the training epoch under way, in this process: sum of the loss over slices, and their number
    train_loss: tuple[float | Tensor, int] = (0.0, 0)

    def __init__(
        self,
        method: str = "varnet",
        loss: str = "ssim",
        learning_rate: float = 1e-3,
        learning_rate_step: int = 40,
        learning_rate_factor: float = 0.1,
        any_encoder: bool = False,
        compile: bool = False,
        num_cascades: int | None = None,
        sens_chans: int = 8,
        sens_pools: int = 4,
        checkpoint_cascades: Literal["none", "all"] | int = "none",
        physics: str = "paper",
        unet_from: Path | None = None,
        **options: object,
    ) -> None:
        """Build the network.

        Args:
            method: see :func:`fm_unroll.models.build_model`.
            loss: name of the training loss, see :mod:`fm_unroll.training.losses`.
            learning_rate: learning rate of Adam at the start.
            learning_rate_step: number of epochs between two multiplications of the learning rate.
            learning_rate_factor: what it is multiplied by.
            any_encoder: load checkpoints even if they were trained over another encoder.
            compile: compile the denoisers for training by ``torch.compile``; the first steps take minutes.
            num_cascades: number of unrolled iterations; None: what the method's numbers add up to, else 12.
            sens_chans: channels of the sensitivity estimator's first convolution.
            sens_pools: pooling layers of the sensitivity estimator.
            checkpoint_cascades: cascades that trade time for memory: ``all``, ``none``, or n for every n-th.
            physics: ``paper`` (equation 4) or ``anchored``, see :func:`fm_unroll.models.build_model`.
            unet_from: ``varnet`` checkpoint of the same physics and sizes, from which ``mixed`` starts.
            options: options of the method's denoisers, and of the physics.

        Raises:
            InputError: the method, the loss or an option is unknown or cannot be used.
        """
        super().__init__()
        require_rate(learning_rate)
        num_cascades = number_of_cascades(method, num_cascades)
        options = effective_options(method, options, physics)  # for checkpoints; loggers get the config
        self.save_hyperparameters(logger=False)
        self.loss = build_loss(loss)
        self.network = build_model(
            method, num_cascades, sens_chans, sens_pools, checkpoint_cascades, physics, **options
        )
        keep_constants_local(self)
        self.scores: dict[tuple[str, int, int], dict[str, Tensor]] = {}  # per slice, of the epoch under way
        self.volume_scores: dict[str, dict[str, float]] = {}  # per volume, of the last validation or test

    def forward(self, batch: KSpaceBatch) -> Tensor:
        """Reconstruct a batch: float32, ``(batch, *crop)``."""
        return center_crop(self.network(batch.kspace, batch.mask, batch.num_acs), batch.crop)

    def on_fit_start(self) -> None:
        """Take trained U-Nets, unless the run goes on with its own; compile, now on the device.

        Raises:
            InputError: the loss is that of measured lines, and a scan has too few of them.
        """
        data = data_of(self.trainer)
        for volume in [*data.volumes("train"), *data.volumes("val")] if not data.needs_targets else ():
            if not volume.fully_sampled:
                require_lines(torch.from_numpy(volume.lines), volume.num_acs, volume.name)
        if self.hparams["unet_from"] and not self.trainer.ckpt_path:
            start_from(self.network, dict(self.hparams), at_home(self.hparams["unet_from"]))
        if isinstance(self.network, OwnNetwork) and self.trainer.world_size > 1:
            require_same_statistics(self.network)
        if self.hparams["compile"]:
            compile_denoisers(self.network, self.device)

    def on_train_epoch_start(self) -> None:
        """Log the learning rate of the epoch."""
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_start(self, batch: KSpaceBatch, batch_idx: int) -> None:
        """Seed what is random in the network, so that a run that was interrupted goes on as it would have."""
        step = (data_of(self.trainer).seed, self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(int.from_bytes(hashlib.sha256(repr(step).encode()).digest()[:8]))

    def on_train_epoch_end(self) -> None:
        """Log the mean loss over all slices of the epoch, and what the prior has learned so far."""
        total, slices = self.train_loss_so_far()
        self.train_loss = (0.0, 0)
        if slices:  # a run that is resumed after its epoch's last step may not know what they were
            self.log("train/loss", total / slices)
        learned = learned_weights(self.network)
        for name in ("step_size", "strength", "pull"):
            for cascade, value in enumerate(learned.get(f"{name}s", ()), start=1):
                self.log(f"{name}/cascade_{cascade}", value)
        for cascade, gate in zip(learned["gated"], learned["gates"], strict=True):
            self.log(f"gate/cascade_{cascade}", gate)
        for cascade, weights in zip(learned["fused"], learned["fusion"], strict=True):
            for block, weight in zip(learned["blocks"], weights, strict=True):
                self.log(f"fusion/cascade_{cascade}_block_{block}", weight)

    def training_step(self, batch: KSpaceBatch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch."""
        loss: Tensor
        if isinstance(self.loss, LossWithoutTarget):
            loss = self.loss(self.network, batch)
        else:
            loss = self.loss(self(batch), require_target(batch), batch.data_range)
        require_finite(loss, batch)
        self.log("train/loss_step", loss, batch_size=len(batch), prog_bar=True)
        total, slices = self.train_loss
        self.train_loss = (total + loss.detach() * len(batch), slices + len(batch))
        return loss

    def train_loss_so_far(self) -> tuple[float, int]:
        """The sum of the loss over the slices of the epoch so far and their number, over all processes."""
        total, slices = self.train_loss
        parts = gather({self.global_rank: (float(total), slices)}).values()
        return sum(total for total, _ in parts), sum(slices for _, slices in parts)

    def validation_step(self, batch: KSpaceBatch, batch_idx: int) -> Tensor | None:
        """Score every slice, and return the reconstructions for the image panels.

        In training without targets there is the loss alone, even where there are targets.
        """
        reconstruction = None
        if not isinstance(self.loss, LossWithoutTarget):
            reconstruction = self.test_step(batch, batch_idx)
            # the mean over a batch stands for each of its slices: the mean over these is that over all slices
            losses = self.loss(reconstruction, require_target(batch), batch.data_range).expand(len(batch))
        else:
            losses = self.loss.of_validation(self.network, batch)
            if self.trainer.state.fn != TrainerFn.FITTING:
                reconstruction = self.test_step(batch, batch_idx)
        for key, loss in zip(keys_of(batch), losses.cpu(), strict=True):
            self.scores.setdefault(key, {})["loss"] = loss
        return reconstruction

    def test_step(self, batch: KSpaceBatch, batch_idx: int) -> Tensor:
        """Score every slice."""
        target = require_target(batch)
        reconstruction = self.predict_step(batch, batch_idx)
        scores = score_slices(reconstruction, target, batch.data_range)
        for row, key in enumerate(keys_of(batch)):
            self.scores[key] = {name: values[row] for name, values in scores.items()}
        return reconstruction

    def predict_step(self, batch: KSpaceBatch, batch_idx: int) -> Tensor:
        """Reconstruct, in float32 whatever the precision of training; no target is needed."""
        return reconstruct(self.network, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's metrics."""
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the test set's metrics."""
        self.log_scores("test")

    def log_scores(self, stage: str) -> None:
        """Log the mean over slices and the mean over volumes of every metric, over all processes.

        Of several data sets, also the mean over the volumes of each: ``val/ssim_1``, ``val/ssim_2``, ...
        """
        scores = gather(self.scores)
        self.scores = {}
        if stage == "val":
            self.log("val/loss", torch.stack([score.pop("loss") for score in scores.values()]).mean())
        if not any(scores.values()):  # of a loss without targets
            return
        slices = {name: torch.stack([score[name] for score in scores.values()]) for name in VOLUME_METRICS}
        for name, values in slices.items():
            self.log(f"{stage}/{name}_slice", values.mean().float(), rank_zero_only=True)
        volumes: dict[str, list[dict[str, Tensor]]] = {}
        for (volume, _, _), score in sorted(scores.items()):
            volumes.setdefault(volume, []).append(score)
        per_volume = {
            volume: volume_metrics({name: torch.stack([score[name] for score in rows]) for name in rows[0]})
            for volume, rows in volumes.items()
        }
        self.volume_scores = {
            volume: {name: scores[name].item() for name in VOLUME_METRICS}
            for volume, scores in per_volume.items()
        }
        for name in VOLUME_METRICS:
            mean = torch.stack([scores[name] for scores in per_volume.values()]).mean()
            # every process holds the same value: early stopping must decide alike on all
            self.log(f"{stage}/{name}", mean.float(), prog_bar=name != "nmse")
        by_data_set: dict[str, list[dict[str, Tensor]]] = {}
        for volume, metrics in per_volume.items():
            by_data_set.setdefault(data_of(self.trainer).data_set_of(volume), []).append(metrics)
        by_data_set.pop("", None)  # where there is one
        for data_set, rows in by_data_set.items():
            for name in VOLUME_METRICS:
                mean = torch.stack([metrics[name] for metrics in rows]).mean()
                self.log(f"{stage}/{name}_{data_set}", mean.float(), rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the facts that evaluation needs; frozen encoders stay outside, by name and hash."""
        data = data_of(self.trainer)
        checkpoint["fm_unroll"] = {
            "encoders": [
                {
                    "name": encoder.name,
                    "sha256": encoder.sha256,
                    "weights": encoder.weights_label,
                    "untold": dict(encoder.untold),
                }
                for encoder in self.network.encoders
            ],
            **data.facts(),
            **code_of(self.network),
            "recipe": recipe_of(self.trainer, data),
            "seed": data.seed,
            "train_loss": list(self.train_loss_so_far()),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse what does not fit the network or its encoder, and go on with the epoch's loss."""
        if isinstance(self.network, OwnNetwork):
            require_fit(self.network, tensors_of(checkpoint), "the checkpoint")
        if not self.hparams["any_encoder"]:
            require_encoders(self.network, upgrade_checkpoint(checkpoint))  # Lightning read it itself
        if self.trainer.training:
            reopen(checkpoint)
        total, slices = checkpoint["fm_unroll"].get("train_loss", (0.0, 0))
        self.train_loss = (total, slices) if self.global_rank == 0 else (0.0, 0)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam on what is trained: the frozen encoder is never among it."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.hparams["learning_rate"])
        scheduler = torch.optim.lr_scheduler.StepLR(
            optimizer, self.hparams["learning_rate_step"], self.hparams["learning_rate_factor"]
        )
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def keys_of(batch: KSpaceBatch) -> list[tuple[str, int, int]]:
    """Volume, slice and frame of each slice."""
    return list(zip(batch.volume, batch.slice, batch.frame, strict=True))


def require_finite(loss: Tensor, batch: KSpaceBatch) -> None:
    """Refuse to train on from a loss that is no number: its gradients would ruin every weight.

    Raises:
        InputError: it is NaN or Inf; the message names the slices.
    """
    if not loss.isfinite():
        names = ", ".join(
            f"{volume} slice {slice_}, frame {frame}" for volume, slice_, frame in keys_of(batch)
        )
        raise InputError(
            f"the training loss is {loss.item():g} at {names}: look at this scan by `data check --read`, or "
            "lower --model.learning_rate, or give --trainer.precision 32-true"
        )


def recipe_of(trainer: Trainer, data: TrainingData) -> dict[str, Any]:
    """What makes a training beside the task's own settings, its data and its seed."""
    return {
        "slices_per_step": data.batch_size * trainer.world_size * trainer.accumulate_grad_batches,
        "max_epochs": trainer.max_epochs,
        "max_steps": trainer.max_steps,
        "limit_train_batches": trainer.limit_train_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
        "precision": trainer.precision,
    }


def code_of(network: nn.Module) -> dict[str, str]:
    """The hash of the source of a network of the user's own; nothing of others, whose commit is known."""
    return {"code_sha256": source_of(network.name)} if isinstance(network, OwnNetwork) else {}


def require_rate(learning_rate: float) -> None:
    """Refuse a learning rate that Adam does not take.

    Raises:
        InputError: it is not positive.
    """
    if not learning_rate > 0:
        raise InputError(f"learning_rate is {learning_rate:g}: give a number above 0")


def keep_constants_local(module: LightningModule) -> None:
    """Keep frozen parameters and buffers out of what distributed processes send to each other.

    They never change. Sending buffers would even stall validation, in which processes differ in their number
    of batches.
    """
    constants = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    constants += [name for name, _ in module.named_buffers()]
    # private: torch has no public way
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, constants)  # type: ignore[no-untyped-call]


def gather(scores: dict[Any, Any]) -> dict[Any, Any]:
    """The union of all processes' dictionaries."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return scores
    parts: list[dict[Any, Any]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, scores)
    return {key: value for part in parts for key, value in part.items()}


def data_of(trainer: Trainer) -> TrainingData:
    """The data module that a trainer works on."""
    data: TrainingData = trainer.datamodule  # type: ignore[attr-defined]  # Lightning does not declare it
    return data


def one_data_set(trainer: Trainer) -> KSpaceData:
    """The data module of a trainer that predicts, for which it is a single data set."""
    data = data_of(trainer)
    assert isinstance(data, KSpaceData)
    return data
