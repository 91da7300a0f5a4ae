"""What takes part in an evaluation: trained checkpoints and classical methods, with their facts."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fm_unroll.consent import require_consent
from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import ADAPTED, AND, EXTERNAL, GENERAL_NETWORK, IMPORTED, Arm
from fm_unroll.evaluation.elsewhere import Elsewhere
from fm_unroll.files import file_sha256
from fm_unroll.methods import PAPER, folder_name
from fm_unroll.models.checkpoints import load_network, read_checkpoint
from fm_unroll.models.classical import CLASSICAL
from fm_unroll.models.registry import find_physics, source_of
from fm_unroll.models.release import GENERAL
from fm_unroll.models.sharing import named
from fm_unroll.provenance import source_sha256
from fm_unroll.reconstruction.adaptation import Adaptation
from fm_unroll.subjects.population import Seen, data_sets_of


@dataclass(frozen=True)
class Entrant:
    """A checkpoint or a classical method, its facts and its loader.

    Attributes:
        arm: what it is compared as.
        load: builds the network.
        train_accelerations: the least and the greatest nominal acceleration that it was trained for; NaN for
            classical methods.
        train_anatomy: what it was trained on, such as ``cardiac`` or ``cardiac+knee``; empty for classical
            methods.
        seed: of the training; NaN for classical methods.
        epoch: number of epochs after which the checkpoint was written; NaN for classical methods.
        chosen_epoch: that of the run's best checkpoint, where this is one of its saved epochs; else NaN.
        sha256: of the checkpoint file; empty for classical methods.
        training_data: hash of what it was trained on; empty for classical methods.
        hyper_parameters: hash of everything else that makes its training, but the seed; likewise.
        besides_physics: the same without the physics and its options.
        settings: hash of a classical method's source and parameters, or of a trained denoiser's source.
        encoder_sha256: of the frozen encoders' weights; empty without one.
        seen: whom it was trained and selected on, in each of its data sets; empty for classical methods.
        elsewhere: its images, where these were made elsewhere. Everything else of it is as of classical
            methods; its settings are the hash of the files.
        adaptation: how it is adapted to each volume, where it is.
    """

    arm: Arm
    load: Callable[[], nn.Module]
    train_accelerations: tuple[float, float] = (float("nan"), float("nan"))
    train_anatomy: str = ""
    seed: float = float("nan")
    epoch: float = float("nan")
    chosen_epoch: float = float("nan")
    sha256: str = ""
    training_data: str = ""
    hyper_parameters: str = ""
    besides_physics: str = ""
    settings: str = ""
    encoder_sha256: str = ""
    seen: tuple[Seen, ...] = ()
    elsewhere: Elsewhere | None = None
    adaptation: Adaptation | None = None

    @property
    def trained_on_synthetic(self) -> bool:
        """Whether it was trained on phantoms, among others."""
        return any(seen.population.synthetic is not False for seen in self.seen)

    def train_acceleration(self, acceleration: float) -> float:
        """As what it counts at an acceleration: the nearest one that it was trained for; NaN if for none."""
        low, high = self.train_accelerations
        return math.nan if math.isnan(low) else min(max(acceleration, low), high)

    @property
    def made_for(self) -> str:
        """For which accelerations a network is, in words."""
        name = GENERAL_NETWORK if self.arm.method == GENERAL_NETWORK else self.arm.label
        span = " to ".join(f"x{end:g}" for end in dict.fromkeys(self.train_accelerations))
        return f"{name} is made for {span}"

    @property
    def folder(self) -> str:
        """A folder name that is its own for every entrant and changes with the checkpoint or parameters."""
        return folder_of(self.arm.method, self.sha256, self.settings)


def folder_of(method: str, sha256: str, settings: str) -> str:
    """The folder name of the entrant of a method, see :class:`Entrant`."""
    return f"{folder_name(method)}-{(sha256 or settings)[:12]}"


def settings_hash(method: str, trained: bool) -> str:
    """Hash of what decides a method's images, besides the package's own code and a checkpoint.

    Of a classical method: its source, plain attributes and tensors; of a trained one: its denoiser's source,
    and that of the adaptation, where it is adapted.

    Raises:
        InputError: no such method.
    """
    if method.startswith(ADAPTED):
        rule = source_sha256("fm_unroll.reconstruction.adaptation")
        return _short_hash([rule, settings_hash(method.removeprefix(ADAPTED), trained)])
    if trained:
        if method.startswith(IMPORTED):
            method = "varnet"
        elif method == GENERAL_NETWORK:
            method = read_checkpoint(GENERAL)["hyper_parameters"]["method"]
        return source_of(method)
    if method not in CLASSICAL:
        raise InputError(
            f"unknown baseline {method!r}: choose from {', '.join([*CLASSICAL, GENERAL_NETWORK])}"
        )
    network = CLASSICAL[method]()
    plain = {name: value for name, value in vars(network).items() if isinstance(value, int | float | str)}
    content = [source_sha256(type(network).__module__), sorted(plain.items())]
    digest = hashlib.sha256(repr(content).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def register_classical(name: str, build: Callable[[], nn.Module]) -> None:
    """Make another method without training known to :func:`baseline`.

    Args:
        name: in ``--baselines`` and in the records.
        build: builds a module with the networks' interface.

    Raises:
        InputError: a classical method of that name exists.
    """
    if name in {*CLASSICAL, GENERAL_NETWORK}:
        raise InputError(f"classical method {name!r} is registered already: choose another name")
    CLASSICAL[name] = build


def baseline(name: str) -> Entrant:
    """What takes part without a checkpoint: a classical method, or the general network of the package.

    Raises:
        InputError: no such method.
    """
    if name == GENERAL_NETWORK:
        return replace(trained(GENERAL), arm=Arm(GENERAL_NETWORK))
    settings = settings_hash(name, trained=False)
    return Entrant(Arm(name), CLASSICAL[name], settings=settings)


def adapted_to_each_volume(entrant: Entrant) -> Entrant:
    """The same network as another arm: adapted to each volume, by the defaults of :class:`Adaptation`."""
    method = ADAPTED + entrant.arm.method
    return replace(
        entrant,
        arm=replace(entrant.arm, method=method),
        settings=settings_hash(method, trained=True),
        adaptation=Adaptation(),
    )


def made_elsewhere(texts: Sequence[str]) -> list[Entrant]:
    """Folders of reconstructions, each as one entrant.

    Args:
        texts: ``NAME=FOLDER`` of each.

    Raises:
        InputError: two have one name, or see :meth:`Elsewhere.of`.
    """
    found = [Elsewhere.of(text) for text in texts]
    for first, second in combinations(found, 2):
        if first.name == second.name:
            raise InputError(f"--reconstructions: {first.folder} and {second.folder} are both {first.name}")
    return [
        Entrant(Arm(EXTERNAL + each.name), nn.Identity, settings=each.sha256, elsewhere=each)
        for each in found
    ]


def trained(path: Path, weights: Path | None = None, without: Sequence[str] = ()) -> Entrant:
    """A checkpoint of ``fit``; its network is built only when it is loaded.

    Args:
        path: the checkpoint.
        weights: the frozen encoder's weights, if they are no longer where they were in training.
        without: what of the recipe does not tell trainings apart.

    Raises:
        InputError: no such file, not a checkpoint of this framework, or one of a network of the user's own
            that was not named in this command.
    """
    checkpoint = read_checkpoint(path)
    require_consent(checkpoint["hyper_parameters"]["method"], str(path))
    facts = checkpoint["fm_unroll"]
    parts = data_sets_of(facts)
    if any("synthetic" not in part for part in parts):
        raise InputError(
            f"{path} is of an earlier version and does not say what it was trained on: train again"
        )
    encoders, given = facts["encoders"], checkpoint["hyper_parameters"]
    physics = given.get("physics", PAPER)  # not named by checkpoints of the time before there was another
    hyper_parameters = _hyper_parameters(checkpoint, without)
    return Entrant(
        arm=Arm(
            method=IMPORTED + imported if (imported := facts.get("imported")) else given["method"],
            encoder=AND.join(encoder["name"] for encoder in encoders),
            weights=AND.join(encoder["weights"] for encoder in encoders),
            physics=physics,
        ),
        load=lambda: load_network(path, weights),
        train_accelerations=_accelerations(parts),
        train_anatomy="+".join(sorted({part["anatomy"] for part in parts})),
        seed=facts["seed"],
        epoch=checkpoint["epoch"] + 1,  # Lightning counts from 0
        sha256=file_sha256(path),
        training_data=_short_hash(_training_data(parts)),
        hyper_parameters=_short_hash(hyper_parameters),
        besides_physics=_short_hash(_besides(physics, hyper_parameters)),
        settings=settings_hash(given["method"], trained=True),
        encoder_sha256=AND.join(encoder["sha256"] for encoder in encoders),
        seen=Seen.of(facts, named(path)),
    )


def _accelerations(parts: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The least and the greatest acceleration of all data sets, of which each has one or a range."""
    ends = [end for part in parts for end in np.atleast_1d(part["acceleration"]).tolist()]
    return min(ends), max(ends)


def _training_data(parts: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What :func:`_data_set` says, of several data sets with the weight of each."""
    if len(parts) == 1:
        return _data_set(parts[0])
    return [[*_data_set(part), part["weight"]] for part in parts]


def _data_set(facts: Mapping[str, Any]) -> list[Any]:
    """Who was seen in training and selection, in which contrasts, and how k-space was sampled and cropped.

    The nominal acceleration is left out: networks for several of them are one arm.
    """
    pattern = facts["sampling"]
    sampling = {name: value for name, value in pattern["init_args"].items() if name != "acceleration"}
    seen = [sorted(facts["subjects"]["train"]), sorted(facts["subjects"]["val"]), facts["population"]]
    # 1 for checkpoints of the time before it could be chosen, whose hash stays
    cropped = [crop] if (crop := facts.get("readout_crop", 1.0)) != 1 else []
    # none, too, where there is no augmentation
    augmented = [augmentation] if (augmentation := facts.get("augmentation")) else []
    return [*seen, facts.get("contrasts"), pattern["class_path"], sampling, *cropped, *augmented]


def saved_epoch(path: Path, weights: Path | None = None) -> Entrant:
    """A checkpoint in the folder ``epochs`` of a run: the same training whatever the run's last epoch is.

    Args:
        path: the checkpoint.
        weights: as in :func:`trained`.

    Raises:
        InputError: as there.
    """
    best = path.parent.with_name("checkpoints") / "best.ckpt"
    return replace(
        trained(path, weights, without=("max_epochs", "max_steps")),
        chosen_epoch=read_checkpoint(best)["epoch"] + 1 if best.is_file() else float("nan"),
    )


def _hyper_parameters(checkpoint: dict[str, Any], without: Sequence[str]) -> list[Any]:
    """The network's options and the recipe, without what changes speed or memory only.

    Nor are paths part of it: which weights an encoder has tells the arm, and trained U-Nets to start from
    differ from seed to seed.
    """
    left_out = {"weights", "any_encoder", "compile", "checkpoint_cascades", "encoder_seed", "unet_from"}
    given = checkpoint["hyper_parameters"]
    if given.get("physics") == PAPER:  # not named by checkpoints of the time before there was another
        left_out.add("physics")
    options = {name: value for name, value in given.items() if name not in left_out}
    if given.get("unet_from"):
        options["unet_from"] = "given"
    recipe = checkpoint["fm_unroll"].get("recipe")
    if recipe is not None:
        recipe = {name: value for name, value in recipe.items() if name not in without}
    return [options, recipe]


def _besides(physics: str, hyper_parameters: list[Any]) -> list[Any]:
    """Hyper-parameters without the physics and its options."""
    options, recipe = hyper_parameters
    left_out = {"physics", *find_physics(physics).options()}
    return [{name: value for name, value in options.items() if name not in left_out}, recipe]


def _short_hash(content: list[Any]) -> str:
    """The first 12 digits of a hash of plain values."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def refuse_twins(entrants: Sequence[Entrant], along_training: bool = False) -> None:
    """Refuse two checkpoints of one training: they are no two seeds.

    Args:
        entrants: all that take part.
        along_training: whether a training may have one checkpoint for each epoch.

    Raises:
        InputError: two that differ in nothing that makes an arm, in seed and in acceleration.
    """
    first: dict[tuple[Any, ...], Entrant] = {}
    for entrant in entrants:
        training = (entrant.arm, entrant.training_data, entrant.hyper_parameters)
        # as text: of weights that were trained elsewhere no seed is known, and NaN is not itself
        seed, epoch = str(entrant.seed), entrant.epoch if along_training else 0
        key = (*training, entrant.train_accelerations, seed, epoch)
        other = first.setdefault(key, entrant)
        if entrant.seen and other.seen and other is not entrant:
            raise InputError(
                f"{other.seen[0].name} and {entrant.seen[0].name} are both {entrant.arm.label} with seed "
                f"{entrant.seed:g}, trained alike: give one of them, or train with another seed"
            )
