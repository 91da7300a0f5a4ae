"""Checkpoints of ``fit``: tensors and plain values only, and the networks that they hold."""

import inspect
from pathlib import Path
from typing import Any

import torch

from fm_unroll.compatibility import upgrade_checkpoint
from fm_unroll.errors import InputError
from fm_unroll.models.build import build_model
from fm_unroll.models.registry import find_denoiser
from fm_unroll.models.unrolled import UnrolledNetwork

NETWORK = "network."  # before the names of a network's tensors in a checkpoint


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of ``fit``, on the CPU.

    Returns:
        What Lightning writes, among it ``hyper_parameters`` and ``state_dict``; and ``fm_unroll``, the facts
        about encoder, data, sampling and subjects. Files of earlier versions come as this one writes them.

    Raises:
        InputError: no such file, truncated, with code in it, or not of this framework.
    """
    if not Path(path).is_file():
        raise InputError(f"checkpoint {path} is not a file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged pickle raises nearly any
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"checkpoint {path} cannot be read, or is none ({reason})") from None
    parts = {"fm_unroll", "hyper_parameters", "state_dict"}
    if not isinstance(checkpoint, dict) or not parts <= checkpoint.keys():
        raise InputError(f"{path} is not a checkpoint of fm_unroll")
    # LightningCLI's own note of how it built the task
    checkpoint["hyper_parameters"].pop("_instantiator", None)
    return upgrade_checkpoint(checkpoint)


def load_network(path: Path, weights: Path | None = None) -> UnrolledNetwork:
    """Rebuild a trained network on the CPU, in evaluation mode.

    Args:
        path: the checkpoint.
        weights: the frozen encoder's weights, if they are no longer where they were in training.

    Raises:
        InputError: not a checkpoint of this framework, of another architecture, or trained over another
            encoder.
    """
    checkpoint = read_checkpoint(path)
    settings = checkpoint["hyper_parameters"]
    names = {*inspect.signature(build_model).parameters, *find_denoiser(settings["method"]).options()}
    options = {name: value for name, value in settings.items() if name in names}
    if weights is not None:
        options |= {"weights": weights, "pretrained": True}
    network = build_model(**options)
    if not settings.get("any_encoder"):
        require_encoder(network, checkpoint)
    tensors = checkpoint["state_dict"]
    try:
        network.load_state_dict({name.removeprefix(NETWORK): tensors[name] for name in tensors})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is of another architecture: {reason}") from None
    return network.eval()


def require_encoder(network: UnrolledNetwork, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint that was trained over another encoder than a network has.

    Raises:
        InputError: the hashes of their weights differ.
    """
    expected = checkpoint["fm_unroll"]["encoder"]["sha256"]
    found = network.encoder.sha256 if network.encoder else ""
    if found != expected:
        raise InputError(
            f"the checkpoint was trained over the encoder {expected[:12] or '(none)'} (sha256), "
            f"this is {found[:12] or '(none)'}: give its --model.weights, or --model.any_encoder true"
        )
