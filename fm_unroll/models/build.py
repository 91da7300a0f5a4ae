"""The network of a method and a physics, by name."""

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from fm_unroll.consent import is_own
from fm_unroll.errors import InputError
from fm_unroll.methods import PAPER, cascades_of
from fm_unroll.models.own import SIZES, OwnNetwork, asks_for, build_own
from fm_unroll.models.registry import (
    build_denoisers,
    denoiser_options,
    effective_options,
    find_physics,
    number_of_cascades,
)
from fm_unroll.models.sensitivity import SensitivityModel
from fm_unroll.models.unrolled import UnrolledNetwork


def build_model(
    method: str,
    num_cascades: int | None = None,
    sens_chans: int = 8,
    sens_pools: int = 4,
    checkpoint_cascades: Literal["none", "all"] | int = "none",
    physics: str = PAPER,
    **options: object,
) -> UnrolledNetwork:
    """Build an unrolled network.

    Args:
        method: denoiser: ``varnet`` (E2E-VarNet), ``varnet_wide`` (the same with as many trainable parameters
            as the foundation model), an encoder's name (``clip``, ``dinov2``, ``biomedclip``, ``random``,
            ...; a frozen prior), ``mixed`` (both), or a control such as
            ``trained_embedding``; the documentation of configurations lists all. Or several in turn, each
            with its number of cascades: ``varnet x 8, clip x 4``. Or one of your own, ``MODULE:CLASS``.
        num_cascades: unrolled iterations; None: as many as a list adds up to, else 12.
        sens_chans: channels of the sensitivity estimator's first convolution.
        sens_pools: pooling layers of the sensitivity estimator.
        checkpoint_cascades: cascades that trade time for memory in training: ``all``, ``none``, or a
            number n for every n-th cascade. A checkpointed cascade computes its activations a second time.
        physics: what is iterated, and how it keeps to what was measured: ``paper`` (equation 4), or
            ``anchored`` (:mod:`fm_unroll.models.anchored`).
        options: options of the method's denoisers, and of the physics. Of a list, each goes to whichever
            denoisers have it: ``zero_head`` to U-Nets and decoders alike.

    Returns:
        The network, on the CPU.

    Raises:
        InputError: unknown method (with the nearest names), an option that neither method nor physics have, a
            number out of range, weights that do not fit.
    """
    if is_own(method):
        sizes = (num_cascades, sens_chans, sens_pools)
        return _own(method, dict(zip(SIZES, sizes, strict=True)), checkpoint_cascades, physics, options)
    cascades_of(method, num_cascades)  # refuses numbers that contradict each other
    checkpoint_every = {"none": 0, "all": 1}.get(str(checkpoint_cascades), checkpoint_cascades)
    if not isinstance(checkpoint_every, int) or checkpoint_every < 0:
        raise InputError(f"checkpoint_cascades is {checkpoint_cascades}: give all, none, or a whole number")
    settled = effective_options(method, options, physics)
    refuse_idle_sizes(settled, {"sens_chans": sens_chans, "sens_pools": sens_pools})
    own = {name: settled.pop(name) for name in denoiser_options(method)}
    # first: a seed gives the same weights whatever is drawn
    sensitivity = SensitivityModel(sens_chans, sens_pools)
    denoisers = build_denoisers(method, num_cascades, own)
    build = find_physics(physics).build
    network: UnrolledNetwork = build(sensitivity, denoisers, checkpoint_every, **settled)
    return network


def refuse_idle_sizes(options: Mapping[str, object], sizes: Mapping[str, object]) -> None:
    """Refuse sizes of the sensitivity estimator for a network that has none.

    Args:
        options: of denoisers and physics, settled.
        sizes: ``sens_chans`` and ``sens_pools``, among others.

    Raises:
        InputError: maps are ESPIRiT's, and a size of the estimator is not the default.
    """
    if options.get("maps") != "espirit":
        return
    usual = inspect.signature(build_model).parameters
    for name in ("sens_chans", "sens_pools"):
        value = sizes.get(name, usual[name].default)
        if value != usual[name].default:
            raise InputError(
                f"{name} is {value}, and nothing is learned of maps espirit: give maps learned as well, or "
                f"leave {name} out"
            )


def _own(
    name: str, sizes: dict[str, Any], checkpoint_cascades: object, physics: str, options: Mapping[str, object]
) -> OwnNetwork:
    """A network of the user's own, which has only those of the usual settings that its class asks for."""
    usual = inspect.signature(build_model).parameters
    settled = effective_options(name, options)
    sizes["num_cascades"] = number_of_cascades(name, sizes["num_cascades"])
    for setting, value in {**sizes, "checkpoint_cascades": checkpoint_cascades, "physics": physics}.items():
        asked = setting in SIZES and asks_for(name, setting)
        if not asked and value != usual[setting].default:
            raise InputError(
                f"{setting} is {value}: {name} is a network of your own that does not ask for it"
            )
    return build_own(name, sizes, settled)
