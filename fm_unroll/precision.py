"""Which low-precision arithmetic a device has in hardware, and what training does with it."""

import warnings
from functools import lru_cache

import torch


@lru_cache
def has_bfloat16(device: str) -> bool:
    """Whether a kind of device (``cuda``, ``cpu``, ...) computes in bfloat16 faster than in float32."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        known = torch.cpu.get_capabilities()
        return any(known.get(instructions, False) for instructions in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


@lru_cache
def bfloat16_or_warning(device: str) -> bool:
    """:func:`has_bfloat16` for those who asked for it: says once that they do not get it."""
    if not has_bfloat16(device):
        warnings.warn(f"{device} has no bfloat16 arithmetic: float32 is used", stacklevel=2)
    return has_bfloat16(device)


def default_precision(accelerator: str) -> str:
    """Training's precision unless another is asked for.

    ``bf16-mixed`` on GPUs that have it, else ``32-true``. On CPUs with bfloat16 large networks gain by it
    (U-Nets of 18 channels at 512 x 208: 1.9 times as fast), small ones lose, so there it has to be asked for.
    Convolutions and the encoder's blocks are then in bfloat16; Fourier transforms, data consistency,
    normalisation and loss stay in float32, and so do all validation and evaluation.

    Args:
        accelerator: as given to Lightning's trainer.
    """
    on_gpu = accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and has_bfloat16("cuda") else "32-true"
