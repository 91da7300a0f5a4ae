"""The unrolled network: sensitivity maps, cascades, root-sum-of-squares image."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fm_unroll.encoders import FrozenEncoder
from fm_unroll.errors import InputError
from fm_unroll.models.cascade import Cascade
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.sensitivity import SensitivityModel
from fm_unroll.physics import rss
from fm_unroll.physics.fourier import HybridSpace
from fm_unroll.physics.sampling import locate_acs


class UnrolledNetwork(nn.Module):
    """Masked multi-coil k-space to image, for any denoiser."""

    def __init__(
        self, sensitivity: SensitivityModel, denoisers: Sequence[nn.Module], checkpoint_every: int = 0
    ) -> None:
        """Chain one cascade for each denoiser behind a sensitivity estimator.

        Args:
            sensitivity: the estimator.
            denoisers: one for each cascade; the same one may stand in several.
            checkpoint_every: of every so many cascades, the first keeps no activations in training; they are
                computed once more in the backward pass. 1: of all cascades, 0: of none.
        """
        super().__init__()
        self.sensitivity = sensitivity
        self.cascades = nn.ModuleList(Cascade(denoiser) for denoiser in denoisers)
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
        space = HybridSpace(masked_kspace.shape[-1], masked_kspace.device)
        acs = locate_acs(mask, num_acs)

        measured = space.enter(masked_kspace)
        lines = space.enter_lines(mask)
        sensitivities = self.sensitivity(space.to_image(measured * space.enter_lines(acs)))
        kspace = measured
        for number, cascade in enumerate(self.cascades):
            inputs = (kspace, measured, lines, sensitivities)
            if torch.is_grad_enabled() and self.checkpoint_every and number % self.checkpoint_every == 0:
                # nothing in a cascade is random, so there is no random state to put back
                kspace = checkpoint(cascade, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                kspace = cascade(*inputs)
        return space.to_image(kspace)

    @property
    def encoder(self) -> FrozenEncoder | None:
        """The frozen encoder that the cascades share, if the denoisers have one."""
        encoder = getattr(self.cascades[0].denoiser, "encoder", None)
        return encoder if isinstance(encoder, FrozenEncoder) else None

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
        names = {
            name: name.removeprefix("varnet.")
            .replace("sens_net.", "sensitivity.")
            .replace(".model.", ".denoiser.")
            .replace(".dc_weight", ".step_size")
            for name in state_dict
            if not name.startswith("loss.")
        }
        try:
            self.load_state_dict({ours: state_dict[theirs] for theirs, ours in names.items()})
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"the weights are not of a fastMRI VarNet with this num_cascades, chans and pools: {reason}"
            ) from None


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
