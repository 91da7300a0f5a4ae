"""Frozen vision encoders: the interchangeable part of a foundation prior.

An encoder is a name in the registry (``registry.py``), weights from the hub or from a file (``hub.py``,
``weights.py``) and the first blocks of a vision transformer, which turn an image into token maps
(``vit.py``).
This package alone imports timm, and only when an encoder is built.
"""

from fm_unroll.encoders.registry import EncoderSpec, list_encoders, register_encoder
from fm_unroll.encoders.vit import FrozenEncoder, build_encoder

__all__ = ["EncoderSpec", "FrozenEncoder", "build_encoder", "list_encoders", "register_encoder"]
