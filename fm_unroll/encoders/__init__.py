"""Frozen vision encoders: the interchangeable part of a foundation prior.

An encoder is a name in the registry (``registry.py``), weights from the hub or from a file (``hub.py``,
``weights.py``) and the first blocks of a vision transformer, which turn an image into token maps
(``vit.py``). This package alone imports timm, and only when an encoder is built. The registry can be read
without torch: the names below are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
