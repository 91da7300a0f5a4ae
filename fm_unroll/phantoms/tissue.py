"""Tissues, the signal equations of the sequences, and the canvas on which tissues are painted."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from fm_unroll.phantoms.shapes import Array, Plane, fade


@dataclass(frozen=True)
class Tissue:
    """Proton density relative to water, relaxation times in ms at 3 T, and the fat fraction of the signal."""

    density: float
    t1: float
    t2: float
    fat: float = 0.0


#: Typical values at 3 T, rounded (after Stanisz et al., MRM 2005; Bojorquez et al., MRI 2017).
TISSUES = {
    "air": Tissue(0.0, 1000, 10),
    "lung": Tissue(0.10, 1200, 20),
    "skin": Tissue(0.65, 1000, 35),
    "fat": Tissue(0.66, 380, 70, fat=0.95),
    "muscle": Tissue(0.75, 1400, 34),
    "bone": Tissue(0.06, 1000, 5),
    "marrow": Tissue(0.60, 400, 68, fat=0.85),
    "red_marrow": Tissue(0.65, 600, 60, fat=0.5),
    "ligament": Tissue(0.20, 900, 14),
    "meniscus": Tissue(0.16, 900, 12),
    "cartilage": Tissue(0.80, 1200, 42),
    "fluid": Tissue(1.00, 3500, 600),
    "blood": Tissue(0.98, 1900, 210),
    "myocardium": Tissue(0.80, 1250, 46),
    "liver": Tissue(0.72, 800, 32),
    "spleen": Tissue(0.80, 1300, 58),
    "stomach": Tissue(0.60, 1500, 60),
    "white_matter": Tissue(0.70, 820, 70),
    "grey_matter": Tissue(0.81, 1500, 94),
    "deep_grey": Tissue(0.80, 1250, 77),
    "lesion": Tissue(0.82, 1400, 140),
    "cerebrospinal_fluid": Tissue(1.00, 4200, 450),
    "flow_void": Tissue(0.15, 1500, 20),
}

#: Signal of a tissue in one image. Negative where the magnetisation is opposed to that of relaxed water.
Signal = Callable[[Tissue], float]


def spin_echo(tr: float, te: float, ti: float | None = None, fat_suppression: float = 0.0) -> Signal:
    """Signal of a spin echo, as an inversion recovery when ``ti`` is given (FLAIR); times in ms."""

    def signal(tissue: Tissue) -> float:
        recovery = 1 - np.exp(-tr / tissue.t1)
        if ti is not None:
            recovery = 1 - 2 * np.exp(-ti / tissue.t1) + np.exp(-tr / tissue.t1)
        decay = np.exp(-te / tissue.t2)
        return float(tissue.density * recovery * decay * (1 - fat_suppression * tissue.fat))

    return signal


def balanced_steady_state(
    tr: float, flip_degrees: float, inversion: float | None = None, t2_preparation: float = 0.0
) -> Signal:
    """Signal of balanced SSFP at TE = TR / 2.

    Plain for cine, after an inversion for T1 mapping, after a T2 preparation for T2 mapping. Fat is opposed
    in phase to water, hence the dark outlines between them ("India ink") of real images.

    Args:
        tr: repetition time, ms.
        flip_degrees: flip angle.
        inversion: time since the inversion, ms; None for no inversion.
        t2_preparation: echo time of the preparation, ms.
    """
    flip = np.deg2rad(flip_degrees)

    def signal(tissue: Tissue) -> float:
        e1, e2 = np.exp(-tr / tissue.t1), np.exp(-tr / tissue.t2)
        steady = np.sin(flip) * (1 - e1) / (1 - (e1 - e2) * np.cos(flip) - e1 * e2) * np.sqrt(e2)
        preparation = np.exp(-t2_preparation / tissue.t2)
        if inversion is not None:
            preparation *= 1 - 2 * np.exp(-inversion / tissue.t1)
        return float(tissue.density * steady * preparation * (1 - 2 * tissue.fat))

    return signal


def individual_tissues(rng: np.random.Generator, spread: float = 0.045) -> dict[str, Tissue]:
    """Draw one subject's tissues: relaxation times vary by a relative ``spread``, densities by half of it."""
    return {
        name: replace(
            tissue,
            density=min(tissue.density * (1 + spread / 2 * rng.normal()), 1.1),
            t1=tissue.t1 * np.exp(spread * rng.normal()),
            t2=tissue.t2 * np.exp(spread * rng.normal()),
        )
        for name, tissue in TISSUES.items()
    }


class Canvas:
    """Layers of tissue, each painted over the last with soft edges; any sequence can image them."""

    def __init__(self, plane: Plane, tissues: dict[str, Tissue]) -> None:
        """Start with air.

        Args:
            plane: the points of the image; only their number and spacing matter.
            tissues: tissues by name, from :func:`individual_tissues`.
        """
        self._shape, self._edge, self._tissues = plane.x.shape, max(1.6 * plane.pixel, 0.8), tissues
        self._layers: list[tuple[str, Array, Array | float]] = []

    def copy(self) -> "Canvas":
        """Copy the layers, to paint on independently."""
        other = copy(self)
        other._layers = self._layers.copy()
        return other

    def paint(
        self, tissue: str, level: Array, texture: Array | float = 1.0, opacity: Array | float = 1.0
    ) -> None:
        """Cover the inside of a level function by a tissue, whose signal is multiplied by ``texture``."""
        self._layers.append((tissue, fade(level, self._edge) * opacity, texture))

    def image(self, signal: Signal) -> Array:
        """Image the layers, float32 ``(rows, columns)``, signed; signals of tissues in one pixel add."""
        image = np.zeros(self._shape, np.float32)
        for tissue, cover, texture in self._layers:
            image += cover * (np.float32(signal(self._tissues[tissue])) * texture - image)
        return image
