"""The paper's physics: k-space is iterated, by soft data consistency and a learned prior (equation 4)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fm_unroll.errors import InputError
from fm_unroll.methods import PAPER
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.registry import register_physics
from fm_unroll.models.sensitivity import SensitivityModel
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.physics import expand, reduce
from fm_unroll.physics.fourier import HybridSpace
from fm_unroll.physics.sampling import locate_acs


class PaperNetwork(UnrolledNetwork):
    """From zero-filled k-space on, one gradient step and one denoiser in every cascade; maps are learned."""

    def __init__(
        self, sensitivity: SensitivityModel, denoisers: Sequence[nn.Module], checkpoint_every: int = 0
    ) -> None:
        """Chain one cascade for each denoiser behind a sensitivity estimator.

        Args:
            sensitivity: the estimator.
            denoisers: one for each cascade; the same one may stand in several.
            checkpoint_every: see :class:`UnrolledNetwork`.
        """
        super().__init__(sensitivity, [Cascade(denoiser) for denoiser in denoisers], checkpoint_every)

    def begin(
        self, masked_kspace: Tensor, mask: Tensor, num_acs: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Measured k-space as the first iterate; k-space, mask and maps, all in hybrid space."""
        space = HybridSpace(masked_kspace.shape[-1], masked_kspace.device)
        acs = locate_acs(mask, num_acs)
        measured = space.enter(masked_kspace)
        assert self.sensitivity is not None
        sensitivities = self.sensitivity(space.to_image(measured * space.enter_lines(acs)))
        return measured, measured, space.enter_lines(mask), sensitivities

    def finish(self, iterate: Tensor, *constants: Tensor) -> Tensor:
        """See :meth:`UnrolledNetwork.finish`."""
        return HybridSpace.to_image(iterate)

    def load_fastmri_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take the weights of a ``fastmri.models.VarNet`` with the same sizes.

        Args:
            state_dict: ``VarNet(...).state_dict()``, or a ``VarNetModule`` checkpoint's, with its ``varnet.``
                prefix.

        Raises:
            InputError: this network has no U-Net denoisers, or names or shapes differ.
        """
        if not all(isinstance(cascade.denoiser, NormUnet) for cascade in self.cascades):
            raise InputError("fastMRI's VarNet weights fit the method varnet only")
        # a VarNetModule's checkpoint also holds the windows of its loss
        theirs = {
            name.removeprefix("varnet."): tensor
            for name, tensor in state_dict.items()
            if not name.startswith("loss.")
        }
        names = {name_in_fastmri(name): name for name in self.state_dict()}
        try:
            self.load_state_dict({names.get(name, name): tensor for name, tensor in theirs.items()})
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"the weights are not of a fastMRI VarNet with this num_cascades, chans and pools: {reason}"
            ) from None


def name_in_fastmri(name: str) -> str:
    """Name of a tensor of a ``varnet`` network in a ``fastmri.models.VarNet``."""
    names = {"sensitivity.": "sens_net.", ".denoiser.": ".model.", ".step_size": ".dc_weight"}
    for ours, theirs in names.items():
        name = name.replace(ours, theirs)
    return name


class Cascade(nn.Module):
    """k[t+1] = k[t] - mu M (k[t] - k0) - F E D R F^-1 k[t].

    The paper writes the last term with a plus, fastMRI with a minus; only the sign of what the denoiser
    learns differs, and with the minus fastMRI's weights can be loaded.
    """

    def __init__(self, denoiser: nn.Module) -> None:
        """Wrap a denoiser D of complex images and give it a learnable step size mu, starting at 1."""
        super().__init__()
        self.denoiser = denoiser
        self.step_size = nn.Parameter(torch.ones(1))

    def forward(self, kspace: Tensor, measured: Tensor, mask: Tensor, sensitivities: Tensor) -> Tensor:
        """One iteration, in hybrid space (see :class:`~fm_unroll.physics.fourier.HybridSpace`).

        Args:
            kspace: current iterate k[t], complex64, ``(batch, coil, readout, phase)``.
            measured: k0, the same shape, zero off the mask.
            mask: M, bool, ``(batch or 1, 1, 1, phase)``.
            sensitivities: S, complex64, ``(batch, coil, readout, phase)``.

        Returns:
            The next iterate k[t+1].
        """
        # k - mu M (k - k0) in one pass over the data: a step from the iterate towards what was measured
        towards_measured = (self.step_size * mask).to(kspace.dtype)
        consistent = torch.lerp(kspace, measured, towards_measured)
        image = reduce(HybridSpace.to_image(kspace), sensitivities)
        prior = HybridSpace.from_image(expand(self.denoiser(image), sensitivities))
        return consistent - prior


@register_physics(PAPER)
def paper(sensitivity: SensitivityModel, denoisers: list[nn.Module], checkpoint_every: int) -> PaperNetwork:
    """Build the paper's network; this physics has no options."""
    return PaperNetwork(sensitivity, denoisers, checkpoint_every)
