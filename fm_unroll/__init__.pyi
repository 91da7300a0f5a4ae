from .data.mixed import MixedData as MixedData
from .data.modules import CMRxReconData as CMRxReconData
from .data.modules import FastMRIBrainData as FastMRIBrainData
from .data.modules import FastMRIKneeData as FastMRIKneeData
from .data.scan import open_scan as open_scan
from .encoders import build_encoder as build_encoder
from .models import build_model as build_model
from .models import list_methods as list_methods
from .phantoms.pictures import PicturesData as PicturesData
from .physics import EquispacedSampling as EquispacedSampling
from .physics import RandomSampling as RandomSampling
from .physics import UniformSampling as UniformSampling
from .physics import VariedSampling as VariedSampling
from .reconstruction.engine import load as load

__version__: str
