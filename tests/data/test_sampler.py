"""Properties of the batch sampler, and that Lightning drives it."""

from collections import Counter
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from fm_unroll.data.sampler import EqualShapeBatchSampler
from fm_unroll.errors import InputError

KEYS = st.lists(st.integers(0, 3), min_size=4, max_size=60)
SIZES = st.integers(1, 7)
RANKS = st.integers(1, 4)


def batches(keys, size, shuffle, ranks=1, epoch=0, seed=0) -> list[list[list[int]]]:
    """For every rank its batches."""
    samplers = [EqualShapeBatchSampler(keys, size, shuffle, seed, ranks, rank) for rank in range(ranks)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    result = [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(part) for part in result]
    return result


@given(KEYS, SIZES, st.booleans(), RANKS)
def test_batches_hold_items_of_one_key(keys, size, shuffle, ranks):
    for batch in chain.from_iterable(batches(keys, size, shuffle, ranks)):
        assert 1 <= len(batch) <= size
        assert len({keys[item] for item in batch}) == 1


@given(KEYS, SIZES, RANKS)
def test_evaluation_sees_every_item_exactly_once(keys, size, ranks):
    parts = batches(keys, size, shuffle=False, ranks=ranks)
    items = chain.from_iterable(chain.from_iterable(parts))
    assert sorted(items) == list(range(len(keys)))
    assert all(parts)
    loads = [sum(map(len, part)) for part in parts]
    assert max(loads) - min(loads) <= 1
    assert parts == batches(keys, size, shuffle=False, ranks=ranks, epoch=5, seed=9)


@given(KEYS, SIZES, RANKS, st.integers(0, 5))
def test_training_gives_every_rank_as_many_batches_and_sees_every_item(keys, size, ranks, epoch):
    parts = batches(keys, size, shuffle=True, ranks=ranks, epoch=epoch)
    assert len({len(part) for part in parts}) == 1
    times = Counter(tuple(batch) for batch in chain.from_iterable(parts))
    assert {item for batch in times for item in batch} == set(range(len(keys)))
    assert sum(map(len, times)) == len(keys)
    fewest = sum(-(-count // size) for count in Counter(keys).values())
    assert len(times) == fewest and 0 <= sum(times.values()) - fewest < ranks


@given(KEYS, SIZES, st.integers(0, 99), st.integers(0, 99))
def test_an_epoch_is_a_function_of_seed_and_epoch(keys, size, seed, epoch):
    sampler = EqualShapeBatchSampler(keys, size, shuffle=True, seed=seed)
    list(sampler)
    sampler.set_epoch(epoch)
    state = torch.get_rng_state()
    assert list(sampler) == list(sampler) == batches(keys, size, True, 1, epoch, seed)[0]
    assert torch.equal(torch.get_rng_state(), state)


def test_epochs_and_seeds_shuffle_differently():
    keys = [0] * 50 + [1] * 50
    orders = {str(batches(keys, 4, True, 1, epoch, seed)) for epoch in range(4) for seed in range(4)}
    assert len(orders) == 16


def test_evaluation_in_one_process_keeps_the_order():
    assert batches("aababbb", 2, shuffle=False) == [[[0, 1], [3], [2, 4], [5, 6]]]


def test_more_processes_than_slices_are_refused():
    with pytest.raises(InputError, match=r"3 slices are too few for 4 process\(es\)"):
        EqualShapeBatchSampler([0, 0, 0], 1, shuffle=True, seed=0, num_replicas=4)
    with pytest.raises(InputError, match="batch_size is 0"):
        EqualShapeBatchSampler([0], 0, shuffle=True, seed=0)


class Listener(LightningModule):
    """Writes down the items it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[list[int]]] = {}

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).append(batch.tolist())
        return self.weight * 0

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], 0.1)


@pytest.mark.filterwarnings("ignore")
def test_lightning_advances_the_epoch(tmp_path):
    keys = [0] * 9 + [1] * 8
    loader = DataLoader(torch.arange(17), batch_sampler=EqualShapeBatchSampler(keys, 4, shuffle=True, seed=3))
    listener = Listener()
    Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    ).fit(listener, loader)
    assert listener.seen == {epoch: batches(keys, 4, True, 1, epoch, seed=3)[0] for epoch in range(3)}


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(0, 40))
def test_another_number_of_processes_goes_on_with_what_is_left_of_the_epoch(items, before, after, steps):
    """Nothing is left out, and nothing is given again but what fills up the last step of all processes."""
    keys = ["a"] * items + ["b"] * 5

    def samplers(number):
        made = [EqualShapeBatchSampler(keys, 2, True, 3, number, rank) for rank in range(number)]
        for sampler in made:
            sampler.set_epoch(4)
        return made

    interrupted, resumed = samplers(before), samplers(after)
    steps %= len(interrupted[0])
    given = [tuple(batch) for sampler in interrupted for batch in list(sampler)[:steps]]
    done = {sampler.resume(4, len(given)) for sampler in resumed}
    left = [[tuple(batch) for batch in sampler] for sampler in resumed]
    assert done == {len(resumed[0]) - len(left[0])} and len({len(batches) for batches in left}) == 1
    every = given + [batch for batches in left for batch in batches]
    assert sorted({item for batch in every for item in batch}) == list(range(len(keys)))
    assert len(every) - len(set(every)) < after


def test_the_epoch_after_a_resumed_one_is_whole():
    resumed = EqualShapeBatchSampler(["a"] * 9, 2, True, 3)
    resumed.resume(4, 3)
    assert len(list(resumed)) == 2
    resumed.set_epoch(5)
    assert list(resumed) == batches(["a"] * 9, 2, True, epoch=5, seed=3)[0]
