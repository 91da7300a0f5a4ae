"""fm_unroll: accelerated multi-coil MRI reconstruction with frozen foundation models as priors."""

__version__ = "0.1.0"
