"""The unrolled network: iterations of a physics, each with a denoiser of its own."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fm_unroll.encoders import FrozenEncoder
from fm_unroll.errors import InputError
from fm_unroll.physics import rss


class UnrolledNetwork(nn.Module, ABC):
    """Masked multi-coil k-space to image, for any denoiser; a subclass is a physics.

    A physics says what is iterated and how an iteration keeps to what was measured: the paper's
    (:class:`~fm_unroll.models.paper.PaperNetwork`) iterates k-space, the anchored one
    (:class:`~fm_unroll.models.anchored.AnchoredNetwork`) an image.
    """

    def __init__(
        self, sensitivity: nn.Module | None, cascades: Sequence[nn.Module], checkpoint_every: int = 0
    ) -> None:
        """Chain some cascades.

        Args:
            sensitivity: estimator of the sensitivity maps, if they are learned.
            cascades: modules with a ``denoiser``, from an iterate and what stays the same to the next
                iterate.
            checkpoint_every: of every so many cascades, the first keeps no activations in training; they are
                computed once more in the backward pass. 1: of all cascades, 0: of none.
        """
        super().__init__()
        self.sensitivity = sensitivity
        self.cascades = nn.ModuleList(cascades)
        self.checkpoint_every = checkpoint_every

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        """Reconstruct.

        Args:
            masked_kspace: complex64, ``(batch, coil, readout, phase)``, zero at lines that are not sampled.
            mask: bool, ``(batch or 1, 1, 1, phase)``: sampled lines.
            num_acs: fully sampled centre lines.

        Returns:
            Root-sum-of-squares image, float32, ``(batch, readout, phase)``.

        Raises:
            InputError: shapes or dtypes differ from the above.
        """
        return rss(self.coil_images(masked_kspace, mask, num_acs))

    def coil_images(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        """What :meth:`forward` combines: complex64, ``(batch, coil, readout, phase)``. Arguments as there."""
        check_input(masked_kspace, mask, num_acs)
        iterate, *constants = self.begin(masked_kspace, mask, num_acs)
        for number, cascade in enumerate(self.cascades):
            if torch.is_grad_enabled() and self.checkpoint_every and number % self.checkpoint_every == 0:
                # with the random state of the first time: a mixed denoiser draws branches
                iterate = checkpoint(cascade, iterate, *constants, use_reentrant=False)
            else:
                iterate = cascade(iterate, *constants)
        return self.finish(iterate, *constants)

    @abstractmethod
    def begin(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> tuple[Any, ...]:
        """The first iterate, and what every cascade gets beside it. Arguments as in :meth:`forward`."""

    @abstractmethod
    def finish(self, iterate: Tensor, *constants: Any) -> Tensor:
        """Coil images, complex64, ``(batch, coil, readout, phase)``, of the last iterate."""

    @property
    def encoders(self) -> list[FrozenEncoder]:
        """The frozen encoders of the denoisers, in the order of the cascades; each that is shared once."""
        return [module for module in self.cascades.modules() if isinstance(module, FrozenEncoder)]


def check_input(masked_kspace: Tensor, mask: Tensor, num_acs: int) -> None:
    """Refuse what would broadcast into a silently wrong image."""
    if masked_kspace.ndim != 4 or masked_kspace.dtype != torch.complex64:
        raise InputError(
            "k-space must be complex64 (batch, coil, readout, phase), "
            f"not {str(masked_kspace.dtype).removeprefix('torch.')} {tuple(masked_kspace.shape)}"
        )
    batch, _, _, num_lines = masked_kspace.shape
    if mask.dtype != torch.bool or tuple(mask.shape) not in {(batch, 1, 1, num_lines), (1, 1, 1, num_lines)}:
        raise InputError(
            f"the mask must be bool ({batch} or 1, 1, 1, {num_lines}), "
            f"not {str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}"
        )
    if not 1 <= num_acs <= num_lines:
        raise InputError(f"num_acs is {num_acs}: the sensitivity maps need 1 to {num_lines} ACS lines")
