"""The results of a run, written anew after each of them, so that a run that is ended early keeps its rows."""

import gc
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from fm_unroll.files import write_json
from fm_unroll_benchmarks.page import line, markdown


class Findings:
    """What was measured so far, in tables, as json and as a page."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Begin.

        Args:
            path: of the files, without suffix.
            facts: what stands before all tables.
        """
        self.path = path
        self.content: dict[str, Any] = dict(facts)

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Add a row to a table, print it, and write both files."""
        self.content.setdefault(table, []).append(dict(row))
        print(line(table, row), flush=True)
        write_json(self.path.with_suffix(".json"), self.content)
        self.path.with_suffix(".md").write_text("\n".join(markdown(self.content)) + "\n")

    def measure(
        self, table: str, names: Mapping[str, Any], rows: Callable[[], Iterator[Mapping[str, Any]]]
    ) -> None:
        """Add every row that a measurement yields; where it fails, a row that says why.

        Args:
            table: where the rows belong.
            names: what the rows say of themselves; they stand before what was measured.
            rows: the measurement.
        """
        try:
            for row in rows():
                self.add(table, {**names, **row})
        except Exception as error:  # whatever fails, the other rows are worth having
            traceback.print_exc()
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            self.add(table, {**names, "failed": f"{type(error).__name__}: {reason[:200]}"})
        gc.collect()  # networks that refer to themselves would keep their memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
