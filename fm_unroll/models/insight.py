"""What a trained network is, in a few numbers: its size, and what training decided about the prior."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fm_unroll.models.measurement import USUAL_ACCELERATION, USUAL_NOISE
from fm_unroll.models.unrolled import UnrolledNetwork

USUAL = torch.tensor([[USUAL_NOISE, USUAL_ACCELERATION]])
SLICE = (448, 168)  # readout x phase of a usual cine slice, on which operations are counted


def learned_weights(network: UnrolledNetwork) -> dict[str, list[Any]]:
    """The few learned numbers of a network that mean something by themselves.

    Args:
        network: of any method.

    Returns:
        ``step_sizes``: mu of every cascade of the paper's physics. Of the anchored one ``pulls`` and
        ``strengths``: beta and lambda at a noise level of 0.01 and an acceleration of 4. With an encoder
        also ``blocks``, the numbers of the encoder's blocks in use, and for every cascade that has one
        ``fusion``, the weight of each block, and ``fused``, the cascade's number from 1. Of mixed denoisers
        ``gates``, the mean gate over the last batch of training, and ``gated``, likewise. Empty lists
        without them.
    """
    cascades: list[Any] = list(network.cascades)
    denoisers = {number: cascade.denoiser for number, cascade in enumerate(cascades, start=1)}
    priors = {number: getattr(denoiser, "prior", denoiser) for number, denoiser in denoisers.items()}
    fused = {number: prior for number, prior in priors.items() if hasattr(prior, "fusion")}
    gated = {number: mixed for number, mixed in denoisers.items() if hasattr(mixed, "mean_gate")}
    return {
        **_of_physics(cascades),
        "blocks": list(next(iter(fused.values())).encoder.blocks) if fused else [],
        "fused": list(fused),
        "fusion": [prior.fusion.weights().tolist() for prior in fused.values()],
        "gated": list(gated),
        "gates": [mixed.mean_gate.item() for mixed in gated.values()],
    }


def _of_physics(cascades: list[Any]) -> dict[str, list[float]]:
    if not cascades:
        return {"step_sizes": []}
    if hasattr(cascades[0], "step_size"):
        return {"step_sizes": [cascade.step_size.item() for cascade in cascades]}
    usual = USUAL.to(cascades[0].pulls.device)
    return {
        "step_sizes": [],
        "pulls": [cascade.pull(usual).item() for cascade in cascades],
        "strengths": [cascade.strength(usual).item() for cascade in cascades],
    }


@torch.no_grad()
def size_of(network: UnrolledNetwork) -> dict[str, float | None]:
    """How large a network is.

    Args:
        network: of any method, on the CPU.

    Returns:
        ``trained`` and ``frozen``: numbers of parameters. ``flop``: floating-point operations of the
        convolutions and matrix products of its denoisers for one slice of 448 x 168; sensitivity maps and
        data consistency, which are the same for all methods, are not in it. None without denoisers.
    """
    parameters = {True: 0, False: 0}
    for parameter in network.parameters():
        parameters[parameter.requires_grad] += parameter.numel()
    cascades: list[Any] = list(network.cascades)
    # those of one architecture take the same operations
    alike = {str(cascade.denoiser): cascade.denoiser for cascade in cascades}
    flop = {architecture: _flop(denoiser) for architecture, denoiser in alike.items()}
    return {
        "trained": parameters[True],
        "frozen": parameters[False],
        "flop": sum(flop[str(cascade.denoiser)] for cascade in cascades) if cascades else None,
    }


def _flop(denoiser: torch.nn.Module) -> int:
    with FlopCounterMode(display=False) as counter:
        denoiser(torch.zeros(1, *SLICE, dtype=torch.complex64))
    flop: int = counter.get_total_flops()
    return flop
