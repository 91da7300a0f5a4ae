"""The work of a step is counted, and its profile is drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fm_unroll_benchmarks.limits import Work, draw_profile
from fm_unroll_benchmarks.networks import ProblemSize, SimulatedBatch, adam, our_step, varnet_network

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TINY = ProblemSize(coils=2, readout=64, phase=72, cascades=1)


def test_operations_of_a_step_are_those_of_its_convolutions():
    network = nn.Conv2d(3, 5, 3, bias=False)
    image = torch.ones(1, 3, 12, 12)

    def step():
        value = network(image).sum()
        value.backward()
        return value

    forward = 2 * 3 * 5 * 9 * 10 * 10
    # backward: the gradient of the weights alone, the image needs none
    assert Work.of(step, network).operations == 2 * forward


def test_profile_is_drawn(tmp_path: Path):
    network = varnet_network(TINY)
    step = our_step(network, adam(network), SimulatedBatch.draw(TINY, CPU), "32-true")
    draw_profile(step, CPU, "one step", tmp_path / "profile.png")
    with Image.open(tmp_path / "profile.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    bars = (pixels == (0x6A, 0x51, 0xA3)).all(1)  # the colour of the bars, on white
    assert 0.01 < bars.mean() < 0.9
