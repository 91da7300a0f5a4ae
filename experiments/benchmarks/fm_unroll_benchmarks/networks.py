"""The networks that are timed: ours and their peers', with the same weights on the same data.

The peer of E2E-VarNet is ``fastmri.models.VarNet``. The foundation prior has no published peer: it is set
against the straightforward way to write it, :class:`Straightforward`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
from fm_unroll.models.classical.memory import SETTING as START_MEMORY
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

# results are compared before any timing, in float32; a GPU's libraries sum in other orders than each other
TOLERANCE = {"cpu": 1e-5, "cuda": 1e-4}


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
    return Pair(run_ours, run_peer, difference, TOLERANCE[device.type])


def varnet_step(size: ProblemSize, device: torch.device, precision: str) -> Pair:
    """A training step of E2E-VarNet: forward, SSIM loss, backward, Adam. The peer's is in float32."""
    ours, peer = varnet_network(size), fastmri_network(size)
    ours.load_fastmri_state_dict(peer.state_dict())
    batch = SimulatedBatch.draw(size, device)
    return step_pair(ours.to(device), peer.to(device), batch, precision, TOLERANCE[device.type])


def anchored_step(size: ProblemSize, device: torch.device, comes_again: bool) -> Pair:
    """A training step of the anchored physics, by default, against one of the paper's: other functions.

    Args:
        size: of the networks and the data.
        device: where to compute.
        comes_again: whether the slice has the same mask in every epoch, so that start and maps are known.
    """
    batch = SimulatedBatch.draw(size, device)
    precision = "bf16-mixed" if has_bfloat16(device.type) else "32-true"
    anchored, paper = anchored_network(size).to(device), varnet_network(size).to(device)
    step = our_step(anchored, adam(anchored), batch, precision)

    def ours() -> Tensor:
        os.environ[START_MEMORY] = "1" if comes_again else "0"
        return step()

    return Pair(ours, our_step(paper, adam(paper), batch, precision), difference=0.0, tolerance=0.0)


def foundation_step(size: ProblemSize, device: torch.device, precision: str, encoder: str) -> Pair:
    """A training step of the foundation prior. The straightforward version's is in float32."""
    ours = foundation_network(size, encoder=encoder)
    if precision == "32-true":
        ours.encoders[0].precision = "float32"  # by default bfloat16 on a GPU
    peer = Straightforward(ours)
    return step_pair(ours.to(device), peer.to(device), SimulatedBatch.draw(size, device), precision, 1e-3)


def varnet_network(size: ProblemSize) -> PaperNetwork:
    """E2E-VarNet as the recipe trains it."""
    torch.manual_seed(0)
    return cast(PaperNetwork, build_model("varnet", num_cascades=size.cascades))


def fastmri_network(size: ProblemSize) -> VarNet:
    """FastMRI's E2E-VarNet, whose denoisers correct a little, as after training.

    From random denoisers rounding would grow with every cascade.
    """
    peer = VarNet(num_cascades=size.cascades)
    for cascade in peer.cascades:
        cascade.model.unet.up_conv[-1][-1].weight.data.mul_(0.1)
    return peer


def anchored_network(size: ProblemSize) -> UnrolledNetwork:
    """E2E-VarNet's U-Nets, from zero on, in the anchored physics."""
    torch.manual_seed(0)
    return build_model("varnet_zero", num_cascades=size.cascades, physics="anchored")


def foundation_network(
    size: ProblemSize, checkpoint: Literal["all", "none"] = "none", encoder: str = "clip"
) -> UnrolledNetwork:
    """A foundation prior whose denoisers correct a little, as they do after some training.

    Its encoder has random weights: what they say does not matter here.
    """
    torch.manual_seed(0)
    network = build_model(encoder, size.cascades, checkpoint_cascades=checkpoint, pretrained=False)
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
    with torch.no_grad(), in_float32(ours):
        difference = distance(ours(*batch.measured), peer(*peer_input(batch)))
    steps = our_step(ours, adam(ours), batch, precision), peer_step(peer, adam(peer), batch)
    return Pair(*steps, difference, tolerance)


@contextmanager
def in_float32(network: nn.Module) -> Iterator[None]:
    """Compute in float32 throughout: a frozen encoder too, and convolutions without TF32."""
    encoders = network.encoders if isinstance(network, UnrolledNetwork) else ()
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        with encoders[0].in_float32() if encoders else nullcontext():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


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
            with in_float32(network):
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
        whole = with_all_blocks(network.encoders[0])
        for cascade in network.cascades:
            denoiser = copy_with(cast(FoundationDenoiser, cascade.denoiser), deepcopy(whole))
            block = VarNetBlock(RealDenoiser(denoiser))
            block.dc_weight.data.copy_(cascade.get_parameter("step_size").data)
            self.cascades.append(block)


def with_all_blocks(frozen: FrozenEncoder) -> FrozenEncoder:
    """An encoder with the same weights and the blocks behind those in use, in float32."""
    spec = find_encoder(frozen.name)
    vit = build_vit(spec, spec.depth, frozen.image_size[0])
    vit.load_state_dict(frozen.vit.state_dict(), strict=False)
    return FrozenEncoder(vit, spec, "random", frozen.blocks, "imagenet", frozen.gradient, "float32")


def copy_with(denoiser: FoundationDenoiser, encoder: FrozenEncoder) -> FoundationDenoiser:
    """A copy of a denoiser on another encoder."""
    return deepcopy(denoiser, {id(denoiser.encoder): encoder})


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
