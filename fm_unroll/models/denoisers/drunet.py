"""A denoiser that is told of the measurement: a U-Net without normalisation, for all noise and sampling."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fm_unroll.errors import InputError
from fm_unroll.models.denoisers.foundation import nonzero
from fm_unroll.models.registry import register_denoiser


class DRUNet(nn.Module):
    """Residual U-Net with a noise level channel (Zhang 2021, https://doi.org/10.1109/TPAMI.2021.3088914).

    Zhang et al. train theirs to denoise and plug it, as a finished part, into half-quadratic splitting; this
    one is trained within the cascades that it stands in.

    Nothing is normalised and nothing has a bias: what is added at noise 0.01 is a tenth of what is added at
    0.1 to an image ten times as bright (Mohan et al. 2020, https://arxiv.org/abs/1906.05478). Normalisation,
    as in E2E-VarNet's U-Net, would take away what a channel says by its level.

    Beside real and imaginary part it sees where the image contradicts what was measured, A^H (y - A x), as
    learned primal-dual methods do (Adler and Oektem 2018, https://doi.org/10.1109/TMI.2018.2799231), the
    noise level, and the log acceleration in units of the image's maximum. These channels are zero where
    nothing is known of the measurement.
    """

    zero_head = True  # an untrained one returns zero
    takes_measurement = True

    def __init__(self, widths: Sequence[int]) -> None:
        """Build the network.

        Args:
            widths: channels of the scales, from the image's to the coarsest, each of half the size.

        Raises:
            InputError: there is no scale, or one without channels.
        """
        super().__init__()
        if not widths or min(widths) < 1:
            raise InputError(f"widths {list(widths)}: give positive numbers, one for each scale")
        scales = list(pairwise(widths))
        self.head = nn.Conv2d(6, widths[0], 3, padding=1, bias=False)
        self.finer = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2, bias=False) for fine, coarse in scales)
        self.coarsest = ResidualBlock(widths[-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2, bias=False) for fine, coarse in scales)
        self.merged = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.tail = nn.Conv2d(widths[0], 2, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)

    def forward(self, image: Tensor, residual: Tensor | None = None, facts: Tensor | None = None) -> Tensor:
        """Denoise.

        Args:
            image: complex64, ``(batch, readout, phase)``.
            residual: A^H (y - A x), of the same shape; None: unknown, as in the paper's physics.
            facts: float32, ``(batch, 2)``: noise level, in the image's unit, and acceleration; likewise.

        Returns:
            Image of the same shape and dtype; scaling image, residual and noise level scales the output.
        """
        rows, columns = image.shape[-2:]
        multiple = 2 ** len(self.down)
        seen = [image, torch.zeros_like(image) if residual is None else residual]
        parts = [part for complex_ in seen for part in (complex_.real, complex_.imag)]
        channels = torch.stack([*parts, *self.known(image, facts)], dim=1)
        # the largest value is 1 within: the same function, since it scales, but float16 holds it in any unit
        unit = nonzero(channels.detach().abs().amax((1, 2, 3), keepdim=True))
        margins = (0, -columns % multiple, 0, -rows % multiple)
        features = self.head(F.pad(channels / unit, margins, mode="replicate"))
        skips = []
        for refine, down in zip(self.finer, self.down, strict=True):
            skips.append(refine(features))
            features = down(skips[-1])
        features = self.coarsest(features)
        for merge, up in reversed(list(zip(self.merged, self.up, strict=True))):
            features = merge(up(features) + skips.pop())
        real, imaginary = (unit * self.tail(features)[..., :rows, :columns].float()).unbind(1)
        return torch.complex(real, imaginary)

    @staticmethod
    def known(image: Tensor, facts: Tensor | None) -> tuple[Tensor, Tensor]:
        """Noise level and acceleration, as two images."""
        flat = torch.zeros_like(image.real)
        if facts is None:
            return flat, flat
        noise, acceleration = facts[:, :, None, None].unbind(1)
        return flat + noise, flat + acceleration.log() * image.abs().amax((-2, -1), keepdim=True)


class ResidualBlock(nn.Module):
    """features + conv(relu(conv(features)))."""

    def __init__(self, width: int) -> None:
        """Build it for so many channels."""
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Refine features, ``(batch, channels, rows, columns)``."""
        refined: Tensor = features + self.second(F.relu(self.first(features)))
        return refined


@register_denoiser("drunet")
def drunet(num_cascades: int, *, widths: Sequence[int] = (16, 32, 64, 64)) -> list[nn.Module]:
    """Build U-Nets that are told noise and acceleration by the anchored physics.

    Args:
        num_cascades: number of denoisers.
        widths: channels of the scales, from the image's to the coarsest, each of half the size.
    """
    return [DRUNet(widths) for _ in range(num_cascades)]
