"""What a trained network is, in a few numbers: its size, and what training decided about the prior."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fm_unroll.models.anchored import USUAL_ACCELERATION, USUAL_NOISE
from fm_unroll.models.unrolled import UnrolledNetwork

USUAL = torch.tensor([[USUAL_NOISE, USUAL_ACCELERATION]])
SLICE = (448, 168)  # readout x phase of a usual cine slice, on which operations are counted


def learned_weights(network: UnrolledNetwork) -> dict[str, list[Any]]:
    """The few learned numbers of a network that mean something by themselves.

    Args:
        network: of any method.

    Returns:
        ``step_sizes``: mu of every cascade of the paper's physics. Of the anchored one ``pulls`` and
        ``strengths``: beta and lambda at a noise level of 0.01 and a true acceleration of 4. With an encoder
        also ``blocks``, the numbers of the encoder's blocks in use, and ``fusion``, for every cascade the
        weight of each block; empty lists without one.
    """
    cascades: list[Any] = list(network.cascades)
    denoisers = [cascade.denoiser for cascade in cascades]
    fused = [denoiser for denoiser in denoisers if hasattr(denoiser, "fusion")]
    return {
        **_of_physics(cascades),
        "blocks": list(fused[0].encoder.blocks) if fused else [],
        "fusion": [denoiser.fusion.weights().tolist() for denoiser in fused],
    }


def _of_physics(cascades: list[Any]) -> dict[str, list[float]]:
    if hasattr(cascades[0], "step_size"):
        return {"step_sizes": [cascade.step_size.item() for cascade in cascades]}
    return {
        "step_sizes": [],
        "pulls": [cascade.pull(USUAL).item() for cascade in cascades],
        "strengths": [cascade.strength(USUAL).item() for cascade in cascades],
    }


@torch.no_grad()
def size_of(network: UnrolledNetwork) -> dict[str, float]:
    """How large a network is.

    Args:
        network: of any method, on the CPU.

    Returns:
        ``trained`` and ``frozen``: numbers of parameters. ``flop``: floating-point operations of the
        convolutions and matrix products of its denoisers for one slice of 448 x 168; sensitivity maps and
        data consistency, which are the same for all methods, are not in it.
    """
    parameters = {True: 0, False: 0}
    for parameter in network.parameters():
        parameters[parameter.requires_grad] += parameter.numel()
    cascades: list[Any] = list(network.cascades)
    with FlopCounterMode(display=False) as counter:
        cascades[0].denoiser(torch.zeros(1, *SLICE, dtype=torch.complex64))
    return {
        "trained": parameters[True],
        "frozen": parameters[False],
        "flop": counter.get_total_flops() * len(cascades),
    }
