"""Peak memory of a training step, each measured in a process of its own."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.optim import Adam

from fm_unroll_benchmarks.networks import ProblemSize, SimulatedBatch, Step, adam

STATUS = Path("/proc/self/status")


def peak_memory(
    build: Callable[[], nn.Module],
    step: Callable[[nn.Module, Adam, SimulatedBatch], Step],
    size: ProblemSize,
    device: torch.device,
) -> float | None:
    """Measure the peak of a network's training step, in GiB: its weights, optimiser and activations.

    On a GPU it is what tensors occupied; on a CPU, what the process grew by. None where the operating system
    does not tell.

    Args:
        build: makes the network; can be pickled.
        step: makes its training step on a batch; can be pickled.
        size: size of the batch and length of the network.
        device: where to run.
    """
    if device.type == "cpu" and not STATUS.exists():
        return None
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, build, step, size, device, torch.get_num_threads()).result()


def _measure(
    build: Callable[[], nn.Module],
    step: Callable[[nn.Module, Adam, SimulatedBatch], Step],
    size: ProblemSize,
    device: torch.device,
    threads: int,
) -> float:
    torch.set_num_threads(threads)
    before = _resident("VmRSS") if device.type == "cpu" else 0
    network = build().to(device)
    optimizer = adam(network)
    # Adam's state comes with the first step: on a small slice, so that the one that counts finds it there
    for slice_size in (replace(size, readout=64, phase=64), size):
        step(network, optimizer, SimulatedBatch.draw(slice_size, device))()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return (_resident("VmHWM") - before) / 2**30


def _resident(field: Literal["VmRSS", "VmHWM"]) -> int:
    """Read the resident memory of this process, now or at its highest, in bytes."""
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.removesuffix("kB")) * 1024
    raise OSError(f"{STATUS} has no line {field}")
