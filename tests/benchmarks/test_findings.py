"""Results are on disk as soon as they are known, and what fails stops nothing."""

from pathlib import Path

from fm_unroll.files import read_json
from fm_unroll_benchmarks.findings import Findings

FACTS = {
    "machine": "a machine",
    "versions": {},
    "size": {"coils": 1, "readout": 2, "phase": 3, "cascades": 4},
    "physics": {"readout": 5, "phase": 6},
}


def test_every_row_is_written_at_once_and_a_failure_is_a_row(tmp_path: Path):
    findings = Findings(tmp_path / "cpu", FACTS)
    written = []

    def rows():
        yield {"method": "first", "ms": 1.0}
        written.append(read_json(tmp_path / "cpu.json")["classical"])
        raise RuntimeError("the memory is full\nand more")

    findings.measure("classical", {}, rows)
    findings.measure("classical", {"method": "second"}, lambda: iter([{"ms": 2.0}]))
    assert written == [[{"method": "first", "ms": 1.0}]]
    assert read_json(tmp_path / "cpu.json")["classical"] == [
        {"method": "first", "ms": 1.0},
        {"failed": "RuntimeError: the memory is full"},
        {"method": "second", "ms": 2.0},
    ]
    assert "| second | 2.0 |" in (tmp_path / "cpu.md").read_text()
