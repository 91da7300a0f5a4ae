"""The paper's recipe in ``recipe.yaml``, and its callbacks, which every run has."""

import pkgutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from fm_unroll.config_files import read_config
from fm_unroll.errors import InputError

RECIPE = Path(__file__).with_name("recipe.yaml")


def complete_callbacks(
    given: list[Namespace] | None, leave_out: Collection[str], targets: bool = True
) -> list[Namespace]:
    """The callbacks of a run: the recipe's and the user's own.

    One of the same class takes the recipe's place, which is said. A ``ModelCheckpoint`` does so only if it
    keeps the best by the same metric: a run may keep others besides.

    Args:
        given: the config's ``trainer.callbacks``, each with ``class_path`` and ``init_args``.
        leave_out: classes of the recipe's callbacks that the run is not to have, by name.
        targets: whether there are targets. Without, the best epoch is chosen by the loss, and no panel is
            drawn.

    Raises:
        InputError: the recipe has no such callback.
    """
    recipe = {class_of(callback): callback for callback in recipe_callbacks()}
    if not targets:
        _choose_by_loss([*recipe.values(), *(given or [])])
    # a config that lists none, and one that a run has written, hold the recipe's themselves
    own = [c for c in given or [] if class_of(c) not in recipe or not _is_same(c, recipe[class_of(c)])]
    names = {kind.__name__: kind for kind in recipe}
    leave_out = [name.rpartition(".")[2] for name in leave_out]
    for name in leave_out:
        if name not in names:
            raise InputError(f"leave_out {name}: the recipe has {', '.join(names)}")
    left_out = {names[name] for name in leave_out}
    left_out |= set() if targets else {names["ImagePanels"]}
    replaced = {class_of(c) for c in own if class_of(c) in recipe and _takes_place(c, recipe[class_of(c)])}
    for kind in replaced:
        rank_zero_info(f"{kind.__name__} of the config takes the place of the recipe's")
    kept = [callback for kind, callback in recipe.items() if kind not in left_out | replaced]
    return [*kept, *own]


def _choose_by_loss(callbacks: list[Namespace]) -> None:
    """Let callbacks that go by SSIM go by the validation loss, where there are no targets for SSIM."""
    for callback in callbacks:
        options = callback.get("init_args")
        if options and str(options.get("monitor")).startswith("val/ssim"):
            options.monitor, options.mode = "val/loss", "min"


def _is_same(own: Namespace, recipes: Namespace) -> bool:
    """Whether a callback of the same class as the recipe's has the same options."""
    return _options(own) == _options(recipes)


def _options(callback: Namespace) -> dict[str, Any]:
    """The options of a callback that have a value."""
    options = callback.as_dict().get("init_args") or {}
    return {name: value for name, value in options.items() if value is not None}


def _takes_place(own: Namespace, recipes: Namespace) -> bool:
    """Whether a callback of the same class as the recipe's stands in its place, not beside it."""
    if class_of(own) is not ModelCheckpoint:
        return True
    return bool(own.init_args.get("monitor") == recipes.init_args.monitor)


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
