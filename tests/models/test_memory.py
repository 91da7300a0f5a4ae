"""What is remembered of a measurement: the same numbers, and only where they are the same."""

import pytest
import torch
from torch import nn

from counted_results import Counter
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.classical import CGSense, WaveletCS, sense
from fm_unroll.models.classical.memory import SETTING, Memory, fingerprints, known_maps, set_apart
from fm_unroll.models.classical.sense import SenseProblem
from simulate import disc_scan, noise_scan

KIB = 1024 / 2**30
SMALL = {"num_cascades": 1, "chans": 4, "pools": 2, "physics": "anchored"}


@pytest.fixture(autouse=True)
def empty_memories(monkeypatch):
    monkeypatch.setenv(SETTING, "1")
    monkeypatch.setattr(sense, "known_maps", Memory(0.5))
    monkeypatch.setattr(sense, "known_solutions", Memory(0.5))


def test_a_result_is_computed_twice_and_then_known():
    memory, compute = Memory(1), Counter()
    assert [memory(["a"], compute)[0, 0].item() for _ in range(5)] == [1, 2, 2, 2, 2]
    assert compute.asked == 2


def test_what_never_comes_again_takes_no_room(monkeypatch):
    monkeypatch.setenv(SETTING, str(KIB))
    memory, compute = Memory(1), Counter()
    for number in range(100):
        memory([number], compute)
    for _ in range(3):
        memory(["again"], compute)
    assert compute.asked == 102  # there was room for the one that does


def test_memories_set_apart_keep_at_once_and_leave_the_others_as_they_were():
    compute = Counter()
    known_maps(["before"], compute)
    with pytest.raises(KeyboardInterrupt), set_apart():
        for _ in range(3):
            known_maps(["before"], compute)
            known_maps(["within"], compute)
        assert compute.asked == 3
        raise KeyboardInterrupt
    for _ in range(2):
        known_maps(["within"], compute)
        known_maps(["before"], compute)
    assert compute.asked == 3 + 2 + 1  # "before" was noted then, "within" was not


def test_a_full_memory_keeps_what_it_has(monkeypatch):
    monkeypatch.setenv(SETTING, str(2 * KIB))
    memory, compute = Memory(1), Counter()
    for _ in range(4):  # epochs over three slices, of which two find room
        for slice_ in "abc":
            memory([slice_], compute)
    assert compute.asked == 3 + 3 + 1 + 1


def test_what_is_kept_takes_no_room_again_beside_others(monkeypatch):
    monkeypatch.setenv(SETTING, str(2 * KIB))
    memory, compute = Memory(1), Counter()
    for slices in ("a", "a", "ab", "ab"):
        memory(slices, lambda slices=slices: compute(len(slices)))
    assert compute.asked == 4
    memory("ab", compute)
    assert compute.asked == 4  # there was room for both


def test_the_share_is_of_the_setting(monkeypatch):
    monkeypatch.setenv(SETTING, str(2 * KIB))
    memory, compute = Memory(0.4), Counter()
    for _ in range(3):
        memory(["a"], compute)
    assert compute.asked == 3


def test_a_batch_is_known_when_all_of_its_slices_are():
    memory, compute = Memory(1), Counter()
    for _ in range(3):
        memory(["a", "b"], lambda: compute(2))
    assert compute.asked == 2
    memory(["a", "c"], lambda: compute(2))
    assert compute.asked == 3
    found = memory(["b", "a"], lambda: compute(2))
    assert compute.asked == 3 and found.shape == (2, 256)


def test_results_do_not_change_when_they_are_changed_where_they_were_used():
    memory = Memory(1)
    for _ in range(4):
        found = memory(["a"], lambda: torch.ones(1, 3))
        assert found.eq(1).all()
        found.zero_()


@pytest.mark.parametrize("given", ["much", "4 GiB"])
def test_a_setting_that_is_no_number_is_refused(monkeypatch, given):
    monkeypatch.setenv(SETTING, given)
    with pytest.raises(InputError, match=f"{SETTING} is '{given}': give GiB"):
        Memory(1)(["a"], Counter())


def test_none_is_kept_where_none_may_be(monkeypatch):
    monkeypatch.setenv(SETTING, "0")
    memory, compute = Memory(1), Counter()
    for _ in range(4):
        memory(["a"], compute)
    assert compute.asked == 4


def test_whatever_was_measured_differently_has_another_fingerprint():
    kspace, mask, num_acs = disc_scan(2, 3, 24, 32, acs_lines=8).measured
    first, second = fingerprints(kspace, mask, num_acs)
    assert fingerprints(kspace[:1], mask[:1], num_acs) == [first]
    line = mask.flatten().nonzero()[-1]
    changed = kspace.clone()
    changed[0, 2, 5, line] += 1e-6 * kspace.abs().max()
    changed_first, same_second = fingerprints(changed, mask, num_acs)
    assert changed_first != first and same_second == second
    more = mask.clone()
    more[..., (~mask.flatten()).nonzero()[0]] = True  # a line where nothing was measured
    others = [
        fingerprints(kspace, more, num_acs)[0],
        fingerprints(kspace, mask, num_acs - 2)[0],
        fingerprints(kspace.reshape(2, 6, 12, 32), mask, num_acs)[0],
    ]
    assert len({first, *others}) == 4
    # the same samples at other lines
    alike, places = torch.ones(1, 2, 3, 4, dtype=torch.complex64), torch.eye(4, dtype=torch.bool)
    assert len({fingerprints(alike, line[None, None, None], 1)[0] for line in places}) == 4


@pytest.mark.parametrize("method", [CGSense, WaveletCS])
@torch.no_grad()
def test_images_of_slices_that_come_again_are_the_same(method):
    network = method()
    scans = [disc_scan(1, 3, 24, 32, acs_lines=8).measured, noise_scan(1, 3, 24, 32)]
    first, second, third, fourth = ([network(*scan) for scan in scans] for _ in range(4))
    for images in (second, third, fourth):
        assert all(torch.equal(image, other) for image, other in zip(images, first, strict=True))


@pytest.mark.parametrize("method", [CGSense, WaveletCS])
@torch.no_grad()
def test_a_slice_is_the_same_to_the_last_bit_whatever_was_in_its_batch(method):
    kspace, mask, num_acs = noise_scan(3, 5, 33, 47)  # where a batch of three has other last bits
    batch = method()(kspace, mask, num_acs)
    alone = [method()(kspace[[row]], mask, num_acs) for row in range(3)]
    assert torch.equal(batch, torch.cat(alone))


@torch.no_grad()
def test_methods_and_their_settings_are_told_apart():
    scan = disc_scan(1, 3, 24, 32, acs_lines=8).measured
    wavelet = [{}, {"threshold": 0.1}, {"iterations": 3}, {"levels": 2}]
    cg_sense = [{}, {"penalty": 1}, {"floor": 1}, {"max_iterations": 2}, {"tolerance": 0.5}]
    methods = [*(WaveletCS(**each) for each in wavelet), *(CGSense(**each) for each in cg_sense)]
    alone = [method(*scan) for method in methods]
    again = [[method(*scan) for method in methods] for _ in range(3)][-1]
    assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))
    pairs = [(a, b) for place, a in enumerate(alone) for b in alone[:place]]
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_maps_that_are_trained_are_not_remembered():
    scan = disc_scan(1, 3, 24, 32, acs_lines=8).measured
    network = build_model("varnet_zero", maps="learned", **SMALL)
    with torch.no_grad():
        for _ in range(3):
            before = network(*scan)
        for parameter in network.sensitivity.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        assert not torch.allclose(network(*scan), before)


def test_what_was_remembered_without_gradients_can_be_trained_on():
    scan = disc_scan(1, 3, 24, 32, acs_lines=8).measured
    network = build_model("varnet_zero", **SMALL)
    for cascade in network.cascades:  # past the zero head, so that all parameters have gradients
        nn.init.normal_(cascade.denoiser.unet.up_conv[-1][-1].weight, std=0.1)
    gradients = []
    for _ in range(4):
        with torch.inference_mode():
            network(*scan)
        network.zero_grad()
        network(*scan).sum().backward()
        gradients.append(
            [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
        )
    assert gradients[0]
    assert all(torch.equal(a, b) for a, b in zip(gradients[0], gradients[-1], strict=True))


def test_gradients_of_the_measurement_go_through():
    kspace, mask, num_acs = disc_scan(1, 3, 24, 32, acs_lines=8).measured
    for _ in range(3):
        leaf = kspace.clone().requires_grad_()
        problem = SenseProblem.calibrate(leaf, mask, num_acs)
        CGSense(max_iterations=2).solve(problem).abs().sum().backward()
        assert leaf.grad is not None and leaf.grad.abs().sum() > 0
