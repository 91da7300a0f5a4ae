"""Several denoisers in turn: which stands where, what they share, and where their options go."""

from types import SimpleNamespace

import pytest
import torch

from fm_unroll.commands.summary import build_network, count_parameters
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.classical import CGSense
from fm_unroll.models.denoisers.foundation import FoundationDenoiser
from fm_unroll.models.denoisers.mixed import MixedDenoiser
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.insight import learned_weights, size_of
from fm_unroll.models.registry import effective_options, share_encoders
from fm_unroll.reconstruction.engine import in_float32
from simulate import disc_scan
from small_networks import TINY_VIT, with_espirit

OTHER_VIT = "timm/deit_tiny_patch16_224"
PRIOR = {"pretrained": False, "blocks": (1, 2), "decoder_widths": (4, 4, 4, 4), "encoder_image_size": 32}
SMALL = {"sens_chans": 2, "sens_pools": 1, "chans": 4, "pools": 2, **PRIOR}
IN_TURN = f"varnet x 2, {TINY_VIT} x 1"


def scan():
    return disc_scan(batch=1, coils=3, readout=24, phase=32, acs_lines=8).measured


def test_the_denoisers_stand_in_their_order_and_names_share_their_encoder():
    net = build_model(f"{TINY_VIT} x 1, varnet x 2, mixed x 1, {OTHER_VIT} x 1", **SMALL, prior=TINY_VIT)
    denoisers = [cascade.denoiser for cascade in net.cascades]
    assert list(map(type, denoisers)) == [
        *(FoundationDenoiser, NormUnet, NormUnet, MixedDenoiser, FoundationDenoiser)
    ]
    assert [encoder.name for encoder in net.encoders] == [TINY_VIT, OTHER_VIT]
    assert denoisers[3].prior.encoder is denoisers[0].encoder is net.encoders[0]
    assert denoisers[4].encoder is net.encoders[1]
    again = build_model(f"{TINY_VIT} x 1, varnet x 1, {TINY_VIT} x 2", **SMALL)
    assert len(again.encoders) == 1
    assert len({id(again.cascades[number].denoiser.encoder) for number in (0, 2, 3)}) == 1
    assert again.cascades[0].denoiser is not again.cascades[2].denoiser


def test_encoders_that_compute_otherwise_stay_apart(tiny):
    priors = [
        build_model("tiny", **PRIOR, num_cascades=1, statistics=way).cascades[0].denoiser
        for way in ("imagenet", "own")
    ]
    share_encoders(priors)
    assert priors[0].encoder is not priors[1].encoder


def test_each_option_goes_to_whoever_has_it():
    net = build_model(IN_TURN, **SMALL | {"zero_head": True}, fusion="mean")
    unet, _, prior = (cascade.denoiser for cascade in net.cascades)
    assert unet.unet.chans == 4 and unet.zero_head and prior.zero_head
    assert prior.image_stage.skip.out_channels == 4 and not list(prior.fusion.parameters(recurse=False))
    # without, each keeps its own default
    assert effective_options(IN_TURN, {})["zero_head"] is None
    unet, _, prior = (cascade.denoiser for cascade in build_model(IN_TURN, **SMALL).cascades)
    assert not unet.zero_head and prior.zero_head
    with pytest.raises(InputError, match=f"method '{IN_TURN}' has no option embedding_width: it has chans,"):
        build_model(IN_TURN, **SMALL, embedding_width=3)
    with pytest.raises(InputError, match="unknown method 'vernet', did you mean varnet"):
        build_model("vernet x 2, clip x 1")


def test_the_number_of_cascades_is_that_of_the_list():
    assert len(build_model(IN_TURN, num_cascades=3, **SMALL).cascades) == 3
    with pytest.raises(InputError, match=r"num_cascades is 12, method .* has 3"):
        build_model(IN_TURN, num_cascades=12, **SMALL)


@torch.no_grad()
def test_both_physics_take_them():
    small = with_espirit(SMALL)
    anchored = build_model(IN_TURN, **small, physics="anchored", start="cg_sense", zero_head=True)
    expected = CGSense()(*scan())
    assert (anchored(*scan()) - expected).norm() < 1e-5 * expected.norm()
    with pytest.raises(InputError, match="give zero_head true"):  # the U-Nets have a random one
        build_model(IN_TURN, **small, physics="anchored")
    assert build_model(IN_TURN, **SMALL)(*scan()).isfinite().all()


def test_every_encoder_evaluates_in_float32():
    net = build_model(f"{TINY_VIT} x 1, {OTHER_VIT} x 1", **PRIOR, encoder_precision="bfloat16")
    batch = SimpleNamespace(kspace=torch.zeros(1))
    with in_float32(net, batch):
        assert [encoder.precision for encoder in net.encoders] == ["float32", "float32"]
    assert [encoder.precision for encoder in net.encoders] == ["bfloat16", "bfloat16"]


def test_what_is_told_of_a_network_is_told_of_all_cascades():
    net = build_model(IN_TURN, **SMALL)
    learned = learned_weights(net)
    assert learned["fused"] == [3] and len(learned["fusion"]) == 1 and len(learned["step_sizes"]) == 3
    assert learned["gated"] == learned["gates"] == []
    alone = {
        name: size_of(build_model(name, num_cascades=1, **{k: SMALL[k] for k in own}))["flop"]
        for name, own in (("varnet", ("chans", "pools")), (TINY_VIT, PRIOR))
    }
    assert size_of(net)["flop"] == 2 * alone["varnet"] + alone[TINY_VIT]


def test_the_summary_counts_every_encoder():
    """Also those that stand in later cascades or in a mixed denoiser, all without their weights."""
    model = {**SMALL, "method": f"mixed x 1, {OTHER_VIT} x 1", "prior": TINY_VIT, "pretrained": True}
    network = build_network(model)
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    assert len(network.encoders) == 2
    assert count_parameters(network)["parts"]["frozen encoder"] == {"trainable": 0, "frozen": frozen}
