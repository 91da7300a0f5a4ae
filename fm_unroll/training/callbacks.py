"""What happens beside training: loggers, image panels, written reconstructions, the record at W&B."""

import csv
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torchvision.utils import save_image

from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import center_crop
from fm_unroll.physics import ifft2c, rss
from fm_unroll.reconstruction.writers import write_h5
from fm_unroll.training.task import gather

ERROR_GAIN = 5

WANDB_RUN_ID = "wandb_run_id.txt"
WANDB_PATIENCE = 600  # seconds after the end of a run; what is not sent by then stays on the disk


def default_loggers(run_dir: Path) -> list[Logger]:
    """The loggers of a run: W&B when it can be reached without a question, else TensorBoard; always CSV.

    A run that goes on continues its W&B run, whose id stands in its folder.
    """
    folder = {"save_dir": str(run_dir), "name": "", "version": ""}
    # first: it makes the folder, without which W&B would write elsewhere
    metrics = ContinuedCSVLogger(**folder)
    if not wandb_is_ready():
        return [metrics, TensorBoardLogger(**folder)]
    recorded = run_dir / WANDB_RUN_ID
    return [
        metrics,
        LooseWandbLogger(
            save_dir=run_dir,
            name="/".join(run_dir.parts[-2:]),
            project=os.environ.get("WANDB_PROJECT", "fm_unroll"),
            settings=wandb.Settings(finish_timeout=WANDB_PATIENCE),
            id=os.environ.get("WANDB_RUN_ID") or (recorded.read_text() if recorded.is_file() else None),
        ),
    ]


def wandb_is_ready() -> bool:
    """Whether W&B logs without asking anything: offline mode, or a key at hand."""
    mode = os.environ.get("WANDB_MODE")
    if mode in {"disabled", "dryrun"}:
        return False
    if mode in {"offline", "shared"}:
        return True
    return wandb.login(prompt=False, verify=False)


class ContinuedCSVLogger(CSVLogger):
    """A CSVLogger that goes on in the ``metrics.csv`` of an interrupted run; Lightning's own deletes it.

    Steps between the last checkpoint and the interruption appear twice.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, which has the rows of the interrupted run already."""
        if self._experiment is None:
            path = Path(self.log_dir, ExperimentWriter.NAME_METRICS_FILE)
            rows: list[dict] = []
            if path.exists():
                with path.open(newline="") as file:
                    rows = [
                        {key: value for key, value in row.items() if value} for row in csv.DictReader(file)
                    ]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Experiment logs directory")
                super().experiment.metrics.extend(rows)
        return super().experiment


class LooseWandbLogger(WandbLogger):
    """A WandbLogger whose run does not hang on W&B being there.

    If W&B cannot be reached at the start, or refuses the key, the run is recorded on disk, as in offline
    mode. If it goes away later, W&B's own process keeps what it could not send, and gives up trying some time
    after the run's end. ``wandb sync`` sends what was kept.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> "wandb.Run":
        """The W&B run."""
        try:
            return super().experiment
        except wandb.errors.CommError as error:
            reason = str(error).splitlines()[0]
            warnings.warn(f"W&B: {reason}: recorded offline, `wandb sync` sends it later", stacklevel=2)
            self._wandb_init["mode"] = "offline"
            return super().experiment


class LastCheckpoint(ModelCheckpoint):
    """The state of training in ``last.ckpt``: every few minutes, after every epoch, and at SIGTERM.

    Always between two steps, so that a resumed run repeats none and skips none; never between an epoch's last
    step and its validation, which Lightning would leave out when it resumes there. SIGTERM reaches all
    processes of a run together; another error may be one process's own, which must not wait here for the
    others.
    """

    def __init__(self, minutes: float = 10, dirpath: str | None = None) -> None:
        """Choose how much work an unannounced end may cost."""
        super().__init__(
            dirpath,
            filename="last",
            train_time_interval=timedelta(minutes=minutes),
            enable_version_counter=False,
        )

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        """Save if it is time."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, after validation and early stopping."""
        trainer.save_checkpoint(self.format_checkpoint_name({}), weights_only=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save if this is SIGTERM."""
        if (
            isinstance(exception, SIGTERMException)
            and trainer.state.fn == "fit"
            and not trainer.is_last_batch
        ):
            trainer.save_checkpoint(self.format_checkpoint_name({}), weights_only=False)


class ImagePanels(Callback):
    """Logs target, reconstruction, error (brightened) and zero-filled image of a few validation slices."""

    def __init__(self, num_slices: int = 4) -> None:
        """Choose how many slices, spread over the validation set, are shown."""
        self.num_slices = num_slices
        self.rows: list[Tensor] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,
        batch: KSpaceBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep one slice of every so many batches."""
        batches = trainer.num_val_batches[dataloader_idx]
        stride = max(int(batches) // self.num_slices, 1)
        if batch_idx % stride == 0 and len(self.rows) < self.num_slices:
            self.rows.append(panel(outputs, batch).cpu())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the panel and save it beside the run's metrics."""
        rows, self.rows = self.rows, []
        if trainer.sanity_checking or not trainer.is_global_zero or not rows:
            return
        height, width = max(row.shape[0] for row in rows), max(row.shape[1] for row in rows)
        padded = [
            torch.nn.functional.pad(row, (0, width - row.shape[1], 0, height - row.shape[0])) for row in rows
        ]
        image = torch.cat(padded)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/panel", image[None], trainer.global_step)
            elif isinstance(logger, WandbLogger):
                logger.log_image("val/panel", [image.numpy()], step=trainer.global_step)
        if trainer.loggers:
            # not log_dir, which all processes would have to ask for together
            folder = Path(trainer.default_root_dir, "panels")
            folder.mkdir(parents=True, exist_ok=True)
            save_image(image, folder / f"epoch_{trainer.current_epoch:03d}.png")


def panel(reconstruction: Tensor, batch: KSpaceBatch) -> Tensor:
    """Target, reconstruction, error and zero-filled image of a batch's first slice, side by side in 0..1."""
    zero_filled = center_crop(rss(ifft2c(batch.kspace[:1])), batch.crop)
    target, prediction = batch.target[:1], reconstruction[:1].detach()
    error = ERROR_GAIN * (prediction - target).abs()
    row = torch.cat([target, prediction, error, zero_filled], dim=-1)[0]
    return (row / target.max()).clamp(0, 1).float()


class WandbRecord(Callback):
    """Completes a run's record at W&B: metrics of every volume, the best checkpoint; nothing without W&B.

    Panels and metrics come there by themselves, the facts about the run by :func:`describe_at_wandb`.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the run's summary show the best epoch of the metric that checkpoints are chosen by."""
        chosen_by = trainer.checkpoint_callback
        if chosen_by is None or chosen_by.monitor is None:
            return
        for run in wandb_runs(trainer):
            run.define_metric(
                chosen_by.monitor, summary=chosen_by.mode, step_metric="trainer/global_step", step_sync=True
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of every validation volume, epoch by epoch."""
        if not trainer.sanity_checking:
            self.log_volumes(trainer, "val/volumes", pl_module.volume_scores)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of every test volume."""
        self.log_volumes(trainer, "test/volumes", pl_module.volume_scores)

    def log_volumes(self, trainer: Trainer, key: str, volumes: dict[str, dict[str, float]]) -> None:
        """Log a table with one row a volume."""
        for run in wandb_runs(trainer):
            columns = ["volume", *next(iter(volumes.values()))]
            rows = [[volume, *scores.values()] for volume, scores in volumes.items()]
            table = wandb.Table(columns=columns, data=rows)
            with missed_by_wandb(f"the table {key}"):
                run.log({key: table, "trainer/global_step": trainer.global_step})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the best checkpoint, which names the frozen encoder instead of holding its weights."""
        kept = trainer.checkpoint_callback
        if kept is None or kept.best_model_score is None:
            return
        for run in wandb_runs(trainer):
            best = {kept.monitor: float(kept.best_model_score)}
            artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=best)
            artifact.add_file(kept.best_model_path, name=Path(kept.best_model_path).name)
            with missed_by_wandb(kept.best_model_path):
                run.log_artifact(artifact, aliases=["best"])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the W&B run: a next one in the same process is another."""
        for run in wandb_runs(trainer):
            run.finish()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the W&B run as one that failed; if it is resumed, it goes on."""
        for run in wandb_runs(trainer):
            run.finish(exit_code=1)


@contextmanager
def missed_by_wandb(what: str) -> Iterator[None]:
    """Warn where W&B has gone: metrics wait on the disk until it is back, tables and files do not."""
    try:
        yield
    except wandb.errors.CommError as error:
        warnings.warn(f"W&B: {str(error).splitlines()[0]}: {what} is not recorded there", stacklevel=3)


def wandb_runs(trainer: Trainer) -> list["wandb.Run"]:
    """The W&B runs that this process logs to: at most one, and none beside the first process."""
    if not trainer.is_global_zero:
        return []
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, WandbLogger)]


def describe_at_wandb(trainer: Trainer, facts: dict) -> None:
    """Put facts into the configuration of the W&B run; while training, note its id in the run folder.

    Args:
        trainer: with its loggers.
        facts: resolved config, commit, split: plain values, by name.
    """
    for run in wandb_runs(trainer):
        run.config.update(facts, allow_val_change=True)
        if trainer.state.fn == TrainerFn.FITTING:
            Path(trainer.default_root_dir, WANDB_RUN_ID).write_text(run.id)


class ReconstructionWriter(BasePredictionWriter):
    """Writes predicted volumes as ``RUN_DIR/reconstructions/VOLUME.h5``, one data set ``reconstruction``.

    Its shape is ``(slice, row, column)``, fastMRI's submission layout, or ``(frame, slice, row, column)``
    where a volume has several frames.
    """

    def __init__(self) -> None:
        """Collect slices batch by batch; a volume is written when its last slice has come."""
        super().__init__(write_interval="batch")
        self.slices: dict[str, dict[tuple[int, int], np.ndarray]] = {}

    def write_on_batch_end(
        self, trainer, pl_module, prediction, batch_indices, batch: KSpaceBatch, batch_idx, dataloader_idx
    ) -> None:
        """Collect one batch and write the volumes it completes."""
        images = prediction.float().cpu().numpy()
        sizes = {
            volume.name: volume.num_slices * volume.num_frames
            for volume in trainer.datamodule.volumes("test")
            if volume.name in set(batch.volume)
        }
        for image, volume, slice_, frame in zip(images, batch.volume, batch.slice, batch.frame, strict=True):
            slices = self.slices.setdefault(volume, {})
            slices[frame, slice_] = image
            if len(slices) == sizes[volume]:
                self.write(trainer, volume, self.slices.pop(volume))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is left: volumes that were limited, or that lie with several processes."""
        volumes, self.slices = self.slices, {}
        rest = gather(
            {(volume, index): image for volume, images in volumes.items() for index, image in images.items()}
        )
        together: dict[str, dict[tuple[int, int], np.ndarray]] = {}
        for (volume, index), image in rest.items():
            together.setdefault(volume, {})[index] = image
        for volume, images in together.items() if trainer.is_global_zero else ():
            self.write(trainer, volume, images)

    @staticmethod
    def write(trainer: Trainer, volume: str, slices: dict[tuple[int, int], np.ndarray]) -> None:
        """Write the ``(frame, slice)`` images of one volume; slices that were not predicted stay NaN."""
        frames, depth = (1 + max(index) for index in zip(*slices, strict=True))
        image = np.full((frames, depth, *next(iter(slices.values())).shape), np.nan, dtype=np.float32)
        for (frame, slice_), values in slices.items():
            image[frame, slice_] = values
        write_h5(Path(trainer.default_root_dir, "reconstructions", f"{volume}.h5"), image)
