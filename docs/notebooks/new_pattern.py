# %% [markdown]
# # A new sampling pattern is one file

# %%
# --8<-- [start:pattern]
from dataclasses import dataclass

import numpy as np

from fm_unroll.physics.sampling import CenterFractionSampling, Lines, center_lines


@dataclass(frozen=True)
class GaussianSampling(CenterFractionSampling):
    """Lines drawn without replacement, denser towards the centre.

    Attributes:
        width: standard deviation of the density, in parts of the matrix.
    """

    width: float = 1 / 6

    def outer_lines(self, num_lines: int, num_acs: int, random: np.random.RandomState) -> Lines:
        """Draw as many lines as the centre leaves of the budget, by a Gaussian density."""
        distance = np.arange(num_lines) - num_lines // 2
        density = np.exp(-0.5 * (distance / (num_lines * self.width)) ** 2)
        # exponential arrival times: the first to arrive are a draw by the density, without replacement
        arrival = random.exponential(size=num_lines) / density
        arrival[center_lines(num_lines, num_acs)] = np.inf
        count = round(self.outer_budget(num_lines, num_acs))
        lines = np.zeros(num_lines, dtype=bool)
        lines[np.argsort(arrival)[:count]] = True
        return lines


# --8<-- [end:pattern]

# %%
pattern = GaussianSampling(acceleration=4, center_fraction=0.08)
mask = pattern(num_lines=320, seed="file1000001")
print(f"{int(mask.lines.sum())} of 320 lines, true acceleration {mask.true_acceleration:.2f}")
print("in configs and checkpoints:", pattern.to_config())
