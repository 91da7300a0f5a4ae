"""Adaptation to one scan against what it must be by construction."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.undersampling import undersample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.classical.memory import known_maps
from fm_unroll.physics import EquispacedSampling, ifft2c
from fm_unroll.reconstruction.adaptation import Adaptation, Look, Outcome, adapted
from fm_unroll.reconstruction.engine import reconstruct
from simulate import complex_noise

VARNET = {"method": "varnet", "num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}
SAMPLING = EquispacedSampling(2, 0.1)  # 4 ACS lines and 14 others of 40


def full_batch(kspace: Tensor, name: str = "v.h5") -> KSpaceBatch:
    """A fully sampled slice."""
    volume = Volume.of_array(Path(name), (1, 1, *kspace.shape))
    return KSpaceBatch.collate([KSpaceSample(kspace, None, volume, 0, frame=0)])


@pytest.fixture
def full() -> KSpaceBatch:
    return full_batch(complex_noise(3, 32, 40, seed=0))


class Scaled(nn.Module):
    """Knows the scan but for its scale: what it predicts is a function of the scale times the truth."""

    def __init__(self, truth: Tensor, scale: float, function: Callable[[Tensor], Tensor] = torch.abs) -> None:
        super().__init__()
        self.cascades = nn.ModuleList([nn.Linear(1, 1, bias=False)])
        self.cascades[0].weight.data.fill_(scale)
        self.truth, self.function = truth, function

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return ifft2c(self.truth * self.function(self.cascades[0].weight[0, 0]))

    @property
    def scale(self) -> float:
        return self.cascades[0].weight.item()


def test_a_network_comes_nearer_to_the_scan_and_is_then_again_what_it_was(full):
    network = Scaled(full.kspace, 0.5)
    with adapted(network, [undersample(full, SAMPLING)], Adaptation(steps=20, learning_rate=0.01)) as outcome:
        assert network.scale == pytest.approx(0.7, abs=0.01)  # steps of Adam have the length of its rate
        assert outcome.chosen == 20 and "adapted by 20 steps" in str(outcome)
        assert outcome.error(0) == pytest.approx(0.5, abs=1e-4)
        assert outcome.error(20) == pytest.approx(0.3, abs=0.01)
    assert network.scale == 0.5 and network.cascades[0].weight.grad is None


def test_a_network_that_is_right_stays_as_it_is(full):
    network = Scaled(full.kspace, 1.0)
    with adapted(network, [undersample(full, SAMPLING)], Adaptation(learning_rate=0.01)) as outcome:
        assert outcome.chosen == 0 and network.scale == 1.0
        assert "not adapted" in str(outcome)


def test_a_network_that_diverges_keeps_what_it_had_and_says_so(full):
    """It gets better until its scale reaches 0.6, beyond which there is nothing but NaN."""
    network = Scaled(full.kspace, 0.5, lambda scale: scale + 0 * (0.605 - scale).sqrt())
    settings = Adaptation(steps=40, learning_rate=0.01, look_every=2)
    with adapted(network, [undersample(full, SAMPLING)], settings) as outcome:
        assert outcome.chosen == 10 and network.scale == pytest.approx(0.6, abs=0.01)
        assert "diverged before step 12" in str(outcome)
    assert network.scale == 0.5
    at_once = Adaptation(steps=4, learning_rate=1.0)
    with adapted(network, [undersample(full, SAMPLING)], at_once) as outcome:
        assert outcome.chosen == 0 and network.scale == 0.5
        assert "not adapted" in str(outcome) and "diverged" in str(outcome)


@pytest.mark.parametrize("physics", ["paper", "anchored"])
def test_what_was_not_measured_is_never_looked_at_and_volumes_do_not_meet(full, physics):
    """The same bits whatever the other lines hold, and whatever was adapted to before."""
    torch.manual_seed(0)
    options = {"zero_head": True, "start": "cg_sense"} if physics == "anchored" else {}
    network = build_model(**VARNET, physics=physics, **options).eval()
    batch = undersample(full, SAMPLING)
    other = replace(full, kspace=torch.where(batch.mask, full.kspace, 9 * full.kspace.flip(-1)))
    settings = Adaptation(steps=2, look_every=1, learning_rate=1e-3)

    def image(full: KSpaceBatch) -> tuple[Tensor, list[Look]]:
        with adapted(network, [undersample(full, SAMPLING)], settings) as outcome:
            return reconstruct(network, batch), list(outcome.looks.values())

    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kept = vars(known_maps).copy()
    first, looks = image(full)
    image(full_batch(complex_noise(3, 32, 40, seed=5)))
    again, looks_again = image(other)
    assert torch.equal(first, again)
    for one, other_one in zip(looks, looks_again, strict=True):
        assert torch.equal(one.by_line, other_one.by_line) and torch.equal(one.together, other_one.together)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert vars(known_maps) == kept


def looks(*lines: list[float], together: Sequence[float] | None = None) -> dict[int, Look]:
    """Looks at lines of which L1 and L2 error are the same."""
    whole = [sum(errors) / len(errors) for errors in lines] if together is None else together
    return {
        step: Look(torch.tensor([errors, errors]), torch.tensor([mean, mean]))
        for step, (errors, mean) in enumerate(zip(lines, whole, strict=True))
    }


def test_only_what_is_better_beyond_chance_is_chosen():
    start = [0.5, 0.6, 0.7, 0.8]
    alike = [0.48, 0.58, 0.69, 0.78]  # gains 0.02, 0.02, 0.01, 0.02: 7 standard errors
    one_line = [0.3, 0.61, 0.7, 0.8]  # gains 0.2, -0.01, 0, 0: less than one standard error
    assert Outcome(looks(start, alike)).judge(1)
    outcome = Outcome(looks(start, one_line))
    assert not outcome.judge(1) and outcome.chosen == 0 and not outcome.ending
    # better on most lines, and worse where most of the signal is
    assert not Outcome(looks(start, alike, together=[0.5, 0.51])).judge(1)
    # against the one chosen last, not against the first
    outcome = Outcome(looks(start, alike, alike, alike, alike))
    assert [outcome.judge(step) for step in (1, 2, 3, 4)] == [True, False, False, False]
    assert outcome.chosen == 1 and outcome.ending == "ended at step 4, nothing better since"


def test_an_error_leaves_the_network_as_it_was(full):
    network = Scaled(full.kspace, 0.5)
    with (
        pytest.raises(KeyboardInterrupt),
        adapted(network, [undersample(full, SAMPLING)], Adaptation(steps=5, learning_rate=0.01)),
    ):
        assert network.scale != 0.5
        raise KeyboardInterrupt
    assert network.scale == 0.5


def test_what_cannot_be_adapted_is_refused(full):
    network = Scaled(full.kspace, 0.5)
    few = undersample(full, EquispacedSampling(4, 0.1))  # 4 ACS lines and 6 others
    with pytest.raises(InputError, match="alone takes 8"), adapted(network, [few], Adaptation()):
        pass
    with (
        pytest.raises(InputError, match="no parameters of the kind decoder"),
        adapted(network, [undersample(full, SAMPLING)], Adaptation(free="decoder")),
    ):
        pass
    with pytest.raises(InputError, match=r"adapt\.steps is 0"):
        Adaptation(steps=0)
