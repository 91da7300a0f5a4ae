"""What a run has finished, on disk: rows of volumes and single pictures, each written whole or not at all.

The path of a part names everything its content depends on. So a run that is interrupted, extended or started
again with other options computes nothing twice and never takes one part for another.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fm_unroll.data.volume import Volume
from fm_unroll.evaluation.entrants import Entrant
from fm_unroll.evaluation.metric_table import Measure
from fm_unroll.evaluation.records import KEY, SliceRecord, columns, read_records
from fm_unroll.evaluation.scoring import PROTOCOL_VERSION, Condition
from fm_unroll.evaluation.selection import Place
from fm_unroll.files import whole_file


@dataclass(frozen=True)
class Parts:
    """The finished parts of a run.

    Attributes:
        output: the run's folder; parts lie in ``parts`` below it.
        measures: those of :func:`fm_unroll.evaluation.metric_table.measures` whose columns the rows have.
    """

    output: Path
    measures: tuple[Measure, ...]

    def of_volume(self, entrant: Entrant, condition: Condition, volume: Volume) -> Path:
        """Where the rows of one finished volume are."""
        optional = [name for measure in self.measures if not measure.required for name in measure.columns]
        version = "-".join([f"v{PROTOCOL_VERSION}", *optional])
        folder = self.output / "parts" / version / entrant.folder / condition.folder
        # the file of a volume, or the rule of a mask, may change while its name stays
        digest = hashlib.sha256(repr((volume, condition.pattern)).encode()).hexdigest()[:12]
        return folder / f"{volume.name}-{digest}.csv"

    def of_picture(self, entrant: Entrant, condition: Condition, volume: Volume, place: Place) -> Path:
        """Where the picture of one finished slice is."""
        rows = self.of_volume(entrant, condition, volume)
        return rows.with_name(f"{rows.stem}-slice{place.slice}-frame{place.frame}.npz")

    def write_rows(self, path: Path, records: Sequence[SliceRecord]) -> None:
        """Write the rows of one volume."""
        rows = pd.DataFrame([record.row() for record in records], columns=list(columns()))
        with whole_file(path) as part:
            rows.to_csv(part, index=False)

    def write_picture(self, path: Path, **arrays: np.ndarray) -> None:
        """Write the arrays of one picture."""
        with whole_file(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # taken for allow_pickle

    def collect_rows(self, paths: Sequence[Path]) -> pd.DataFrame:
        """Put volumes together as ``records.csv`` and ``records.parquet``, sorted; return them read back."""
        # as text: numbers pass through unchanged, to the last digit
        tables = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths]
        table = pd.concat(tables).sort_values(list(KEY), kind="stable", ignore_index=True)
        with whole_file(self.output / "records.csv") as part:
            table.to_csv(part, index=False)
        records = read_records(self.output / "records.csv")
        records.to_parquet(self.output / "records.parquet")
        return records

    def collect_pictures(self, pictures: dict[Place, dict[str, Path]]) -> None:
        """Put the entrants' pictures of each slice together as one file in ``images``, and no others there.

        Args:
            pictures: for every slice, arm -> the part with its picture.
        """
        folder = self.output / "images"
        shutil.rmtree(folder, ignore_errors=True)
        for number, (place, arms) in enumerate(pictures.items()):
            arrays = {name: np.array(value) for name, value in place._asdict().items()}
            for arm, path in arms.items():
                with np.load(path) as stored:
                    arrays |= {"target": stored["target"], f"image/{arm}": stored["image"]}
            name = (
                f"{number:03d}_{place.anatomy}_x{place.acceleration:g}_{place.volume.replace('/', '_')}.npz"
            )
            self.write_picture(folder / name, **arrays)
