"""What ``fit``, ``validate`` and ``test`` take: one data set, or several together."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from typing import Any

import torch.distributed
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from fm_unroll.data.epoch import EpochPosition
from fm_unroll.data.refusals import Stage, Verb
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.sampler import EqualShapeBatchSampler
from fm_unroll.data.volume import Volume
from fm_unroll.subjects.population import Seen
from fm_unroll.subjects.split import Split

DEFAULTS = {"batch_size": 1, "num_workers": 2, "seed": 0}  # of every data module


class TrainingData(LightningDataModule, ABC):
    """Loaders over the parts of a split, and how a run goes on within an epoch.

    Attributes:
        needs_targets: whether what is trained needs fully sampled files; set before :meth:`serve`.
    """

    needs_targets: bool = True

    def __init__(self, batch_size: int, num_workers: int, seed: int) -> None:
        """Keep the settings of the loaders.

        Args:
            batch_size: slices per batch, all of one matrix size.
            num_workers: reading processes.
            seed: seed of the order of slices and of the masks in training.
        """
        super().__init__()
        self.position = EpochPosition()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    @abstractmethod
    def serve(self, verb: Verb, networks: Sequence[tuple[Seen, ...]]) -> None:
        """Say what the data are for, before :meth:`setup`, so that nobody is scored whom a network has seen.

        Args:
            verb: what is to be done.
            networks: those that are applied to the data: of each whom it has seen in each of its data sets.
        """

    @property
    @abstractmethod
    def accelerations(self) -> tuple[float, float]:
        """The least and the greatest nominal acceleration of the masks."""

    @property
    @abstractmethod
    def readout_crops(self) -> list[float]:
        """The share of the readout that is read, of each data set."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where the subjects come from, in words."""

    @property
    @abstractmethod
    def splits(self) -> dict[str, Split]:
        """The split of each data set, by the name of the file for it in the folder of a run."""

    @property
    @abstractmethod
    def subjects(self) -> dict[str, tuple[str, ...]]:
        """The subjects of each part of the split: ``train``, ``val`` and ``test``."""

    @abstractmethod
    def volumes(self, stage: Stage) -> list[Volume]:
        """The volumes of one part of the split; each has a name of its own."""

    def data_set_of(self, volume: str) -> str:
        """The number of a volume's data set, by its name; empty where there is one."""
        return ""

    def subjects_of(self, names: Collection[str]) -> list[str]:
        """The subjects of the validation and test volumes of some names."""
        volumes = [*self.volumes("val"), *self.volumes("test")]
        return sorted({volume.subject for volume in volumes if volume.name in names})

    @abstractmethod
    def slices(self, volumes: Sequence[Volume]) -> Dataset[KSpaceSample]:
        """All slices of some volumes, volume by volume."""

    @abstractmethod
    def group_of(self, volume: Volume, stage: Stage) -> Hashable:
        """What the slices of one batch share."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data, as plain values."""

    def sampler(
        self, groups: Sequence[Hashable], shuffle: bool, num_replicas: int, rank: int
    ) -> EqualShapeBatchSampler:
        """The batches of one process.

        Args:
            groups: what each slice shares with others of its batch.
            shuffle: for training.
            num_replicas: number of processes.
            rank: number of this one.
        """
        return EqualShapeBatchSampler(groups, self.batch_size, shuffle, self.seed, num_replicas, rank)

    def loader(self, stage: Stage, shuffle: bool = False) -> DataLoader[KSpaceSample]:
        """A loader over one part of the split, sharded over processes where there are several."""
        volumes = self.volumes(stage)
        groups = [group for volume in volumes for group in [self.group_of(volume, stage)] * volume.num_images]
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        batches = self.sampler(
            groups,
            shuffle,
            num_replicas=torch.distributed.get_world_size() if distributed else 1,
            rank=torch.distributed.get_rank() if distributed else 0,
        )
        return DataLoader(
            self.slices(volumes),
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=KSpaceBatch.collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def train_dataloader(self) -> DataLoader[KSpaceSample]:
        """Shuffled batches of equal matrix size. A resumed run begins where it left the epoch."""
        loader = self.loader("train", shuffle=True)
        if self.trainer is not None:
            assert isinstance(loader.batch_sampler, EqualShapeBatchSampler)
            self.position.resume(self.trainer, loader.batch_sampler)
        return loader

    def val_dataloader(self) -> DataLoader[KSpaceSample]:
        """Every slice of the validation subjects, once."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[KSpaceSample]:
        """Every slice of the test subjects, once."""
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader[KSpaceSample]:
        """The same slices as for testing; of the challenge's own parts for that, all."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """Where the run is within its epoch, for checkpoints."""
        assert self.trainer is not None
        return {"given": self.position.given(self.trainer)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` said when a checkpoint was written."""
        self.position = EpochPosition(given_before=state_dict["given"])

    @property
    def training_seed(self) -> str | None:
        """What the masks of the training epoch under way are seeded with, beside the slice; else None."""
        if self.trainer is None or not self.trainer.training:
            return None
        return f"{self.seed}/{self.trainer.current_epoch}"
