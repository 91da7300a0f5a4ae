"""The benchmark compares equals, counts what it says it counts, and refuses what differs."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from fm_unroll_benchmarks import bench, limits
from fm_unroll_benchmarks.growth import bytes_kept, exponents
from fm_unroll_benchmarks.networks import (
    ProblemSize,
    SimulatedBatch,
    Straightforward,
    adam,
    cascade_physics,
    distance,
    foundation_network,
    our_step,
    peer_input,
    varnet_network,
    varnet_step,
)
from fm_unroll_benchmarks.quality import volume_scores
from fm_unroll_benchmarks.timing import Pair, Ratio, time_in_turn

CPU = torch.device("cpu")
TINY = ProblemSize(coils=2, readout=64, phase=72, cascades=1)


@pytest.mark.parametrize("make", [cascade_physics, lambda size, device: varnet_step(size, device, "32-true")])
def test_both_sides_agree(make):
    pair = make(TINY, CPU)
    assert pair.difference < 1e-5
    pair.ours(), pair.peer()


def test_a_pair_that_disagrees_is_not_timed():
    with pytest.raises(AssertionError, match=r"results differ by 1\.00e-03"):
        Pair(lambda: None, lambda: None, difference=1e-3, tolerance=1e-5)
    with pytest.raises(AssertionError):
        Pair(lambda: None, lambda: None, difference=math.nan, tolerance=1e-5)


def test_the_straightforward_prior_is_the_same_function_with_whole_encoders():
    ours = foundation_network(replace(TINY, cascades=2))
    peer = Straightforward(ours)
    scan = SimulatedBatch.draw(TINY, CPU)
    with torch.no_grad():
        moved = distance(ours(*scan.measured), build_zero(ours)(*scan.measured))
        assert distance(peer(*peer_input(scan)), ours(*scan.measured)) < 1e-4 < moved
    encoders = [cascade.model.denoiser.encoder for cascade in peer.cascades]
    assert encoders[0] is not encoders[1]
    assert [len(encoder.vit.blocks) for encoder in encoders] == [12, 12]


def build_zero(network: nn.Module) -> nn.Module:
    """The same network without its denoisers' part."""

    def zero(*scan):
        kept = [cascade.denoiser.head.weight.clone() for cascade in network.cascades]
        for cascade in network.cascades:
            cascade.denoiser.head.weight.zero_()
        image = network(*scan)
        for cascade, weight in zip(network.cascades, kept, strict=True):
            cascade.denoiser.head.weight.copy_(weight)
        return image

    return zero


def test_both_metrics_agree():
    assert volume_scores(3, 40, 33, CPU).difference < 1e-5


def test_ratios_are_those_of_the_rounds():
    ratio = Ratio.of([4.0, 9.0, 6.0], [2.0, 3.0, 3.0], "s")
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (2.0, 2.0, 3.0, 3)
    calls = []
    timed = time_in_turn(Pair(lambda: calls.append("ours"), lambda: calls.append("peer"), 0, 0), 0)
    assert timed.rounds == 3 and calls.count("ours") == calls.count("peer")


def test_what_the_backward_pass_needs_is_counted_once():
    weight = torch.ones(1000, requires_grad=True)

    def step():
        value = (weight.square() + weight.square()).sum()  # both keep the same 4000 bytes
        value.backward()
        return value

    assert bytes_kept(step) == 4000


def test_operations_of_a_step_are_those_of_its_convolutions():
    network = nn.Conv2d(3, 5, 3, bias=False)
    image = torch.ones(1, 3, 12, 12)

    def step():
        value = network(image).sum()
        value.backward()
        return value

    forward = 2 * 3 * 5 * 9 * 10 * 10
    # backward: the gradient of the weights alone, the image needs none
    assert limits.Work.of(step, network).operations == 2 * forward


def test_cost_is_linear_in_cascades():
    cascades = exponents(ProblemSize(2, 32, 32, 1), CPU)["cascades"]
    assert 0 < cascades[1] <= bench.LARGEST_EXPONENT


def test_checkpointed_cascades_keep_little():
    size = replace(TINY, cascades=3)
    kept = {}
    for checkpoint in ("none", "all"):
        scan = SimulatedBatch.draw(size, CPU)
        network = foundation_network(size, checkpoint)
        kept[checkpoint] = bytes_kept(our_step(network, adam(network), scan, "32-true"))
    assert kept["all"] < kept["none"] / 2


def test_profile_is_drawn(tmp_path):
    network = varnet_network(TINY)
    step = our_step(network, adam(network), SimulatedBatch.draw(TINY, CPU), "32-true")
    limits.draw_profile(step, CPU, "one step", tmp_path / "profile.png")
    assert (tmp_path / "profile.png").stat().st_size > 5000
