"""A step's profile is a table and a picture; a GPU is busy while any kernel runs."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.autograd import DeviceType

from fm_unroll_benchmarks.networks import ProblemSize, SimulatedBatch, adam, our_step, varnet_network
from fm_unroll_benchmarks.profiles import take_profile, work_of_gpu

CPU = torch.device("cpu")
TINY = ProblemSize(coils=2, readout=64, phase=72, cascades=1)


@pytest.mark.slow
def test_profile_is_written_and_drawn(tmp_path: Path):
    network = varnet_network(TINY)
    step = our_step(network, adam(network), SimulatedBatch.draw(TINY, CPU), "32-true")
    facts = take_profile(step, CPU, "one step", tmp_path / "profile")
    assert facts.keys() == {"ms"} and facts["ms"] > 0
    table = (tmp_path / "profile.txt").read_text()
    assert table.startswith("one step\nms ") and "convolution" in table
    with Image.open(tmp_path / "profile.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    bars = (pixels == (0x6A, 0x51, 0xA3)).all(1)  # the colour of the bars, on white
    assert 0.01 < bars.mean() < 0.9


def test_a_gpu_is_busy_while_any_kernel_runs():
    def event(name: str, device: DeviceType, start: float, end: float) -> SimpleNamespace:
        return SimpleNamespace(
            name=name, device_type=device, time_range=SimpleNamespace(start=start, end=end)
        )

    events = [
        event("Optimizer.step", DeviceType.CPU, 0, 99),
        event("Optimizer.step", DeviceType.CUDA, 0, 99),  # a range of the CPU, repeated
        event("convolution", DeviceType.CUDA, 10, 20),
        event("copy", DeviceType.CUDA, 15, 18),
        event("relu", DeviceType.CUDA, 18, 25),
        event("relu", DeviceType.CUDA, 40, 41),
    ]
    kernels, busy = work_of_gpu(SimpleNamespace(events=lambda: events))
    assert kernels == 4 and busy == pytest.approx(16e-6)
