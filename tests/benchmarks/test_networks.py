"""The networks that are timed are the same functions, whatever they cost."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fm_unroll_benchmarks.networks import (
    ProblemSize,
    SimulatedBatch,
    Straightforward,
    cascade_physics,
    distance,
    foundation_network,
    peer_input,
    varnet_step,
)

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TINY = ProblemSize(coils=2, readout=64, phase=72, cascades=1)


@pytest.mark.parametrize("make", [cascade_physics, lambda size, device: varnet_step(size, device, "32-true")])
def test_both_sides_agree(make):
    pair = make(TINY, CPU)
    assert pair.difference < 1e-5
    pair.ours(), pair.peer()


def test_the_straightforward_prior_is_the_same_function_with_whole_encoders():
    ours = foundation_network(replace(TINY, cascades=2))
    peer = Straightforward(ours)
    batch = SimulatedBatch.draw(TINY, CPU)
    with torch.no_grad():
        moved = distance(ours(*batch.measured), build_zero(ours)(*batch.measured))
        assert distance(peer(*peer_input(batch)), ours(*batch.measured)) < 1e-4 < moved
    encoders = [cascade.model.denoiser.encoder for cascade in peer.cascades]
    assert encoders[0] is not encoders[1]
    assert [len(encoder.vit.blocks) for encoder in encoders] == [12, 12]


def build_zero(network: nn.Module) -> nn.Module:
    """The same network without its denoisers' part."""

    def zero(*measured):
        kept = [cascade.denoiser.head.weight.clone() for cascade in network.cascades]
        for cascade in network.cascades:
            cascade.denoiser.head.weight.zero_()
        image = network(*measured)
        for cascade, weight in zip(network.cascades, kept, strict=True):
            cascade.denoiser.head.weight.copy_(weight)
        return image

    return zero
