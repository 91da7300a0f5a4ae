"""Both sides of the data rows give the same slices and targets."""

import time
from pathlib import Path

import pytest
import torch

from fm_unroll_benchmarks import data

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("chunks", [data.COIL_IMAGES, data.SPANNING])
def test_everyone_reads_the_same(tmp_path: Path, chunks: tuple[int, ...]):
    path = data.write_cine(
        tmp_path / "root", frames=4, slices=4, coils=3, phase=60, readout=96, chunks=chunks
    )
    assert path.stat().st_size < 4 * 4 * 3 * 60 * 96 * 8
    data.pack_cine(tmp_path / "root", tmp_path / "packed")
    items = [(3, 0), (0, 2), (1, 1), (3, 3)]
    kspace, target = data.read_ours(tmp_path / "root", items)
    assert kspace.shape == (4, 3, 96, 60) and target.shape == (4, 96, 60)
    packed, packed_target = data.read_ours(tmp_path / "packed", items)
    assert torch.equal(packed, kspace) and torch.equal(packed_target, target)
    theirs, their_target = data.read_peer(tmp_path / "root", items)
    assert torch.equal(theirs, kspace)
    torch.testing.assert_close(their_target, target, rtol=1e-5, atol=1e-5 * float(target.max()))


def test_a_slow_step_does_not_wait_for_data_and_none_at_all_does():
    assert data.waiting_share(lambda batch: time.sleep(0.5), frames=1) < 0.2
    assert data.waiting_share(lambda batch: None, frames=1) > 0.8
