"""What MRI is: Fourier transforms, coils and sampling. No learning, no files.

The axis order of the whole package, stated here once: k-space and coil images are ``complex64`` tensors
``(..., coil, readout, phase)``. The last axis is phase encoding, the one that is undersampled. Images are
``(..., readout, phase)``.

Names are imported when they are first used, so that a centre can be read without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
