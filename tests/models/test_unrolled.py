import h5py
import pytest
import torch
from fastmri.models import VarNet

from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.paper import Cascade
from fm_unroll.physics import EquispacedSampling, expand, fft2c, ifft2c, reduce, rss
from fm_unroll.physics.fourier import HybridSpace
from simulate import complex_noise, disc_scan
from small_networks import SMALL, SMALL_DECODER, SMALL_OPTIONS, TINY_VIT


def fastmri_pair(**sizes) -> tuple[torch.nn.Module, VarNet]:
    torch.manual_seed(0)
    theirs = VarNet(**sizes).eval()
    for cascade in theirs.cascades:
        torch.nn.init.uniform_(cascade.dc_weight, 0.5, 1.5)
    ours = build_model("varnet", **sizes).eval()
    ours.load_fastmri_state_dict(theirs.state_dict())
    return ours, theirs


def run_fastmri(model: VarNet, kspace: torch.Tensor, mask: torch.Tensor, acs: int) -> torch.Tensor:
    return model(torch.view_as_real(kspace), mask[..., None], acs)


@pytest.mark.parametrize("readout, phase", [(40, 33), (32, 48), (17, 30)])
@torch.no_grad()
def test_varnet_gives_fastmri_images(readout, phase):
    ours, theirs = fastmri_pair(**SMALL)
    scan = disc_scan(readout=readout, phase=phase).measured
    expected = run_fastmri(theirs, *scan)
    assert (ours(*scan) - expected).norm() / expected.norm() < 1e-5


@pytest.mark.slow
@torch.no_grad()
def test_full_varnet_gives_fastmri_images_of_a_real_brain(shared):
    ours, theirs = fastmri_pair(num_cascades=12)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 29_936_966
    with h5py.File(shared / "data/fastmri_brain/multicoil_val/file_brain_vfa_13coil.h5") as file:
        kspace = torch.from_numpy(file["kspace"][:1])
    mask = EquispacedSampling(4, 0.08)(kspace.shape[-1])
    scan = kspace * mask.lines, mask.lines[None, None, None], mask.num_acs
    expected = run_fastmri(theirs, *scan)
    assert (ours(*scan) - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("first", [90, 91])
def test_sensitivities_come_from_the_acs_lines_wherever_they_lie(first):
    """24 of 205 lines, by the challenge's rule and by fastMRI's."""
    mask = torch.zeros(1, 1, 1, 205, dtype=torch.bool)
    mask[..., ::8] = mask[..., first : first + 24] = True
    net = build_model("varnet", num_cascades=1, sens_chans=2, sens_pools=2, chans=2, pools=2)
    seen = []
    net.sensitivity.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(complex_noise(1, 2, 16, 205) * mask, mask, 24)
    signal = fft2c(seen[0]).abs().amax((0, 1, 2))
    assert (signal > 1e-3).nonzero().flatten().tolist() == list(range(first, first + 24))


def test_gradients_equal_those_of_fastmri():
    ours, theirs = fastmri_pair(**SMALL)
    scan = disc_scan().measured
    ours(*scan).square().mean().backward()
    run_fastmri(theirs, *scan).square().mean().backward()
    for (name, mine), reference in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (mine.grad - reference.grad).norm() <= 1e-3 * reference.grad.norm() + 1e-7, name


def test_cascade_is_equation_4_in_kspace():
    kspace, measured, sensitivities = complex_noise(3, 2, 4, 8, 9)
    mask = (torch.arange(9) % 2 == 0)[None, None, None]
    cascade = Cascade(torch.nn.Tanh())
    cascade.step_size.data.fill_(0.7)
    prior = fft2c(expand(torch.tanh(reduce(ifft2c(kspace), sensitivities)), sensitivities))
    expected = kspace - 0.7 * mask * (kspace - measured) - prior
    space = HybridSpace(9)
    result = cascade(space.enter(kspace), space.enter(measured), space.enter_lines(mask), sensitivities)
    torch.testing.assert_close(space.leave(result), expected)


@pytest.mark.parametrize("method", ["varnet", "image_skip_only", TINY_VIT])
@torch.no_grad()
def test_image_scales_with_kspace(method):
    torch.manual_seed(0)
    net = build_model(method, **SMALL_OPTIONS[method]).eval()
    for name, parameter in net.named_parameters():
        if "head" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    kspace, mask, acs = disc_scan().measured
    image = net(kspace, mask, acs)
    for scale in (1e-5, 1e4):
        assert (net(scale * kspace, mask, acs) / scale - image).norm() / image.norm() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("method", [TINY_VIT, "trained_embedding", "image_skip_only", "varnet_zero"])
def test_an_untrained_network_with_zero_head_returns_the_zero_filled_image(method):
    kspace, mask, acs = disc_scan().measured
    image = build_model(method, **SMALL_OPTIONS[method])(kspace, mask, acs)
    torch.testing.assert_close(image, rss(ifft2c(kspace)))


@torch.no_grad()
@pytest.mark.parametrize("method", [TINY_VIT, "trained_embedding", "varnet_zero"])
def test_without_zero_head_it_does_not(method):
    kspace, mask, acs = disc_scan().measured
    image = build_model(method, **SMALL_OPTIONS[method], zero_head=False)(kspace, mask, acs)
    assert (image - rss(ifft2c(kspace))).norm() > 1e-3 * image.norm()


@torch.no_grad()
def test_order_of_coils_does_not_matter():
    net = build_model("varnet", **SMALL).eval()
    kspace, mask, acs = disc_scan().measured
    image = net(kspace, mask, acs)
    assert (net(kspace.flip(1), mask, acs) - image).norm() / image.norm() < 1e-5


@pytest.mark.parametrize("method", ["varnet", "image_skip_only", TINY_VIT])
def test_silence_gives_silence_and_finite_gradients(method):
    net = build_model(method, **SMALL_OPTIONS[method])
    kspace, mask, acs = disc_scan().measured
    kspace = torch.cat([kspace[:1], torch.zeros_like(kspace[:1])])
    image = net(kspace, mask, acs)
    image.square().sum().backward()
    assert image[1].eq(0).all() and image[0].isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("method", ["varnet", TINY_VIT])
@pytest.mark.parametrize("checkpoint_cascades", ["all", 2])
def test_checkpointed_cascades_have_the_same_gradients(method, checkpoint_cascades):
    kspace, mask, acs = disc_scan().measured
    gradients = []
    for setting in ("none", checkpoint_cascades):
        torch.manual_seed(0)
        net = build_model(method, **SMALL_OPTIONS[method], checkpoint_cascades=setting)
        net(kspace, mask, acs).square().sum().backward()
        gradients.append([p.grad for p in net.parameters() if p.requires_grad])
    assert all(torch.equal(ours, plain) for ours, plain in zip(*gradients, strict=True))


def test_checkpoint_cascades_out_of_range_is_refused():
    with pytest.raises(InputError, match="checkpoint_cascades is -1"):
        build_model("varnet", **SMALL, checkpoint_cascades=-1)


def test_one_coil_is_enough():
    kspace, mask, acs = disc_scan(coils=1).measured
    assert build_model("varnet", **SMALL)(kspace, mask, acs).isfinite().all()


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda k, m, n: (torch.view_as_real(k), m, n), r"complex64 \(batch, coil, readout, phase\)"),
        (lambda k, m, n: (k.to(torch.complex128), m, n), "not complex128"),
        (lambda k, m, n: (k, m.float(), n), "mask must be bool"),
        (lambda k, m, n: (k, m.transpose(-1, -2), n), "mask must be bool"),
        (lambda k, m, n: (k, m, 0), "need 1 to 45 ACS lines"),
        (lambda k, m, n: (k, m, 46), "need 1 to 45 ACS lines"),
    ],
)
def test_wrong_input_is_refused(spoil, words):
    with pytest.raises(InputError, match=words):
        build_model("varnet", **SMALL)(*spoil(*disc_scan().measured))


def test_foreign_weights_are_refused():
    with pytest.raises(InputError, match="this num_cascades, chans and pools"):
        build_model("varnet", **SMALL).load_fastmri_state_dict(VarNet(num_cascades=2).state_dict())
    with pytest.raises(InputError, match="method varnet only"):
        build_model("image_skip_only", **SMALL_DECODER).load_fastmri_state_dict({})
