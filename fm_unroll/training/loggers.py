"""Where runs are recorded: CSV always, W&B where it can be reached without a question, else TensorBoard.

The one file that knows W&B.
"""

import csv
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.trainer.states import TrainerFn

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
