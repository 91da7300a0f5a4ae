"""Compilation of a network's denoisers by ``torch.compile``, where the device can."""

import warnings

import torch
from fastmri.models.unet import Unet
from torch import nn

from fm_unroll.encoders import FrozenEncoder
from fm_unroll.models.denoisers.foundation import DecoderStage


def compile_denoisers(network: nn.Module, device: torch.device) -> None:
    """Compile the repeated, real-valued parts of a network in place; state dicts do not change.

    These are U-Nets, decoder stages and the encoder's blocks: alike in all cascades, so that each kind is
    compiled once. Fourier transforms and coil combination stay as they are: the compiler has no code for
    complex numbers. Where nothing can be compiled there is one warning, and all stays as it is; a part that
    fails later runs uncompiled.
    """
    try:
        torch.compile(nn.functional.relu)(torch.zeros(1, device=device))
    except Exception as error:  # backends raise whatever their compilers do
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(f"torch.compile does not work on {device}, nothing is compiled: {reason}", stacklevel=2)
        return
    # private: torch.compiler has no switch for it
    torch._dynamo.config.suppress_errors = True
    for module in network.modules():
        if isinstance(module, Unet | DecoderStage):
            module.compile()
        elif isinstance(module, FrozenEncoder):
            module.compile_blocks()
