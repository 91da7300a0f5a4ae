"""Training losses by name."""

import difflib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.errors import InputError
from fm_unroll.metrics import ssim
from fm_unroll.models.self_supervision import HELD_OUT, PREDICTED, kspace_loss, leave_out, predict_kspace
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.reconstruction.engine import in_float32

Loss = TypeVar("Loss", bound=Callable[[], nn.Module])

_LOSSES: dict[str, Callable[[], nn.Module]] = {}


def register_loss(name: str) -> Callable[[Loss], Loss]:
    """Make a loss known to ``--model.loss``.

    What is decorated is called without arguments and gives a module that takes what :class:`SSIMLoss` takes,
    or a :class:`LossWithoutTarget`.

    Raises:
        InputError: the name is taken.
    """

    def register(loss: Loss) -> Loss:
        if name in _LOSSES:
            raise InputError(f"loss {name!r} is registered already: choose another name")
        _LOSSES[name] = loss
        return loss

    return register


def list_losses() -> list[str]:
    """Return the names of all losses."""
    return list(_LOSSES)


def check_loss(name: str) -> None:
    """Refuse a name that :func:`build_loss` does not know.

    Raises:
        InputError: the name is unknown; the message gives the nearest ones.
    """
    if name not in _LOSSES:
        near = difflib.get_close_matches(name, _LOSSES) or list_losses()
        raise InputError(f"unknown loss {name!r}: did you mean {', '.join(near)}?")


def build_loss(name: str) -> nn.Module:
    """Return a loss by name; see :func:`check_loss`."""
    check_loss(name)
    return _LOSSES[name]()


class LossWithoutTarget(nn.Module, ABC):
    """A loss that needs nothing but what was measured; no target is ever looked at."""

    @abstractmethod
    def forward(self, network: UnrolledNetwork, batch: KSpaceBatch) -> Tensor:
        """Compute the loss of a network on undersampled slices: a scalar."""

    @abstractmethod
    def of_validation(self, network: UnrolledNetwork, batch: KSpaceBatch) -> Tensor:
        """What the best epoch is chosen by, the same in every epoch for the same network: ``(batch,)``."""


@register_loss("ssim")
class SSIMLoss(nn.Module):
    """1 - SSIM, averaged over the batch: the recipe's loss, with the constants of the metric.

    Equal to ``fastmri.losses.SSIMLoss``.
    """

    def forward(self, prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            prediction: float32, ``(batch, readout, phase)``.
            target: the same shape.
            data_range: maximum of each slice's target volume, ``(batch,)``.

        Returns:
            A scalar in 0..2.
        """
        return 1 - ssim(prediction, target, data_range).mean()


@register_loss("ssim_l1")
class SSIMAndL1Loss(nn.Module):
    """1 - SSIM + 5 times the mean absolute error in units of the data range, averaged over the batch.

    SSIM is not very sensitive to a wrong level in a smooth region, the absolute error is: a mixture after
    Zhao et al. (IEEE Trans. Comput. Imaging 3, 2017, https://doi.org/10.1109/TCI.2016.2644865). They weigh
    0.84 to 0.16 and take SSIM at several scales; here SSIM is the metric itself and weighs 1, the error 5.
    """

    ERROR_WEIGHT = 5

    def forward(self, prediction: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
        """Compute the loss; arguments as those of :class:`SSIMLoss`. A scalar, 0 for equal images."""
        error = (prediction - target).abs().mean((-2, -1)) / data_range
        return (1 - ssim(prediction, target, data_range) + self.ERROR_WEIGHT * error).mean()


@register_loss("self_supervised")
class SelfSupervisedLoss(LossWithoutTarget):
    """The error of measured lines that a network was not given, see :mod:`fm_unroll.models.self_supervision`.

    As in SSDU (Yaman et al. 2020), which draws single samples once for each slice; here lines are drawn anew
    whenever a slice comes.
    """

    def forward(self, network: UnrolledNetwork, batch: KSpaceBatch) -> Tensor:
        """The mean over slices, by torch's own random numbers."""
        given, predicted = leave_out(batch.mask, batch.num_acs, PREDICTED)
        prediction = predict_kspace(network, batch.kspace, given, batch.num_acs)
        return kspace_loss(prediction, batch.kspace, predicted).mean()

    def of_validation(self, network: UnrolledNetwork, batch: KSpaceBatch) -> Tensor:
        """The error of every slice at a fifth of its lines, drawn by its volume's mask seed; in float32."""
        seeds = [int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7]) for seed in batch.mask_seed]
        pairs = [
            leave_out(mask[None], batch.num_acs, HELD_OUT, torch.Generator().manual_seed(seed))
            for mask, seed in zip(batch.mask, seeds, strict=True)
        ]
        given, held_out = (torch.cat(masks) for masks in zip(*pairs, strict=True))
        with in_float32(network, batch):
            prediction = predict_kspace(network, batch.kspace, given, batch.num_acs)
        return kspace_loss(prediction, batch.kspace, held_out)


def needs_targets(name: str) -> bool:
    """Whether a loss needs fully sampled data; see :func:`check_loss`."""
    return not isinstance(build_loss(name), LossWithoutTarget)
