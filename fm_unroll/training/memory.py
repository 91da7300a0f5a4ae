"""Peak memory of a training step on a simulated batch."""

import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam

from fm_unroll.physics import UniformSampling, expand, fft2c, rss
from fm_unroll.training.losses import SSIMLoss

STATUS = Path("/proc/self/status")
ACS_LINES = 24

Step = Callable[[], Tensor]


@dataclass(frozen=True)
class ProblemSize:
    """Size of a batch of slices, and the length of the networks."""

    coils: int = 10
    readout: int = 512
    phase: int = 206
    cascades: int = 12
    batch: int = 1

    def __str__(self) -> str:
        return f"{self.coils} coils, {self.readout} x {self.phase}, {self.cascades} cascades"


@dataclass(frozen=True)
class SimulatedBatch:
    """Masked k-space of a disc seen by smooth coils.

    Attributes:
        kspace: complex64 ``(batch, coil, readout, phase)``.
        mask: bool ``(1, 1, 1, phase)``.
        sensitivities: complex64, of the shape of ``kspace``.
        target: float32 ``(batch, readout, phase)``.
    """

    kspace: Tensor
    mask: Tensor
    sensitivities: Tensor
    target: Tensor

    @classmethod
    def draw(cls, size: ProblemSize, device: torch.device) -> "SimulatedBatch":
        """Draw a batch, the same on every device."""
        random = torch.Generator().manual_seed(0)
        axes = [torch.linspace(-1, 1, length) for length in (size.readout, size.phase)]
        rows, columns = torch.meshgrid(*axes, indexing="ij")
        texture = torch.rand((size.batch, size.readout, size.phase), generator=random)
        target = (rows.square() + columns.square() < 0.6) * (1 + 0.3 * texture)
        row, column = torch.rand((2, size.coils, 1, 1), generator=random) * 2 - 1
        distance = (rows - row).square() + (columns - column).square()
        maps = torch.polar(torch.exp(-distance), 2 * distance)
        maps = (maps / rss(maps)).expand(size.batch, -1, -1, -1)
        lines = UniformSampling(8, acs_lines=ACS_LINES)(size.phase).lines[None, None, None]
        kspace = fft2c(expand(target.to(torch.complex64), maps)) * lines
        return cls(*(tensor.contiguous().to(device) for tensor in (kspace, lines, maps, target)))

    @property
    def measured(self) -> tuple[Tensor, Tensor, int]:
        """What a network takes: k-space, mask and number of ACS lines."""
        return self.kspace, self.mask, ACS_LINES


def adam(network: nn.Module) -> Adam:
    """The recipe's optimiser, on what is trained."""
    return Adam([parameter for parameter in network.parameters() if parameter.requires_grad], lr=1e-4)


def our_step(network: nn.Module, optimizer: Adam, batch: SimulatedBatch, precision: str) -> Step:
    """A training step of one of our networks."""
    return training_step(network, optimizer, batch.measured, SSIMLoss(), batch.target, precision)


def training_step(
    network: nn.Module,
    optimizer: Adam,
    measured: tuple[Tensor, Tensor, int],
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    target: Tensor,
    precision: str,
) -> Step:
    """Make a function that does forward pass, loss, backward pass and update, each time it is called."""
    data_range = target.amax((-2, -1))
    low = precision == "bf16-mixed"

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(target.device.type, torch.bfloat16, enabled=low):
            value = loss(network(*measured), target, data_range)
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        optimizer.step()
        return value.detach()

    return step


def peak_memory(
    build: Callable[[], nn.Module],
    step: Callable[[nn.Module, Adam, SimulatedBatch], Step],
    size: ProblemSize,
    device: torch.device,
) -> float | None:
    """Measure the peak of a network's training step, in GiB: its weights, optimiser and activations.

    On a GPU it is what tensors occupied; on a CPU, what a process of its own grew by. None where the
    operating system does not tell.

    Args:
        build: makes the network; can be pickled.
        step: makes its training step on a batch; can be pickled.
        size: size of the batch and length of the network.
        device: where to run.
    """
    if device.type == "cuda":
        return _measure(build, step, size, device)
    if not STATUS.exists():
        return None
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        threads = torch.get_num_threads()
        return pool.submit(_measure_with, threads, build, step, size, device).result()


def _measure_with(threads: int, *arguments: Any) -> float:
    torch.set_num_threads(threads)
    return _measure(*arguments)


def _measure(
    build: Callable[[], nn.Module],
    step: Callable[[nn.Module, Adam, SimulatedBatch], Step],
    size: ProblemSize,
    device: torch.device,
) -> float:
    on_gpu = device.type == "cuda"
    gc.collect()  # networks of earlier measurements that refer to themselves
    before = torch.cuda.memory_allocated(device) if on_gpu else _resident("VmRSS")
    network = build().to(device)
    optimizer = adam(network)
    # Adam's state comes with the first step: on a small slice, so that the one that counts finds it there
    for slice_size in (replace(size, readout=64, phase=64), size):
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        step(network, optimizer, SimulatedBatch.draw(slice_size, device))()
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _resident("VmHWM")
    return (peak - before) / 2**30


def _resident(field: Literal["VmRSS", "VmHWM"]) -> int:
    """Read the resident memory of this process, now or at its highest, in bytes."""
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.removesuffix("kB")) * 1024
    raise OSError(f"{STATUS} has no line {field}")
