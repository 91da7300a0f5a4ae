"""Where a run is within its epoch, counted over all of its processes."""

from typing import Any

from lightning.pytorch import Trainer

from fm_unroll.data.sampler import EqualShapeBatchSampler


class EpochPosition:
    """How many batches of the epoch under way were given, and how to go on with the rest.

    The trainer counts the batches of one process. That says what is left to do only as long as the number of
    processes stays: an interrupted run may go on with more or fewer.
    """

    def __init__(self, given_before: int | None = None) -> None:
        """Take what a checkpoint says.

        Args:
            given_before: batches of the epoch under way that all processes together had been given.
                Checkpoints of earlier versions do not say it: None.
        """
        self.given_before = given_before
        # the epoch that was resumed; batches given before, to all processes and as this one counts them
        self._resumed = (-1, 0, 0)

    def resume(self, trainer: Trainer, sampler: EqualShapeBatchSampler) -> None:
        """Let sampler and trainer go on where an interrupted run left its epoch.

        The trainer's count is set to what it would be if this number of processes had as much left to do.
        """
        epoch, under_way, batches = progress(trainer)
        before = self.given_before
        if before is None:
            before = batches.processed * sampler.num_replicas
        done = sampler.resume(epoch, before if under_way else 0)
        if under_way:
            self._resumed = (epoch, before, done)
            change = done - batches.processed
            for name in ("ready", "started", "processed", "completed"):
                setattr(batches, name, getattr(batches, name) + change)

    def given(self, trainer: Trainer) -> int:
        """Batches of the epoch under way that all processes together have been given by now."""
        epoch, _, batches = progress(trainer)
        resumed, before, done = self._resumed
        if epoch != resumed:
            before = done = 0
        return int(before + (batches.processed - done) * trainer.world_size)


def reopen(checkpoint: dict[str, Any]) -> None:
    """Let a run go on within the epoch in which ``max_steps`` ended it, which the trainer counts as whole.

    Args:
        checkpoint: what Lightning writes; its counts of epochs are changed.
    """
    loops = checkpoint["loops"]["fit_loop"]
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    whole = batches["is_last_batch"] or not batches["current"]["processed"]
    if whole or epochs["current"]["ready"] > epochs["current"]["processed"]:
        return
    for counts in (epochs["current"], epochs["total"]):
        counts["processed"] = counts["completed"] = counts["processed"] - 1


def progress(trainer: Trainer) -> tuple[int, bool, Any]:
    """The number of the epoch, whether it is under way, and the trainer's counts of its batches."""
    # Lightning annotates both as their base class, which does not count what was processed
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return epochs.processed, epochs.ready > epochs.processed, batches
