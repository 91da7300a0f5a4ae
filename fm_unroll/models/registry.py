"""Denoisers and physics by name: functions with options of their own.

Denoisers are in the files of ``fm_unroll/models/denoisers/``. A method is a denoiser's name, or an encoder's:
the denoiser that is registered for :data:`ANY_ENCODER` then stands on that encoder. A method may also name
several in turn (:mod:`fm_unroll.methods`); it has the options of them all. A physics, ``paper`` or
``anchored``, chains denoisers to a network.
"""

import difflib
import importlib
import inspect
import pkgutil
import re
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Union

from jsonargparse import ArgumentParser
from torch import nn

from fm_unroll.consent import consented, is_own
from fm_unroll.encoders import FrozenEncoder, list_encoders
from fm_unroll.errors import InputError
from fm_unroll.methods import PAPER, cascades_of, parts_of
from fm_unroll.models.own import cascades_of_own, did_you_mean, find_class, options_of_class
from fm_unroll.provenance import source_sha256

Builder = Callable[..., Any]

# Registered under this name, a denoiser serves every encoder's name, which it is given as ``encoder``.
ANY_ENCODER = "<encoder>"


@dataclass(frozen=True)
class Entry:
    """One denoiser or physics by name.

    Attributes:
        build: the function; its keyword-only parameters are the options.
        made_of: names of denoisers that it is made of, whose options it has as well.
        defaults: values of options under this name, where they differ from the function's own.
    """

    build: Builder
    made_of: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def own_options(self) -> dict[str, inspect.Parameter]:
        """Return name, type and default of every option that the function itself states."""
        parameters = inspect.signature(self.build, eval_str=True).parameters.values()
        return {
            option.name: option.replace(default=self.defaults.get(option.name, option.default))
            for option in parameters
            if option.kind is option.KEYWORD_ONLY
        }

    def options(self) -> dict[str, inspect.Parameter]:
        """Return name, type and default of every option, those of what it is made of first."""
        return merged([*(_ENTRIES[name].options() for name in self.made_of), self.own_options()])

    def modules(self) -> set[str]:
        """Names of the modules that define it."""
        return {self.build.__module__}.union(*(_ENTRIES[name].modules() for name in self.made_of))


class OwnEntry(Entry):
    """A network of the user's own by name; what builds it is its class."""

    def own_options(self) -> dict[str, inspect.Parameter]:
        """Return name, type and default of those parameters of the class that a config can hold."""
        return options_of_class(self.build)  # type: ignore[arg-type]  # a class builds its instances

    def modules(self) -> set[str]:
        """Names of the modules that define the class, and what it is derived from."""
        derived = {base.__module__ for base in inspect.getmro(self.build)}  # type: ignore[arg-type]
        return {module for module in derived if module.partition(".")[0] not in {"builtins", "torch"}}


_ENTRIES: dict[str, Entry] = {}
_PHYSICS: dict[str, Entry] = {}


def merged(several: Iterable[Mapping[str, inspect.Parameter]]) -> dict[str, inspect.Parameter]:
    """The options of several denoisers together.

    One that several have goes to each of them. Where their defaults differ its own is None: not given, so
    that each keeps its own.
    """
    together: dict[str, inspect.Parameter] = {}
    for options in several:
        for name, option in options.items():
            other = together.get(name, option)
            together[name] = option.replace(
                default=option.default if option.default == other.default else None,
                annotation=Union[other.annotation, option.annotation],  # noqa: UP007  # values, not types
            )
    return together


def register_denoiser(name: str, *made_of: str, **defaults: object) -> Callable[[Builder], Builder]:
    """Make a denoiser known by a name: to :func:`build_model`, to configs and to the command line.

    The function that is decorated takes ``num_cascades``, an ``encoder`` if it is registered for
    :data:`ANY_ENCODER`, and keyword-only options, each with a type, a default and a description in its
    docstring. It returns one module per cascade, from complex image to complex image,
    ``(batch, readout, phase)``.

    Args:
        name: name of the method; one function may be registered under several.
        made_of: names of registered denoisers that it is made of. It has their options as well, takes them as
            ``**options``, and hands them on by :func:`build_denoisers`.
        defaults: defaults of its options under this name, where they differ from the function's own.

    Raises:
        InputError: the name is taken.
    """

    def register(build: Builder) -> Builder:
        if name in _ENTRIES:
            raise InputError(f"denoiser {name!r} is registered already: choose another name")
        _ENTRIES[name] = Entry(build, made_of, defaults)
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


def find_denoiser(name: str) -> Entry:
    """Return a denoiser.

    Args:
        name: a method of one name.

    Raises:
        InputError: the name is unknown; the message gives the nearest ones.
    """
    if is_own(name):
        return OwnEntry(find_class(name))
    if name not in list_methods() and not name.startswith("timm/"):
        if re.fullmatch(r"(anchored_)?u-?net", name, re.IGNORECASE):
            raise InputError(
                f"unknown method {name!r}: the U-Net is varnet; with a head that starts at zero, as the "
                "anchored physics needs it, varnet_zero"
            )
        near = difflib.get_close_matches(name, list_methods()) or list_methods()
        if is_own(written := ":".join(name.rsplit(".", 1))):
            near = [written]
        raise InputError(f"unknown method {name!r}{did_you_mean(near)}")
    denoisers = list_denoisers()
    return denoisers.get(name, denoisers[ANY_ENCODER])


def find_denoisers(method: str) -> dict[str, Entry]:
    """Return the denoisers of a method by name, each once.

    Raises:
        InputError: a name is unknown, or the method is not written as a list is.
    """
    names = [name for name, _ in parts_of(method)]
    if len(names) > 1 and any(map(is_own, names)):
        raise InputError(
            f"method {method!r}: a network of your own is a whole one, it has no cascades in turn"
        )
    return {name: find_denoiser(name) for name in names}


def source_of(method: str) -> str:
    """Hash of the source of a method's denoisers, or of a network of the user's own.

    Raises:
        InputError: the method is unknown.
    """
    return source_sha256(*set[str]().union(*(entry.modules() for entry in find_denoisers(method).values())))


def own_entries() -> list[Entry]:
    """Return the networks of the user's own that the present command may run."""
    return [find_denoiser(name) for name in consented()]


def number_of_cascades(method: str, num_cascades: int | None) -> int | None:
    """The number of cascades of a method; None: a network of the user's own that does not ask for one.

    Raises:
        InputError: as :func:`fm_unroll.methods.cascades_of`, or the network cannot be found.
    """
    return cascades_of_own(method, num_cascades) if is_own(method) else len(cascades_of(method, num_cascades))


def denoiser_options(method: str) -> dict[str, inspect.Parameter]:
    """Return name, type and default of every option of a method's denoisers, see :func:`merged`.

    Raises:
        InputError: the method is unknown.
    """
    return merged(entry.options() for entry in find_denoisers(method).values())


def options_of(method: str, physics: str = PAPER) -> dict[str, inspect.Parameter]:
    """Return name, type and default of every option of a method's denoisers and of a physics.

    Raises:
        InputError: one of them is unknown.
    """
    # a network of the user's own is of no physics; another than the usual one is refused when it is built
    return denoiser_options(method) | ({} if is_own(method) else find_physics(physics).options())


def effective_options(method: str, given: Mapping[str, object], physics: str = PAPER) -> dict[str, Any]:
    """Return the options of a method's denoisers and of a physics: those given, and the others' defaults.

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
    unset = [name for name, option in options.items() if option.default is option.empty and name not in given]
    if unset:
        raise InputError(
            f"method {method!r} needs {', '.join(f'--model.{name}' for name in unset)}: no default"
        )
    return {name: given.get(name, option.default) for name, option in options.items()}


def _no_option(method: str, physics: str, name: str, options: Mapping[str, object]) -> str:
    """Say that an option does not exist, and where it would."""
    for other, entry in list_physics().items():
        if name in entry.options() and not is_own(method):
            return (
                f"{name} is an option of the physics {other}, this is {physics}: give physics {other} as well"
            )
    near = did_you_mean(difflib.get_close_matches(name, options))
    return f"method {method!r} has no option {name}{near or ': it has ' + (', '.join(options) or 'none')}"


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


def build_denoisers(method: str, num_cascades: int | None, given: Mapping[str, object]) -> list[nn.Module]:
    """Build a method's denoisers, one per cascade; those of one name share what they can.

    Args:
        method: one name, or a list.
        num_cascades: see :func:`fm_unroll.methods.cascades_of`.
        given: options by name. Each denoiser takes those that it has.

    Raises:
        InputError: the method is unknown, or an option has another type or cannot be used.
    """
    names = cascades_of(method, num_cascades)
    built = {
        name: iter(_build_alike(name, entry, names.count(name), given))
        for name, entry in find_denoisers(method).items()
    }
    denoisers = [next(built[name]) for name in names]
    share_encoders(denoisers)
    return denoisers


def _build_alike(name: str, entry: Entry, num_cascades: int, given: Mapping[str, object]) -> list[nn.Module]:
    own = {option: given.get(option) for option in entry.options()}
    encoder = {} if name in list_denoisers() else {"encoder": name}
    denoisers: list[nn.Module] = entry.build(num_cascades, **encoder, **effective_options(name, own))
    return denoisers


def share_encoders(denoisers: Iterable[nn.Module]) -> None:
    """Let frozen encoders that compute the same be one, as those of ``clip x 4, mixed x 4``."""
    modules = dict.fromkeys(module for denoiser in denoisers for module in denoiser.modules())
    if sum(isinstance(module, FrozenEncoder) for module in modules) < 2:
        return
    known: dict[tuple[object, ...], FrozenEncoder] = {}
    for module in modules:
        encoder = getattr(module, "encoder", None)
        if isinstance(encoder, FrozenEncoder):
            module.encoder = known.setdefault(encoder.identity(), encoder)
