"""The paper's recipe in ``recipe.yaml``, and its callbacks, which every run has."""

import pkgutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Callback

from fm_unroll.config_files import read_config
from fm_unroll.errors import InputError

RECIPE = Path(__file__).with_name("recipe.yaml")

# What the recipe's callbacks need to find anything to keep; left out where a run keeps nothing.
CHECKPOINTS = ("ModelCheckpoint", "LastCheckpoint")


def complete_callbacks(given: list[Namespace] | None, leave_out: Collection[str]) -> list[Namespace]:
    """The callbacks of a run: the recipe's, unless the user gives one of the same class, and the user's own.

    Args:
        given: the config's ``trainer.callbacks``, each with ``class_path`` and ``init_args``.
        leave_out: classes of the recipe that the run is not to have, by name.

    Raises:
        InputError: the recipe has no such callback, or it is left out and given.
    """
    recipe = {class_of(callback): callback for callback in recipe_callbacks()}
    own = [(class_of(callback), callback) for callback in given or []]
    names = {kind.__name__: kind for kind in recipe}
    for name in leave_out:
        if name not in names:
            raise InputError(f"leave_out {name}: the recipe has {', '.join(names)}")
    left_out = {names[name] for name in leave_out}
    kept = [
        callback
        for kind, callback in recipe.items()
        if kind not in left_out and kind not in {kind for kind, _ in own}
    ]
    return [*kept, *(callback for kind, callback in own if kind not in left_out)]


def recipe_callbacks() -> list[Namespace]:
    """The recipe's callbacks, with all their options."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--callbacks", type=list[Callback])
    parsed: list[Namespace] = parser.parse_object(
        {"callbacks": read_config(RECIPE)["trainer"]["callbacks"]}
    ).callbacks
    return parsed


def class_of(callback: Namespace) -> Any:
    """The class that an entry of ``trainer.callbacks`` names, by whichever of its paths."""
    module, _, name = callback.class_path.rpartition(".")
    return pkgutil.resolve_name(f"{module}:{name}")
