"""What a run has finished, on disk: rows of volumes and single pictures, each written whole or not at all.

The path of a part names everything its content depends on, the code included. So a run that is interrupted,
extended or started again with other options computes nothing twice and never takes one part for another.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from fm_unroll.data.volume import Volume
from fm_unroll.evaluation.entrants import Entrant
from fm_unroll.evaluation.metric_table import Measure
from fm_unroll.evaluation.records import KEY, SliceRecord, columns, read_records, read_text
from fm_unroll.evaluation.scoring import PROTOCOL_VERSION, Condition, deciding_code
from fm_unroll.evaluation.selection import PLACE, Place
from fm_unroll.files import visible, whole_file
from fm_unroll.provenance import source_sha256

# what is in memory at once while a million rows are put together
FILES_AT_ONCE = 1000
ROWS_AT_ONCE = 50_000


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
        version = "-".join([f"v{PROTOCOL_VERSION}", deciding_code(entrant.settings), *optional])
        return self.output / "parts" / version / self._place(entrant.folder, condition, volume)

    def hold(self, code: str, folder: str, condition: Condition, volume: Volume) -> bool:
        """Whether the rows of a volume are finished, with these measures or with others.

        Args:
            code: hash of the code that decides the rows.
            folder: the entrant's.
            condition: the test set and the sampling pattern.
            volume: the volume.
        """
        place = self._place(folder, condition, volume)
        versions = (self.output / "parts").glob(f"v{PROTOCOL_VERSION}-{code}*")
        return any((version / place).is_file() for version in versions)

    def _place(self, folder: str, condition: Condition, volume: Volume) -> Path:
        """Where the rows of a volume are below the folder of a version."""
        # the files of a volume, or the rule of a mask, may change while its name and headers stay
        data, pattern = condition.test_set.data, condition.pattern
        rules = (type(data.reader).__module__, type(pattern).__module__)
        content = repr((volume, data.index.stamps[volume.path], pattern, source_sha256(*rules)))
        digest = hashlib.sha256(content.encode()).hexdigest()[:12]
        return Path(folder, condition.folder, f"{volume.name}-{digest}.csv")

    def of_adaptation(self, entrant: Entrant, condition: Condition, volume: Volume) -> Path:
        """Where it is noted what came of adapting to one finished volume."""
        return self.of_volume(entrant, condition, volume).with_suffix(".json")

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

    def collect_rows(self, paths: Sequence[Path], earlier: pd.DataFrame) -> pd.DataFrame:
        """Put volumes together as ``records.csv`` and ``records.parquet``, sorted; return them read back.

        Args:
            paths: the parts with the rows of the volumes.
            earlier: rows of earlier commands to keep, as text.
        """
        table = join_texts(paths, earlier)
        keys = table.select(list(KEY)).to_pandas()
        for name in KEY:
            keys[name] = keys[name].cat.reorder_categories(sorted(keys[name].cat.categories))
        order = keys.sort_values(list(KEY), kind="stable").index.to_numpy()
        form = csv.WriteOptions(quoting_style="needed")
        with (
            whole_file(self.output / "records.csv") as part,
            csv.CSVWriter(part, table.schema, write_options=form) as file,
        ):
            for start in range(0, len(order), ROWS_AT_ONCE):
                file.write(table.take(order[start : start + ROWS_AT_ONCE]))
        del table, keys
        pa.default_memory_pool().release_unused()
        records = read_records(self.output / "records.csv")
        records.to_parquet(self.output / "records.parquet")
        return records

    def collect_pictures(self, pictures: dict[Place, dict[str, Path]], shown: pd.DataFrame) -> None:
        """Put the entrants' pictures of each slice together as one file in ``images``, and no others there.

        Pictures of entrants that are not of this run are kept from earlier ones, as their rows are.

        Args:
            pictures: for every slice, arm -> the part with its picture.
            shown: the rows that pictures show, as :func:`fm_unroll.evaluation.selection.shown_runs` returns
                them.
        """
        folder = self.output / "images"
        earlier = _read_pictures(folder)
        named = shown.assign(arm=shown.arm.map(str))[[*PLACE, "arm", "checkpoint_sha256"]]
        of_rows = set(named.itertuples(index=False, name=None))
        shutil.rmtree(folder, ignore_errors=True)
        for number, (place, arms) in enumerate(pictures.items()):
            arrays = {
                name: array
                for (arm, sha256), images in earlier.get(place, {}).items()
                if (*place, arm, sha256) in of_rows
                for name, array in images.items()
            }
            for arm, path in arms.items():
                with np.load(path) as stored:
                    arrays |= {"target": stored["target"], f"image/{arm}": stored["image"]}
                    arrays[f"checkpoint/{arm}"] = stored["checkpoint"]
            if not arrays:
                continue
            arrays |= {name: np.array(value) for name, value in place._asdict().items()}
            name = (
                f"{number:03d}_{place.anatomy}_x{place.acceleration:g}_{place.volume.replace('/', '_')}.npz"
            )
            self.write_picture(folder / name, **arrays)


def join_texts(paths: Sequence[Path], more: pd.DataFrame) -> pa.Table:
    """The tables in some files and one more table, as text, below each other; a column may be absent in some.

    Args:
        paths: tables of one form mostly: those with the same header are read as one.
        more: further rows, as text.

    Raises:
        InputError: a file is no table.
    """
    tables = [pa.Table.from_pandas(more.astype(str), preserve_index=False)] if len(more) else []
    for start in range(0, len(paths), FILES_AT_ONCE):
        some = paths[start : start + FILES_AT_ONCE]
        bodies: dict[bytes, list[bytes]] = {}
        for path in some:
            header, _, body = path.read_bytes().partition(b"\n")
            bodies.setdefault(header, []).append(body)
        for header, rows in bodies.items():
            form = csv.ConvertOptions(column_types={name: _text(name) for name in header.decode().split(",")})
            try:
                whole = pa.BufferReader(b"".join([header, b"\n", *rows]))
                tables.append(csv.read_csv(whole, convert_options=form))
            except pa.ArrowInvalid:
                for path in some:
                    read_text(path)  # names the one that is no table
                raise
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    ordered = sorted(names, key=[*columns(), *names].index)
    return pa.concat_tables(
        pa.table(
            {
                name: table[name].cast(_text(name)) if name in table.column_names else _nothing(name, table)
                for name in ordered
            }
        )
        for table in tables
    ).unify_dictionaries()


def _text(name: str) -> pa.DataType:
    """The type of a column of text: those that say the same in many rows are kept once."""
    repeated = columns().get(name) is not float or name in KEY
    return pa.dictionary(pa.int32(), pa.string()) if repeated else pa.string()


def _nothing(name: str, table: pa.Table) -> pa.Array:
    """A column without text."""
    return pa.array([""] * len(table), pa.string()).cast(_text(name))


def _read_pictures(folder: Path) -> dict[Place, dict[tuple[str, str], dict[str, np.ndarray]]]:
    """The pictures in a run's ``images``: place -> arm and SHA-256 of its checkpoint -> arrays of the file.

    Files of version 0.1 do not name checkpoints and count for nothing, as their rows do. A broken file is
    named; the command that made it makes it again.
    """
    found: dict[Place, dict[tuple[str, str], dict[str, np.ndarray]]] = {}
    for path in visible(folder, ".npz"):
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored}
            place = Place(*(arrays[name].item() for name in PLACE))
        except (OSError, ValueError, LookupError, EOFError, BadZipFile) as error:
            print(f"{path}: not a stored slice ({error}); left out")
            continue
        for name in arrays:
            kind, _, arm = name.partition("/")
            if kind == "checkpoint":
                kept = {key: arrays[key] for key in ("target", f"image/{arm}", name)}
                found.setdefault(place, {})[arm, arrays[name].item()] = kept
    return found
