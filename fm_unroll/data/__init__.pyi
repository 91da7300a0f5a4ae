from .mixed import MixedData as MixedData
from .modules import CMRxReconData as CMRxReconData
from .modules import FastMRIBrainData as FastMRIBrainData
from .modules import FastMRIKneeData as FastMRIKneeData
from .sample import KSpaceBatch as KSpaceBatch
from .sample import KSpaceSample as KSpaceSample
from .scan import Scan as Scan
from .scan import open_scan as open_scan
