"""PSNR and NMSE from sums over the pixels of a slice or of a volume: one formula for tensors and for tables.

This file needs neither torch nor pandas, so that tables can be made where there is no torch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

Values = TypeVar("Values", "Tensor", "pd.Series[float]")


def psnr_of_sums(
    squared_error: Values, pixels: Values | int, data_range: Values, log10: Callable[[Values], Values]
) -> Values:
    """Peak signal-to-noise ratio in dB.

    Args:
        squared_error: sum of the squared differences to the target.
        pixels: number of pixels that were summed over.
        data_range: maximum of the target volume.
        log10: the logarithm of the library whose values these are.

    Returns:
        One value per slice or volume, of the arguments' common shape.
    """
    return 10 * log10(data_range**2 * pixels / squared_error)


def nmse_of_sums(squared_error: Values, target_energy: Values) -> Values:
    """Normalised mean squared error.

    Args:
        squared_error: sum of the squared differences to the target.
        target_energy: sum of the squared target.

    Returns:
        One value per slice or volume, of the arguments' shape.
    """
    return squared_error / target_energy
