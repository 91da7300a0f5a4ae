"""What is compared: an arm, its name in tables, its look in figures and its place in their order."""

from dataclasses import dataclass, replace
from functools import total_ordering
from pathlib import PurePath
from typing import Literal, NamedTuple, Self, TypeAlias

from fm_unroll.encoders.registry import NOT_STATED, encoder_label

Kind: TypeAlias = Literal["baseline", "prior", "control", "classical"]

RANDOM = "random"  # weights, and the encoder that has no others
LONGEST_FILE_NAME = 16  # of weights, in the names of arms


class Look(NamedTuple):
    """How an arm appears: what kind it is, colour and marker of its line, and its label.

    Methods over an encoder have the encoder's label.
    """

    kind: Kind
    color: str
    marker: str
    label: str = ""


# In the order of all tables. Okabe & Ito's palette, safe for colour-blind readers; the baseline is black,
# classical methods are grey.
LOOKS: dict[str, Look] = {
    "varnet": Look("baseline", "#000000", "o", "E2E-VarNet"),
    "clip": Look("prior", "#0072B2", "s"),
    "dinov2": Look("prior", "#D55E00", "D"),
    "biomedclip": Look("prior", "#009E73", "^"),
    "random": Look("control", "#CC79A7", "v"),
    "none": Look("control", "#B8860B", "P", "No encoder"),
    "varnet_wide": Look("control", "#56B4E9", "X", "VarNet, wide"),
    "zero_filled": Look("classical", "#9a9a9a", "x", "Zero-filled"),
    "cg_sense": Look("classical", "#7a7a7a", "1", "CG-SENSE"),
    "wavelet": Look("classical", "#5a5a5a", "+", "L1-wavelet"),
}
_PLACES = {method: place for place, method in enumerate(LOOKS)}


@total_ordering
@dataclass(frozen=True)
class Arm:
    """What is compared as one, whatever its seed and the acceleration it was trained for.

    Arms sort as tables list them.

    Attributes:
        method: name given to ``build_model``, or of a classical method.
        encoder: name of the frozen encoder; empty without one.
        weights: of the encoder: ``pretrained``, ``random`` or ``file:NAME``, which may say that the
            activation is not stated; empty without an encoder.
        physics: the data-consistency step; ``paper`` is the only one.
        training: hash of hyper-parameters, training subjects and sampling; empty for classical methods, and
            where it is not known.
    """

    method: str
    encoder: str = ""
    weights: str = ""
    physics: str = "paper"
    training: str = ""

    def __str__(self) -> str:
        """The method, and in brackets its encoder's weights unless they are the usual ones."""
        return self.method if self.usual_weights else f"{self.method} [{self.weights}]"

    def __lt__(self, other: Self) -> bool:
        """The order of the tables; methods without a look come last, by name."""
        return self._place < other._place

    @property
    def _place(self) -> tuple[int | str, ...]:
        place = _PLACES.get(self.method, len(_PLACES))
        return place, str(self), self.encoder, self.weights, self.physics, self.training

    @property
    def usual_weights(self) -> bool:
        """Whether the encoder, if there is one, carries the weights that belong to its name."""
        return self.weights in ("", "pretrained", self.method)

    @property
    def kind(self) -> Kind:
        """The baseline, a frozen encoder as a prior (of any weights), a control, or a classical method."""
        if look := LOOKS.get(self.method):
            return look.kind
        return "prior" if self.encoder else "control"

    @property
    def color(self) -> str | None:
        """Colour of its line; None: the figure chooses a spare one."""
        look = LOOKS.get(self.method)
        return look.color if look else None

    @property
    def label(self) -> str:
        """Its name as printed: ``CLIP``, ``CLIP (random weights)``.

        The middle of a long file name is left out; the report's notices give it in full.
        """
        look = LOOKS.get(self.method)
        name = look.label if look and look.label else encoder_label(self.method)
        if self.usual_weights:
            return name
        weights = self.weights.removeprefix("file:").removesuffix(NOT_STATED)
        silence = ", activation not stated" if self.weights.endswith(NOT_STATED) else ""
        if len(weights) > LONGEST_FILE_NAME:
            stem = PurePath(weights).stem
            weights = stem if len(stem) <= LONGEST_FILE_NAME else f"{stem[:7]}…{stem[-7:]}"
        return f"{name} ({weights} weights{silence})"

    def with_random_weights(self) -> Self:
        """The control of the same architecture without pretraining."""
        return replace(self, weights=RANDOM)


BASELINE = Arm("varnet")
# a prior without pretraining, and one without an encoder
CONTROLS = (Arm("random", encoder="random", weights=RANDOM), Arm("none"))
