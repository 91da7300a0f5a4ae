"""The verb ``bench``."""

from pathlib import Path
from typing import Literal

import torch

from fm_unroll.errors import InputError
from fm_unroll_benchmarks.bench import run


def bench(
    *,
    quick: bool = False,
    output: Path = Path("experiments/benchmarks"),
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Time this package and its peers in turn; write the table of ratios as json and markdown.

    Args:
        quick: small sizes, for which nothing is aimed at.
        output: folder for the results.
        device: where networks and metrics run.

    Raises:
        InputError: a GPU was asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("no GPU is at hand: give --device cpu")
    run(quick, output, torch.device(device))
