"""The cross-domain evaluation: every method on every anatomy, centre and acceleration, one row a slice."""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.modules import KSpaceData
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import center_crop, undersample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.evaluation.methods import Method, baseline, trained
from fm_unroll.evaluation.perceptual import haarpsi
from fm_unroll.evaluation.records import COLUMNS, KEY, SliceRecord, arm_names, read_records
from fm_unroll.evaluation.report import print_summary
from fm_unroll.metrics import score_slices
from fm_unroll.models.insight import learned_weights
from fm_unroll.physics import SamplingPattern
from fm_unroll.provenance import provenance, write_json

PROTOCOL_VERSION = 1

Row = tuple[SliceRecord, Tensor, Tensor]


@dataclass(frozen=True)
class TestSet:
    """One data set of the protocol.

    Attributes:
        name: as tables print it.
        data: the data module; its test subjects are evaluated.
        centers: ACS lines (cardiac) or center fractions (knee, brain).
    """

    __test__ = False

    name: str
    data: KSpaceData
    centers: list[float]


@dataclass(frozen=True)
class Condition:
    """One test set under one sampling pattern."""

    test_set: TestSet
    pattern: SamplingPattern

    @property
    def folder(self) -> Path:
        """Where parts and images of this condition lie."""
        return Path(self.test_set.data.anatomy, f"{self.pattern.center}_x{self.pattern.acceleration:g}")


@dataclass(frozen=True)
class Share:
    """The part of the work that this process does: all of it, or every n-th volume under torchrun."""

    rank: int
    processes: int
    device: torch.device

    @classmethod
    def of_this_process(cls) -> "Share":
        """Read torchrun's environment."""
        rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if processes > 1:
            torch.distributed.init_process_group("gloo")
        if not torch.cuda.is_available():
            return cls(rank, processes, torch.device("cpu"))
        return cls(rank, processes, torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))))

    def volumes(self, condition: Condition) -> list[Volume]:
        """The test volumes of this process; a volume belongs to the same process for every method."""
        return condition.test_set.data.volumes("test")[self.rank :: self.processes]

    def finish(self) -> bool:
        """Wait for the others; True in the one process that puts the results together."""
        if self.processes > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
        return self.rank == 0


def cross_domain(
    *,
    test_sets: list[TestSet],
    checkpoints: Sequence[str] = ("runs/*/*/checkpoints/best.ckpt",),
    baselines: Sequence[str] = ("zero_filled",),
    accelerations: Sequence[float] = (4, 8, 10),
    matched: bool = True,
    output: Path = Path("results/cross_domain"),
    batch_size: int = 4,
    num_workers: int = 2,
    pictured: int = 2,
) -> None:
    """Evaluate every method on every test set, centre and acceleration; write one row a slice.

    A volume's rows are written when it is finished: an interrupted run goes on where it stopped when the same
    command is given again. ``torchrun --nproc-per-node N -m fm_unroll cross-domain ...`` shares the volumes
    between N processes, one GPU each where there are GPUs.

    Args:
        test_sets: data sets and how their centre is sampled.
        checkpoints: paths or patterns of checkpoints; those that match nothing are an error.
        baselines: methods without training.
        accelerations: nominal accelerations of the masks.
        matched: evaluate a checkpoint only at the acceleration it was trained for, as the paper does.
        output: folder for records.csv and the panels' images.
        batch_size: slices reconstructed at once, all of one volume.
        num_workers: reading processes.
        pictured: volumes of each test set whose middle slice is kept for the figures.
    """
    methods = [*map(baseline, baselines), *map(trained, find_checkpoints(checkpoints))]
    for test_set in test_sets:
        test_set.data.prepare_data()
        test_set.data.setup()
        refuse_leakage(test_set, methods)
    conditions = [
        Condition(test_set, test_set.data.with_sampling(acceleration, center))
        for test_set in test_sets
        for center in test_set.centers
        for acceleration in accelerations
    ]
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "provenance.json", provenance())
    work = [
        (method, condition)
        for method in methods
        for condition in conditions
        if not matched
        or math.isnan(method.train_acceleration)
        or method.train_acceleration == condition.pattern.acceleration
    ]
    share = Share.of_this_process()
    open_work = [
        (
            method,
            condition,
            [v for v in share.volumes(condition) if not part_path(output, method, condition, v).exists()],
        )
        for method, condition in work
    ]
    total = sum(len(share.volumes(condition)) for _, condition in work)
    left = sum(len(volumes) for _, _, volumes in open_work)
    network, loaded = None, None
    with tqdm(total=total, initial=total - left, unit="volume", desc="cross-domain") as progress:
        for method, condition, volumes in open_work:
            if not volumes:
                continue
            if loaded is not method:
                network, loaded = method.load().to(share.device).eval(), method
            progress.set_postfix_str(f"{method.name} {condition.folder}")
            pictures = {volume.name for volume in condition.test_set.data.volumes("test")[:pictured]}
            scored = score_volumes(network, method, condition, volumes, batch_size, num_workers, share.device)
            for volume, rows in scored:
                if volume.name in pictures:
                    save_picture(output / "images" / condition.folder, method, volume, rows)
                write_part(part_path(output, method, condition, volume), [record for record, _, _ in rows])
                progress.update()
    if not share.finish():
        return
    collect(output, work)
    records = read_records(output / "records.csv")
    write_json(output / "priors.json", learned_priors(methods, records))
    print_summary(records)
    print(f"{len(records)} rows: {output / 'records.csv'}")


def learned_priors(methods: Sequence[Method], records: pd.DataFrame) -> dict[str, dict[str, list]]:
    """Step sizes and fusion weights of every trained method, under the names that the report uses."""
    labels = dict(zip(records.checkpoint_sha256, arm_names(records), strict=True))
    return {
        labels[method.sha256]: learned_weights(method.load())
        for method in methods
        if method.sha256 and method.sha256 in labels
    }


def find_checkpoints(patterns: Sequence[str]) -> list[Path]:
    """Checkpoint files, in a fixed order.

    Raises:
        InputError: a pattern that matches no file.
    """
    found: list[Path] = []
    for pattern in patterns:
        root = Path("/") if pattern.startswith("/") else Path()
        matches = sorted(root.glob(pattern.lstrip("/")))
        if not matches:
            raise InputError(f"no checkpoint at {pattern}: train one with `fit`, or give --checkpoints")
        found += [path for path in matches if path not in found]
    return found


def refuse_leakage(test_set: TestSet, methods: Sequence[Method]) -> None:
    """No method may be tested on subjects that it was trained or selected on.

    Raises:
        InputError: it would, or the test set is empty.
    """
    data = test_set.data
    subjects = {(data.anatomy, subject) for subject in data.subjects["test"]}
    if not subjects:
        raise InputError(f"{test_set.name} has no test subjects: change its split, or give another root")
    for method in methods:
        if seen := subjects & method.trained_on:
            raise InputError(
                f"{method.name} ({method.sha256[:12]}) was trained on {len(seen)} test subjects of "
                f"{test_set.name}, such as {min(seen)[1]}: use the split it was trained with"
            )


def score_volumes(
    network: torch.nn.Module,
    method: Method,
    condition: Condition,
    volumes: Sequence[Volume],
    batch_size: int,
    num_workers: int,
    device: torch.device,
) -> Iterator[tuple[Volume, list[Row]]]:
    """Reconstruct and score volumes one after another; a batch never spans two of them.

    So a volume's figures do not depend, to the last bit, on which other volumes were still to be done.

    Yields:
        A volume and, for every slice in order, its record, reconstruction and target.
    """
    data = condition.test_set.data
    dataset = SliceDataset(data.root, data.reader, volumes)
    ends = np.cumsum([volume.num_slices * volume.num_frames for volume in volumes]).tolist()
    batches = [
        range(first, min(first + batch_size, end))
        for start, end in zip([0, *ends], ends, strict=False)
        for first in range(start, end, batch_size)
    ]
    loader = DataLoader(
        dataset, batch_sampler=batches, num_workers=num_workers, collate_fn=KSpaceBatch.collate
    )
    rows: list[Row] = []
    by_name = {volume.name: volume for volume in volumes}
    for full in loader:
        volume = by_name[full.volume[0]]
        rows += score_batch(network, method, condition, volume, full.to(device))
        if len(rows) == volume.num_slices * volume.num_frames:
            yield volume, rows
            rows = []


def score_batch(
    network: torch.nn.Module, method: Method, condition: Condition, volume: Volume, full: KSpaceBatch
) -> Iterator[Row]:
    """Reconstruct and score some fully sampled slices of one volume."""
    batch = undersample(full, condition.pattern, full.volume)
    with torch.inference_mode():
        images = center_crop(network(batch.kspace, batch.mask, batch.num_acs), batch.crop)
    scores = score_slices(images, batch.target, batch.data_range)
    scores["haarpsi"] = haarpsi(images, batch.target, batch.data_range)
    for row, (image, target) in enumerate(zip(images.cpu(), batch.target.cpu(), strict=True)):
        measured = {name: values[row].item() for name, values in scores.items()}
        failed = not math.isfinite(measured["squared_error"])
        if failed:
            measured.update(dict.fromkeys(("ssim", "psnr", "nmse", "squared_error"), math.nan))
        record = SliceRecord(
            protocol_version=PROTOCOL_VERSION,
            method=method.name,
            train_acceleration=method.train_acceleration,
            seed=method.seed,
            checkpoint_sha256=method.sha256,
            encoder=method.encoder[0],
            encoder_sha256=method.encoder[1],
            encoder_weights=method.encoder[2],
            dataset=condition.test_set.name,
            anatomy=condition.test_set.data.anatomy,
            synthetic=volume.synthetic,
            subject=volume.subject,
            volume=volume.name,
            slice=batch.slice[row],
            frame=batch.frame[row],
            contrast=volume.contrast,
            acceleration=batch.acceleration,
            true_acceleration=batch.true_acceleration[row],
            center=condition.pattern.center,
            acs_lines=batch.num_acs,
            mask_sha256=hashlib.sha256(batch.mask[row].cpu().numpy().tobytes()).hexdigest(),
            status="failed" if failed else "ok",
            **{**measured, "pixels": int(measured["pixels"])},
        )
        yield record, image, target


def part_path(output: Path, method: Method, condition: Condition, volume: Volume) -> Path:
    """Where the rows of one finished volume are: elsewhere if the checkpoint or the volume changes."""
    digest = hashlib.sha256(repr(volume).encode()).hexdigest()[:12]
    place = output / "parts" / method.folder / condition.test_set.name / condition.folder
    return place / f"{volume.name}-{digest}.csv"


def write_part(path: Path, records: Sequence[SliceRecord]) -> None:
    """Write the rows of one volume, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    pd.DataFrame([asdict(record) for record in records], columns=COLUMNS).to_csv(part, index=False)
    part.replace(path)


def save_picture(folder: Path, method: Method, volume: Volume, rows: Sequence[Row]) -> None:
    """Add a method's image of the volume's middle slice to the pictures of one condition."""
    record, image, target = rows[len(rows) // 2]
    path = folder / f"{volume.name.replace('/', '_')}.npz"
    arrays = dict(np.load(path)) if path.exists() else {}
    arrays |= {
        "target": target.numpy(),
        "volume": np.array(record.volume),
        "subject": np.array(record.subject),
        "contrast": np.array(record.contrast),
        "slice": np.array(record.slice),
        "frame": np.array(record.frame),
        method.name: image.numpy(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    part.replace(path)


def collect(output: Path, work: Sequence[tuple[Method, Condition]]) -> None:
    """Put the finished volumes of this protocol together as ``records.csv``, sorted."""
    parts = [
        part_path(output, method, condition, volume)
        for method, condition in work
        for volume in condition.test_set.data.volumes("test")
    ]
    # as text: numbers pass through unchanged, to the last digit
    tables = [pd.read_csv(part, dtype=str, keep_default_na=False) for part in parts]
    records = pd.concat(tables).sort_values(list(KEY), kind="stable", ignore_index=True)
    part = output / "records.csv.part"
    records.to_csv(part, index=False)
    part.replace(output / "records.csv")
    read_records(output / "records.csv").to_parquet(output / "records.parquet")
