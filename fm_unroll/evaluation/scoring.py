"""Reconstruct slices and score them: from files to rows, on one device."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import center_crop
from fm_unroll.data.volume import Volume
from fm_unroll.evaluation.entrants import Entrant
from fm_unroll.evaluation.metric_table import OF_THE_TARGET, Measure, measures
from fm_unroll.evaluation.records import CROPPED, SliceRecord
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.physics import Center, SamplingPattern
from fm_unroll.provenance import commit, source_sha256
from fm_unroll.reconstruction.adaptation import Outcome, adapted, spread
from fm_unroll.reconstruction.engine import accelerate, reconstruct, require_target

# 2: rows carry the challenge's metrics and say what the model was trained on.
# 3: fastMRI's masks and scored region, and masks of odd numbers of lines, are those of the references.
PROTOCOL_VERSION = 3
# What decides the figures of a row, besides modules that lie elsewhere: the source of these.
DECIDING = (
    "fm_unroll.data.dataset",
    "fm_unroll.data.lines",
    "fm_unroll.data.readers",
    "fm_unroll.data.sample",
    "fm_unroll.data.undersampling",
    "fm_unroll.data.volume",
    "fm_unroll.encoders.vit",
    "fm_unroll.evaluation.scoring",
    "fm_unroll.methods",
    "fm_unroll.metric_formulas",
    "fm_unroll.metrics",
    "fm_unroll.models",
    "fm_unroll.physics",
    "fm_unroll.reconstruction.adaptation",
    "fm_unroll.reconstruction.engine",
)


def deciding_code(settings: str) -> str:
    """Hash of the code that decides rows, that of all metrics included: 12 digits.

    Args:
        settings: those of the entrant.
    """
    functions = [measure.function for measure in measures()]
    modules = [f.partition(":")[0] if isinstance(f, str) else f.__module__ for f in functions]
    code = source_sha256(*DECIDING, *modules) + settings
    return hashlib.sha256(code.encode()).hexdigest()[:12]


def origin_of_rows(entrant: Entrant, device: torch.device) -> dict[str, str]:
    """What computes the rows of an entrant, by the names of their columns."""
    on_card = device.type == "cuda"
    # torch rounds the factors of convolutions to TF32 on cards that have it, in float32 as well
    rounded = on_card and torch.backends.cudnn.allow_tf32 and torch.cuda.get_device_capability(device)[0] >= 8
    return {
        "code": deciding_code(entrant.settings),
        "commit": commit(),
        "device": torch.cuda.get_device_name(device) if on_card else device.type,
        "precision": "tf32" if rounded else "float32",
    }


@dataclass(frozen=True)
class TestSet:
    """One data set of the protocol.

    Attributes:
        name: as tables print it.
        data: the data module; its test subjects are evaluated.
        centers: fully sampled centres to evaluate; in config files numbers of ACS lines (``24``) or fractions
            (``0.08``), whichever the data set's pattern takes.
    """

    __test__ = False

    name: str
    data: KSpaceData
    centers: list[Center]

    @property
    def label(self) -> str:
        """Its name in records, which says so where the readout is cropped: these are other figures."""
        share = self.data.reader.readout_crop
        return self.name if share == 1 else f"{self.name}{CROPPED}{share:g}"


@dataclass(frozen=True)
class Condition:
    """One test set under one sampling pattern."""

    test_set: TestSet
    pattern: SamplingPattern

    @property
    def identity(self) -> tuple[str, str, str, float]:
        """Data set, anatomy, center and acceleration, as the records name them."""
        data, pattern = self.test_set.data, self.pattern
        return self.test_set.label, data.anatomy, str(pattern.center), pattern.acceleration

    @property
    def folder(self) -> Path:
        """A folder name for what belongs to this condition."""
        place = f"{self.pattern.center}_x{self.pattern.acceleration:g}"
        return Path(self.test_set.label, self.test_set.data.anatomy, place)


@dataclass(frozen=True)
class Scorer:
    """One entrant applied to one condition.

    Attributes:
        network: the entrant's, on the device.
        entrant: the checkpoint or classical method.
        condition: the test set and the sampling pattern.
        device: where to compute.
        measures: the measures of every slice.
    """

    network: nn.Module
    entrant: Entrant
    condition: Condition
    device: torch.device
    measures: tuple[Measure, ...]

    def volumes(
        self, volumes: Sequence[Volume], batch_size: int, num_workers: int
    ) -> Iterator[tuple[Volume, list[SliceRecord], Outcome | None]]:
        """Reconstruct and score volumes one after another; a batch never spans two of them.

        A network that is adapted is adapted to each of them anew.

        Batches also decide about the last bits of an image: so a volume's figures are the same, whichever
        other volumes are still to be done.

        Yields:
            A volume, the records of its slices, in order, and what came of adapting to it, if that was done.
        """
        groups = [volumes] if self.entrant.adaptation is None else [[volume] for volume in volumes]
        for group in groups:
            with self._adapted_to(group[0]) as outcome:
                for volume, records in self._volumes(group, batch_size, num_workers):
                    yield volume, records, outcome

    def _volumes(
        self, volumes: Sequence[Volume], batch_size: int, num_workers: int
    ) -> Iterator[tuple[Volume, list[SliceRecord]]]:
        data = self.condition.test_set.data
        dataset = data.slices(volumes)
        ends = np.cumsum([volume.num_images for volume in volumes]).tolist()
        batches = [
            list(range(first, min(first + batch_size, end)))
            for start, end in zip([0, *ends], ends, strict=False)
            for first in range(start, end, batch_size)
        ]
        loader = DataLoader(
            dataset, batch_sampler=batches, num_workers=num_workers, collate_fn=KSpaceBatch.collate
        )
        records: list[SliceRecord] = []
        by_name = {volume.name: volume for volume in volumes}
        for full in loader:
            volume = by_name[full.volume[0]]
            batch, images = self.reconstruct(volume, full)
            records += self.score(volume, batch, images)
            if len(records) == volume.num_images:
                yield volume, records
                records = []

    def slice(self, volume: Volume, slice_: int, frame: int) -> tuple[Tensor, Tensor]:
        """Reconstruct one slice: image and target, float32 ``(readout, phase)`` each, on the CPU."""
        data = self.condition.test_set.data
        dataset = data.slices([volume])
        item = dataset.entries.tolist().index([0, slice_, frame])
        with self._adapted_to(volume):
            batch, images = self.reconstruct(volume, KSpaceBatch.collate([dataset[item]]))
        return images[0].cpu(), require_target(batch)[0].cpu()

    @contextmanager
    def _adapted_to(self, volume: Volume) -> Iterator[Outcome | None]:
        """Adapt the network to a volume for a while, if the entrant is one that does."""
        if self.entrant.adaptation is None:
            yield None
            return
        slices = spread(self.condition.test_set.data.slices([volume]), self.condition.pattern, self.device)
        with adapted(cast(UnrolledNetwork, self.network), slices, self.entrant.adaptation) as outcome:
            yield outcome

    def reconstruct(self, volume: Volume, full: KSpaceBatch) -> tuple[KSpaceBatch, Tensor]:
        """Undersample and reconstruct fully sampled slices of a volume: float32, ``(batch, *crop)``."""
        pattern, made = self.condition.pattern, self.entrant.elsewhere
        batch = accelerate(full.to(self.device), pattern)
        if made is None:
            return batch, reconstruct(self.network, batch)
        return batch, made.images(batch, pattern, volume).to(self.device)

    def _measured(
        self, measure: Measure, images: Tensor, target: Tensor, data_range: Tensor
    ) -> dict[str, Tensor]:
        """One value per slice for each column of a measure."""
        oversampling = self.condition.test_set.data.readout_oversampling
        if measure.without_oversampling:
            if oversampling <= 1:
                return {name: torch.full((len(target),), math.nan) for name in measure.columns}
            kept = (round(target.shape[-2] / oversampling), target.shape[-1])
            images, target = center_crop(images, kept), center_crop(target, kept)
        return measure(images, target, data_range)

    def score(self, volume: Volume, batch: KSpaceBatch, images: Tensor) -> Iterator[SliceRecord]:
        """The rows of some reconstructed slices of one volume."""
        target = require_target(batch)
        scores: dict[str, Tensor] = {}
        for measure in self.measures:
            scores |= self._measured(measure, images, target, batch.data_range)
        entrant, condition = self.entrant, self.condition
        origin = origin_of_rows(entrant, self.device)
        for row in range(len(batch)):
            measured = {name: values[row].item() for name, values in scores.items()}
            failed = not math.isfinite(measured["squared_error"])
            if failed:
                measured |= {name: math.nan for name in measured if name not in OF_THE_TARGET}
            yield SliceRecord(
                protocol_version=PROTOCOL_VERSION,
                method=entrant.arm.method,
                train_acceleration=entrant.train_acceleration(condition.pattern.acceleration),
                seed=entrant.seed,
                checkpoint_sha256=entrant.sha256,
                encoder=entrant.arm.encoder,
                encoder_sha256=entrant.encoder_sha256,
                encoder_weights=entrant.arm.weights,
                trained_on_synthetic=entrant.trained_on_synthetic,
                dataset=condition.test_set.label,
                anatomy=condition.test_set.data.anatomy,
                synthetic=volume.synthetic,
                subject=volume.subject,
                volume=volume.name,
                slice=batch.slice[row],
                frame=batch.frame[row],
                contrast=volume.contrast,
                acceleration=batch.acceleration[row],
                true_acceleration=batch.true_acceleration[row],
                center=str(condition.pattern.center),
                acs_lines=batch.num_acs,
                mask_sha256=hashlib.sha256(batch.mask[row].cpu().numpy().tobytes()).hexdigest(),
                scores=measured | {"pixels": int(measured["pixels"])},
                status="failed" if failed else "ok",
                training_data=entrant.training_data,
                hyper_parameters=entrant.hyper_parameters,
                physics=entrant.arm.physics if entrant.sha256 else "",
                besides_physics=entrant.besides_physics,
                train_anatomy=entrant.train_anatomy,
                epoch=entrant.epoch,
                chosen_epoch=entrant.chosen_epoch,
                **origin,
            )
