"""Peak memory of a training step, each measured in a process of its own."""

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.optim import Adam

from fm_unroll_benchmarks.networks import Scan, Size, Step, adam

STATUS = Path("/proc/self/status")


def peak_memory(
    build: Callable[[], nn.Module],
    step: Callable[[nn.Module, Adam, Scan], Step],
    size: Size,
    device: torch.device,
) -> float | None:
    """Peak of a network's training step, in GiB: its weights, optimiser and activations.

    On a GPU it is what tensors occupied; on a CPU, what the process grew by. None where the operating system
    does not tell.

    Args:
        build: makes the network; can be pickled.
        step: makes its training step on a scan; can be pickled.
        size: of the scan.
        device: where to run.
    """
    if device.type == "cpu" and not STATUS.exists():
        return None
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, build, step, size, device, torch.get_num_threads()).result()


def _measure(
    build: Callable[[], nn.Module],
    step: Callable[[nn.Module, Adam, Scan], Step],
    size: Size,
    device: torch.device,
    threads: int,
) -> float:
    torch.set_num_threads(threads)
    before = _resident("VmRSS") if device.type == "cpu" else 0
    network = build().to(device)
    optimizer = adam(network)
    # Adam's state comes with the first step: on a small slice, so that the one that counts finds it there
    for slice_size in (replace(size, readout=64, phase=64), size):
        step(network, optimizer, Scan.simulate(slice_size, device))()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return (_resident("VmHWM") - before) / 2**30


def _resident(field: Literal["VmRSS", "VmHWM"]) -> int:
    """Resident memory of this process now, or at its highest, in bytes."""
    return int(re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())[1]) * 1024
