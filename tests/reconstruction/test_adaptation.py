"""Adaptation to one scan against what it must be by construction."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp
from torch import Tensor, nn

from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.undersampling import undersample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.classical import CGSense
from fm_unroll.models.classical.memory import known_maps
from fm_unroll.models.self_supervision import HELD_OUT, free_parameters, leave_out, relative_errors
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.physics import EquispacedSampling, fft2c, ifft2c, rss
from fm_unroll.reconstruction.adaptation import (
    Adaptation,
    Look,
    Outcome,
    adapted,
    by_cg_sense,
    require_lines,
    spread,
)
from fm_unroll.reconstruction.engine import reconstruct
from simulate import complex_noise, disc_scan
from small_networks import TINY_VIT, with_espirit

VARNET = {"method": "varnet", "num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}
ANCHORED = {**with_espirit(VARNET), "physics": "anchored", "zero_head": True, "start": "cg_sense"}
PRIOR = {"pretrained": False, "blocks": (1, 2), "decoder_widths": (2, 2, 2, 2), "encoder_image_size": 32}
ENCODER = {**PRIOR, "method": TINY_VIT, "num_cascades": 1, "sens_chans": 2, "sens_pools": 1}
MIXED = {**VARNET, **PRIOR, "method": "mixed", "prior": TINY_VIT}
SAMPLING = EquispacedSampling(2, 0.1)  # 4 ACS lines and 14 others of 40
DISC_SAMPLING = EquispacedSampling(2, 0.2)  # 10 ACS lines and 14 others of 48


def wrong_network(options: dict) -> UnrolledNetwork:
    """A network whose weights are so far from any that make sense that no disc is fitted by it."""
    torch.manual_seed(0)
    network = build_model(**options).eval()
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return network


def disc_batch() -> KSpaceBatch:
    """A fully sampled slice of a disc, as three coils see it."""
    scan = disc_scan(batch=1, coils=3, readout=32, phase=48)
    return full_batch(fft2c(scan.image * scan.maps))


def full_batch(kspace: Tensor, name: str = "v.h5") -> KSpaceBatch:
    """A fully sampled slice."""
    volume = Volume.of_array(Path(name), (1, 1, *kspace.shape))
    return KSpaceBatch.collate([KSpaceSample(kspace, None, volume, 0, frame=0)])


@pytest.fixture
def full() -> KSpaceBatch:
    return full_batch(complex_noise(3, 32, 40, seed=0))


class Scaled(nn.Module):
    """Knows the scan but for its scale: what it predicts is a function of the scale times the truth.

    Of a scan of mere noise CG-SENSE predicts nothing; a network that is wrong by more does not fit it.
    """

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
    network = Scaled(full.kspace, 4.0)
    with adapted(network, [undersample(full, SAMPLING)], Adaptation(steps=20, learning_rate=0.01)) as outcome:
        assert network.scale == pytest.approx(3.8, abs=0.01)  # steps of Adam have the length of its rate
        assert outcome.chosen == 20 and "adapted by 20 steps" in str(outcome)
        assert outcome.error(0) == pytest.approx(3.0, abs=1e-4)
        assert outcome.error(20) == pytest.approx(2.8, abs=0.01)
    assert network.scale == 4.0 and network.cascades[0].weight.grad is None


class Watched(Scaled):
    """Keeps, of every step, the slice, the lines that it was given and those that its error counted at."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__(truth, 8.0)
        self.steps: list[tuple[float, Tensor, Tensor]] = []
        self.looked: list[Tensor] = []

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        prediction = self.truth * self.cascades[0].weight[0, 0]
        if not torch.is_grad_enabled():
            self.looked.append(mask.flatten())
            return ifft2c(prediction)
        assert self.cascades[0].weight.grad is None, "what is left of the step before"
        scale = (kspace / self.truth).abs().max().item()

        def keep(gradient: Tensor) -> None:
            by_line = gradient.abs().amax((0, 1, 2))  # beyond rounding of the transforms
            self.steps.append((round(scale), mask.flatten(), by_line > 1e-3 * by_line.max()))

        prediction.register_hook(keep)
        return ifft2c(prediction)


def test_lines_held_out_are_never_learned_from_and_all_slices_are(full):
    batch = undersample(full, SAMPLING)
    network = Watched(full.kspace)
    slices = [batch, replace(batch, kspace=2 * batch.kspace)]
    with adapted(network, slices, Adaptation(steps=3, look_every=2)) as outcome:
        assert list(outcome.looks) == [0, 2, 3]  # the last step, too
    (learned,) = {tuple(mask.tolist()) for mask in network.looked}
    held_out = batch.mask.flatten() & ~torch.tensor(learned)
    assert held_out.sum() == 3  # a fifth of 14 lines
    assert {scale for scale, _, _ in network.steps} == {1, 2} and len(network.steps) == 3
    for _, given, predicted in network.steps:
        assert predicted.any() and not (given & predicted).any()
        assert not ((given | predicted) & held_out).any()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_network_that_fits_the_scan_stays_as_it_is(full, scale):
    """Though it could come nearer: it predicts better than CG-SENSE, and no step is taken."""
    network, batch = Scaled(full.kspace, scale), undersample(full, SAMPLING)
    with adapted(network, [batch], Adaptation(learning_rate=0.01)) as outcome:
        assert outcome.chosen == 0 and list(outcome.looks) == [0] and network.scale == scale
        assert "not adapted" in str(outcome) and "fits the scan" in str(outcome)


def test_the_error_of_cg_sense_is_that_of_its_image_and_maps(full):
    """A scan of one object, by the image of the verb and the maps that CG-SENSE was given."""
    batch = undersample(disc_batch(), DISC_SAMPLING)
    learned, held_out = leave_out(batch.mask, batch.num_acs, HELD_OUT, torch.Generator().manual_seed(0))
    given = torch.where(learned, batch.kspace, 0)
    with adapted(Scaled(batch.kspace, 4.0), [batch], Adaptation(steps=1)) as outcome:
        found = outcome.without_training
    prediction = by_cg_sense(batch.kspace, learned, batch.num_acs)
    image = CGSense()(given, learned, batch.num_acs)
    torch.testing.assert_close(rss(ifft2c(prediction)), image, rtol=1e-4, atol=1e-5 * image.max().item())
    torch.testing.assert_close(
        prediction[..., learned.flatten()], given[..., learned.flatten()], rtol=1e-4, atol=1e-4
    )
    assert torch.equal(found.together, relative_errors(prediction, batch.kspace, held_out)[0])
    assert found.loss < 0.9


def test_a_network_that_diverges_keeps_what_it_had_and_says_so(full):
    """It gets better until its scale reaches 3.9, below which there is nothing but NaN."""
    network = Scaled(full.kspace, 4.0, lambda scale: scale + 0 * (scale - 3.895).sqrt())
    settings = Adaptation(steps=40, learning_rate=0.01, look_every=2)
    with adapted(network, [undersample(full, SAMPLING)], settings) as outcome:
        assert outcome.chosen == 10 and network.scale == pytest.approx(3.9, abs=0.01)
        assert "diverged before step 12" in str(outcome)
    assert network.scale == 4.0
    at_once = Adaptation(steps=4, learning_rate=1.0)
    with adapted(network, [undersample(full, SAMPLING)], at_once) as outcome:
        assert outcome.chosen == 0 and network.scale == 4.0
        assert "not adapted" in str(outcome) and "diverged" in str(outcome)


@pytest.mark.parametrize(
    "options", [VARNET, ANCHORED, ENCODER, MIXED], ids=["paper", "anchored", "encoder", "mixed"]
)
def test_what_was_not_measured_is_never_looked_at_and_volumes_do_not_meet(options):
    """The same bits whatever the other lines hold, and whatever was adapted to before."""
    network, full = wrong_network(options), disc_batch()
    batch = undersample(full, DISC_SAMPLING)
    other = replace(full, kspace=torch.where(batch.mask, full.kspace, 9 * full.kspace.flip(-1)))
    settings = Adaptation(steps=2, look_every=1, learning_rate=1e-3)

    def image(full: KSpaceBatch) -> tuple[Tensor, list[Look]]:
        with adapted(network, [undersample(full, DISC_SAMPLING)], settings) as outcome:
            assert not outcome.fits and list(outcome.looks) == [0, 1, 2]
            return reconstruct(network, batch), list(outcome.looks.values())

    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kept = vars(known_maps).copy()
    first, looks = image(full)
    image(full_batch(full.kspace[0].flip(-2)))
    again, looks_again = image(other)
    assert torch.equal(first, again)
    for one, other_one in zip(looks, looks_again, strict=True):
        assert torch.equal(one.by_line, other_one.by_line) and torch.equal(one.together, other_one.together)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert vars(known_maps) == kept


def looks(*lines: list[float], together: Sequence[float] | None = None) -> tuple[dict[int, Look], Look]:
    """Looks at lines of which L1 and L2 error are the same, and one that is worse than all."""
    whole = [sum(errors) / len(errors) for errors in lines] if together is None else together
    found = {
        step: Look(torch.tensor([errors, errors]), torch.tensor([mean, mean]))
        for step, (errors, mean) in enumerate(zip(lines, whole, strict=True))
    }
    return found, Look(torch.ones(2, len(lines[0])), torch.ones(2))


def test_only_what_is_better_beyond_chance_is_chosen():
    start = [0.5, 0.6, 0.7, 0.8]
    alike = [0.48, 0.58, 0.69, 0.78]  # gains 0.02, 0.02, 0.01, 0.02: 7 standard errors
    one_line = [0.3, 0.61, 0.7, 0.8]  # gains 0.2, -0.01, 0, 0: less than one standard error
    assert Outcome(*looks(start, alike)).judge(1)
    outcome = Outcome(*looks(start, one_line))
    assert not outcome.judge(1) and outcome.chosen == 0 and not outcome.ending
    # better on most lines, and worse where most of the signal is, by one of the errors or by both
    assert not Outcome(*looks(start, alike, together=[0.5, 0.51])).judge(1)
    one_error, worse = looks(start, alike)
    one_error[1] = one_error[1]._replace(together=one_error[0].together + torch.tensor([-0.1, 0.1]))
    assert not Outcome(one_error, worse).judge(1)
    # against the one chosen last, not against the first
    outcome = Outcome(*looks(start, alike, alike, alike, alike))
    assert [outcome.judge(step) for step in (1, 2, 3, 4)] == [True, False, False, False]
    assert outcome.chosen == 1 and outcome.ending == "ended at step 4, nothing better since"


def test_a_network_that_came_to_predict_nothing_is_not_better():
    """Zeros are as wrong as zeros: an error of 1, which is less than that of a network that does not fit."""
    collapsed = Outcome(*looks([1.3, 1.4, 1.5, 1.4], [1.0, 1.0, 1.0, 1.0]))
    assert not collapsed.judge(1) and collapsed.chosen == 0
    assert collapsed.ending == "by step 1 it predicts nothing any more: lower the learning rate"
    assert Outcome(*looks([1.3, 1.4, 1.5, 1.4], [1.2, 1.3, 1.4, 1.3])).judge(1)


def test_chance_is_what_a_t_test_of_either_error_takes_for_it():
    random, found = np.random.default_rng(0), set()
    for _ in range(200):
        gains = random.normal(1, 1, (2, 3)).astype(np.float32)  # of three lines
        former = Look(torch.zeros(2, 3), torch.ones(2))
        latest = Look(-torch.from_numpy(gains), torch.zeros(2))
        sure = ttest_1samp(gains, 0, axis=1, alternative="greater").pvalue < 0.1
        assert Outcome({0: former, 1: latest}, former).judge(1) == sure.all()
        found.add(tuple(sure.tolist()))
    assert len(found) == 4


def test_slices_are_spread_over_the_volume():
    volume = Volume.of_array(Path("v.h5"), (1, 13, 1, 4, 8))
    scan = [KSpaceSample(complex_noise(1, 4, 8), None, volume, number, frame=0) for number in range(13)]
    chosen = [batch.slice[0] for batch in spread(scan, EquispacedSampling(2, 0.2), torch.device("cpu"))]
    assert chosen == [1, 4, 8, 11]  # the middle of each quarter
    assert len(spread(scan[:2], EquispacedSampling(2, 0.2), torch.device("cpu"))) == 2


def test_an_error_leaves_the_network_as_it_was(full):
    network = Scaled(full.kspace, 4.0)
    with (
        pytest.raises(KeyboardInterrupt),
        adapted(network, [undersample(full, SAMPLING)], Adaptation(steps=5, learning_rate=0.01)),
    ):
        assert network.scale != 4.0
        raise KeyboardInterrupt
    assert network.scale == 4.0


@pytest.mark.parametrize(
    ("options", "free", "parts"),
    [
        (ENCODER, "all", ["denoiser", "sensitivity", "step"]),
        (ENCODER, "decoder", ["denoiser"]),
        (ENCODER, "step_sizes_and_gates", ["step"]),
        (MIXED, "all", ["unet", "gate", "sensitivity", "step"]),
        (MIXED, "decoder", ["unet"]),
        (MIXED, "step_sizes_and_gates", ["gate", "step"]),
    ],
)
def test_an_interruption_leaves_nothing_half(options, free, parts):
    """Between a step and the look at it; until then exactly what was set free had changed."""
    # the first cascade begins with what was measured: its step size changes nothing
    network = wrong_network({**options, "num_cascades": 2})
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kept, calls, changed = vars(known_maps).copy(), [], set()
    coil_images = network.coil_images

    def interrupted(*args):
        calls.append(torch.is_grad_enabled())
        if len(calls) == 3:
            changed.update(name for name, t in network.state_dict().items() if not t.equal(before[name]))
            raise KeyboardInterrupt
        return coil_images(*args)

    network.coil_images = interrupted
    batch = undersample(disc_batch(), DISC_SAMPLING)
    with pytest.raises(KeyboardInterrupt), adapted(network, [batch], Adaptation(free, look_every=1)):
        pass
    assert calls == [False, True, False]  # the first look, a step, the look at it
    assert {part for part in parts if any(part in name for name in changed)} == set(parts)
    assert changed <= {name for name, _ in free_parameters(network, free)}
    assert not any(".encoder." in name for name in changed)
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert vars(known_maps) == kept and torch.is_grad_enabled()


def test_what_cannot_be_adapted_is_refused(full):
    network = Scaled(full.kspace, 0.5)
    few = undersample(full, EquispacedSampling(4, 0.1))  # 4 ACS lines and 6 others
    with pytest.raises(InputError, match="alone takes 8"), adapted(network, [few], Adaptation()):
        pass
    mask = torch.ones(12, dtype=torch.bool)
    require_lines(mask, 4, "v.h5")
    with pytest.raises(InputError, match=r"v\.h5: 7 lines were measured besides 5 ACS lines"):
        require_lines(mask, 5, "v.h5")
    with (
        pytest.raises(InputError, match="no parameters of the kind decoder"),
        adapted(network, [undersample(full, SAMPLING)], Adaptation(free="decoder")),
    ):
        pass
    with pytest.raises(InputError, match=r"adapt\.steps is 0"):
        Adaptation(steps=0)
