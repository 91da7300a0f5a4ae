"""What is trained: unrolled networks with interchangeable denoisers."""

from fm_unroll.models.build import build_model
from fm_unroll.models.registry import list_methods, register_denoiser
from fm_unroll.models.unrolled import UnrolledNetwork

__all__ = ["UnrolledNetwork", "build_model", "list_methods", "register_denoiser"]
