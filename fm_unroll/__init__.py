"""fm_unroll: accelerated MRI reconstruction with frozen foundation models as interchangeable priors.

::

    import fm_unroll as fm

    scan = fm.open_scan("scan.h5")
    batch = scan.undersample(fm.UniformSampling(8, acs_lines=24))[0]
    image = fm.load("best.ckpt")(batch)

Names are imported when they are first used, so that ``import fm_unroll`` takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from fm_unroll.data.modules import CMRxReconData, FastMRIBrainData, FastMRIKneeData
    from fm_unroll.data.scan import open_scan
    from fm_unroll.encoders import build_encoder
    from fm_unroll.models import build_model, list_methods
    from fm_unroll.physics import EquispacedSampling, RandomSampling, UniformSampling
    from fm_unroll.reconstruction.engine import load

__all__ = [
    "CMRxReconData",
    "EquispacedSampling",
    "FastMRIBrainData",
    "FastMRIKneeData",
    "RandomSampling",
    "UniformSampling",
    "build_encoder",
    "build_model",
    "list_methods",
    "load",
    "open_scan",
]

_ROOMS = {
    "fm_unroll.data.modules": ("CMRxReconData", "FastMRIBrainData", "FastMRIKneeData"),
    "fm_unroll.data.scan": ("open_scan",),
    "fm_unroll.encoders": ("build_encoder",),
    "fm_unroll.models": ("build_model", "list_methods"),
    "fm_unroll.physics": ("EquispacedSampling", "RandomSampling", "UniformSampling"),
    "fm_unroll.reconstruction.engine": ("load",),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the room where it lives."""
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(room), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted([*globals(), *__all__])
