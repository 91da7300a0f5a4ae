"""The reading that is timed: slices of one compressed CMRxRecon file, read by us and as a peer does.

A training item is one slice, and training visits the slices of all volumes in random order. PromptMR
(https://github.com/hellopipu/PromptMR, ``load_kdata`` and ``zf_recon``) never reads part of a ``.mat``: the
whole variable is unpacked, and the target is computed by NumPy on the CPU. Written here anew, as a map-style
data set would do it for one item. For its own training, PromptMR converts all files beforehand; that is to
be compared with what ``data pack`` writes.

The file is as MATLAB v7.3 writes it: gzip of level 3 in chunks. MATLAB chooses the chunks' shape itself and
documents no rule, so it is a parameter: one coil image per chunk is the best case for reading slices, chunks
that span frames and slices are the worst, because each slice then costs the unpacking of all its neighbours.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fm_unroll.curation.pack import pack_volume
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.modules import CMRxReconData
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.hdf5 import COMPLEX_SINGLE
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import target_image
from fm_unroll_benchmarks.timing import seconds_of

Array = npt.NDArray[Any]
#: Shape of a chunk: t, z, coil, ky, kx.
Chunks = tuple[int, int, int, int, int]
COIL_IMAGES: Chunks = (1, 1, 1, 204, 512)
SPANNING: Chunks = (3, 3, 10, 51, 128)

#: Slice and frame of every item, in the order of reading.
Items = Sequence[tuple[int, int]]
#: K-space, complex64 ``(item, coil, readout, phase)``, and targets, float32 ``(item, readout, phase)``.
Slices = tuple[Tensor, Tensor]


def write_cine(
    root: Path,
    frames: int = 12,
    slices: int = 10,
    coils: int = 10,
    phase: int = 204,
    readout: int = 512,
    chunks: Chunks = COIL_IMAGES,
) -> Path:
    """Write a fully sampled short-axis cine of synthetic k-space, by default of CMRxRecon's size.

    Args:
        root: the data set's folder.
        frames: number of frames t, the first axis in the file.
        slices: number of slices z.
        coils: number of receiver channels.
        phase: number of phase-encoding lines ky.
        readout: number of readout samples kx, the last axis in the file.
        chunks: what is compressed as one piece, in the same order.

    Returns:
        The file. Its noise fills every mantissa, as measured noise does: gzip saves about 7 %.
    """
    path = root / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / "P001" / "cine_sax.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    falloff = np.exp(-np.hypot(*np.meshgrid(np.linspace(-8, 8, readout), np.linspace(-8, 8, phase))))
    with h5py.File(path, "w", userblock_size=512) as file:
        dataset = file.create_dataset(
            "kspace_full",
            (frames, slices, coils, phase, readout),
            COMPLEX_SINGLE,
            chunks=tuple(map(min, chunks, (frames, slices, coils, phase, readout))),
            compression="gzip",
            compression_opts=3,
        )
        dataset.attrs["MATLAB_class"] = np.bytes_("single")
        for start in range(0, frames, chunks[0]):
            stop = min(start + chunks[0], frames)
            noise = random.standard_normal((stop - start, *dataset.shape[1:], 2), dtype=np.float32)
            noise *= falloff[..., None].astype(np.float32)
            dataset[start:stop] = noise.view(COMPLEX_SINGLE)[..., 0]
    return path


def read_ours(root: Path, items: Items) -> Slices:
    """Read slices as the data module reads them, with their targets.

    Args:
        root: the folder given to :func:`write_cine`.
        items: what to read.
    """
    reader = CMRxReconReader(("cine_sax",))
    (path,), _ = reader.find(root)
    return _read(SliceDataset(root, reader, [reader.describe(path, root)]), items)


def pack_cine(root: Path, folder: Path) -> None:
    """Pack the file of :func:`write_cine` into ``folder``."""
    reader = CMRxReconReader(("cine_sax",))
    (path,), _ = reader.find(root)
    pack_volume(reader.describe(path, root), root, reader, folder)


def read_peer(root: Path, items: Items) -> Slices:
    """Read the same as :func:`read_ours` the peer's way: the whole volume for every item."""
    (path,), _ = CMRxReconReader(("cine_sax",)).find(root)
    kspaces, targets = [], []
    for item in items:
        kspace = _unpack(path)[item[1], item[0]]
        kspaces.append(kspace)
        targets.append(_numpy_target(kspace))
    return torch.from_numpy(np.stack(kspaces)), torch.from_numpy(np.stack(targets))


def waiting_share(step: Callable[[KSpaceBatch], object], frames: int = 6, workers: int = 2) -> float:
    """Measure the share of training's time in which a step waits for its slices from the compressed file.

    Args:
        step: a training step on a batch of one slice, as the loader gives it.
        frames: frames of the file, each of ten slices and so of ten steps.
        workers: number of reading processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_cine(Path(folder), frames)
        data = CMRxReconData(
            Path(folder), contrasts=("cine_sax",), split=(1.0, 0.0, 0.0), num_workers=workers
        )
        data.setup()
        loader = data.loader("train", shuffle=True)
        batches = iter(loader)
        next(batches)  # the processes have started
        waited = worked = 0.0
        for _ in range(len(loader) - 1):
            read: list[KSpaceBatch] = []
            waited += seconds_of(partial(_append_next, read, batches))
            worked += seconds_of(partial(step, read[0]))
        return waited / (waited + worked)


def _append_next(read: list[KSpaceBatch], batches: Iterator[KSpaceBatch]) -> None:
    read.append(next(batches))


def _read(dataset: SliceDataset, items: Items) -> Slices:
    """Read slices of the only volume of a data set."""
    (volume,) = dataset.volumes
    samples = [dataset[frame * volume.num_slices + slice_] for slice_, frame in items]
    return torch.stack([sample.kspace for sample in samples]), torch.stack(list(map(target_image, samples)))


def _unpack(path: Path) -> Array:
    """Read a whole file: complex64 ``(t, z, coil, readout, phase)``."""
    with h5py.File(path) as file:
        values = file["kspace_full"][()]
    kspace: Array = (values["real"] + 1j * values["imag"]).swapaxes(-1, -2)
    return kspace


def _numpy_target(kspace: Array) -> Array:
    """Compute the RSS of the centred inverse FFT of ``(coil, readout, phase)``, float32."""
    axes = (-2, -1)
    images = np.fft.ifft2(np.fft.ifftshift(kspace, axes), axes=axes, norm="ortho")
    target: Array = np.sqrt((np.abs(np.fft.fftshift(images, axes)) ** 2).sum(0)).astype(np.float32)
    return target
