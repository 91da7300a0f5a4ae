"""What is kept on disk of a measurement: the same bits, within a limit, and nothing that is damaged."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from counted_results import Counter
from fm_unroll import provenance
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.classical import CGSense, WaveletCS, sense, stored
from fm_unroll.models.classical.stored import SETTING, Store, fixed_masks
from fm_unroll.reconstruction.engine import reconstruct
from simulate import disc_scan

KIB = 1024 / 2**30
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and what is in it for starts."""
    monkeypatch.setenv("FM_UNROLL_CACHE", str(tmp_path))
    monkeypatch.setenv(SETTING, "1")
    new_process(monkeypatch)
    return tmp_path / "starts"


def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sense, "stored_maps", Store("maps", 0.5))
    monkeypatch.setattr(sense, "stored_solutions", Store("solutions", 0.5))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def age(folder: Path, seconds: float) -> None:
    for file in files(folder):
        os.utime(file, (time.time() - seconds,) * 2)


def scan(seed: int = 0) -> KSpaceBatch:
    kspace, mask, num_acs = disc_scan(2, 3, 24, 32, acs_lines=8).measured
    return KSpaceBatch(
        kspace=kspace * (1 + seed),
        mask=mask,
        fully_sampled=True,
        num_acs=num_acs,
        target=None,
        crop=(24, 32),
        data_range=torch.ones(2),
        volume=["scan"] * 2,
        mask_seed=["scan"] * 2,
        subject=["somebody"] * 2,
        contrast=["any"] * 2,
        slice=[0, 1],
        frame=[0, 0],
        acceleration=[4.0] * 2,
        true_acceleration=[2.0] * 2,
    )


def networks() -> list[torch.nn.Module]:
    torch.manual_seed(0)
    anchored = build_model("varnet_zero", 1, chans=4, pools=2, physics="anchored").eval()
    return [CGSense(), WaveletCS(), anchored]


def test_images_of_another_run_are_the_same_to_the_last_bit(folder, monkeypatch):
    monkeypatch.setenv(SETTING, "0")
    batch = scan()
    without = [reconstruct(network, batch) for network in networks()]
    assert not folder.exists()
    monkeypatch.setenv(SETTING, "1")
    first = [reconstruct(network, batch) for network in networks()]
    assert len(files(folder)) == 2 + 2 * 2  # of two slices: maps, by two methods; one is the network's start
    monkeypatch.setattr(sense, "estimate_sensitivities", None)  # would fail if it were called
    monkeypatch.setattr(CGSense, "_minimise", None)
    monkeypatch.setattr(WaveletCS, "_iterate", None)
    new_process(monkeypatch)
    again = [reconstruct(network, batch) for network in networks()]
    for images in (first, again):
        assert all(torch.equal(image, other) for image, other in zip(images, without, strict=True))


def test_nothing_is_kept_of_a_training_step(folder):
    network, batch = networks()[-1], scan()
    network(batch.kspace, batch.mask, batch.num_acs).sum().backward()
    with torch.no_grad():
        CGSense()(batch.kspace, batch.mask, batch.num_acs)
    assert not folder.exists()


def test_another_measurement_setting_machine_or_code_has_results_of_its_own(folder, monkeypatch):
    def kept() -> int:
        return len(files(folder / "solutions"))

    reconstruct(CGSense(), scan())
    assert kept() == 2
    reconstruct(CGSense(penalty=1), scan())
    assert kept() == 4
    reconstruct(CGSense(), scan(seed=1))
    assert kept() == 6
    for number, origin in enumerate((("other code",), ("other card",)), start=4):
        monkeypatch.setattr(stored, "_origin", lambda device, origin=origin: origin)
        reconstruct(CGSense(), scan())
        assert kept() == 2 * number


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code that decides a result, which is hashed in place of the package's own."""
    for part in ("models/classical", "physics"):
        shutil.copytree(
            provenance.PACKAGE / part,
            tmp_path / "fm_unroll" / part,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "fm_unroll")
    yield tmp_path / "fm_unroll"
    monkeypatch.undo()
    stored._origin.cache_clear()
    provenance.source_sha256.cache_clear()


def test_what_decides_the_bits_decides_whether_a_result_is_taken(copy, monkeypatch):
    """Changed code of the solvers or the physics, another torch, other arithmetic: computed anew."""
    compute = Counter()

    def asked() -> int:
        with fixed_masks():
            Store("maps", 1)(["a"], compute, CPU)
        return compute.asked

    def asked_by_another_process() -> int:
        stored._origin.cache_clear()
        provenance.source_sha256.cache_clear()
        return asked()

    assert asked_by_another_process() == asked_by_another_process() == 1
    for number, file in enumerate(("physics/fourier.py", "models/classical/calibration.py"), start=2):
        path = copy / file
        path.write_text(path.read_text() + "# another line\n")
        assert asked_by_another_process() == number
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        torch.set_num_threads(threads + 1)
        assert asked() == asked() == 4
        torch.set_float32_matmul_precision("medium")
        assert asked() == asked() == 5
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    assert asked() == 5
    monkeypatch.setattr(torch, "__version__", "0.1")
    assert asked_by_another_process() == 6


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "foreign"])
def test_a_damaged_file_is_computed_anew_and_warned_of_once(folder, caplog, damage):
    compute = Counter()
    with fixed_masks():
        Store("maps", 1)(["a", "b"], lambda: compute(2), CPU)
        for file in files(folder):
            content = file.read_bytes()
            flipped = content[:-1] + bytes([content[-1] ^ 1])
            foreign = (
                b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."  # a pickle that names a function
            )
            file.write_bytes(
                {"cut": content[:-9], "changed": flipped, "emptied": b"", "foreign": foreign}[damage]
            )
        store = Store("maps", 1)
        found = [store([slice_], compute, CPU)[0, 0].item() for slice_ in "abab"]
        assert found == [2, 3, 2, 3]
    assert caplog.text.count("cannot be used") == 1


def test_files_are_read_by_no_one_else_and_hold_tensors(folder):
    reconstruct(WaveletCS(), scan())
    assert {path.stat().st_mode & 0o077 for path in [*files(folder), *folder.iterdir()]} == {0}
    kept = {path.parent.name: load_file(path)["result"] for path in files(folder)}
    assert kept["maps"].shape == (3, 24, 32) and kept["solutions"].shape == (24, 32)
    assert {result.dtype for result in kept.values()} == {torch.complex64}


def test_what_was_not_used_for_longest_goes_first(folder, monkeypatch):
    monkeypatch.setenv(SETTING, str(3.9 * KIB))  # a file has a header: three find room
    compute = Counter()
    with fixed_masks():
        for slice_ in "abc":
            Store("maps", 1)([slice_], compute, CPU)
            age(folder, 100)
        assert len(files(folder)) == 3
        Store("maps", 1)(["a"], compute, CPU)  # used again
        later = Store("maps", 1)
        later(["d"], compute, CPU)
        assert compute.asked == 4 and len(files(folder)) <= 3
        assert sum(file.stat().st_size for file in files(folder)) <= 3.9 * 1024
        Store("maps", 1)(["a"], compute, CPU)
        Store("maps", 1)(["d"], compute, CPU)
        assert compute.asked == 4


def test_a_run_through_more_slices_than_find_room_keeps_the_first(folder, monkeypatch):
    monkeypatch.setenv(SETTING, str(3.9 * KIB))
    compute = Counter()
    with fixed_masks():
        for asked in (5, 7, 9):  # three of five are found in every later run
            store = Store("maps", 1)
            time.sleep(0.05)  # times of files are in steps of some milliseconds
            for slice_ in "abcde":
                store([slice_], compute, CPU)
            assert compute.asked == asked
            time.sleep(0.05)
    assert len(files(folder)) == 3


def test_where_nothing_can_be_written_everything_works_without(folder, caplog):
    folder.write_text("a file in its place")
    compute, store = Counter(), Store("maps", 1)
    with fixed_masks():
        for slice_ in "ab":
            store([slice_], compute, CPU)
    assert compute.asked == 2 and caplog.text.count(SETTING) == 1


def test_a_setting_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(SETTING, "much")
    with pytest.raises(InputError, match=f"{SETTING} is 'much': give GiB"):
        reconstruct(CGSense(), scan())


def test_what_is_there_is_not_written_again_with_its_neighbours(folder):
    compute = Counter()
    with fixed_masks():
        Store("maps", 1)(["a"], compute, CPU)
        (before,) = (file.stat() for file in files(folder))
        Store("maps", 1)(["b", "a"], lambda: compute(2), CPU)
    assert before.st_ino in {file.stat().st_ino for file in files(folder)} and len(files(folder)) == 2


def test_less_than_none_is_none_and_takes_nothing_away(folder, monkeypatch):
    compute = Counter()
    with fixed_masks():
        Store("maps", 1)(["a"], compute, CPU)
        age(folder, 100)
        before = files(folder)
        monkeypatch.setenv(SETTING, "-1")
        for slice_ in "ab":
            Store("maps", 1)([slice_], compute, CPU)
    assert compute.asked == 3 and files(folder) == before != []


def test_a_file_that_cannot_be_finished_leaves_nothing(folder, monkeypatch, caplog):
    def fail(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with fixed_masks():
        Store("maps", 1)(["a"], Counter(), CPU)
    assert not files(folder) and "no space left" in caplog.text


WRITER = """
import sys, torch
from fm_unroll.models.classical.stored import Store, fixed_masks
with fixed_masks():
    for number in range(40):
        value = float(number % 10)
        found = Store("maps", 1)([number % 10], lambda: torch.full((1, 4096), value), torch.device("cpu"))
        assert found.shape == (1, 4096) and found.eq(value).all()
"""


def test_processes_share_the_folder_without_half_a_file(folder, monkeypatch, checkout):
    monkeypatch.setenv(SETTING, str(16 * 6 * KIB))  # six of ten find room: they also make room for each other
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=200)
        assert writer.returncode == 0 and "cannot be used" not in errors, errors
    assert files(folder) and all(len(path.name) == 64 for path in files(folder))  # no drafts are left
