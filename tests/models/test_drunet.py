"""The denoiser that is told noise and acceleration: homogeneous, of any size, informed by its physics."""

import pytest
import torch
from torch import nn

from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.anchored import AnchoredCascade
from fm_unroll.models.classical.sense import SenseProblem
from fm_unroll.models.denoisers.drunet import DRUNet
from fm_unroll.models.measurement import describe
from simulate import complex_noise, disc_scan

FACTS = torch.tensor([[0.02, 4.0]])


@pytest.fixture
def trained() -> DRUNet:
    """Widths of three scales, and a tail that is no longer zero."""
    torch.manual_seed(0)
    denoiser = DRUNet((4, 6, 8))
    nn.init.normal_(denoiser.tail.weight, std=0.1)
    return denoiser


@torch.no_grad()
def test_it_is_homogeneous_in_image_and_noise(trained):
    image, residual = complex_noise(2, 12, 16)[:, None]
    once, brighter = trained(image, residual, FACTS), FACTS * torch.tensor([3.0, 1.0])
    torch.testing.assert_close(trained(3 * image, 3 * residual, brighter), 3 * once)
    torch.testing.assert_close(trained(3 * image), 3 * trained(image))
    for other in ((image, 3 * residual, brighter), (3 * image, residual, brighter), (image, residual, FACTS)):
        assert not torch.allclose(trained(*other), 3 * once)


@torch.no_grad()
def test_it_hears_both_facts_slice_by_slice(trained):
    image = complex_noise(1, 12, 16).expand(3, -1, -1)
    outputs = trained(image, None, torch.tensor([[0.02, 4.0], [0.1, 4.0], [0.02, 8.0]]))
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(outputs[first], outputs[second])
    torch.testing.assert_close(outputs[:1], trained(image[:1], None, FACTS))
    # nothing known is no contradiction, no noise, every line
    nothing = torch.zeros_like(image[:1]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(trained(image[:1]), trained(image[:1], *nothing))


@pytest.mark.parametrize("rows, columns", [(12, 16), (13, 7), (3, 5), (1, 1)])
@torch.no_grad()
def test_any_matrix_and_its_place(rows, columns, trained):
    """Padding lies below and to the right: the output stays where it was, whatever the size."""
    image = complex_noise(1, rows, columns)
    assert trained(image).shape == image.shape
    multiple = torch.nn.functional.pad(
        torch.view_as_real(image).movedim(-1, 1), (0, -columns % 4, 0, -rows % 4), mode="replicate"
    )
    larger = trained(torch.complex(multiple[:, 0], multiple[:, 1]))
    torch.testing.assert_close(trained(image), larger[:, :rows, :columns])


@torch.no_grad()
def test_fine_features_reach_the_output_past_the_coarse_scales(trained):
    for up in trained.up:
        up.weight.zero_()
    image = complex_noise(1, 12, 16)
    channels = torch.stack([image.real, image.imag, *4 * [torch.zeros_like(image.real)]], dim=1)
    real, imaginary = trained.tail(trained.merged[0](trained.finer[0](trained.head(channels)))).unbind(1)
    torch.testing.assert_close(trained(image), torch.complex(real, imaginary))


@torch.no_grad()
def test_it_sees_as_far_as_its_scales_reach():
    """A change in one corner reaches the other only through the coarse scales."""
    image = complex_noise(1, 32, 32)
    changed = image.clone()
    changed[0, 0, 0] += 1
    for widths, far in (((4,), False), ((4, 4, 4, 4), True)):
        torch.manual_seed(0)
        denoiser = DRUNet(widths)
        nn.init.normal_(denoiser.tail.weight, std=0.1)
        difference = (denoiser(changed) - denoiser(image)).abs()[0]
        assert bool(difference[20:, 20:].max() > 0) is far


class Told(nn.Module):
    """Keeps what it is told."""

    takes_measurement = True

    def forward(self, image, residual, facts):
        self.image, self.residual, self.facts = image, residual, facts
        return torch.zeros_like(image)


@torch.no_grad()
def test_the_anchored_physics_tells_residual_noise_level_and_acceleration():
    problem = SenseProblem.calibrate(*disc_scan(1, 4, 24, 32, acs_lines=8).measured)
    told = Told()
    image = 0.5 * problem.adjoint()
    AnchoredCascade(told, 1)(image, problem, describe(problem))
    assert torch.equal(told.image, image)
    torch.testing.assert_close(told.residual, problem.adjoint() - problem.normal(image))
    noise, acceleration = told.facts[0].tolist()
    assert noise == problem.noise.item()
    assert acceleration == pytest.approx(31 / int(problem.lines.sum()))  # lines 0 to 30


def test_the_paper_s_physics_tells_nothing():
    network = build_model("drunet", num_cascades=1, sens_chans=2, sens_pools=1, widths=(4, 4))
    nn.init.normal_(network.cascades[0].denoiser.tail.weight, std=0.1)
    measured = disc_scan(1, 4, 24, 32, acs_lines=8).measured
    network(*measured).sum().backward()
    gradient = network.cascades[0].denoiser.head.weight.grad
    assert gradient[:, :2].abs().sum() > 0 and gradient[:, 2:].abs().sum() == 0


@pytest.mark.parametrize("widths", [(), (4, 0)])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(InputError, match="give positive numbers, one for each scale"):
        DRUNet(widths)
