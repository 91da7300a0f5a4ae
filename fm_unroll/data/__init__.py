"""Files in, samples out: readers of the layouts, scans, samples and data modules.

The names below are imported when they are first used: data modules bring Lightning, whose import takes longer
than everything else that reading and reconstructing one scan needs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
