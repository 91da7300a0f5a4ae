"""Damaged files, as a search finds them: read or refused in one line, never a crash or another error.

Every attempt has a process of its own, because HDF5 may take memory without end, never return or crash
(``fm_unroll/data/readers/hdf5.py`` says when). That is its fault and not the readers'; it has to stay rare,
and ``data check`` has to survive it.
"""

import multiprocessing
import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fm_unroll.cli import main
from fm_unroll.curation import survey
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.fastmri import FastMRIReader
from fm_unroll.errors import InputError
from simulate import write_cmrxrecon, write_fastmri

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("FM_UNROLL_FUZZ_EXAMPLES", "150"))
PATIENCE = 5  # seconds; reading takes a few milliseconds
MEMORY = 2**30

READERS = {
    "heart": (CMRxReconReader(), lambda root: write_cmrxrecon(root, shape=(16, 12, 2, 2, 2))),
    "knee": (FastMRIReader(), lambda root: write_fastmri(root / "multicoil_val" / "file1.h5")),
}


@st.composite
def damages(draw) -> list[tuple[str, float, int]]:
    """What happens to a file: bytes are changed, a stretch is zero, the end is missing."""
    kind = st.sampled_from(["byte"] * 6 + ["zeros", "end"])
    return draw(st.lists(st.tuples(kind, st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))


def damage(content: bytes, damages: list[tuple[str, float, int]]) -> bytes:
    spoilt = bytearray(content)
    for kind, place, value in damages:
        position = int(place * (len(spoilt) - 1))
        if kind == "byte":
            spoilt[position] = value
        elif kind == "zeros":
            spoilt[position : position + value] = bytes(len(spoilt[position : position + value]))
        else:
            del spoilt[position + 1 :]
    return bytes(spoilt)


def attempt(path: Path, root: Path, reader, answer) -> None:
    """Read a file as training does, and say how it ended."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    try:
        for _ in SliceDataset(root, reader, [reader.describe(path, root)]):
            pass
        answer.send("read")
    except InputError as error:
        line = str(error)
        answer.send("refused" if str(path) in line and len(line.splitlines()) == 1 else f"unnamed: {line}")
    except BaseException as error:
        answer.send(f"{type(error).__name__}: {error}")


def outcome(path: Path, root: Path, reader) -> str:
    """``read``, ``refused``, ``lost`` where HDF5 crashed or did not return, or what else happened."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=attempt, args=(path, root, reader, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(PATIENCE) else "lost"
    except EOFError:
        return "lost"
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(kind: str, tmp_path: Path):
    reader, write = READERS[kind]
    path = write(tmp_path)
    whole = path.read_bytes()
    assert outcome(path, tmp_path, reader) == "read"
    ends: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damages=damages())
    def search(damages: list[tuple[str, float, int]]) -> None:
        path.write_bytes(damage(whole, damages))
        ends.append(outcome(path, tmp_path, reader))
        assert ends[-1] in {"read", "refused", "lost"}

    search()
    assert ends.count("refused") > len(ends) / 10, "hardly anything was damaged"
    assert ends.count("lost") <= max(2, len(ends) / 50)


@pytest.mark.parametrize("kind", READERS)
def test_a_truncated_file_is_refused_wherever_it_ends(kind: str, tmp_path: Path):
    reader, write = READERS[kind]
    path = write(tmp_path)
    whole = path.read_bytes()
    for end in sorted({len(whole) * part // 200 for part in range(200)} | {len(whole) - 1}):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"truncated or no HDF5 file|an empty file") as error:
            reader.describe(path, tmp_path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("kind", "damages"),
    [
        # free list of the heap that holds the names: HDF5 2.0 goes round in it for ever
        pytest.param("knee", [("zeros", 0.7650761255103861, 73)], id="never returns"),
        # HDF5 2.0 writes beyond what it allocated
        pytest.param("heart", [("byte", 0.08323413780389788, 8)], id="corrupts memory"),
        pytest.param(
            "knee", [("byte", 0.1182083394540695, 226), ("byte", 0.3448281999925864, 84)], id="crashes"
        ),
        # a name with a control character, which must not reach the terminal
        pytest.param("knee", [("byte", 0.04755152990367928, 11)], id="unprintable name"),
    ],
)
def test_data_check_names_what_the_search_found(kind, damages, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(survey, "PATIENCE", 2)
    _, write = READERS[kind]
    path = write(tmp_path)
    path.write_bytes(damage(path.read_bytes(), damages))
    with pytest.raises(SystemExit) as exit_:
        main(["data", "check", str(tmp_path), "--read"])
    assert exit_.value.code == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("unusable: "))
    assert str(path) in line and line.isprintable()
