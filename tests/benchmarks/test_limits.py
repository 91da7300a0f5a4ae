"""The work of a step is counted, and a card is known by its name."""

import pytest
import torch
from torch import nn

from fm_unroll_benchmarks.limits import CARDS, Card, Work, card_of, operations_of


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


@pytest.mark.parametrize(
    "name, known",
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("Some Other Card", None),
    ],
)
def test_a_card_is_known_by_its_name(monkeypatch, name: str, known: str | None):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert card_of(torch.device("cuda")) == (CARDS[known] if known else None)
    assert card_of(torch.device("cpu")) is None


def test_a_bound_is_the_larger_of_arithmetic_and_traffic():
    card = Card(bfloat16=100, bandwidth=10)
    assert Work(operations=500, traffic=20).bound(card) == 5
    assert Work(operations=50, traffic=20).bound(card) == 2


def test_operations_of_a_call_are_those_of_its_products():
    assert operations_of(lambda: torch.ones(2, 3) @ torch.ones(3, 5)) == 2 * 2 * 3 * 5
