"""What is compared: an arm, its name in tables, its look in figures and its place in their order."""

from dataclasses import dataclass, replace
from functools import total_ordering
from pathlib import PurePath
from typing import Literal, NamedTuple, Self, TypeAlias

from fm_unroll.encoders.registry import NOT_STATED, RANDOM, SHUFFLED, encoder_label

Kind: TypeAlias = Literal["baseline", "prior", "control", "classical"]

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
    "trained_embedding": Look("control", "#8A6D00", "P", "Trained embedding"),
    "image_skip_only": Look("control", "#B8860B", "p", "Image skip only"),
    "varnet_zero": Look("control", "#1B7FA8", "h", "VarNet, zero head"),
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
        variant: tells arms apart whose data or hyper-parameters of training differ, where records hold
            several such; else empty.
    """

    method: str
    encoder: str = ""
    weights: str = ""
    variant: str = ""

    def __str__(self) -> str:
        """The method, in brackets its encoder's weights unless they are the usual ones, and the variant."""
        name = self.method if self.usual_weights else f"{self.method} [{self.weights}]"
        return f"{name} #{self.variant}" if self.variant else name

    def __lt__(self, other: Self) -> bool:
        """The order of the tables; methods without a look come last, by name."""
        return self._place < other._place

    @property
    def _place(self) -> tuple[int | str, ...]:
        place = _PLACES.get(self.method, len(_PLACES))
        return place, str(self), self.encoder, self.weights

    @property
    def usual_weights(self) -> bool:
        """Whether the encoder, if there is one, carries the weights that belong to its name."""
        return self.weights in ("", "pretrained", self.method)

    @property
    def kind(self) -> Kind:
        """The baseline, a pretrained encoder as a prior, a control, or a classical method.

        A prior with random or shuffled weights is a control, whatever its method is called.
        """
        if self.weights.startswith((RANDOM, SHUFFLED)):
            return "control"
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
        """Its name as printed: ``CLIP``, ``CLIP (random weights)``, ``CLIP (training 3f2a1b)``.

        The middle of a long file name is left out; the report's notices give it in full.
        """
        look = LOOKS.get(self.method)
        name = look.label if look and look.label else encoder_label(self.method)
        details = [] if self.usual_weights else [self._weights_label]
        details += [f"training {self.variant}"] if self.variant else []
        return f"{name} ({', '.join(details)})" if details else name

    @property
    def _weights_label(self) -> str:
        shuffled = f"{SHUFFLED} " if self.weights.startswith(SHUFFLED) else ""
        weights = self.weights.removeprefix(shuffled).removeprefix("file:").removesuffix(NOT_STATED)
        silence = ", activation not stated" if self.weights.endswith(NOT_STATED) else ""
        if shuffled and weights == "pretrained":
            return f"{SHUFFLED} weights"
        if len(weights) > LONGEST_FILE_NAME:
            stem = PurePath(weights).stem
            weights = stem if len(stem) <= LONGEST_FILE_NAME else f"{stem[:7]}…{stem[-7:]}"
        return f"{shuffled}{weights} weights{silence}"

    @property
    def of_any_training(self) -> Self:
        """The same method over the same weights, however it was trained."""
        return replace(self, variant="")

    def with_random_weights(self) -> Self:
        """The control of the same architecture without pretraining, however it was trained."""
        return replace(self, weights=RANDOM, variant="")

    def with_shuffled_weights(self) -> Self:
        """The control of the same weights without their structure, however it was trained."""
        return replace(self, weights=f"{SHUFFLED} {self.weights}", variant="")


BASELINE = Arm("varnet")
# of every prior, besides its own encoder with random or shuffled weights
CONTROLS = (
    Arm("random", encoder="random", weights=RANDOM),
    *map(Arm, ("trained_embedding", "image_skip_only", "varnet_zero", "varnet_wide")),
)
