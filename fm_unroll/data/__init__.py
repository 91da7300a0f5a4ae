"""Files in, samples out: readers of the two public layouts and their data modules."""

from fm_unroll.data.modules import CMRxReconData, FastMRIBrainData, FastMRIKneeData
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample

__all__ = ["CMRxReconData", "FastMRIBrainData", "FastMRIKneeData", "KSpaceBatch", "KSpaceSample"]
