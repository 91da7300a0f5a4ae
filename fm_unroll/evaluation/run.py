"""One run through the work of an evaluation: in shares, resumable, with the time left on screen."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed
from torch import nn
from tqdm import tqdm

from fm_unroll.data.volume import Volume
from fm_unroll.evaluation.description import adapted_name, extend, limit
from fm_unroll.evaluation.entrants import Entrant
from fm_unroll.evaluation.parts import Parts
from fm_unroll.evaluation.scoring import Condition, Scorer
from fm_unroll.evaluation.selection import PLACE, Place, pictured, shown_runs
from fm_unroll.files import read_json, write_json


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
            # processes wait for the slowest one, which may take days more; torchrun ends all where one fails
            torch.distributed.init_process_group("gloo", timeout=timedelta(days=365))
        if not torch.cuda.is_available():
            return cls(rank, processes, torch.device("cpu"))
        return cls(rank, processes, torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))))

    @property
    def leads(self) -> bool:
        """Whether this is the one process that prints and puts the results together."""
        return self.rank == 0

    def volumes(self, condition: Condition) -> list[Volume]:
        """The test volumes of this process; a volume belongs to the same process for every entrant."""
        return condition.test_set.data.volumes("test")[self.rank :: self.processes]

    def finish(self) -> None:
        """Wait for the other processes."""
        if self.processes > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()


class Stopwatch:
    """The facts of a run, kept in ``provenance.json`` with the time spent on it over all interruptions.

    What earlier commands evaluated in the same folder stays there, as their rows do.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        """Take the facts of this run and the time that earlier ones have noted in the same file."""
        self.path = path
        self.facts = facts
        self.before = read_json(path).get("wall_time_s", 0)
        self.start = time.monotonic()

    def save(self, records: pd.DataFrame | None = None) -> None:
        """Note the time until now.

        Args:
            records: all rows in the folder, once those of this run are among them: what the run evaluated
                then counts as evaluated, and what has no rows is no longer named.
        """
        seconds = round(self.before + time.monotonic() - self.start, 1)
        protocol = read_json(self.path).get("protocol", {})
        if records is None:
            facts = self.facts | {"protocol": protocol, "unfinished": self.facts["protocol"]}
        else:
            facts = self.facts | {"protocol": limit(extend(protocol, self.facts["protocol"]), records)}
        write_json(self.path, facts | {"wall_time_s": seconds})


class Run:
    """The work of an evaluation, in the share of this process; what is finished is not done again."""

    def __init__(self, work: list[tuple[Entrant, Condition]], parts: Parts, share: Share) -> None:
        """Plan the work; nothing is loaded yet.

        Args:
            work: every entrant with every condition it is applied to; those of one entrant are consecutive.
            parts: the finished parts.
            share: the part of the work that this process does.
        """
        self.work = work
        self.parts = parts
        self.share = share
        self._latest: tuple[Entrant, nn.Module] | None = None

    def items(self) -> Iterator[tuple[Entrant, Condition, Volume]]:
        """Every entrant, condition and volume, of all processes."""
        for entrant, condition in self.work:
            for volume in condition.test_set.data.volumes("test"):
                yield entrant, condition, volume

    def score(self, batch_size: int, num_workers: int, stopwatch: Stopwatch) -> None:
        """Score what is not yet finished; a volume's rows are on disk as soon as it is."""
        left, slices, slices_left = [], 0, 0
        for entrant, condition in self.work:
            volumes = self.share.volumes(condition)
            unfinished = [v for v in volumes if not self.parts.of_volume(entrant, condition, v).exists()]
            left.append((entrant, condition, unfinished))
            slices += sum(volume.num_images for volume in volumes)
            slices_left += sum(volume.num_images for volume in unfinished)
        quiet = not self.share.leads
        with tqdm(
            total=slices, initial=slices - slices_left, unit="slice", desc="cross-domain", disable=quiet
        ) as bar:
            for entrant, condition, volumes in left:
                if not volumes:
                    continue
                bar.set_postfix_str(f"{entrant.arm}: {condition.folder}")
                scorer = self._scorer(entrant, condition)
                for volume, records, outcome in scorer.volumes(volumes, batch_size, num_workers):
                    if outcome:  # before the rows, which say that the volume is finished
                        adaptation = self.parts.of_adaptation(entrant, condition, volume)
                        write_json(adaptation, outcome.content())
                    self.parts.write_rows(self.parts.of_volume(entrant, condition, volume), records)
                    bar.update(volume.num_images)
                    if self.share.leads:
                        stopwatch.save()

    def adaptations(self) -> dict[str, dict[str, Any]]:
        """What came of every adaptation, of all processes: arm and checkpoint -> volume -> outcome."""
        found: dict[str, dict[str, Any]] = {}
        for entrant, condition, volume in self.items():
            if entrant.adaptation:
                of_entrant = found.setdefault(adapted_name(entrant.arm.method, entrant.sha256), {})
                outcome = read_json(self.parts.of_adaptation(entrant, condition, volume))
                of_entrant[str(condition.folder / volume.name)] = outcome
        return found

    def picture(self, records: pd.DataFrame) -> None:
        """Store pictures of typical and extreme slices by every entrant, all of them by this process.

        Args:
            records: rows of the whole run, as :func:`fm_unroll.evaluation.records.read_records` returns them.
        """
        shown = shown_runs(records)
        rows = shown[["method", "checkpoint_sha256", *PLACE]].itertuples(index=False, name=None)
        arms = dict(zip(rows, shown.arm.map(str), strict=True))
        pictures: dict[Place, dict[str, Path]] = {place: {} for place in pictured(shown)}
        left = []
        for entrant, condition, volume in self.items():
            for place, by_arm in pictures.items():
                arm = arms.get((entrant.arm.method, entrant.sha256, *place))
                if arm and place[:6] == (*condition.identity, volume.subject, volume.name):
                    path = self.parts.of_picture(entrant, condition, volume, place)
                    by_arm[arm] = path
                    if not path.exists():
                        left.append((entrant, condition, volume, place, path))
        for entrant, condition, volume, place, path in tqdm(left, unit="picture", desc="pictures"):
            image, target = self._scorer(entrant, condition).slice(volume, int(place.slice), int(place.frame))
            sha256 = np.array(entrant.sha256)
            self.parts.write_picture(path, image=image.numpy(), target=target.numpy(), checkpoint=sha256)
        self.parts.collect_pictures(pictures, shown)

    def _scorer(self, entrant: Entrant, condition: Condition) -> Scorer:
        """A scorer with the entrant's network, which is kept until the next entrant's turn."""
        if self._latest is None or self._latest[0] is not entrant:
            self._latest = entrant, entrant.load().to(self.share.device).eval()
        return Scorer(self._latest[1], entrant, condition, self.share.device, self.parts.measures)
