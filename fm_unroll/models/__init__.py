"""What is trained: unrolled networks with interchangeable denoisers."""

from fm_unroll.models.registry import build_model, list_methods
from fm_unroll.models.unrolled import UnrolledNetwork

__all__ = ["UnrolledNetwork", "build_model", "list_methods"]
