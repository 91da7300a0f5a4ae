"""Processes that train together wait for the slowest one longer than torch lets them by default.

torch ends a run in which one process waits for another for 30 minutes. Where no index can be remembered,
every process measures the maxima of its data set by itself, and they may finish hours apart. Lightning lets
processes wait without limit only while one of them prepares the data.
"""

import inspect
from datetime import timedelta

from lightning.pytorch.strategies import StrategyRegistry

PATIENCE = timedelta(days=1)  # not for ever: a process that hangs on a cluster must end some day


def be_patient() -> None:
    """Give every strategy that is chosen by name this patience; one that is given as a class has its own."""
    for entry in StrategyRegistry.values():
        if "timeout" in inspect.signature(entry["strategy"]).parameters:
            entry["init_params"].setdefault("timeout", PATIENCE)
