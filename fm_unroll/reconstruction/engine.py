"""The one way from a batch to its image: undersample, apply a network, crop; always in float32.

Validation, testing and prediction, the cross-domain evaluation and ``reconstruct`` all go through here, so
that one network gives one image of one measurement, whoever asks.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from fm_unroll.consent import consenting
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import center_crop, undersample
from fm_unroll.errors import InputError
from fm_unroll.files import at_home
from fm_unroll.models.checkpoints import load_network
from fm_unroll.models.classical.stored import fixed_masks
from fm_unroll.models.own import name_of
from fm_unroll.models.release import GENERAL
from fm_unroll.models.sharing import locate
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.physics import SamplingPattern


def accelerate(batch: KSpaceBatch, pattern: SamplingPattern | None) -> KSpaceBatch:
    """Mask some slices as an accelerated scan would have measured them.

    Args:
        batch: slices on their device.
        pattern: masks fully sampled slices, with the seed of their volume. None: the slices are undersampled
            already, by the scanner or by the data module.
    """
    return batch if pattern is None else undersample(batch, pattern)


@contextmanager
def in_float32(network: nn.Module, batch: KSpaceBatch) -> Iterator[None]:
    """Compute in float32 on a batch's device, the frozen encoders of a network included if it has any."""
    with torch.autocast(batch.kspace.device.type, enabled=False), ExitStack() as stack:
        for encoder in getattr(network, "encoders", ()):
            stack.enter_context(encoder.in_float32())
        yield


@torch.inference_mode()
def reconstruct(network: nn.Module, batch: KSpaceBatch) -> Tensor:
    """The image of some undersampled slices, without gradients.

    Args:
        network: takes ``(masked_kspace, mask, num_acs)`` to float32 ``(batch, readout, phase)``: an unrolled
            network or a classical method, on the batch's device, in evaluation mode.
        batch: undersampled slices.

    Returns:
        Float32, ``(batch, *crop)``, whatever precision the network or its encoder was trained in.
    """
    with in_float32(network, batch), fixed_masks():
        return center_crop(network(batch.kspace, batch.mask, batch.num_acs), batch.crop)


def require_target(batch: KSpaceBatch) -> Tensor:
    """The target of some slices: float32, ``(batch, *crop)``.

    Raises:
        InputError: they are of an undersampled scan, which has none.
    """
    if batch.target is None:
        raise InputError(
            f"{batch.volume[0]} is undersampled and has no target: "
            "training and metrics need fully sampled files, use `predict` for this one"
        )
    return batch.target


class Reconstructor(nn.Module):
    """A trained network that takes batches: ``image = reconstructor(batch)``."""

    def __init__(self, network: UnrolledNetwork) -> None:
        """Take a network, in evaluation mode."""
        super().__init__()
        self.network = network

    def forward(self, batch: KSpaceBatch) -> Tensor:
        """The image of some undersampled slices, float32, ``(batch, *crop)``, on the network's device."""
        device = next(self.network.parameters()).device
        return reconstruct(self.network, batch.to(device))


def load(
    checkpoint: Path | str = GENERAL,
    weights: Path | str | None = None,
    trust_code: type[nn.Module] | None = None,
) -> Reconstructor:
    """Bring a trained network back, on the CPU; ``.to("cuda")`` moves it.

    Args:
        checkpoint: file that ``fit`` or ``release`` wrote, or ``hf://OWNER/NAME`` of a network on the Hugging
            Face hub; by default the general network that comes with the package, trained on drawings alone
            (docs/general_network.md).
        weights: the frozen encoder's weights, if they are no longer where they were in training.
        trust_code: the class of a network of your own. A checkpoint only names it; its code is what you give.

    Raises:
        InputError: no such file, not a checkpoint of this framework, trained over another encoder, or a
            network of another class.
    """
    if not (trust_code is None or (isinstance(trust_code, type) and issubclass(trust_code, nn.Module))):
        raise InputError(f"trust_code is {trust_code!r}: give the class itself, derived from torch.nn.Module")
    with consenting({} if trust_code is None else {name_of(trust_code): trust_code}):
        network = load_network(locate(checkpoint), None if weights is None else at_home(weights))
    return Reconstructor(network)
