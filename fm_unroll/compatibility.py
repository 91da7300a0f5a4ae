"""Files that version 0.1 wrote, in the words of this version: the one place that knows how they differ.

Functions on plain dictionaries, which leave contents of this version as they are.
"""

import ast
from typing import Any

Content = dict[str, Any]

# Options of all denoisers, which version 0.1 listed for every method whether they applied or not.
UNET_OPTIONS = {"chans", "pools"}
DECODER_OPTIONS = {"decoder_widths", "shared_decoder"}
ENCODER_OPTIONS = {
    "weights",
    "pretrained",
    "blocks",
    "fusion",
    "encoder_gradient",
    "statistics",
    "encoder_input",
    "encoder_image_size",
    "encoder_precision",
}

# Modules, and classes that went elsewhere than their module, by their former names.
MOVED = {
    "fm_unroll.callbacks": "fm_unroll.training.callbacks",
    "fm_unroll.callbacks.ContinuedCSVLogger": "fm_unroll.training.loggers.ContinuedCSVLogger",
    "fm_unroll.callbacks.LooseWandbLogger": "fm_unroll.training.loggers.LooseWandbLogger",
    "fm_unroll.callbacks.WandbRecord": "fm_unroll.training.loggers.WandbRecord",
    "fm_unroll.losses": "fm_unroll.training.losses",
    "fm_unroll.task": "fm_unroll.training.task",
}

# Methods by their former names.
RENAMED = {"none": "image_skip_only"}

DATA_MODULES = ("CMRxReconData", "FastMRIKneeData", "FastMRIBrainData")

# Sampling patterns of version 0.1, by the names in its checkpoints.
PATTERNS = {
    name: f"fm_unroll.physics.sampling.{name}"
    for name in ("UniformSampling", "EquispacedSampling", "RandomSampling")
}


def upgrade_checkpoint(checkpoint: Content) -> Content:
    """Return a checkpoint of ``fit`` as this version writes it.

    Args:
        checkpoint: its content, with ``hyper_parameters`` and ``fm_unroll``; left as it is.
    """
    model = upgrade_model(checkpoint["hyper_parameters"])
    if "pretrained" in model:
        model = {"encoder_seed": 0, **model}  # before 0.3, random encoders were the same in every run
    return {
        **checkpoint,
        "hyper_parameters": model,
        "fm_unroll": upgrade_encoder(upgrade_subjects(upgrade_sampling(checkpoint["fm_unroll"]))),
    }


def upgrade_config(config: Content) -> Content:
    """Return a config file, or the ``config.yaml`` of a run, as this version writes it.

    Args:
        config: its content; left as it is.
    """
    upgraded: Content = upgrade_data(upgrade_class_paths(config))
    if isinstance(upgraded.get("model"), dict):
        upgraded["model"] = upgrade_model(upgraded["model"])
    return upgraded


def upgrade_model(model: Content) -> Content:
    """Drop the options that do not apply to the method, where all options of all methods are listed.

    A file that lists some of them was written by hand: what does not apply there is the user's mistake.
    """
    if model.get("method") in RENAMED:
        model = {**model, "method": RENAMED[model["method"]]}
    method = model.get("method", "varnet")
    # version 0.1 had neither mixed denoisers nor several in turn, which have options of all kinds
    if method == "mixed" or " x " in str(method):
        return model
    if not model.keys() >= UNET_OPTIONS | DECODER_OPTIONS | ENCODER_OPTIONS:
        return model
    if method in {"varnet", "varnet_wide"}:
        foreign = DECODER_OPTIONS | ENCODER_OPTIONS
    else:
        foreign = UNET_OPTIONS | (ENCODER_OPTIONS if method in RENAMED.values() else set())
    # None stood for the default: of chans, and of weights that come from the hub's cache
    return {name: value for name, value in model.items() if name not in foreign and value is not None}


def upgrade_class_paths(node: Any) -> Any:
    """Give every class that a config names its present path."""
    if isinstance(node, list):
        return [upgrade_class_paths(value) for value in node]
    if not isinstance(node, dict):
        return node
    upgraded = {name: upgrade_class_paths(value) for name, value in node.items()}
    path = upgraded.get("class_path")
    if isinstance(path, str):
        module = path.rpartition(".")[0]
        moved = MOVED.get(path) or path.replace(module, MOVED.get(module, module), 1)
        upgraded["class_path"] = moved
    return upgraded


def upgrade_sampling(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts in a checkpoint; version 0.1 wrote ``sampling`` as text, such as ``UniformSampling(...)``."""
    text = facts.get("sampling")
    if not isinstance(text, str):
        return facts
    try:
        call = ast.parse(text, mode="eval").body
        arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords}  # type: ignore[attr-defined]
        name = call.func.id  # type: ignore[attr-defined]
    except (SyntaxError, AttributeError, ValueError):
        # a pattern that nobody knows: who needs it will say so
        name, arguments = text, {}
    return facts | {"sampling": {"class_path": PATTERNS.get(name, name), "init_args": arguments}}


def upgrade_subjects(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts in a checkpoint, which did not say of which data set its subjects are.

    Hearts were those of CMRxRecon's training set, of a year that nobody noted; others were fastMRI's.
    """
    if "population" in facts or "parts" in facts:
        return facts
    hearts = facts["anatomy"] == "cardiac"
    population = {
        "data_set": "CMRxRecon" if hearts else "fastMRI",
        "edition": "" if hearts else facts["anatomy"],
        "subset": "TrainingSet" if hearts else "",
        "synthetic": facts.get("synthetic"),
    }
    return facts | {"population": population}


def upgrade_encoder(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts in a checkpoint, which named one encoder, or an empty one."""
    if "encoder" not in facts:
        return facts
    one = facts["encoder"]
    others = {name: value for name, value in facts.items() if name != "encoder"}
    return others | {"encoders": [one] if one["sha256"] else []}


def upgrade_data(node: Any) -> Any:
    """Give every data module that a config names its present options.

    fastMRI's had ``pattern``, equispaced or random; another word, or one beside ``sampling``, stays and is
    refused. All had ``packed``: null, unless packed files were read. Those are no longer read, so that a path
    stays, and is refused.
    """
    if isinstance(node, list):
        return [upgrade_data(value) for value in node]
    if not isinstance(node, dict):
        return node
    upgraded = {name: upgrade_data(value) for name, value in node.items()}
    if str(upgraded.get("class_path")).endswith(DATA_MODULES) and upgraded.get("init_args"):
        options = dict(upgraded["init_args"])
        if options.get("packed", "") is None:
            del options["packed"]
        pattern = None if options.get("sampling") else options.get("pattern")
        if pattern in {"equispaced", "random"}:
            del options["pattern"]
        if pattern == "random":
            # their defaults, which acceleration and center_fraction beside it go on to replace
            values = {"acceleration": 8, "center_fraction": 0.04}
            options["sampling"] = {"class_path": PATTERNS["RandomSampling"], "init_args": values}
        upgraded["init_args"] = options
    return upgraded
