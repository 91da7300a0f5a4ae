"""What is compared: an arm, its name in tables, its look in figures and its place in their order."""

from dataclasses import dataclass, replace
from functools import total_ordering
from pathlib import PurePath
from typing import Literal, NamedTuple, Self, TypeAlias

from fm_unroll.consent import is_own
from fm_unroll.encoders.registry import NOT_STATED, RANDOM, SHUFFLED, encoder_label
from fm_unroll.methods import PAPER, parts_of

Kind: TypeAlias = Literal["baseline", "prior", "control", "classical", "external", "own"]

LONGEST_FILE_NAME = 16  # of weights, in the names of arms
GENERAL_NETWORK = "general"  # the one that comes with the package
EXTERNAL = "external/"  # before the name of reconstructions that were made elsewhere
IMPORTED = "imported/"  # before the name of an E2E-VarNet whose weights were trained elsewhere
ADAPTED = "adapted/"  # before the method of a network that is adapted to each volume
AND = " + "  # between the encoders of one network, their weights and their hashes


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
    "mixed": Look("prior", "#E69F00", "d", "Mixed"),
    "random": Look("control", "#CC79A7", "v"),
    "trained_embedding": Look("control", "#8A6D00", "P", "Trained embedding"),
    "image_skip_only": Look("control", "#B8860B", "p", "Image skip only"),
    "varnet_zero": Look("control", "#1B7FA8", "h", "VarNet, zero head"),
    "varnet_wide": Look("control", "#56B4E9", "X", "VarNet, wide"),
    GENERAL_NETWORK: Look("control", "#882255", "8", "General, embedded"),
    "zero_filled": Look("classical", "#9a9a9a", "x", "Zero-filled"),
    "cg_sense": Look("classical", "#7a7a7a", "1", "CG-SENSE"),
    "wavelet": Look("classical", "#5a5a5a", "+", "L1-wavelet"),
}
_PLACES = {method: place for place, method in enumerate(LOOKS)}
# In another physics than the paper's, which is not E2E-VarNet, this is what its baseline is.
U_NET, U_NETS = "U-Net", ("varnet", "varnet_zero")


@total_ordering
@dataclass(frozen=True)
class Arm:
    """What is compared as one, whatever its seed and the acceleration it was trained for.

    Arms sort as tables list them.

    Attributes:
        method: name given to ``build_model``, or of a classical method; ``external/NAME`` of reconstructions
            that were made elsewhere, ``imported/NAME`` of an E2E-VarNet that was trained elsewhere,
            ``adapted/METHOD`` of a network that is adapted to each volume, ``MODULE:CLASS`` of a network of
            the user's own.
        encoder: name of the frozen encoder; empty without one. Of several, all names with :data:`AND`
            between them.
        weights: of the encoder: ``pretrained``, ``random`` or ``file:NAME``, which may say that the
            activation is not stated; empty without an encoder. Of several, likewise.
        variant: tells arms apart whose data or hyper-parameters of training differ, where records hold
            several such; else empty.
        physics: of a network, such as ``anchored``; of a classical method that of the paper as well.
    """

    method: str
    encoder: str = ""
    weights: str = ""
    variant: str = ""
    physics: str = PAPER

    def __str__(self) -> str:
        """The method, in brackets what it does not say of encoder, weights and physics, and the variant."""
        details = [self.encoder] if self._unnamed_encoders else []
        details += [] if self.usual_weights else [self.weights]
        details += [] if self.physics == PAPER else [self.physics]
        name = f"{self.method} [{', '.join(details)}]" if details else self.method
        return f"{name} #{self.variant}" if self.variant else name

    def __lt__(self, other: Self) -> bool:
        """The order of the tables; methods without a look come last, by name."""
        return self._place < other._place

    @property
    def _place(self) -> tuple[int | str, ...]:
        if self.unadapted is not None:  # behind the same network as it was trained
            return *self.unadapted._place, 1
        place = 0 if self._baseline_elsewhere else _PLACES.get(self.method, len(_PLACES))
        return place, self.physics != PAPER, self.physics, str(self), self.encoder, self.weights

    @property
    def _unnamed_encoders(self) -> list[str]:
        """The encoders that the method does not name, as ``mixed`` does not."""
        named = {"", *(name for name, _ in parts_of(self.method.removeprefix(ADAPTED)))}
        return [encoder for encoder in self.encoder.split(AND) if encoder not in named]

    @property
    def usual_weights(self) -> bool:
        """Whether the encoders, if there are any, carry the weights that belong to their names."""
        encoders = (self.encoder or self.method.removeprefix(ADAPTED)).split(AND)
        each = zip(encoders, self.weights.split(AND), strict=False)
        return all(weights in ("", "pretrained", encoder) for encoder, weights in each)

    @property
    def _baseline_elsewhere(self) -> bool:
        """Whether it is the U-Net of another physics than the paper's."""
        return self.physics != PAPER and self.method in U_NETS

    @property
    def kind(self) -> Kind:
        """The baseline of its physics, a pretrained encoder as a prior, a control, or a classical method.

        A prior with random or shuffled weights is a control, whatever its method is called. What was made
        or trained elsewhere is none of them, nor is a network of the user's own: it differs in more than one
        thing. An adapted network is a control of the same one as it was trained.
        """
        if self.unadapted is not None:
            return "external" if self.unadapted.kind == "external" else "control"
        if is_own(self.method):
            return "own"
        if self.method.startswith((EXTERNAL, IMPORTED)):
            return "external"
        if self._baseline_elsewhere:
            return "baseline"
        if all(weights.startswith((RANDOM, SHUFFLED)) for weights in self.weights.split(AND)):
            return "control"
        if look := LOOKS.get(self.method):
            return look.kind
        return "prior" if self.encoder else "control"

    @property
    def unadapted(self) -> Self | None:
        """The same network as it was trained; None of one that is not adapted."""
        if not self.method.startswith(ADAPTED):
            return None
        return replace(self, method=self.method.removeprefix(ADAPTED))

    @property
    def trained_here(self) -> bool:
        """Whether it has a network that was trained here."""
        return self.kind not in ("classical", "external")

    @property
    def of_no_physics(self) -> bool:
        """Whether it has no network of a physics that was trained here: it is beside those of all."""
        return self.kind == "own" or not self.trained_here

    @property
    def color(self) -> str | None:
        """Colour of its line; None: the figure chooses a spare one."""
        look = LOOKS[U_NETS[0]] if self._baseline_elsewhere else LOOKS.get(self.method)
        return look.color if look else None

    @property
    def label(self) -> str:
        """Its name as printed: ``CLIP``, ``CLIP (anchored)``, ``E2E-VarNet x 8, CLIP x 4``.

        The middle of a long file name is left out; the report's notices give it in full.
        """
        if self.unadapted is not None:
            return f"{self.unadapted.label}, adapted"
        if self.method.startswith(IMPORTED):
            name = self.method.removeprefix(IMPORTED).replace("_", " ")
            training = f", training {self.variant}" if self.variant else ""
            return f"{LOOKS['varnet'].label} ({name}, imported{training})"
        if self.kind == "external":
            return f"{self.method.removeprefix(EXTERNAL)} (external)"
        parts = [(_name_label(name), count) for name, count in parts_of(self.method)]
        name = ", ".join(f"{label} x {count}" if count else label for label, count in parts)
        name = U_NET if self._baseline_elsewhere else name
        details = [encoder_label(encoder) for encoder in self._unnamed_encoders]
        if not self.usual_weights:
            details.append(AND.join(map(self._weights_label, self.weights.split(AND))))
        details += [] if self.physics == PAPER else [self.physics]
        details += [f"training {self.variant}"] if self.variant else []
        return f"{name} ({', '.join(details)})" if details else name

    @staticmethod
    def _weights_label(weights: str) -> str:
        shuffled = f"{SHUFFLED} " if weights.startswith(SHUFFLED) else ""
        silence = ", activation not stated" if weights.endswith(NOT_STATED) else ""
        weights = weights.removeprefix(shuffled).removeprefix("file:").removesuffix(NOT_STATED)
        if shuffled and weights == "pretrained":
            return f"{SHUFFLED} weights"
        if len(weights) > LONGEST_FILE_NAME:
            stem = PurePath(weights).stem
            weights = stem if len(stem) <= LONGEST_FILE_NAME else f"{stem[:7]}…{stem[-7:]}"
        return f"{shuffled}{weights} weights{silence}"

    @property
    def of_any_training(self) -> Self:
        """The same method over the same weights, however it was trained, in whatever physics."""
        return replace(self, variant="", physics=PAPER)

    def with_random_weights(self) -> Self:
        """The control of the same architecture without pretraining, however it was trained."""
        return replace(self.of_any_training, weights=AND.join(RANDOM for _ in self.weights.split(AND)))

    def with_shuffled_weights(self) -> Self:
        """The control of the same weights without their structure, however it was trained."""
        shuffled = AND.join(f"{SHUFFLED} {weights}" for weights in self.weights.split(AND))
        return replace(self.of_any_training, weights=shuffled)

    def comparable(self, other: Self) -> bool:
        """Whether the two differ in one thing: in physics, or in something else, but not in both.

        Methods without training, what was made elsewhere, and networks of the user's own are compared with
        all networks.
        """
        alike = self.of_no_physics or other.of_no_physics or self.physics == other.physics
        return alike or self.differs_in_physics(other)

    def differs_in_physics(self, other: Self) -> bool:
        """Whether the other is the same method over the same weights in another physics."""
        return self.physics != other.physics and self.of_any_training == other.of_any_training


def _name_label(name: str) -> str:
    """The label of one name in a method."""
    if is_own(name):
        return name.partition(":")[2]
    look = LOOKS.get(name)
    return look.label if look and look.label else encoder_label(name)


BASELINE = Arm("varnet")
# of every prior, besides its own encoder with random or shuffled weights
CONTROLS = (
    Arm("random", encoder="random", weights=RANDOM),
    *map(Arm, ("trained_embedding", "image_skip_only", "varnet_zero", "varnet_wide")),
)
