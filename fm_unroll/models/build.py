"""The network of a method, by name."""

from typing import Literal

from fm_unroll.errors import InputError
from fm_unroll.models.registry import build_denoisers
from fm_unroll.models.sensitivity import SensitivityModel
from fm_unroll.models.unrolled import UnrolledNetwork


def build_model(
    method: str,
    num_cascades: int = 12,
    sens_chans: int = 8,
    sens_pools: int = 4,
    checkpoint_cascades: Literal["none", "all"] | int = "none",
    **options: object,
) -> UnrolledNetwork:
    """Build an unrolled network.

    Args:
        method: denoiser: ``varnet`` (E2E-VarNet), ``varnet_wide`` (the same with as many trainable parameters
            as the foundation model), an encoder's name (``clip``, ``dinov2``, ``biomedclip``, ``random``,
            ...; a frozen prior), or a control such as
            ``trained_embedding``; the documentation of configurations lists all.
        num_cascades: unrolled iterations.
        sens_chans: channels of the sensitivity estimator's first convolution.
        sens_pools: pooling layers of the sensitivity estimator.
        checkpoint_cascades: cascades that trade time for memory in training: ``all``, ``none``, or a
            number n for every n-th cascade. A checkpointed cascade computes its activations a second time.
        options: options of the method's own denoiser.

    Returns:
        The network, on the CPU.

    Raises:
        InputError: unknown method (with the nearest names), an option that the method does not have, a number
            out of range, weights that do not fit.
    """
    if num_cascades < 1:
        raise InputError(f"num_cascades is {num_cascades}: give 1 or more")
    checkpoint_every = {"none": 0, "all": 1}.get(str(checkpoint_cascades), checkpoint_cascades)
    if not isinstance(checkpoint_every, int) or checkpoint_every < 0:
        raise InputError(f"checkpoint_cascades is {checkpoint_cascades}: give all, none, or a whole number")
    # first: a seed gives the same weights whatever the denoiser draws
    sensitivity = SensitivityModel(sens_chans, sens_pools)
    return UnrolledNetwork(sensitivity, build_denoisers(method, num_cascades, options), checkpoint_every)
