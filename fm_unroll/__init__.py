"""fm_unroll: accelerated MRI reconstruction with frozen foundation models as interchangeable priors.

::

    import fm_unroll as fm

    scan = fm.open_scan("scan.h5")
    batch = scan.undersample(fm.UniformSampling(8, acs_lines=24))[0]
    image = fm.load("best.ckpt")(batch)

Names are imported when they are first used, so that ``import fm_unroll`` takes no time; the list of them is
``__init__.pyi``.
"""

import difflib

import lazy_loader

__version__ = "0.2.0"

_named, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used; of an unknown one, suggest the nearest."""
    if name not in __all__ and (near := difflib.get_close_matches(name, __all__, 1)):
        raise AttributeError(f"fm_unroll has no {name}, did you mean {near[0]}?", name=name)
    return _named(name)
