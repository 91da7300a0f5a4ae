"""Checkpoints of ``fit`` and what was released of them: tensors and plain values only, and their networks."""

import inspect
import re
import warnings
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from fm_unroll.compatibility import upgrade_checkpoint
from fm_unroll.consent import is_own, require_consent
from fm_unroll.errors import InputError
from fm_unroll.files import at_home
from fm_unroll.methods import PAPER
from fm_unroll.models.build import build_model
from fm_unroll.models.denoisers.mixed import MixedDenoiser
from fm_unroll.models.denoisers.unet import unets
from fm_unroll.models.own import SIZES, TAKEN, OwnNetwork, require_fit
from fm_unroll.models.registry import effective_options, find_denoisers, options_of, source_of
from fm_unroll.models.release import SUFFIX, read_release
from fm_unroll.models.sharing import named
from fm_unroll.models.unrolled import UnrolledNetwork

TOO_MANY = 10_000  # cascades or channels, of which a network would fill the memory before it is refused
NETWORK = "network."  # before the names of a network's tensors in a checkpoint


class NamesCode(InputError):
    """A file in which something else than tensors and plain values is named."""


def load_tensors(path: Path, mmap: bool = False) -> Any:
    """What a file of ``torch.save`` holds, on the CPU; no code in it is run.

    Args:
        path: the file.
        mmap: leave tensors in the file until they are used.

    Raises:
        NamesCode: something else than tensors and plain values is in it; the message is the reason alone.
        InputError: it cannot be read; likewise.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None
    except Exception as error:  # a damaged pickle raises nearly any; torch's own words advise to run the code
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise NamesCode(f"it names code, {code[1]}, which is not run") from None
        raise InputError("it is damaged, or not of torch.save") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of ``fit``, or of a released network, on the CPU.

    Returns:
        What Lightning writes, among it ``hyper_parameters`` and ``state_dict``; and ``fm_unroll``, the facts
        about encoders, data, sampling and subjects. Files of earlier versions come as this one writes them,
        and a released network without what is needed for training only.

    Raises:
        InputError: no such file, truncated, with code in it, or not of this framework.
    """
    if not Path(path).is_file():
        raise InputError(f"checkpoint {path} is not a file")
    if Path(path).suffix == SUFFIX:
        return _sound(read_release(path), path)
    try:
        checkpoint = load_tensors(path, mmap=True)
    except InputError as reason:
        raise InputError(f"checkpoint {path} cannot be read, or is none ({reason})") from None
    parts = {"fm_unroll", "hyper_parameters", "state_dict"}
    if not isinstance(checkpoint, dict) or not parts <= checkpoint.keys():
        raise InputError(f"{path} is not a checkpoint of fm_unroll")
    # LightningCLI's own note of how it built the task
    if isinstance(checkpoint["hyper_parameters"], dict):
        checkpoint["hyper_parameters"].pop("_instantiator", None)
    return _sound(checkpoint, path)


def _sound(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """A checkpoint as this version writes it, if its settings and facts are such: anybody may have made it.

    Raises:
        InputError: they are not.
    """
    try:
        upgraded = upgrade_checkpoint(checkpoint)
        settings, encoders = upgraded["hyper_parameters"], upgraded["fm_unroll"]["encoders"]
        sizes = [settings.get(name) for name in SIZES]
        sound = (
            isinstance(settings["method"], str)
            and all(isinstance(encoder["sha256"], str) for encoder in encoders)
            and all(size is None or (isinstance(size, int) and size < TOO_MANY) for size in sizes)
        )
    except (LookupError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise InputError(f"{path} is damaged: its settings are not those that `fit` or `release` writes")
    return upgraded


def load_network(path: Path, weights: Path | None = None) -> UnrolledNetwork:
    """Rebuild a trained network on the CPU, in evaluation mode.

    Args:
        path: the checkpoint.
        weights: the frozen encoder's weights, if they are no longer where they were in training.

    Raises:
        InputError: not a checkpoint of this framework, of another architecture, trained over another
            encoder, or of a network of the user's own that was not named in this command.
    """
    return build_network(read_checkpoint(path), path, weights)


def build_network(checkpoint: dict[str, Any], path: Path, weights: Path | None = None) -> UnrolledNetwork:
    """The network of a checkpoint that has been read from a path; see :func:`load_network`."""
    settings = checkpoint["hyper_parameters"]
    require_consent(settings["method"], named(path))
    network = build_model(**network_options(settings, weights))
    if not settings.get("any_encoder"):
        require_encoders(network, checkpoint)
    tensors = tensors_of(checkpoint)
    if isinstance(network, OwnNetwork):
        require_fit(network, tensors, str(path))
        if checkpoint["fm_unroll"].get("code_sha256") not in (None, source_of(network.name)):
            warnings.warn(
                f"{path}: the code of {network.name} has changed since it was trained", stacklevel=2
            )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is of another architecture: {reason}") from None
    return network.eval()


def tensors_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint's network, by their names in the network."""
    return {name.removeprefix(NETWORK): tensor for name, tensor in checkpoint["state_dict"].items()}


def network_options(settings: dict[str, Any], weights: Path | None) -> dict[str, Any]:
    """The arguments of :func:`build_model` among a checkpoint's settings, with other weights if given."""
    own = options_of(settings["method"], settings.get("physics", PAPER))
    names = {*inspect.signature(build_model).parameters, *own}
    options = {name: value for name, value in settings.items() if name in names}
    if is_own(settings["method"]):
        gone = sorted(settings.keys() - own.keys() - TAKEN - {*SIZES})
        if gone:
            raise InputError(
                f"{settings['method']} has no option {gone[0]} any more, with which it was trained"
            )
        if weights is not None:
            raise InputError(f"--weights {weights}: {settings['method']} has no frozen encoder of fm_unroll")
    return options if weights is None else options | {"weights": weights, "pretrained": True}


def find_moved_weights(paths: Sequence[Path], files: Sequence[Path]) -> dict[Path, Path]:
    """The present places of the encoder weights of some checkpoints, told by the SHA-256 of the encoder.

    Args:
        paths: checkpoints.
        files: weights files that may have moved since training.

    Returns:
        The file of every checkpoint that has one among them; others have their weights where they were.

    Raises:
        InputError: a file has the weights of no checkpoint, or is none; or the weights of a checkpoint are
            neither where they were nor among the files.
    """
    found: dict[Path, Path] = {}
    unused = dict.fromkeys(files, "")
    for path in paths:
        checkpoint = read_checkpoint(path)
        settings, encoders = checkpoint["hyper_parameters"], checkpoint["fm_unroll"]["encoders"]
        needed = ", ".join(encoder["sha256"] for encoder in encoders)
        for file in files if needed else ():
            try:
                has = _encoder_hashes(settings, file)
            except InputError as error:  # of another encoder: then it may be another checkpoint's
                has = str(error)
            if has == needed:
                found[path] = file
                unused.pop(file, None)
            elif file in unused:
                unused[file] += f"; {path} needs {needed[:12]}, this is {has}"
        former = settings.get("weights")
        if former is not None and path not in found and not at_home(former).exists():
            raise InputError(
                f"{path}: the weights of its encoder (sha256 {needed[:12]}) are no longer at "
                f"{former}, nor among --weights: give their present place by --weights"
            )
    for file, reasons in unused.items():
        raise InputError(f"--weights {file}: has the encoder of none of the checkpoints{reasons}")
    return found


def _encoder_hashes(settings: dict[str, Any], weights: Path) -> str:
    """The hashes of the encoders that settings build from some weights.

    Raises:
        InputError: the weights do not fit.
    """
    hashes: list[str] = []
    for method, entry in find_denoisers(settings["method"]).items():
        if "weights" in entry.options():
            one = {**settings, "method": method, "num_cascades": 1}  # as all of its cascades share them
            hashes += [encoder.sha256 for encoder in build_model(**network_options(one, weights)).encoders]
    return ", ".join(dict.fromkeys(hashes))


def require_encoders(network: UnrolledNetwork, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint that was trained over other encoders than a network has.

    Raises:
        InputError: the hashes of their weights differ, or what they compute with the same weights.
    """
    for recorded, encoder in zip_longest(checkpoint["fm_unroll"]["encoders"], network.encoders):
        expected = recorded["sha256"] if recorded else ""
        found = encoder.sha256 if encoder else ""
        if found != expected:
            raise InputError(
                f"the checkpoint was trained over the encoder {expected[:12] or '(none)'} (sha256), "
                f"this is {found[:12] or '(none)'}: give its weights (--weights; in fit, validate, test and "
                "predict --model.weights), or --model.any_encoder true"
            )
        # checkpoints of earlier versions do not say
        for fact, value in recorded.get("untold", {}).items():
            has = encoder.untold.get(fact)
            if has != value:
                raise InputError(
                    f"the checkpoint was trained over an encoder with {fact} {value}, this one has {has}: "
                    "give the encoder that it was trained over, or --model.any_encoder true"
                )


def start_from(network: UnrolledNetwork, settings: dict[str, Any], path: Path) -> None:
    """Give the U-Nets of mixed denoisers, and what is around them, the weights of a trained network.

    Maps and step sizes, or strengths and pulls, come with the U-Nets: as long as its gates are closed, the
    network then is the other one.

    Args:
        network: with a mixed denoiser in every cascade.
        settings: what it was built by, named as in ``hyper_parameters`` of checkpoints.
        path: a checkpoint of ``varnet`` or of another name of its denoiser.

    Raises:
        InputError: other denoisers, or networks that differ in physics or sizes.
    """
    mixed = [isinstance(cascade.denoiser, MixedDenoiser) for cascade in network.cascades]
    if not (mixed and all(mixed)):
        raise InputError(f"unet_from {path}: method {settings['method']!r} does not take it, mixed does")
    checkpoint = read_checkpoint(path)
    theirs = checkpoint["hyper_parameters"]
    if [entry.build for entry in find_denoisers(theirs["method"]).values()] != [unets]:
        raise InputError(f"unet_from {path}: of method {theirs['method']!r}, give one of a U-Net (varnet)")
    # mixed ones are made of varnet's
    here, there = _around_unets(settings, "varnet"), _around_unets(theirs, theirs["method"])
    if differing := [name for name in here | there if here.get(name) != there.get(name)]:
        words = "; ".join(f"{name} is {there.get(name)} there, {here.get(name)} here" for name in differing)
        raise InputError(f"unet_from {path}: {words}: give the same")
    trained = build_network(checkpoint, path).state_dict()
    placed = {name.replace(".denoiser.", ".denoiser.unet.", 1): tensor for name, tensor in trained.items()}
    network.load_state_dict(network.state_dict() | placed)


def _around_unets(settings: dict[str, Any], method: str) -> dict[str, Any]:
    """What decides a network of U-Nets among the settings of one, or of one with mixed denoisers."""
    physics = settings.get("physics", PAPER)
    given = {name: settings.get(name) for name in options_of(method, physics)}
    sizes = {name: settings[name] for name in ("num_cascades", "sens_chans", "sens_pools")}
    return {"physics": physics, **sizes, **effective_options(method, given, physics)}
