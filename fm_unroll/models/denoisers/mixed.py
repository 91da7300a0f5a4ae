"""The mixed denoiser: a U-Net and a foundation prior side by side, mixed by a gate that starts closed."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from fm_unroll.encoders.registry import find_encoder
from fm_unroll.errors import InputError
from fm_unroll.models.denoisers.foundation import FoundationDenoiser, magnitude_range, nonzero
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.registry import ANY_ENCODER, build_denoisers, register_denoiser

GATE_WIDTH = 16  # channels between the gate's two convolutions


class MixedDenoiser(nn.Module):
    """D(x) = U(x) + g (P(x) - U(x)), with a U-Net U, a prior P on a frozen encoder and a gate g.

    Of two estimates of one image, the linear combination with the least error weighs them by how large their
    errors are and how far they agree (Bates and Granger, Operational Research Quarterly 20, 1969,
    https://doi.org/10.1057/jors.1969.103). Both differ from place to place, and between real and imaginary
    part. So g is predicted for every pixel and both channels, by two 3 x 3 convolutions with a ReLU between
    them, from what there is to judge by: x, U(x) and P(x), divided by the 99th percentile of x's magnitude,
    so that D scales with its input. Of estimates whose errors are much alike the best weight may be negative,
    so g is a tanh, not a sigmoid. Its last convolution starts at zero, as Flamingo's gates do (Alayrac et
    al. 2022, arXiv 2204.14198): a new network *is* its U-Net, and departs from it where the prior helps.

    A closed gate would pass no gradient to P, and an open one could let either branch be forgotten. So in
    training some slices get one branch alone, drawn from torch's generator in every cascade anew.
    """

    mean_gate: Tensor

    def __init__(self, unet: NormUnet, prior: FoundationDenoiser, branch_dropout: float) -> None:
        """Put two denoisers side by side.

        Args:
            unet: U.
            prior: P.
            branch_dropout: share of slices that get one branch alone in training, each of the two as often.

        Raises:
            InputError: the share is not one.
        """
        super().__init__()
        if not 0 <= branch_dropout <= 1:
            raise InputError(f"branch_dropout is {branch_dropout:g}: give a number from 0 to 1")
        self.unet = unet
        self.prior = prior
        self.branch_dropout = branch_dropout
        self.gate = nn.Sequential(
            nn.Conv2d(6, GATE_WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(GATE_WIDTH, 2, 3, padding=1)
        )
        for parameter in self.gate[-1].parameters():
            nn.init.zeros_(parameter)
        # over the last batch of training; kept in checkpoints, where it says what training made of the prior
        self.register_buffer("mean_gate", torch.zeros(()))

    @property
    def zero_head(self) -> bool:
        """Whether it returns zero as long as it is not trained."""
        return self.unet.zero_head and self.prior.zero_head

    def forward(self, image: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: complex64, ``(batch, readout, phase)``.

        Returns:
            Image of the same shape and dtype.
        """
        unet, prior = (torch.view_as_real(branch(image)) for branch in (self.unet, self.prior))
        _, scale = magnitude_range(image, (0, 0.99))
        seen = torch.cat([torch.view_as_real(image), unet, prior], -1) / nonzero(scale)[..., None]
        gate = self.gate(seen.permute(0, 3, 1, 2)).float().tanh().permute(0, 2, 3, 1)
        if self.training:
            self.mean_gate.copy_(gate.detach().mean())
            gate = self.drop_branches(gate)
        return torch.view_as_complex(unet + gate * (prior - unet))

    def drop_branches(self, gate: Tensor) -> Tensor:
        """Close the gate of some slices and open it fully for some others.

        Args:
            gate: ``(batch, ...)``.
        """
        draw = torch.rand(len(gate), *(1,) * (gate.ndim - 1), device=gate.device)
        gate = gate.masked_fill(draw < self.branch_dropout / 2, 0)
        return gate.masked_fill(draw >= 1 - self.branch_dropout / 2, 1)


@register_denoiser("mixed", "varnet", ANY_ENCODER)
def mixed(
    num_cascades: int, *, prior: str = "clip", branch_dropout: float = 0.2, **options: Any
) -> list[nn.Module]:
    """Build U-Nets and a foundation prior side by side.

    Args:
        num_cascades: number of denoisers.
        prior: name of the encoder that the prior stands on.
        branch_dropout: share of slices that get one branch alone in training, each of the two as often.
        options: those of U-Nets and of encoders; ``zero_head`` goes to both.

    Raises:
        InputError: an option cannot be used.
    """
    find_encoder(prior)
    # first: a seed gives the same U-Nets as without a prior
    unets = cast(list[NormUnet], build_denoisers("varnet", num_cascades, options))
    priors = cast(list[FoundationDenoiser], build_denoisers(prior, num_cascades, options))
    return [MixedDenoiser(*pair, branch_dropout) for pair in zip(unets, priors, strict=True)]
