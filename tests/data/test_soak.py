"""Many epochs: memory that is taken once is not taken again."""

import gc
import multiprocessing
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from fm_unroll.commands.pack import pack
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import build_index
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.sampler import EqualShapeBatchSampler
from simulate import write_cmrxrecon

pytestmark = pytest.mark.slow

WARM_UP = 100  # forked workers make pages their own as they touch them
EPOCHS = 60
SHAPE = (128, 96, 4, 2, 1)  # kx, ky, coil, z, t: a slice has 0.4 MiB
ONE_SLICE_PER_EPOCH = EPOCHS * 128 * 96 * 4 * 8 / 2**20  # MiB: what the smallest leak would come to


def resident_mebibytes() -> float:
    """Memory of this process and its workers that is no file's."""
    gc.collect()
    total = 0
    for process in ["self", *(child.pid for child in multiprocessing.active_children())]:
        status = Path(f"/proc/{process}/status").read_text()
        total += int(status.split("RssAnon:")[1].split()[0])
    return total / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured in Linux's /proc")
@pytest.mark.parametrize(("packed", "workers"), [(False, 2), (True, 0)])
def test_memory_does_not_grow_over_epochs(tmp_path: Path, packed: bool, workers: int):
    root, folder, reader = tmp_path / "root", tmp_path / "packed", CMRxReconReader(("cine_sax",))
    for number in range(4):
        write_cmrxrecon(root, f"P00{number}", shape=SHAPE, seed=number)
    volumes = build_index(root, reader).volumes
    dataset = SliceDataset(root, reader, volumes, max_open_files=2)
    if packed:
        pack(root, folder, workers=0)
        dataset = SliceDataset(folder, reader, volumes, max_open_files=2)
    batches = EqualShapeBatchSampler(dataset.shapes, 2, shuffle=True, seed=0)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=KSpaceBatch.collate,
        persistent_workers=workers > 0,
    )

    def run(epochs: range) -> float:
        """Memory after these epochs: the least after one of the last five, as batches come and go."""
        memory = []
        for epoch in epochs:
            batches.set_epoch(epoch)
            assert sum(len(batch) for batch in loader) == 8
            if epoch >= epochs.stop - 5:
                memory.append(resident_mebibytes())
        return min(memory)

    gc.freeze()  # the workers' collectors leave alone what was there before they were forked
    before = run(range(WARM_UP))
    after = run(range(WARM_UP, WARM_UP + EPOCHS))
    gc.unfreeze()
    assert after - before < ONE_SLICE_PER_EPOCH / 2
