"""Where runs are recorded: CSV always, beside it W&B or TensorBoard.

The one file that knows W&B.
"""

import csv
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.trainer.states import TrainerFn

from fm_unroll.errors import InputError
from fm_unroll.training.task import ReconstructionTask

WANDB_RUN_ID = "wandb_run_id.txt"
WANDB_MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")
WANDB_PATIENCE = 600  # seconds after the end of a run; what is not sent by then stays on the disk


def default_loggers(run_dir: Path) -> list[Logger]:
    """Make the loggers of a run: CSV, and W&B if it logs without asking anything, else TensorBoard.

    A resumed run continues its W&B run, whose id stands in its folder.
    """
    # first: it makes the folder, without which W&B would write elsewhere
    metrics = ContinuedCSVLogger(run_dir, name="", version="")
    if not wandb_is_ready():
        return [metrics, TensorBoardLogger(run_dir, name="", version="")]
    recorded = run_dir / WANDB_RUN_ID
    return [
        metrics,
        LooseWandbLogger(
            save_dir=run_dir,
            name="/".join(run_dir.parts[-2:]),
            project=os.environ.get("WANDB_PROJECT", "fm_unroll"),
            settings=wandb.Settings(finish_timeout=WANDB_PATIENCE),
            id=recorded.read_text() if recorded.is_file() else os.environ.get("WANDB_RUN_ID") or None,
        ),
    ]


def forget_empty_variables() -> None:
    """Unset W&B's variables that are empty, as ``.env`` files leave them: W&B fails on some."""
    for name in [
        name for name, value in os.environ.items() if name.startswith("WANDB_") and not value.strip()
    ]:
        del os.environ[name]


def wandb_is_ready() -> bool:
    """Whether W&B logs without asking anything: offline mode, or a key at hand."""
    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in WANDB_MODES:
        raise InputError(f"WANDB_MODE is {mode!r}: choose one of {', '.join(WANDB_MODES)}, or unset it")
    if mode in {"disabled", "dryrun"}:
        return False
    return mode == "offline" or wandb.login(prompt=False, verify=False)


class ContinuedCSVLogger(CSVLogger):
    """CSVLogger that goes on in the ``metrics.csv`` of an interrupted run; Lightning's own deletes it.

    Steps between the last checkpoint and the interruption appear twice.
    """

    continued = False

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, which has the rows of the interrupted run already."""
        if not self.continued:
            self.continued = True
            path = Path(self.log_dir, ExperimentWriter.NAME_METRICS_FILE)
            rows: list[dict[str, Any]] = []
            if path.exists():
                with path.open(newline="") as file:
                    rows = [
                        {key: value for key, value in row.items() if value} for row in csv.DictReader(file)
                    ]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Experiment logs directory")
                super().experiment.metrics.extend(rows)
        return cast(ExperimentWriter, super().experiment)


class LooseWandbLogger(WandbLogger):
    """WandbLogger whose run goes on without W&B.

    If W&B cannot be reached at the start, or refuses the key, the run is recorded on disk, as in offline
    mode. If it goes away later, W&B's own process keeps what it could not send, and gives up trying some time
    after the run's end. ``wandb sync`` sends what was kept.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> "wandb.Run":
        """The W&B run."""
        try:
            return cast("wandb.Run", super().experiment)
        except wandb.errors.CommError as error:
            reason = str(error).splitlines()[0]
            warnings.warn(f"W&B: {reason}: recorded offline, `wandb sync` sends it later", stacklevel=2)
            # private: the logger takes options of wandb.init once only, when it is made
            self._wandb_init["mode"] = "offline"
            return cast("wandb.Run", super().experiment)


class WandbRecord(Callback):
    """What a run's record at W&B has besides: metrics of every volume, the best checkpoint.

    Without W&B it does nothing. Panels come from :class:`~fm_unroll.training.callbacks.ImagePanels`, facts
    about the run from :func:`describe_at_wandb`.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the run's summary show the best epoch of the metric that checkpoints are chosen by."""
        chosen_by = trainer.checkpoint_callback
        if not isinstance(chosen_by, ModelCheckpoint) or chosen_by.monitor is None:
            return
        for run in wandb_runs(trainer):
            run.define_metric(
                chosen_by.monitor, summary=chosen_by.mode, step_metric="trainer/global_step", step_sync=True
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of every validation volume, epoch by epoch."""
        if not trainer.sanity_checking:
            self.log_volumes(trainer, "val/volumes", pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of every test volume."""
        self.log_volumes(trainer, "test/volumes", pl_module)

    def log_volumes(self, trainer: Trainer, key: str, pl_module: LightningModule) -> None:
        """Log a table with one row per volume."""
        volumes = cast(ReconstructionTask, pl_module).volume_scores
        for run in wandb_runs(trainer) if volumes else ():  # without targets there are no metrics
            columns: list[str | int] = ["volume", *next(iter(volumes.values()))]
            rows = [[volume, *scores.values()] for volume, scores in volumes.items()]
            table = wandb.Table(columns=columns, data=rows)
            with missed_by_wandb(f"the table {key}"):
                run.log({key: table, "trainer/global_step": trainer.global_step})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the best checkpoint, which holds the frozen encoder's name and hash, not its weights."""
        kept = trainer.checkpoint_callback
        if not isinstance(kept, ModelCheckpoint) or kept.best_model_score is None:
            return
        for run in wandb_runs(trainer):
            best = {str(kept.monitor): float(kept.best_model_score)}
            artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=best)
            artifact.add_file(kept.best_model_path, name=Path(kept.best_model_path).name)
            with missed_by_wandb(kept.best_model_path):
                run.log_artifact(artifact, aliases=["best"])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the W&B run, so that the next run of this process is recorded as another."""
        for run in wandb_runs(trainer):
            run.finish()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the W&B run as failed; a resumed run goes on with it."""
        for run in wandb_runs(trainer):
            run.finish(exit_code=1)


@contextmanager
def missed_by_wandb(what: str) -> Iterator[None]:
    """Warn that a table or file is lost where W&B has gone; metrics wait on the disk until it is back."""
    try:
        yield
    except wandb.errors.CommError as error:
        warnings.warn(f"W&B: {str(error).splitlines()[0]}: {what} is not recorded there", stacklevel=3)


def wandb_runs(trainer: Trainer) -> list["wandb.Run"]:
    """The W&B runs that this process logs to: at most one, and none beside the first process."""
    if not trainer.is_global_zero:
        return []
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, WandbLogger)]


def describe_at_wandb(trainer: Trainer, facts: dict[str, Any]) -> None:
    """Put facts into the configuration of the W&B run; while training, note its id in the run folder.

    Args:
        trainer: the trainer, with its loggers.
        facts: resolved config, commit and split, as plain values by name.
    """
    for run in wandb_runs(trainer):
        run.config.update(facts, allow_val_change=True)  # type: ignore[no-untyped-call]  # untyped in W&B
        if trainer.state.fn == TrainerFn.FITTING:
            Path(trainer.default_root_dir, WANDB_RUN_ID).write_text(run.id)
