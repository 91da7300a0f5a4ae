"""The options of all denoisers and physics on one command line, of which a run uses those of its own.

Which options apply is known once ``model.method`` is, and that may come from a config file, from the command
line or from a sweep. So each option of each denoiser is an argument whose default None stands for "not
given"; before anything is built, the method's own get their defaults, and others that were given are refused.
"""

import difflib
import inspect
import json
import re
from argparse import ArgumentError
from collections.abc import Collection, Mapping
from functools import wraps
from typing import Any, Optional, Union

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from fm_unroll.consent import is_own
from fm_unroll.errors import InputError
from fm_unroll.methods import PAPER
from fm_unroll.models.build import refuse_idle_sizes
from fm_unroll.models.own import did_you_mean
from fm_unroll.models.registry import (
    Builder,
    Entry,
    effective_options,
    list_denoisers,
    list_physics,
    number_of_cascades,
    own_entries,
)
from fm_unroll.training.losses import needs_targets
from fm_unroll.training.task import ReconstructionTask

SUPERVISED = inspect.signature(ReconstructionTask).parameters["loss"].default  # where none is named

# What jsonargparse says of an option that does not exist, on the command line or in a config.
UNKNOWN = re.compile(r"(?:nrecognized arguments: --|does not accept option ')model\.(\w+)")


def add_denoiser_options(parser: LightningArgumentParser) -> None:
    """Add the options of all denoisers and physics as ``--model.NAME``; their docstrings are the help."""
    types: dict[str, list[Any]] = {}
    entries = _all_entries()
    for entry in entries:
        for name, option in entry.own_options().items():
            types.setdefault(name, []).append(option.annotation)
    group = parser.add_argument_group(
        "Options of the method's denoiser and of the physics; others than their own are refused"
    )
    added: set[str | int] = set()
    for entry in entries:
        names = {name: Optional[Union[tuple(types[name])]] for name in entry.own_options()}  # noqa: UP007, UP045
        # the docstring of a class's options is that of its `__init__`
        build = entry.build.__init__ if isinstance(entry.build, type) else entry.build  # type: ignore[misc]
        group.add_function_arguments(nothing_given(build, names), "model", as_group=False, skip=added)
        added.update(names)


def _all_entries() -> list[Entry]:
    """What has options: every denoiser and physics, and the networks of the user's own that are named."""
    return [*list_denoisers().values(), *list_physics().values(), *own_entries()]


def unknown_option(error: ArgumentError) -> InputError | None:
    """What to say of an option of the model that does not exist, if that is the error and others are near."""
    found = UNKNOWN.search(str(error))
    known = {name for entry in _all_entries() for name in entry.options()}
    known |= inspect.signature(ReconstructionTask).parameters.keys() - {"options"}
    near = difflib.get_close_matches(found[1], sorted(known)) if found else []
    if not (found and near):
        return None
    return InputError(
        f"there is no option model.{found[1]}{did_you_mean([f'model.{name}' for name in near])}"
    )


def nothing_given(build: Builder, types: Mapping[str, Any]) -> Builder:
    """Return what a denoiser's function looks like to a parser: its options alone, None where not given."""

    @wraps(build)
    def options_alone(**_: object) -> list[Any]:
        raise NotImplementedError("stands for its signature and docstring")

    options_alone.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as inspect documents it
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in types.items()
        ]
    )
    return options_alone


def settle_options(model: dict[str, Any], named: Collection[str] | None = None) -> dict[str, Any]:
    """Return a config's ``model`` section with its number of cascades and the options of its method alone.

    Args:
        model: the section.
        named: names of the options that count as given; by default all that are not None.

    Raises:
        InputError: the method is unknown, or an option is given that it does not have.
    """
    options = {name for entry in _all_entries() for name in entry.options()}
    common = {name: value for name, value in model.items() if name not in options}
    if model.get("compile") and is_own(model["method"]):
        raise InputError(
            f"compile is true: {model['method']} is a network of your own: compile it in its code"
        )
    if is_own(model["method"]) and not needs_targets(model.get("loss", SUPERVISED)):
        raise InputError(
            f"loss is {model['loss']}, which is taken at coil images: {model['method']} is a network of your "
            f"own, which gives an image alone; give --model.loss {SUPERVISED}"
        )
    common["num_cascades"] = number_of_cascades(model["method"], model.get("num_cascades"))
    given = {name: model[name] for name in options & model.keys() if named is None or name in named}
    settled = effective_options(model["method"], given, model.get("physics", PAPER))
    if not is_own(model["method"]):
        refuse_idle_sizes(settled, model)
    return {**common, **settled}


def settled_model(config: Namespace, named: Collection[str] | None = None) -> Namespace:
    """The ``model`` section with its method's options; random encoders are drawn from the run's seed.

    Args:
        config: of a verb.
        named: names of the options that count as given; by default all that are not None.
    """
    model = settle_options(config.model.as_dict(), named)
    if "encoder_seed" in model and model["encoder_seed"] is None:
        model["encoder_seed"] = seed_of(config.seed_everything)
    return Namespace(model)  # type: ignore[no-untyped-call]  # untyped there


def seed_of(seed_everything: bool | int) -> int:
    """Give the seed that ``seed_everything`` stands for: true and false stand for Lightning's own, 0."""
    return 0 if isinstance(seed_everything, bool) else seed_everything


def plain(config: Namespace) -> dict[str, Any]:
    """A config as plain values, with the effective options of its method."""
    settled = config.clone()
    settled.model = settled_model(settled)
    values: dict[str, Any] = json.loads(json.dumps(settled.as_dict(), default=str))
    return values
