"""Frozen vision encoders: the interchangeable part of a foundation prior.

An encoder is a name in the registry (``registry.py``), weights from the hub or from a file (``hub.py``,
``weights.py``) and the first blocks of a vision transformer, which turn an image into token maps
(``vit.py``). This package alone imports timm, and only when an encoder is built. The registry can be read
without torch: the names below are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fm_unroll.encoders.registry import EncoderSpec, list_encoders, register_encoder
    from fm_unroll.encoders.vit import FrozenEncoder, build_encoder

__all__ = ["EncoderSpec", "FrozenEncoder", "build_encoder", "list_encoders", "register_encoder"]

_MODULES = {
    "EncoderSpec": "registry",
    "FrozenEncoder": "vit",
    "build_encoder": "vit",
    "list_encoders": "registry",
    "register_encoder": "registry",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
