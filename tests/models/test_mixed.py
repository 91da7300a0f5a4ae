"""The mixed denoiser against its branches, its formula written out, and the frequencies of its draws."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.classical import CGSense
from fm_unroll.models.denoisers.mixed import MixedDenoiser
from fm_unroll.models.insight import learned_weights, size_of
from fm_unroll.models.registry import effective_options
from simulate import complex_noise, disc_scan
from small_networks import SIZES, SMALL, TINY_VIT, with_espirit

CASCADES = {**SIZES, "num_cascades": 2}
UNET = {**SMALL, **CASCADES}
PRIOR = {"pretrained": False, "blocks": (1, 2), "decoder_widths": (4, 4, 4, 4), "encoder_image_size": 32}
MIXED = {**UNET, **PRIOR, "prior": TINY_VIT}
ANCHORED = {"physics": "anchored", "start": "cg_sense", "zero_head": True}
LEARNED = {**ANCHORED, "maps": "learned"}
PHYSICS = pytest.mark.parametrize("physics", [{}, LEARNED], ids=["paper", "anchored"])


def scan():
    return disc_scan(batch=2, coils=3, readout=24, phase=32, acs_lines=8).measured


def trained(method: str, **options) -> nn.Module:
    """A network whose heads are not zero, as after training; U-Nets of one seed are the same."""
    torch.manual_seed(0)
    net = build_model(method, **options)
    torch.manual_seed(1)
    for cascade in net.cascades:
        mixed = isinstance(cascade.denoiser, MixedDenoiser)
        unet = cascade.denoiser.unet if mixed else cascade.denoiser
        nn.init.normal_(unet.unet.up_conv[-1][-1].weight, std=0.1)
    for cascade in net.cascades:
        if isinstance(cascade.denoiser, MixedDenoiser):
            nn.init.normal_(cascade.denoiser.prior.head.weight, std=0.1)
    return net


def denoiser(**options) -> MixedDenoiser:
    """One whose gate is open here and there."""
    (cascade,) = trained("mixed", **MIXED | {"num_cascades": 1} | options).cascades
    nn.init.normal_(cascade.denoiser.gate[-1].weight, std=0.3)
    nn.init.normal_(cascade.denoiser.gate[-1].bias, std=0.3)
    return cascade.denoiser


@PHYSICS
@torch.no_grad()
def test_a_new_network_is_its_u_nets(physics):
    mixed, plain = (
        trained(name, **options, **physics).eval() for name, options in (("mixed", MIXED), ("varnet", UNET))
    )
    image = plain(*scan())
    torch.testing.assert_close(mixed(*scan()), image)
    nn.init.constant_(mixed.cascades[0].denoiser.gate[-1].bias, 0.5)
    assert (mixed(*scan()) - image).norm() > 1e-3 * image.norm(), "the prior says something else"


@pytest.mark.parametrize("branch_dropout", [0.0, 1.0])
@torch.no_grad()
def test_an_untrained_anchored_network_is_its_start_whichever_branch_is_drawn(branch_dropout):
    network = build_model("mixed", **with_espirit(MIXED), **ANCHORED, branch_dropout=branch_dropout)
    expected = CGSense()(*scan())
    assert (network(*scan()) - expected).norm() < 1e-5 * expected.norm()


@torch.no_grad()
def test_the_gate_is_two_convolutions_of_image_and_branches():
    mixed, image = denoiser().eval(), complex_noise(2, 20, 17)
    branches = [image, mixed.unet(image), mixed.prior(image)]
    scale = np.percentile(image.abs().numpy(), 99, axis=(1, 2))
    seen = torch.stack([part for branch in branches for part in (branch.real, branch.imag)], 1)
    tensors = mixed.gate.state_dict()
    hidden = F.conv2d(seen / torch.from_numpy(scale)[:, None, None, None], *both(tensors, 0), padding=1)
    gate = torch.tanh(F.conv2d(hidden.clamp_min(0), *both(tensors, 2), padding=1))
    _, unet, prior = branches
    expected = torch.complex(
        (1 - gate[:, 0]) * unet.real + gate[:, 0] * prior.real,
        (1 - gate[:, 1]) * unet.imag + gate[:, 1] * prior.imag,
    )
    torch.testing.assert_close(mixed(image), expected, rtol=1e-4, atol=1e-5)
    assert gate.std() > 0.05 and (gate[:, 0] - gate[:, 1]).std() > 0.05


def both(tensors: dict[str, torch.Tensor], layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    return tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]


@torch.no_grad()
def test_it_scales_with_its_input_and_keeps_slices_apart():
    mixed, image = denoiser().eval(), complex_noise(3, 20, 17)
    expected = mixed(image)
    torch.testing.assert_close(mixed(1e-5 * image) * 1e5, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(mixed(image[1:2]), expected[1:2], rtol=1e-4, atol=1e-5)


def test_silence_gives_silence_and_finite_gradients():
    net = trained("mixed", **MIXED)
    kspace, mask, acs = scan()
    kspace = torch.cat([kspace[:1], torch.zeros_like(kspace[:1])])
    image = net(kspace, mask, acs)
    image.square().sum().backward()
    assert image[1].eq(0).all() and image[0].isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def gradients(mixed: MixedDenoiser) -> dict[str, float]:
    """How much gradient each part gets from a hundred slices at once."""
    mixed.zero_grad()
    mixed(complex_noise(100, 8, 6)).abs().square().sum().backward()
    parts = {"unet": mixed.unet, "prior": mixed.prior.head, "gate": mixed.gate[-1]}
    return {
        name: sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)
        for name, part in parts.items()
    }


def test_a_closed_gate_gives_the_prior_gradients_by_branch_dropout_alone():
    mixed = trained("mixed", **MIXED | {"num_cascades": 1}, branch_dropout=0.0).cascades[0].denoiser
    found = gradients(mixed)
    assert found["prior"] == 0 and found["unet"] > 0 and found["gate"] > 0
    mixed.branch_dropout = 0.5
    found = gradients(mixed)
    assert found["prior"] > 0 and found["unet"] > 0 and found["gate"] > 0
    mixed.drop_branches = torch.ones_like  # the prior alone, for all slices
    found = gradients(mixed)
    assert found["prior"] > 0 and found["unet"] == found["gate"] == 0


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_each_branch_stands_alone_as_often_as_the_other(share):
    mixed = denoiser(branch_dropout=share)
    slices = 20_000
    torch.manual_seed(3)
    gate = mixed.drop_branches(torch.full((slices, 2, 3, 2), 0.3))
    assert torch.equal(gate, gate[:, :1, :1, :1].expand_as(gate)), "a slice has one branch everywhere"
    found = {value: int((gate[:, 0, 0, 0] == value).sum()) / slices for value in (0.0, 1.0)}
    five_deviations = 5 * (share / 2 * (1 - share / 2) / slices) ** 0.5
    assert found == {value: pytest.approx(share / 2, abs=five_deviations) for value in (0.0, 1.0)}
    assert int((gate[:, 0, 0, 0] == 0.3).sum()) == slices - round(slices * sum(found.values()))


@torch.no_grad()
def test_branches_are_drawn_in_training_alone_and_from_the_seed():
    mixed, image = denoiser(branch_dropout=0.5), complex_noise(1, 20, 17).expand(16, -1, -1)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(mixed(image))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    # each slice is one of three: U alone, P alone, both
    three = [mixed.unet(image[:1]), mixed.prior(image[:1]), mixed.eval()(image[:1])]
    near = torch.stack([(drawn[0] - one).abs().amax((1, 2)) < 1e-4 for one in three])
    assert near.sum(0).eq(1).all() and near.any(1).all()
    before = torch.get_rng_state()
    assert torch.equal(mixed(image), mixed(image)) and torch.equal(before, torch.get_rng_state())


@PHYSICS
def test_checkpointed_cascades_have_the_same_gradients_though_branches_are_drawn(physics):
    found = []
    for setting in ("none", "all"):
        options = MIXED | physics | {"checkpoint_cascades": setting, "branch_dropout": 0.8}
        net = trained("mixed", **options)
        torch.manual_seed(4)
        net(*scan()).square().sum().backward()
        found.append([p.grad for p in net.parameters() if p.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_learned_weights_tell_the_mean_gate_and_the_fusion_of_every_cascade():
    net = trained("mixed", **MIXED, branch_dropout=1.0)
    nn.init.constant_(net.cascades[1].denoiser.gate[-1].bias, 0.5)
    assert learned_weights(net)["gates"] == [0, 0], "before training"
    net(*scan())
    learned = learned_weights(net)
    assert learned["gated"] == learned["fused"] == [1, 2] and learned["blocks"] == [1, 2]
    assert learned["gates"] == pytest.approx([0, np.tanh(0.5)])
    assert learned["fusion"] == [pytest.approx([0.5, 0.5])] * 2
    net.eval()(*scan())
    assert learned_weights(net) == learned, "only training says what the gates are"


def test_it_is_as_large_as_its_parts():
    sizes = {
        name: size_of(build_model(name, **options))
        for name, options in (("mixed", MIXED), ("varnet", UNET), (TINY_VIT, {**CASCADES, **PRIOR}))
    }
    sensitivity = sum(p.numel() for p in build_model("varnet", **UNET).sensitivity.parameters())
    gate = 6 * 16 * 9 + 16 + 16 * 2 * 9 + 2
    parts = sizes["varnet"]["trained"] + sizes[TINY_VIT]["trained"] - sensitivity
    # in each of two cascades a gate; the two physics' step sizes are counted twice above
    assert sizes["mixed"]["trained"] == parts + 2 * gate - 2
    assert sizes["mixed"]["frozen"] == sizes[TINY_VIT]["frozen"]
    convolutions = 2 * 448 * 168 * 9 * 2 * (6 * 16 + 16 * 2)
    assert sizes["mixed"]["flop"] == sizes["varnet"]["flop"] + sizes[TINY_VIT]["flop"] + convolutions


def test_its_options_are_those_of_its_parts():
    options = effective_options("mixed", {"chans": 5})
    unet, prior = effective_options("varnet", {"chans": 5}), effective_options("clip", {})
    assert options == unet | prior | {"prior": "clip", "branch_dropout": 0.2, "zero_head": None}
    (cascade,) = build_model("mixed", **MIXED | {"num_cascades": 1}).cascades
    assert cascade.denoiser.unet.zero_head is False and cascade.denoiser.prior.zero_head is True
    for given in (False, True):  # goes to both
        (cascade,) = build_model("mixed", **MIXED | {"num_cascades": 1}, zero_head=given).cascades
        assert cascade.denoiser.unet.zero_head is cascade.denoiser.prior.zero_head is given
        assert cascade.denoiser.zero_head is given


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"branch_dropout": 1.2}, "branch_dropout is 1.2: give a number from 0 to 1"),
        ({"branch_dropout": -0.1}, "branch_dropout is -0.1"),
        ({"prior": "varnet"}, "unknown encoder 'varnet'"),
        ({"prior": "clp"}, "unknown encoder 'clp': did you mean clip"),
        ({"embedding_width": 3}, "method 'mixed' has no option embedding_width: it has chans, pools"),
        ({"physics": "anchored", "maps": "learned"}, "give zero_head true"),
        ({"physics": "anchored", "maps": "learned", "zero_head": False}, "give zero_head true"),
    ],
)
def test_what_it_cannot_be_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        build_model("mixed", **MIXED | options)
