"""An epoch that was cut short is not over."""

import copy

import pytest

from fm_unroll.data.epoch import reopen


def checkpoint(epochs: tuple[int, int, int], batches: int, is_last_batch: bool) -> dict:
    """Counts as Lightning writes them: epochs that are begun, processed and completed, batches processed."""
    ready, processed, completed = epochs
    counts = {"ready": ready, "started": ready, "processed": processed, "completed": completed}
    given = {"ready": batches, "processed": batches}
    return {
        "loops": {
            "fit_loop": {
                "epoch_progress": {"current": counts, "total": dict(counts)},
                "epoch_loop.batch_progress": {"current": given, "is_last_batch": is_last_batch},
            }
        }
    }


@pytest.mark.parametrize("completed", [1, 2], ids=["at the epoch's end", "at the run's end"])
def test_an_epoch_that_max_steps_cut_short_is_under_way(completed):
    cut = checkpoint((2, 2, completed), 2, is_last_batch=False)
    reopen(cut)
    assert cut == checkpoint((2, 1, 1), 2, is_last_batch=False)
    reopen(cut)
    assert cut == checkpoint((2, 1, 1), 2, is_last_batch=False)


@pytest.mark.parametrize(
    "content",
    [
        checkpoint((2, 2, 1), 5, is_last_batch=True),  # a whole one
        checkpoint((2, 1, 1), 2, is_last_batch=False),  # interrupted
        checkpoint((0, 0, 0), 0, is_last_batch=False),  # nothing done yet
    ],
)
def test_other_epochs_stay(content):
    before = copy.deepcopy(content)
    reopen(content)
    assert content == before
