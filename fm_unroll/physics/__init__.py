"""What MRI is: Fourier transforms, coils and sampling. No learning, no files.

The axis order of the whole package, stated here once: k-space and coil images are ``complex64`` tensors
``(..., coil, readout, phase)``. The last axis is phase encoding, the one that is undersampled. Images are
``(..., readout, phase)``.
"""

from fm_unroll.physics.coils import expand, reduce, rss
from fm_unroll.physics.fourier import crop_readout, fft2c, ifft2c
from fm_unroll.physics.sampling import (
    Center,
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
