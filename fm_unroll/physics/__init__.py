"""What MRI is: Fourier transforms, coils and sampling. No learning, no files.

The axis order of the whole package, stated here once: k-space and coil images are ``complex64`` tensors
``(..., coil, readout, phase)``. The last axis is phase encoding, the one that is undersampled. Images are
``(..., readout, phase)``.

Names are imported when they are first used, so that a centre can be read without torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fm_unroll.physics.center import Center
    from fm_unroll.physics.coils import expand, reduce, rss
    from fm_unroll.physics.fourier import crop_readout, fft2c, ifft2c
    from fm_unroll.physics.sampling import (
        EquispacedSampling,
        RandomSampling,
        SamplingMask,
        SamplingPattern,
        UniformSampling,
        count_acs_lines,
        pattern_from_config,
    )

__all__ = [
    "Center",
    "EquispacedSampling",
    "RandomSampling",
    "SamplingMask",
    "SamplingPattern",
    "UniformSampling",
    "count_acs_lines",
    "crop_readout",
    "expand",
    "fft2c",
    "ifft2c",
    "pattern_from_config",
    "reduce",
    "rss",
]

_MODULES = {
    "Center": "center",
    "EquispacedSampling": "sampling",
    "RandomSampling": "sampling",
    "SamplingMask": "sampling",
    "SamplingPattern": "sampling",
    "UniformSampling": "sampling",
    "count_acs_lines": "sampling",
    "crop_readout": "fourier",
    "expand": "coils",
    "fft2c": "fourier",
    "ifft2c": "fourier",
    "pattern_from_config": "sampling",
    "reduce": "coils",
    "rss": "coils",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
