from .registry import EncoderSpec as EncoderSpec
from .registry import list_encoders as list_encoders
from .registry import register_encoder as register_encoder
from .vit import FrozenEncoder as FrozenEncoder
from .vit import build_encoder as build_encoder
