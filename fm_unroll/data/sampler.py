"""Batches of slices that share one shape, divided over processes."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from fm_unroll.errors import InputError


class EqualShapeBatchSampler(Sampler[list[int]]):
    """Batches of items with equal keys, as a pure function of keys, seed and epoch.

    Shuffled (training), every process gets the same number of batches, so that none waits for another: every
    item is in one batch, and at most ``num_replicas - 1`` batches are given twice. In order (evaluation),
    every item is given to exactly one process, once: each process takes a stretch of items, and processes may
    differ in their number of batches.

    Lightning sets the epoch of ``batch_sampler.sampler``, as it would find it in PyTorch's own batch sampler;
    that attribute is this object itself. Lightning cannot divide batches that it did not make: use
    ``Trainer(use_distributed_sampler=False)``.
    """

    def __init__(
        self,
        keys: Sequence[Hashable],
        batch_size: int,
        shuffle: bool,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        """Group the items.

        Args:
            keys: one per item, such as its shape; only items with equal keys share a batch.
            batch_size: items per batch; the last batch of a key may be smaller.
            shuffle: new random batches in a new random order every epoch, or the same ones in order.
            seed: of the shuffling.
            num_replicas: processes that share the work.
            rank: number of this process, from 0.

        Raises:
            InputError: there are fewer items than processes, or ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: give 1 or more")
        if len(keys) < num_replicas:
            raise InputError(f"{len(keys)} slices are too few for {num_replicas} process(es)")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self._resumed = (0, 0)
        groups: dict[Hashable, int] = {}
        group = np.array([groups.setdefault(key, len(groups)) for key in keys])
        items = np.arange(len(keys))
        if not shuffle:
            items = np.array_split(items, num_replicas)[rank]
        self._groups = [items[group[items] == number] for number in np.unique(group[items])]

    @property
    def sampler(self) -> "EqualShapeBatchSampler":
        """Itself: where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives."""
        self.epoch = epoch

    def resume(self, epoch: int, given: int) -> int:
        """Go on within an epoch whose first batches were given before an interruption.

        Args:
            epoch: the epoch.
            given: how many batches were given, to all processes together, of however many there were.

        Returns:
            How many batches of the epoch this process need no longer give, of those that it has.
        """
        self.epoch = epoch
        self._resumed = (epoch, given)
        return len(self) - self._batches_each(max(self.num_batches - given, 0))

    @property
    def num_batches(self) -> int:
        """Batches per epoch, of all processes where they are shuffled, else of this process."""
        return sum(-(-len(items) // self.batch_size) for items in self._groups)

    def __len__(self) -> int:
        """Batches per epoch of this process."""
        return self._batches_each(self.num_batches) if self.shuffle else self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        if not self.shuffle:
            yield from (batch.tolist() for items in self._groups for batch in self._cut(items))
            return
        random = np.random.default_rng((self.seed, self.epoch))
        batches = [batch for items in self._groups for batch in self._cut(random.permutation(items))]
        order = random.permutation(len(batches))
        epoch, given = self._resumed
        left = order[given if epoch == self.epoch else 0 :]
        # the first batches are given again until all processes have the same number
        again = np.resize(order, self._batches_each(len(left)) * self.num_replicas - len(left))
        for number in np.concatenate([left, again])[self.rank :: self.num_replicas]:
            yield batches[number].tolist()

    def _batches_each(self, batches: int) -> int:
        """Batches of each process when all processes together have at least so many."""
        return -(-batches // self.num_replicas)

    def _cut(self, items: np.ndarray) -> list[np.ndarray]:
        return [items[start : start + self.batch_size] for start in range(0, len(items), self.batch_size)]
