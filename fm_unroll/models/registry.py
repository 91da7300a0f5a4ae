"""Denoisers by name: functions with options of their own, in the files of ``fm_unroll/models/denoisers/``.

A method is a denoiser's name, or an encoder's: the denoiser that is registered for :data:`ANY_ENCODER` then
stands on that encoder.
"""

import difflib
import importlib
import inspect
import pkgutil
from argparse import ArgumentError
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jsonargparse import ArgumentParser
from torch import nn

from fm_unroll.encoders import list_encoders
from fm_unroll.errors import InputError

Builder = Callable[..., list[nn.Module]]

# Registered under this name, a denoiser serves every encoder's name, which it is given as ``encoder``.
ANY_ENCODER = "<encoder>"


@dataclass(frozen=True)
class DenoiserEntry:
    """One denoiser by name.

    Attributes:
        build: the function; its keyword-only parameters are the options.
        defaults: values of options under this name, where they differ from the function's own.
    """

    build: Builder
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def options(self) -> dict[str, inspect.Parameter]:
        """Return name, type and default of every option."""
        parameters = inspect.signature(self.build, eval_str=True).parameters.values()
        return {
            option.name: option.replace(default=self.defaults.get(option.name, option.default))
            for option in parameters
            if option.kind is option.KEYWORD_ONLY
        }


_ENTRIES: dict[str, DenoiserEntry] = {}


def register_denoiser(name: str, **defaults: object) -> Callable[[Builder], Builder]:
    """Make a denoiser known by a name: to :func:`build_model`, to configs and to the command line.

    The function that is decorated takes ``num_cascades``, an ``encoder`` if it is registered for
    :data:`ANY_ENCODER`, and keyword-only options, each with a type, a default and a description in its
    docstring. It returns one module per cascade, from complex image to complex image,
    ``(batch, readout, phase)``.

    Args:
        name: name of the method; one function may be registered under several.
        defaults: defaults of its options under this name, where they differ from the function's own.

    Raises:
        InputError: the name is taken.
    """

    def register(build: Builder) -> Builder:
        if name in _ENTRIES:
            raise InputError(f"denoiser {name!r} is registered already: choose another name")
        _ENTRIES[name] = DenoiserEntry(build, defaults)
        return build

    return register


@cache
def _find_denoisers() -> None:
    """Import the files of the folder, so that they register what they hold."""
    folder = importlib.import_module("fm_unroll.models.denoisers")
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        importlib.import_module(module.name)


def list_denoisers() -> dict[str, DenoiserEntry]:
    """Return all denoisers by name, :data:`ANY_ENCODER` among them."""
    _find_denoisers()
    return dict(_ENTRIES)


def list_methods() -> list[str]:
    """Return the names that :func:`build_model` takes, besides ``timm/<architecture>``."""
    return [*(name for name in list_denoisers() if name != ANY_ENCODER), *list_encoders()]


def check_method(method: str) -> None:
    """Refuse a name that :func:`build_model` does not know.

    Raises:
        InputError: the name is unknown; the message gives the nearest ones.
    """
    if method not in list_methods() and not method.startswith("timm/"):
        near = difflib.get_close_matches(method, list_methods()) or list_methods()
        raise InputError(f"unknown method {method!r}: did you mean {', '.join(near)}?")


def find_denoiser(method: str) -> DenoiserEntry:
    """Return the denoiser of a method.

    Raises:
        InputError: the method is unknown.
    """
    check_method(method)
    denoisers = list_denoisers()
    return denoisers.get(method, denoisers[ANY_ENCODER])


def effective_options(method: str, given: Mapping[str, object]) -> dict[str, Any]:
    """Return the options of a method's denoiser: those given, and the defaults of the others.

    Args:
        method: the method.
        given: options by name. None stands for an option that is not given.

    Raises:
        InputError: the method is unknown, or has no such option.
    """
    options = find_denoiser(method).options()
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in options:
            raise InputError(f"method {method!r} has no option {name}: it has {', '.join(options)}")
        given[name] = typed(method, options[name], value)
    return {name: given.get(name, option.default) for name, option in options.items()}


def typed(method: str, option: inspect.Parameter, value: object) -> Any:
    """The value of an option in the type that its function states, as the command line reads it.

    Raises:
        InputError: it is of another type.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{option.name}", type=option.annotation)
    try:
        return parser.parse_object({option.name: value})[option.name]
    except ArgumentError:
        kind = inspect.formatannotation(option.annotation)
        raise InputError(f"method {method!r}: {option.name} is {value!r}, expected {kind}") from None


def build_denoisers(method: str, num_cascades: int, given: Mapping[str, object]) -> list[nn.Module]:
    """Build a method's denoisers, one per cascade; see :func:`effective_options`."""
    options = effective_options(method, given)
    encoder = {} if method in list_denoisers() else {"encoder": method}
    return find_denoiser(method).build(num_cascades, **encoder, **options)
