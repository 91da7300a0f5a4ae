"""Reconstructions without training, with the networks' interface: what every network must beat."""

from fm_unroll.models.classical.cg_sense import CGSense
from fm_unroll.models.classical.wavelet import WaveletCS
from fm_unroll.models.classical.zero_filled import ZeroFilled

__all__ = ["CGSense", "WaveletCS", "ZeroFilled"]
