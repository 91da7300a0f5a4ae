"""Learning from measured lines alone, against what it must be by construction."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fm_unroll.models import build_model
from fm_unroll.models.self_supervision import (
    free_parameters,
    kspace_loss,
    leave_out,
    predict_kspace,
    relative_errors,
)
from fm_unroll.physics import EquispacedSampling, RandomSampling, ifft2c
from simulate import complex_noise
from small_networks import SMALL_OPTIONS, TINY_VIT, with_espirit

LINES = torch.tensor([1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 1], dtype=torch.bool)[None, None, None]  # 4 ACS lines
VARNET = {"num_cascades": 2, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}


@given(
    lines=st.integers(16, 80),
    acceleration=st.sampled_from([2, 4]),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 999),
)
def test_every_measured_line_is_in_one_of_two_sets_and_acs_lines_in_the_first(
    lines: int, acceleration: int, share: float, seed: int
):
    sampled = RandomSampling(acceleration, 0.1)(lines, seed)
    mask = torch.as_tensor(sampled.lines)[None, None, None]
    stay, out = leave_out(mask, sampled.num_acs, share, torch.Generator().manual_seed(seed))
    assert torch.equal(stay | out, mask) and not (stay & out).any()
    first = (lines - sampled.num_acs + 1) // 2
    assert stay[..., first : first + sampled.num_acs].all()
    others = int(mask.sum()) - sampled.num_acs
    assert int(out.sum()) == min(others, max(1, int(np.round(np.float32(share) * np.float32(others)))))


def test_lines_are_drawn_alike_by_one_seed_each_as_often_and_of_each_mask_anew():
    mask = LINES.expand(4000, 1, 1, -1)
    first, again = (leave_out(mask, 4, 0.5, torch.Generator().manual_seed(1))[1] for _ in range(2))
    assert torch.equal(first, again)
    frequency = first.float().mean(0).flatten()
    expected = torch.where(LINES.flatten(), 0.5, 0.0).index_fill(0, torch.arange(4, 8), 0)
    assert torch.equal(frequency > 0, expected > 0)
    torch.testing.assert_close(frequency, expected, atol=0.03, rtol=0)


def test_the_loss_is_half_of_either_relative_error_by_numpy():
    kspace, prediction = (complex_noise(2, 3, 16, 12, seed=seed) for seed in (0, 1))
    lines = torch.zeros(1, 1, 1, 12, dtype=torch.bool)
    lines[..., [2, 9]] = True
    found = kspace_loss(prediction, kspace, lines)
    by_line = relative_errors(prediction, kspace, lines, each_line=True)
    assert by_line.shape == (2, 2, 12)
    for row in range(2):
        y, v = kspace[row].numpy()[..., [2, 9]], prediction[row].numpy()[..., [2, 9]]

        error, size = np.abs(v - y), np.abs(y)
        one, two = error.sum() / size.sum(), np.sqrt((error**2).sum() / (size**2).sum())
        assert found[row].item() == pytest.approx((one + two) / 2, rel=1e-5)
        error, size = error[..., 1], size[..., 1]
        own = [error.sum() / size.sum(), np.sqrt((error**2).sum() / (size**2).sum())]
        assert by_line[row, :, 9].tolist() == pytest.approx(own, rel=1e-5)
        assert by_line[row, :, [0, 1, 3]].abs().max() == 0


def test_a_consistent_prediction_has_loss_0_and_what_was_not_measured_does_not_count():
    kspace = complex_noise(2, 3, 16, 12, seed=0)
    prediction = torch.where(LINES, kspace, 5).requires_grad_()
    loss = kspace_loss(prediction, torch.where(LINES, kspace, 0), LINES)
    assert loss.tolist() == [0, 0]
    loss.sum().backward()
    assert prediction.grad is not None and prediction.grad.isfinite().all()
    # a readout that was cut short, as by partial Fourier, is filled with zeros
    partial = kspace.clone()
    partial[..., :4, :] = 0
    assert kspace_loss(kspace, partial, LINES).tolist() == [0, 0]
    assert kspace_loss(kspace, torch.zeros_like(kspace), LINES).tolist() == [0, 0]
    assert relative_errors(kspace, torch.zeros_like(kspace), LINES, True).abs().max() == 0


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter(scale: float):
    kspace, prediction = (complex_noise(2, 3, 16, 12, seed=seed) for seed in (0, 1))
    for each_line in (False, True):
        found = relative_errors(scale * prediction, scale * kspace, LINES, each_line)
        torch.testing.assert_close(found, relative_errors(prediction, kspace, LINES, each_line))


class Remembers(nn.Module):
    """A network that says what it was given."""

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        self.given = kspace, mask, num_acs
        return ifft2c(kspace)


def test_a_network_is_never_given_the_lines_that_it_is_to_predict():
    network, kspace = Remembers(), complex_noise(2, 3, 16, 12, seed=0) * LINES
    stay, out = leave_out(LINES, 4, 0.4, torch.Generator().manual_seed(3))
    prediction = predict_kspace(network, kspace, stay, 4)
    seen, mask, num_acs = network.given
    assert torch.equal(mask, stay) and num_acs == 4
    assert seen[..., out.flatten()].abs().max() == 0
    torch.testing.assert_close(prediction, kspace * stay)


@pytest.mark.parametrize("physics", ["paper", "anchored"])
def test_what_is_predicted_does_not_depend_on_the_lines_left_out(physics: str):
    """The loss has a gradient by all that is trained, and no way to the answer."""
    torch.manual_seed(0)
    options = {**with_espirit(VARNET), "zero_head": True} if physics == "anchored" else VARNET
    network = build_model("varnet", physics=physics, **options).eval()
    mask = torch.as_tensor(EquispacedSampling(2, 0.2)(32, 0).lines)[None, None, None]
    kspace = complex_noise(1, 3, 32, 32, seed=0) * mask
    stay, out = leave_out(mask, 6, 0.4, torch.Generator().manual_seed(0))
    prediction = predict_kspace(network, kspace, stay, 6)
    changed = torch.where(out, 7 * kspace, kspace)
    assert torch.equal(predict_kspace(network, changed, stay, 6), prediction)
    kspace_loss(prediction, kspace, out).sum().backward()
    gradients = [parameter.grad for parameter in network.cascades.parameters()]
    assert any(g is not None and g.abs().max() > 0 for g in gradients)


def test_which_parameters_are_free():
    def free(method: str, kind: str, physics: str = "paper", **options: object) -> set[str]:
        small = SMALL_OPTIONS[method] if physics == "paper" else with_espirit(SMALL_OPTIONS[method])
        network = build_model(method, physics=physics, **small, **options)
        return {name for name, _ in free_parameters(network, kind)}

    network = build_model(TINY_VIT, **SMALL_OPTIONS[TINY_VIT])
    everything = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert free(TINY_VIT, "all") == everything
    assert not any(".encoder." in name for name in everything)
    steps = {f"cascades.{number}.step_size" for number in range(3)}
    assert free(TINY_VIT, "step_sizes_and_gates") == steps
    decoder = free(TINY_VIT, "decoder")
    assert decoder == {name for name in everything if name.startswith("cascades.")} - steps
    assert "cascades.0.denoiser.head.weight" in decoder
    anchored = free("drunet", "step_sizes_and_gates", "anchored")
    assert anchored == {f"cascades.{n}.{name}" for n in range(3) for name in ("pulls", "log_strengths")}
    assert free("varnet", "all") > free("varnet", "decoder") | free("varnet", "step_sizes_and_gates")


def test_gates_of_mixed_denoisers_are_free_with_the_step_sizes():
    both = SMALL_OPTIONS["varnet"] | SMALL_OPTIONS[TINY_VIT] | {"prior": TINY_VIT}
    network = build_model("mixed", **both)
    gates = {name for name, _ in free_parameters(network, "step_sizes_and_gates")}
    assert {"cascades.0.denoiser.gate.0.weight", "cascades.2.step_size"} <= gates
    assert not {name for name, _ in free_parameters(network, "decoder")} & gates
    assert not any(".unet." in name or ".prior." in name for name in gates)
