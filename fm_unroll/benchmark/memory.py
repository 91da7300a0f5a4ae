"""Peak memory of a training step, each measured in a process of its own."""

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from fm_unroll.benchmark.networks import (
    Scan,
    Size,
    Straightforward,
    adam,
    foundation_network,
    our_step,
    peer_step,
)

STATUS = Path("/proc/self/status")
Side = Literal["ours", "ours, checkpointed", "peer"]


def peak_memory(side: Side, size: Size, device: torch.device, precision: str) -> float | None:
    """Peak of a training step of the foundation prior, in GiB: network, optimiser and activations.

    On a GPU it is what tensors occupied; on a CPU, what the process grew by. None where the operating system
    does not tell.
    """
    if device.type == "cpu" and not STATUS.exists():
        return None
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, side, size, device, precision, torch.get_num_threads()).result()


def _measure(side: Side, size: Size, device: torch.device, precision: str, threads: int) -> float:
    torch.set_num_threads(threads)
    before = _resident("VmRSS") if device.type == "cpu" else 0
    network = foundation_network(size, "all" if side == "ours, checkpointed" else "none")
    if side == "peer":
        network = Straightforward(network)
    optimizer = adam(network.to(device))
    # Adam's state comes with the first step: on a small slice, so that the one that counts finds it there
    for slice_size in (replace(size, readout=64, phase=64), size):
        scan = Scan.simulate(slice_size, device)
        if side == "peer":
            peer_step(network, optimizer, scan)()
        else:
            our_step(network, optimizer, scan, precision)()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return (_resident("VmHWM") - before) / 2**30


def _resident(field: Literal["VmRSS", "VmHWM"]) -> int:
    """Resident memory of this process now, or at its highest, in bytes."""
    return int(re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())[1]) * 1024
