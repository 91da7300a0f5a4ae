"""What training decided about the prior: step sizes and fusion weights of every cascade."""

from typing import Any

from fm_unroll.models.unrolled import UnrolledNetwork


def learned_weights(network: UnrolledNetwork) -> dict[str, list[Any]]:
    """The few learned numbers of a network that mean something by themselves.

    Args:
        network: of any method.

    Returns:
        ``step_sizes``: mu of every cascade. With an encoder also ``blocks``, the numbers of the encoder's
        blocks in use, and ``fusion``, for every cascade the weight of each block; empty lists without one.
    """
    cascades: list[Any] = list(network.cascades)
    denoisers = [cascade.denoiser for cascade in cascades]
    fused = [denoiser for denoiser in denoisers if hasattr(denoiser, "fusion")]
    return {
        "step_sizes": [cascade.step_size.item() for cascade in cascades],
        "blocks": list(fused[0].encoder.blocks) if fused else [],
        "fusion": [denoiser.fusion.weights().tolist() for denoiser in fused],
    }
