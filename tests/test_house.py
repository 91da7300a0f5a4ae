"""The house stays as it is drawn: imports point down, rooms, files and functions stay small."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fm_unroll"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a room imports from its own floor or below. Rooms of one floor do not know each other.
FLOORS = [
    ["errors", "metric_formulas"],
    ["files", "compatibility", "methods", "consent"],
    ["physics", "precision", "subjects", "hub"],
    ["metrics", "provenance", "config_files"],
    ["data", "encoders"],
    ["models", "phantoms", "curation"],
    ["reconstruction"],
    ["training", "evaluation"],
    ["report"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# What each outside library is let in by.
DOORS = {
    "timm": {"encoders"},
    "open_clip": {"encoders"},
    "huggingface_hub": {"hub", "report"},
    "wandb": {"training"},
    "matplotlib": {"report"},
    "fm_unroll_benchmarks": {"commands"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(path: Path) -> set[str]:
    """Files of the package that a file imports, as dotted names."""
    known = {".".join(source.relative_to(ROOT).with_suffix("").parts): source for source in SOURCES}
    return {name for name in imported(path) if name in known}


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path):
    room = room_of(path)
    if room == "__init__":  # hands names on, when they are asked for
        return
    for name in imported(path):
        outside = name.split(".")[0]
        assert room in DOORS.get(outside, {room}), f"{outside} is not for {room}"
        if outside == "fm_unroll" and "." in name:
            below = name.split(".")[1]
            assert below == room or FLOOR.get(below, -1) < FLOOR[room], f"{room} imports {name}"


def test_models_know_no_reader():
    for path in (PACKAGE / "models").rglob("*.py"):
        assert not [name for name in imported(path) if name.startswith("fm_unroll.data")], path


def test_no_import_runs_in_a_circle():
    edges = {".".join(p.relative_to(ROOT).with_suffix("").parts): modules(p) for p in SOURCES}
    left = dict(edges)
    while free := [name for name, below in left.items() if not below & (left.keys() - {name})]:
        for name in free:
            del left[name]
    assert not left


def test_no_room_is_a_drawer():
    sizes: Counter[str] = Counter()
    for path in SOURCES:
        sizes[path.parent.name] += lines(path)  # a room within a room, as readers in data, is one of its own
    room, largest = sizes.most_common(1)[0]
    assert largest < 0.2 * sizes.total(), f"{room} has {100 * largest / sizes.total():.0f} % of the lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path):
    assert lines(path) <= 400
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 50, f"{node.name} has {length} lines"
