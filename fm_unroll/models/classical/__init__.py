"""Reconstructions without training, with the networks' interface: what every network must beat."""

from collections.abc import Callable

from torch import nn

from fm_unroll.models.classical.cg_sense import CGSense
from fm_unroll.models.classical.wavelet import WaveletCS
from fm_unroll.models.classical.zero_filled import ZeroFilled

__all__ = ["CLASSICAL", "CGSense", "WaveletCS", "ZeroFilled"]

# by the names that options and records have for them
CLASSICAL: dict[str, Callable[[], nn.Module]] = {
    "zero_filled": ZeroFilled,
    "cg_sense": CGSense,
    "wavelet": WaveletCS,
}
