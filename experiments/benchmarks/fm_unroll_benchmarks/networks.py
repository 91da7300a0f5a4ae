"""The networks that are timed: ours and their peers', with the same weights on the same data.

The peer of E2E-VarNet is ``fastmri.models.VarNet``. The foundation prior has no published peer: it is set
against the straightforward way to write it, :class:`Straightforward`.
"""

from copy import deepcopy
from typing import Literal, cast

import torch
from fastmri.losses import SSIMLoss as PeerSSIMLoss
from fastmri.models.varnet import VarNet, VarNetBlock
from torch import Tensor, nn
from torch.optim import Adam

from fm_unroll.encoders.registry import find_encoder
from fm_unroll.encoders.vit import FrozenEncoder, build_vit
from fm_unroll.models import UnrolledNetwork, build_model
from fm_unroll.models.denoisers.foundation import FoundationDenoiser
from fm_unroll.models.paper import Cascade, PaperNetwork
from fm_unroll.models.sensitivity import SensitivityModel
from fm_unroll.physics.fourier import HybridSpace
from fm_unroll.precision import has_bfloat16
from fm_unroll.training.memory import (
    ACS_LINES,
    ProblemSize,
    SimulatedBatch,
    Step,
    adam,
    our_step,
    training_step,
)
from fm_unroll_benchmarks.timing import Pair

ENCODER = "random"  # ViT-B/16, the size of the paper's encoders; what the weights say does not matter here


def peer_input(batch: SimulatedBatch) -> tuple[Tensor, Tensor, int]:
    """Give a batch the form in which fastMRI takes it."""
    return torch.view_as_real(batch.kspace).contiguous(), batch.mask[..., None], ACS_LINES


def distance(ours: Tensor, peer: Tensor) -> float:
    """Divide the norm of the difference by the norm of the peer's result."""
    return float((ours - peer).norm() / peer.norm())


def cascade_physics(size: ProblemSize, device: torch.device) -> Pair:
    """One cascade whose denoiser returns its input: what is left is physics; forward and backward."""
    batch = SimulatedBatch.draw(size, device)
    ours, peer = Cascade(nn.Identity()).to(device), VarNetBlock(nn.Identity()).to(device)
    space = HybridSpace(size.phase, device)
    measured, lines = space.enter(batch.kspace), space.enter_lines(batch.mask)
    reference, mask, _ = peer_input(batch)
    maps = torch.view_as_real(batch.sensitivities).contiguous()

    def run_ours() -> Tensor:
        kspace = measured.clone().requires_grad_()
        result: Tensor = ours(kspace, measured, lines, batch.sensitivities.clone().requires_grad_())
        loss = torch.view_as_real(result).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        return result.detach()

    def run_peer() -> Tensor:
        kspace = reference.clone().requires_grad_()
        result: Tensor = peer(kspace, reference, mask, maps.clone().requires_grad_())
        result.square().sum().backward()  # type: ignore[no-untyped-call]  # as above
        return result.detach()

    difference = distance(space.leave(run_ours()), torch.view_as_complex(run_peer()))
    return Pair(run_ours, run_peer, difference, 1e-5)


def varnet_step(size: ProblemSize, device: torch.device, precision: str) -> Pair:
    """A training step of E2E-VarNet: forward, SSIM loss, backward, Adam. The peer's is in float32."""
    ours, peer = varnet_network(size), VarNet(num_cascades=size.cascades)
    for cascade in peer.cascades:
        # corrects a little, as after training; from random denoisers, rounding grows with every cascade
        cascade.model.unet.up_conv[-1][-1].weight.data.mul_(0.1)
    ours.load_fastmri_state_dict(peer.state_dict())
    return step_pair(ours.to(device), peer.to(device), SimulatedBatch.draw(size, device), precision, 1e-5)


def foundation_step(size: ProblemSize, device: torch.device, precision: str) -> Pair:
    """A training step of the foundation prior. The straightforward version's is in float32."""
    ours = foundation_network(size)
    peer = Straightforward(ours)
    return step_pair(ours.to(device), peer.to(device), SimulatedBatch.draw(size, device), precision, 1e-3)


def varnet_network(size: ProblemSize) -> PaperNetwork:
    """E2E-VarNet as the recipe trains it."""
    torch.manual_seed(0)
    return cast(PaperNetwork, build_model("varnet", num_cascades=size.cascades))


def foundation_network(size: ProblemSize, checkpoint: Literal["all", "none"] = "none") -> UnrolledNetwork:
    """A foundation prior whose denoisers correct a little, as they do after some training."""
    torch.manual_seed(0)
    network = build_model(ENCODER, num_cascades=size.cascades, checkpoint_cascades=checkpoint)
    for cascade in network.cascades:
        nn.init.normal_(cascade.get_parameter("denoiser.head.weight"), std=0.001)
    return network


def straightforward_network(size: ProblemSize) -> "Straightforward":
    """The same foundation prior, written as one would first write it."""
    return Straightforward(foundation_network(size))


def step_pair(
    ours: nn.Module, peer: nn.Module, batch: SimulatedBatch, precision: str, tolerance: float
) -> Pair:
    """Training steps of two networks with equal weights; compared in float32, before the first step."""
    with torch.no_grad():
        difference = distance(ours(*batch.measured), peer(*peer_input(batch)))
    steps = our_step(ours, adam(ours), batch, precision), peer_step(peer, adam(peer), batch)
    return Pair(*steps, difference, tolerance)


def peer_step(network: nn.Module, optimizer: Adam, batch: SimulatedBatch) -> Step:
    """A training step of a peer's network, with fastMRI's loss, which wants a channel axis."""
    loss = PeerSSIMLoss().to(batch.target.device)

    def with_channel(prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
        value: Tensor = loss(prediction[:, None], target[:, None], data_range)
        return value

    return training_step(network, optimizer, peer_input(batch), with_channel, batch.target, "32-true")


def precision_effect(size: ProblemSize, device: torch.device) -> dict[str, float]:
    """Measure how far images move when bfloat16 replaces float32; empty on a device without bfloat16."""
    if not has_bfloat16(device.type):
        return {}
    batch = SimulatedBatch.draw(size, device)
    networks = {"E2E-VarNet": varnet_network(size), "foundation prior": foundation_network(size)}
    moved = {}
    for name, network in networks.items():
        network.to(device)
        with torch.no_grad():
            exact = network(*batch.measured)
            with torch.autocast(device.type, torch.bfloat16):
                moved[name] = distance(network(*batch.measured), exact)
    return moved


class Straightforward(VarNet):  # type: ignore[misc]  # fastmri has no annotations
    """The foundation prior as one would first write it.

    fastMRI's sensitivity estimator and cascades around denoisers that own a whole encoder each: all blocks
    are built and run in every cascade, although the tokens of the first six are used; all in float32.
    """

    def __init__(self, network: UnrolledNetwork) -> None:
        """Take copies of the weights of one of ours."""
        super().__init__(num_cascades=0)
        self.sens_net.load_state_dict(cast(SensitivityModel, network.sensitivity).state_dict())
        for cascade in network.cascades:
            denoiser = cast(FoundationDenoiser, cascade.denoiser)
            block = VarNetBlock(RealDenoiser(with_whole_encoder(denoiser)))
            block.dc_weight.data.copy_(cascade.get_parameter("step_size").data)
            self.cascades.append(block)


def with_whole_encoder(denoiser: FoundationDenoiser) -> FoundationDenoiser:
    """A copy of a denoiser whose encoder is its own, with all blocks, in float32."""
    spec, frozen = find_encoder(ENCODER), cast(FrozenEncoder, denoiser.encoder)
    vit = build_vit(spec, spec.depth, frozen.image_size[0])
    vit.load_state_dict(frozen.vit.state_dict(), strict=False)
    copy = deepcopy(denoiser)
    copy.encoder = FrozenEncoder(vit, spec, "random", frozen.blocks, "imagenet", frozen.gradient, "float32")
    return copy


class RealDenoiser(nn.Module):
    """A denoiser of complex images behind fastMRI's trailing axis of 2."""

    def __init__(self, denoiser: nn.Module) -> None:
        """Wrap a denoiser of ``(batch, readout, phase)``, complex64."""
        super().__init__()
        self.denoiser = denoiser

    def forward(self, image: Tensor) -> Tensor:
        """Denoise ``(batch, 1, readout, phase, 2)``; the shape stays."""
        denoised = self.denoiser(torch.view_as_complex(image.contiguous()).squeeze(1))
        return torch.view_as_real(denoised)[:, None]
