"""Files in, samples out: readers of the layouts, scans, samples and data modules."""

from fm_unroll.data.mixed import MixedData
from fm_unroll.data.modules import CMRxReconData, FastMRIBrainData, FastMRIKneeData
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.scan import Scan, open_scan

__all__ = [
    "CMRxReconData",
    "FastMRIBrainData",
    "FastMRIKneeData",
    "KSpaceBatch",
    "KSpaceSample",
    "MixedData",
    "Scan",
    "open_scan",
]
