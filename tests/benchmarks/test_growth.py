"""Memory is what the backward pass keeps, counted once; it grows as it should."""

from dataclasses import replace

import pytest
import torch

from fm_unroll_benchmarks.growth import bytes_kept, exponents
from fm_unroll_benchmarks.networks import ProblemSize, SimulatedBatch, adam, foundation_network, our_step
from fm_unroll_benchmarks.page import LARGEST_EXPONENT

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TINY = ProblemSize(coils=2, readout=64, phase=72, cascades=1)


def test_what_the_backward_pass_needs_is_counted_once():
    weight = torch.ones(1000, requires_grad=True)

    def step():
        value = (weight.square() + weight.square()).sum()  # both keep the same 4000 bytes
        value.backward()
        return value

    assert bytes_kept(step) == 4000


def test_cost_is_linear_in_cascades():
    cascades = exponents(ProblemSize(2, 32, 32, 1), CPU)["cascades"]
    assert 0 < cascades[1] <= LARGEST_EXPONENT


def test_checkpointed_cascades_keep_little():
    size = replace(TINY, cascades=3)
    kept = {}
    for checkpoint in ("none", "all"):
        batch = SimulatedBatch.draw(size, CPU)
        network = foundation_network(size, checkpoint)
        kept[checkpoint] = bytes_kept(our_step(network, adam(network), batch, "32-true"))
    assert kept["all"] < kept["none"] / 2
