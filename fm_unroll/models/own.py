"""Networks of the user's own: any ``nn.Module`` from masked k-space to image, named as ``MODULE:CLASS``.

What the module is called with, and what it returns, is what :class:`OwnNetwork` says. To the rest of the
package it is an unrolled network without cascades and encoders.
"""

import difflib
import importlib
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from fm_unroll.consent import consented, require_consent
from fm_unroll.errors import InputError
from fm_unroll.methods import NUM_CASCADES
from fm_unroll.models.unrolled import UnrolledNetwork, check_input

# Sizes of every method, handed over to a class whose ``__init__`` has a parameter of that name.
SIZES = ("num_cascades", "sens_chans", "sens_pools")
# Options of the training and of frozen encoders: a class cannot have others by these names.
TAKEN = {
    *("method", "loss", "learning_rate", "learning_rate_step", "learning_rate_factor", "physics", "compile"),
    *("checkpoint_cascades", "unet_from", "any_encoder", "weights", "pretrained", "encoder_seed"),
}
PLAIN = (bool, int, float, str)
LISTS = (list, tuple, Sequence)
INPUT = "(masked_kspace, mask, num_acs)"


class OwnNetwork(UnrolledNetwork):
    """A network of the user's own, whose images are checked."""

    def __init__(self, name: str, network: nn.Module) -> None:
        """Take the user's module, and the name of its class."""
        super().__init__(None, ())
        self.name = name
        self.own = network

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        """Call the module with these three, without names.

        Args:
            masked_kspace: complex64, ``(batch, coil, readout, phase)``, zero at lines that are not sampled.
                It has the units of its file: a network that needs a certain scale brings it there and back.
            mask: bool, ``(batch or 1, 1, 1, phase)``: sampled lines.
            num_acs: fully sampled centre lines.

        Returns:
            The module's image, ``(batch, readout, phase)``, float32.

        Raises:
            InputError: it returned something else, or in training something that is not finite.
        """
        check_input(masked_kspace, mask, num_acs)
        try:
            # copies: what it writes into them is nobody else's input
            image = self.own(masked_kspace.clone(), mask.clone(), num_acs)
        except Exception as error:  # the user's code may raise any; a note stands below its traceback
            error.add_note(f"raised within {self.name}, a network of your own, called with {INPUT}")
            raise
        if not isinstance(image, Tensor):
            raise InputError(f"{self.name} returned a {type(image).__name__}, expected a tensor: the image")
        batch, _, *matrix = masked_kspace.shape
        if image.shape != (batch, *matrix):
            raise InputError(
                f"{self.name} returned an image of shape {tuple(image.shape)}, expected {(batch, *matrix)}: "
                f"(batch, readout, phase) of the k-space {tuple(masked_kspace.shape)}"
            )
        if not image.is_floating_point():
            kind = str(image.dtype).removeprefix("torch.")
            raise InputError(f"{self.name} returned an image of {kind}, expected float32: the magnitude")
        if self.training and not image.isfinite().all():
            raise InputError(f"{self.name} returned an image with NaN or Inf in training")
        if self.training and torch.is_grad_enabled() and not image.requires_grad:
            raise InputError(
                f"{self.name} returned an image without a gradient, of which nothing is learned: leave out "
                "detach() and torch.no_grad()"
            )
        return image.float()

    def coil_images(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> NoReturn:
        """There are none.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.name} gives an image alone and no coil images, which a trust map needs, as does learning "
            "without targets"
        )

    def begin(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> NoReturn:
        """There is nothing that is iterated."""
        self.coil_images(masked_kspace, mask, num_acs)

    def finish(self, iterate: Tensor, *constants: Any) -> NoReturn:
        """There is nothing that is iterated."""
        self.begin(iterate, *constants)


def find_class(name: str) -> type[nn.Module]:
    """The class of a network of the user's own, imported if the user gave the name in this command.

    Args:
        name: ``MODULE:CLASS``.

    Raises:
        InputError: it was not given, cannot be imported, or cannot serve as a network.
    """
    require_consent(name)
    found: Any = consented()[name] or _imported(name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        raise InputError(f"{name} is {kind}, expected a class derived from torch.nn.Module")
    if name_of(found) != name:
        raise InputError(f"{name} is defined as {name_of(found)}: give it by this name")
    if issubclass(found, ScriptModule):  # which hides its forward
        raise InputError(f"{name} is a ScriptModule: derive it from torch.nn.Module, and script parts of it")
    if found.forward is nn.Module.forward:
        raise InputError(f"{name} has no forward: it is called with {INPUT} and returns the image")
    forward = inspect.signature(found.forward)
    try:
        forward.bind("self", "masked_kspace", "mask", "num_acs")
    except TypeError:
        raise InputError(
            f"{name}.forward is {forward}, but it is called with {INPUT} without names"
        ) from None
    options_of_class(found)
    return found


def name_of(own: type) -> str:
    """How a class is named as a method."""
    return f"{own.__module__}:{own.__qualname__}"


def _imported(name: str) -> Any:
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the code of a module may raise any
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        absent = isinstance(error, ModuleNotFoundError) and module_name.startswith(error.name or "-")
        hint = (
            "; install its package, or name its folder in PYTHONPATH" if absent else "; --debug shows where"
        )
        raise InputError(f"{name}: the module {module_name} cannot be imported ({reason}){hint}") from error
    if not hasattr(module, class_name):
        known = [key for key, value in vars(module).items() if isinstance(value, type)]
        near = difflib.get_close_matches(class_name, known)
        raise InputError(f"{name}: the module {module_name} has no {class_name}{did_you_mean(near)}")
    return getattr(module, class_name)


def did_you_mean(near: Sequence[str]) -> str:
    """The end of a sentence that names what may have been meant; empty without any."""
    return f", did you mean {', '.join(near)}?" if near else ""


def options_of_class(own: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """The options of a network of the user's own: parameters of ``__init__`` that a config can hold.

    These are numbers, texts, truth values, lists of them, and what may be one of these or None. A parameter
    without a type has that of its default. Others keep their defaults.

    Raises:
        InputError: a parameter without a default is of another type, one has a name that means something else
            here, or the types cannot be told.
    """
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in _parameters(own).items():
        if name in SIZES:
            continue
        if name in TAKEN:
            raise InputError(
                f"{name_of(own)} has a parameter {name}, an option of every training: give it another name"
            )
        default = parameter.default
        stated = parameter.annotation is not parameter.empty
        annotation = parameter.annotation if stated else type(default)
        if fits_a_config(annotation):
            kind = inspect.Parameter.KEYWORD_ONLY
            options[name] = parameter.replace(kind=kind, annotation=annotation)
        elif default is parameter.empty:
            raise InputError(
                f"{name_of(own)}: its parameter {name} has no default, and no type that a config can hold: "
                f"give it one of these, such as {name}: int"
            )
    return options


def _parameters(own: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """The named parameters of ``__init__``."""
    try:
        parameters = inspect.signature(own.__init__, eval_str=True).parameters.values()
    except Exception as error:  # a type that is a text is evaluated, and may raise any
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{name_of(own)}: the types of its parameters cannot be told ({reason})") from error
    without_names = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {each.name: each for each in list(parameters)[1:] if each.kind not in without_names}


def fits_a_config(annotation: Any) -> bool:
    """Whether a parser reads values of a type without importing what they name, as of ``Any`` it would."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType) or origin in LISTS:
        parts = [each for each in inner if each not in (Ellipsis, types.NoneType)]
        return bool(parts) and all(map(fits_a_config, parts))
    return annotation in PLAIN


def cascades_of_own(name: str, given: int | None) -> int | None:
    """The number of cascades that a network is built with; None: its class does not ask for one.

    Args:
        name: of the network.
        given: None: not given; then the class's own default, or 12.

    Raises:
        InputError: as :func:`find_class`, the number is not positive, or nobody asks for it.
    """
    parameter = _parameters(find_class(name)).get("num_cascades")
    if given is not None and given < 1:
        raise InputError(f"num_cascades is {given}: give 1 or more")
    if given is not None and parameter is None:
        raise InputError(f"num_cascades is {given}: {name} is a network of your own that does not ask for it")
    if parameter is None or given is not None:
        return given
    return NUM_CASCADES if parameter.default is parameter.empty else parameter.default


def build_own(name: str, sizes: Mapping[str, int | None], options: Mapping[str, Any]) -> OwnNetwork:
    """Build a network of the user's own.

    Args:
        name: ``MODULE:CLASS``.
        sizes: the given sizes of every method; those that the class does not ask for are left out.
        options: all of its options.

    Raises:
        InputError: the class raises an error, nothing is to be trained, or its state is not of tensors alone.
    """
    own = find_class(name)
    asked = _parameters(own)
    try:
        network = own(**{size: value for size, value in sizes.items() if size in asked}, **options)
    except (Exception, SystemExit) as error:  # the user's code may raise any
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{name} cannot be built ({reason}); --debug shows where") from error
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"{name} has no parameters that could be trained")
    for key, value in network.state_dict().items():
        if not isinstance(value, Tensor) or is_lazy(value) or value.is_meta:
            raise InputError(
                f"{name}: {key} of its state is no tensor with a shape and values, as checkpoints hold"
            )
    return OwnNetwork(name, network)


def asks_for(name: str, size: str) -> bool:
    """Whether the class of a network has a parameter of a name."""
    return size in _parameters(find_class(name))


def require_fit(network: OwnNetwork, tensors: Mapping[str, Tensor], path: str) -> None:
    """Refuse the tensors of a checkpoint that do not fit a network as its class is now.

    Args:
        network: the network.
        tensors: those of the checkpoint, by their names in the network.
        path: of the checkpoint, for the message.

    Raises:
        InputError: names or shapes differ.
    """
    now = network.state_dict()
    shapes = [
        f"{name} is {tuple(tensors[name].shape)} there and {tuple(now[name].shape)} here"
        for name in now.keys() & tensors.keys()
        if tensors[name].shape != now[name].shape
    ]
    found = [
        *_counted("is missing there", sorted(now.keys() - tensors.keys())),
        *_counted("is missing here", sorted(tensors.keys() - now.keys())),
        *_counted("", sorted(shapes)),
    ]
    if found:
        raise InputError(
            f"{path} does not fit {network.name} as its code is now ({'; '.join(found)}): "
            "give the code that was trained"
        )


def require_same_statistics(network: nn.Module) -> None:
    """Refuse batch statistics that every process of a distributed training would keep for itself.

    Raises:
        InputError: there are some.
    """
    for name, module in network.named_modules():
        several = isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
        if several and module.track_running_stats:
            raise InputError(
                f"{name} is a {type(module).__name__}, whose statistics would differ between processes: "
                "add --trainer.sync_batchnorm true"
            )


def _counted(what: str, names: Sequence[str]) -> list[str]:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return [f"{names[0]} {what}".strip() + more] if names else []
