"""Denoisers and physics by name: functions with options of their own.

Denoisers are in the files of ``fm_unroll/models/denoisers/``. A method is a denoiser's name, or an encoder's:
the denoiser that is registered for :data:`ANY_ENCODER` then stands on that encoder. A physics, ``paper`` or
``anchored``, chains denoisers to a network.
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

Builder = Callable[..., Any]
PAPER = "paper"  # the physics of the published method

# Registered under this name, a denoiser serves every encoder's name, which it is given as ``encoder``.
ANY_ENCODER = "<encoder>"


@dataclass(frozen=True)
class Entry:
    """One denoiser or physics by name.

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


_ENTRIES: dict[str, Entry] = {}
_PHYSICS: dict[str, Entry] = {}


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
        _ENTRIES[name] = Entry(build, defaults)
        return build

    return register


def register_physics(name: str) -> Callable[[Builder], Builder]:
    """Make a physics known by a name, as :func:`register_denoiser` does denoisers.

    The function that is decorated takes a sensitivity estimator, the denoisers, and ``checkpoint_every`` (see
    :class:`~fm_unroll.models.unrolled.UnrolledNetwork`), and keyword-only options. It returns the network.
    """

    def register(build: Builder) -> Builder:
        _PHYSICS[name] = Entry(build)
        return build

    return register


@cache
def _find_denoisers() -> None:
    """Import the files of the folder, so that they register what they hold."""
    folder = importlib.import_module("fm_unroll.models.denoisers")
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        importlib.import_module(module.name)


def list_physics() -> dict[str, Entry]:
    """Return every physics by name."""
    own = (PAPER, "anchored")
    for name in own:
        importlib.import_module(f"fm_unroll.models.{name}")
    return {name: _PHYSICS[name] for name in dict.fromkeys([*own, *_PHYSICS])}


def find_physics(name: str) -> Entry:
    """Return a physics.

    Raises:
        InputError: it is unknown.
    """
    known = list_physics()
    if name not in known:
        raise InputError(f"unknown physics {name!r}: choose from {', '.join(known)}")
    return known[name]


def list_denoisers() -> dict[str, Entry]:
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


def find_denoiser(method: str) -> Entry:
    """Return the denoiser of a method.

    Raises:
        InputError: the method is unknown.
    """
    check_method(method)
    denoisers = list_denoisers()
    return denoisers.get(method, denoisers[ANY_ENCODER])


def options_of(method: str, physics: str = PAPER) -> dict[str, inspect.Parameter]:
    """Return name, type and default of every option of a method's denoiser and of a physics.

    Raises:
        InputError: one of them is unknown.
    """
    return find_denoiser(method).options() | find_physics(physics).options()


def effective_options(method: str, given: Mapping[str, object], physics: str = PAPER) -> dict[str, Any]:
    """Return the options of a method's denoiser and of a physics: those given, and the others' defaults.

    Args:
        method: the method.
        given: options by name. None stands for an option that is not given.
        physics: the physics.

    Raises:
        InputError: method or physics are unknown, or have no such option.
    """
    options = options_of(method, physics)
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in options:
            raise InputError(_no_option(method, physics, name, options))
        given[name] = typed(method, options[name], value)
    return {name: given.get(name, option.default) for name, option in options.items()}


def _no_option(method: str, physics: str, name: str, options: Mapping[str, object]) -> str:
    """Say that an option does not exist, and where it would."""
    for other, entry in list_physics().items():
        if name in entry.options():
            return (
                f"{name} is an option of the physics {other}, this is {physics}: give physics {other} as well"
            )
    return f"method {method!r} has no option {name}: it has {', '.join(options)}"


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
    options = {name: effective_options(method, given)[name] for name in find_denoiser(method).options()}
    encoder = {} if method in list_denoisers() else {"encoder": method}
    denoisers: list[nn.Module] = find_denoiser(method).build(num_cascades, **encoder, **options)
    return denoisers
