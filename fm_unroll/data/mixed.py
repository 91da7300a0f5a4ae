"""Several data sets in one training."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import combinations
from math import inf
from typing import Any

from torch.utils.data import ConcatDataset

from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.refusals import Stage, Verb
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.sampler import EqualShapeBatchSampler, WeightedBatchSampler
from fm_unroll.data.training_data import DEFAULTS, TrainingData
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.subjects.population import Seen
from fm_unroll.subjects.split import PARTS, Split


class MixedData(TrainingData):
    """Several data sets in one training, each with its own masks and its own split by subject.

    Lin and Heckel (https://arxiv.org/abs/2312.10271) find that networks trained on several scanners and
    anatomies together are at least as good in each of them, and as robust or more elsewhere. They combine
    scans; here a data set may be simulated, too.

    An epoch has as many batches as all data sets have together. They are shared out by the weights: a data
    set that gets more than it has is gone through several times, one that gets fewer goes on in the next
    epoch where it stopped. So every slice of a data set is seen as often as the others. Validation is over
    all validation slices of all data sets, each once.

    Volumes and subjects are named by the number of their data set: ``1/P001/cine_sax``.
    """

    def __init__(
        self,
        parts: list[KSpaceData],
        weights: list[float] | None = None,
        batch_size: int = DEFAULTS["batch_size"],
        num_workers: int = DEFAULTS["num_workers"],
        seed: int = DEFAULTS["seed"],
    ) -> None:
        """Keep the settings; nothing is read before :meth:`prepare_data`.

        Args:
            parts: the data sets, as a config names each one: ``{class_path: ..., init_args: ...}``.
            weights: how many batches each data set gives, in relation to the others; None: as many as it has.
            batch_size: slices per batch, all of one data set and matrix size.
            num_workers: reading processes.
            seed: seed of the order of slices and of the masks in training; on the command line,
                ``seed_everything``.

        Raises:
            InputError: there is no data set, or not one weight above 0 for each; one of them is given a
                batch size, workers or a seed of its own.
        """
        super().__init__(batch_size, num_workers, seed)
        if not parts:
            raise InputError("parts is empty: give one data set or more")
        if weights is not None and (len(weights) != len(parts) or not all(0 < w < inf for w in weights)):
            raise InputError(f"weights {weights}: give a number above 0 for each of the {len(parts)} parts")
        for number, part in enumerate(parts, start=1):
            for name, default in DEFAULTS.items():
                if getattr(part, name) not in (default, getattr(self, name)):
                    raise InputError(
                        f"parts: the data set {number} has its own {name}: give it beside `parts`"
                    )
                setattr(part, name, getattr(self, name))
        self.parts = parts
        self.weights = weights

    def serve(self, verb: Verb, networks: Sequence[tuple[Seen, ...]]) -> None:
        """Say what the data are for; a run goes on with each data set as it was split.

        Raises:
            InputError: they are for images or tables of one data set, or a run has other data sets.
        """
        if verb not in ("fit", "validate", "test"):
            raise InputError(f"`{verb}` takes one data set, not MixedData: give each of its parts in turn")
        for number, part in enumerate(self.parts):
            part.needs_targets = self.needs_targets
            if verb != "fit":
                part.serve(verb, networks)
                continue
            for network in networks:
                if len(network) != len(self.parts):
                    raise InputError(
                        f"{network[0].name} was trained on {len(network)} data sets: give the same"
                    )
            part.serve(verb, [(network[number],) for network in networks])

    def prepare_data(self) -> None:
        """Index the files of every data set, once, on one process."""
        for part in self.parts:
            part.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Load every index and split the subjects.

        Raises:
            InputError: who may be one person is in different parts of two splits.
        """
        for part in self.parts:
            part.setup(stage)
        for (one, first), (other, second) in combinations(enumerate(self.parts, start=1), 2):
            if not first.population.may_be(second.population):
                continue
            for name in PARTS:
                others = {subject for part in PARTS if part != name for subject in second.subjects[part]}
                if moved := sorted(others & {*first.subjects[name]}):
                    raise InputError(
                        f"parts: {moved[0]} is among the {name} subjects of data set {one} and among others "
                        f"of {other}: give both the same split, split_seed or split_file"
                    )

    @property
    def accelerations(self) -> tuple[float, float]:
        """The least and the greatest nominal acceleration of the masks."""
        low, high = zip(*(part.accelerations for part in self.parts), strict=True)
        return min(low), max(high)

    @property
    def readout_crops(self) -> list[float]:
        """The share of the readout that is read, of each data set."""
        return [crop for part in self.parts for crop in part.readout_crops]

    @property
    def origin(self) -> str:
        """Where the subjects come from, in words."""
        return " and ".join(f"{number}: {part.origin}" for number, part in enumerate(self.parts, start=1))

    @property
    def splits(self) -> dict[str, Split]:
        """The split of each data set: ``split_1.json``, ..."""
        return {f"split_{number}.json": part.division for number, part in enumerate(self.parts, start=1)}

    @property
    def subjects(self) -> dict[str, tuple[str, ...]]:
        """The subjects of each part of the splits: ``1/P001``, ..."""
        return {
            stage: tuple(
                f"{number}/{subject}"
                for number, part in enumerate(self.parts, start=1)
                for subject in part.subjects[stage]
            )
            for stage in PARTS
        }

    def volumes(self, stage: Stage) -> list[Volume]:
        """The volumes of one part of the splits, data set by data set."""
        return [
            replace(
                volume,
                name=f"{number}/{volume.name}",
                subject=f"{number}/{volume.subject}",
                reference_seed=volume.mask_seed,
            )
            for number, part in enumerate(self.parts, start=1)
            for volume in part.volumes(stage)
        ]

    def data_set_of(self, volume: str) -> str:
        """The number of a volume's data set, by its name."""
        return volume.partition("/")[0]

    def slices(self, volumes: Sequence[Volume]) -> ConcatDataset[KSpaceSample]:
        """All slices of some volumes, of one data set after the other."""
        return ConcatDataset(
            part.slices([volume for volume in volumes if self.data_set_of(volume.name) == str(number)])
            for number, part in enumerate(self.parts, start=1)
        )

    def group_of(self, volume: Volume, stage: Stage) -> tuple[int, Hashable]:
        """The data set, and what its slices share."""
        place = int(self.data_set_of(volume.name)) - 1
        return place, self.parts[place].group_of(volume, stage)

    def sampler(
        self, groups: Sequence[Any], shuffle: bool, num_replicas: int, rank: int
    ) -> EqualShapeBatchSampler:
        """The batches of one process: in training by the weights, if there are any."""
        if self.weights is None or not shuffle:
            return super().sampler(groups, shuffle, num_replicas, rank)
        return WeightedBatchSampler(groups, self.weights, self.batch_size, self.seed, num_replicas, rank)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps: the facts of every data set, with its weight."""
        weights = dict(enumerate(self.weights or ()))
        parts = [part.facts() | {"weight": weights.get(place)} for place, part in enumerate(self.parts)]
        return {"parts": parts}

    def on_after_batch_transfer(self, batch: KSpaceBatch, dataloader_idx: int) -> KSpaceBatch:
        """Undersample on the device, as the data set of the batch does."""
        part = self.parts[int(self.data_set_of(batch.volume[0])) - 1]
        return part.prepare(batch, self.training_seed)
