"""The one way from a batch to its image: undersample, apply a network, crop; always in float32.

Validation, testing and prediction, the cross-domain evaluation and ``reconstruct`` all go through here, so
that one network gives one image of one measurement, whoever asks.
"""

import torch
from torch import Tensor, nn

from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import center_crop, undersample
from fm_unroll.physics import SamplingPattern


def accelerate(batch: KSpaceBatch, pattern: SamplingPattern | None) -> KSpaceBatch:
    """What an accelerated scan would have measured of some slices.

    Args:
        batch: slices on their device.
        pattern: masks fully sampled slices; a volume's mask depends on the volume's name alone. None: the
            slices are undersampled already, by the scanner or by the data module.
    """
    return batch if pattern is None else undersample(batch, pattern, batch.volume)


@torch.inference_mode()
def reconstruct(network: nn.Module, batch: KSpaceBatch) -> Tensor:
    """The image of some undersampled slices, without gradients.

    Args:
        network: takes ``(masked_kspace, mask, num_acs)`` to float32 ``(batch, readout, phase)``: an unrolled
            network or a classical method, on the batch's device, in evaluation mode.
        batch: undersampled slices.

    Returns:
        Float32, ``(batch, *crop)``, whatever precision the network was trained in.
    """
    with torch.autocast(batch.kspace.device.type, enabled=False):
        return center_crop(network(batch.kspace, batch.mask, batch.num_acs), batch.crop)
