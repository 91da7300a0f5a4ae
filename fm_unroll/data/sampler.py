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
        batches = self._shuffled()
        epoch, given = self._resumed
        order = np.arange(len(batches))
        left = order[given if epoch == self.epoch else 0 :]
        # the first batches are given again until all processes have the same number
        again = np.resize(order, self._batches_each(len(left)) * self.num_replicas - len(left))
        for number in np.concatenate([left, again])[self.rank :: self.num_replicas]:
            yield batches[number].tolist()

    def _shuffled(self) -> list[np.ndarray]:
        """The batches of the epoch, of all processes."""
        return self._shuffle(self._groups, np.random.default_rng((self.seed, self.epoch)))

    def _shuffle(self, groups: Sequence[np.ndarray], random: np.random.Generator) -> list[np.ndarray]:
        """New batches of some groups in a new order."""
        batches = [batch for items in groups for batch in self._cut(random.permutation(items))]
        return [batches[number] for number in random.permutation(len(batches))]

    def _batches_each(self, batches: int) -> int:
        """Batches of each process when all processes together have at least so many."""
        return -(-batches // self.num_replicas)

    def _cut(self, items: np.ndarray) -> list[np.ndarray]:
        return [items[start : start + self.batch_size] for start in range(0, len(items), self.batch_size)]


class WeightedBatchSampler(EqualShapeBatchSampler):
    """Shuffled batches of several data sets, of each as many as its weight says.

    An epoch has as many batches as all data sets have together. Each data set is gone through in passes of
    its own, every pass shuffled anew, and an epoch takes its next batches: so no slice is given again before
    all others of its data set were given.
    """

    def __init__(
        self,
        keys: Sequence[tuple[int, Hashable]],
        weights: Sequence[float],
        batch_size: int,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        """Group the items.

        Args:
            keys: of each item the place of its data set and what it shares with others of its batch.
            weights: one above 0 for each data set.
            batch_size: items per batch.
            seed: of the shuffling.
            num_replicas: processes that share the work.
            rank: number of this process, from 0.

        Raises:
            InputError: as there, or an epoch would have no batch of one of the data sets.
        """
        super().__init__(keys, batch_size, True, seed, num_replicas, rank)
        self._sets: list[list[np.ndarray]] = [[] for _ in weights]
        for items in self._groups:
            self._sets[keys[items[0]][0]].append(items)
        wanted = self.num_batches * np.array(weights) / sum(weights)
        self.shares = np.floor(wanted).astype(int)
        # what is left goes to those that lack most
        lacking = np.argsort(self.shares - wanted, kind="stable")
        self.shares[lacking[: self.num_batches - self.shares.sum()]] += 1
        for number, (groups, share) in enumerate(zip(self._sets, self.shares, strict=True), start=1):
            if not groups or not share:
                raise InputError(
                    f"an epoch of {self.num_batches} batches would have none of data set {number}: "
                    "give it a larger weight, or leave it out"
                )

    def _shuffled(self) -> list[np.ndarray]:
        """The batches of the epoch, of all processes."""
        batches = [batch for number in range(len(self._sets)) for batch in self._next(number)]
        random = np.random.default_rng((self.seed, self.epoch))
        return [batches[number] for number in random.permutation(len(batches))]

    def _next(self, number: int) -> list[np.ndarray]:
        """The batches of one data set in the epoch."""
        groups, share = self._sets[number], int(self.shares[number])
        size = sum(-(-len(items) // self.batch_size) for items in groups)
        turn, begun = divmod(self.epoch * share, size)
        batches: list[np.ndarray] = []
        while len(batches) < begun + share:
            batches += self._shuffle(groups, np.random.default_rng((self.seed, turn, number)))
            turn += 1
        return batches[begun : begun + share]
