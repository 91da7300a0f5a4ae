"""The SENSE model: one image seen through known sensitivity maps, measured at some lines."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fm_unroll.models.classical.calibration import acs_images, estimate_sensitivities
from fm_unroll.models.classical.memory import fingerprints, known_maps, known_solutions
from fm_unroll.models.classical.noise import noise_level
from fm_unroll.models.classical.stored import stored_maps, stored_solutions
from fm_unroll.models.unrolled import check_input
from fm_unroll.physics import expand, reduce, rss
from fm_unroll.physics.fourier import HybridSpace
from fm_unroll.physics.sampling import locate_acs

Estimator = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SenseProblem:
    """Find the image x with M F E(x) = measured; A = M F E has norm 1 at most, because the maps have.

    All tensors are in units of :attr:`scale`, so that a solver's parameters have none.

    Attributes:
        measured: complex64, ``(batch, coil, readout, phase)``: hybrid data (see
            :class:`~fm_unroll.physics.fourier.HybridSpace`), zero off the mask.
        lines: bool, ``(batch or 1, 1, 1, phase)``: sampled lines, in the order of hybrid data.
        acs: bool, ``(batch or 1, phase)``: the ACS lines among them, in the order of k-space.
        sensitivities: complex64, the shape of ``measured``.
        low_resolution: float32, ``(batch, readout, phase)``: root-sum-of-squares image of the ACS lines, with
            maximum 1.
        scale: float32, ``(batch, 1, 1)``: its maximum, in the k-space's units.
        slices: what tells each slice's problem apart from others; None: nobody knows, as of maps that are
            trained.
    """

    measured: Tensor
    lines: Tensor
    acs: Tensor
    sensitivities: Tensor
    low_resolution: Tensor
    scale: Tensor
    slices: list[bytes] | None = None

    @classmethod
    def calibrate(
        cls, masked_kspace: Tensor, mask: Tensor, num_acs: int, estimate: Estimator | None = None
    ) -> "SenseProblem":
        """Estimate the maps from the ACS lines.

        Args:
            masked_kspace: complex64, ``(batch, coil, readout, phase)``, zero at lines that are not sampled.
            mask: bool, ``(batch or 1, 1, 1, phase)``: sampled lines.
            num_acs: fully sampled centre lines.
            estimate: from k-space and its ACS lines to maps with root-sum-of-squares 1 over coils; None:
                ESPIRiT's, which are estimated once for slices that come again.

        Raises:
            InputError: shapes or dtypes differ from the above.
        """
        check_input(masked_kspace, mask, num_acs)
        # by the largest sample first: squares of a scanner's raw numbers may leave float32
        largest = masked_kspace.abs().amax((1, 2, 3)).reshape(-1, 1, 1)
        largest = largest.masked_fill(largest == 0, 1)
        acs = locate_acs(mask, num_acs)
        low_resolution = rss(acs_images(masked_kspace / largest[:, None], acs))
        peak = low_resolution.amax((1, 2), keepdim=True)
        peak = peak.masked_fill(peak == 0, 1)
        kspace = masked_kspace / largest[:, None] / peak[:, None]
        space = HybridSpace(kspace.shape[-1], kspace.device)
        slices = None
        if estimate is None and not kspace.requires_grad:
            slices = known = fingerprints(masked_kspace, mask, num_acs)
            maps = known_maps(
                known,
                lambda: stored_maps(known, lambda: estimate_sensitivities(kspace, acs), kspace.device),
            ).to(kspace.device)
        else:
            maps = (estimate or estimate_sensitivities)(kspace, acs)
        return cls(
            measured=space.enter(kspace),
            lines=space.enter_lines(mask),
            acs=acs.flatten(1),
            sensitivities=maps,
            low_resolution=low_resolution / peak,
            scale=largest * peak,
            slices=slices,
        )

    def once(self, solver: Hashable, solve: "Callable[[SenseProblem], Tensor]") -> Tensor:
        """A solution, which is computed once for slices that come again.

        Args:
            solver: what tells the solver apart, with its settings.
            solve: computes the solution of a problem.
        """
        if self.slices is None:
            return solve(self)

        def compute() -> Tensor:
            if self.measured.device.type != "cpu":
                return solve(self)
            # to the last bit the same, whatever else was in the batch when it was kept
            return torch.cat([solve(self._slice(number)) for number in range(len(self.measured))])

        device, known = self.measured.device, [(solver, slice_) for slice_ in self.slices]
        return known_solutions(known, lambda: stored_solutions(known, compute, device)).to(device)

    def _slice(self, number: int) -> "SenseProblem":
        """The problem of one slice."""
        row = slice(number, number + 1)
        return SenseProblem(
            measured=self.measured[row],
            lines=self.lines[row] if len(self.lines) > 1 else self.lines,
            acs=self.acs[row] if len(self.acs) > 1 else self.acs,
            sensitivities=self.sensitivities[row],
            low_resolution=self.low_resolution[row],
            scale=self.scale[row],
        )

    @cached_property
    def noise(self) -> Tensor:
        """Standard deviation of real and imaginary part of the noise in :attr:`measured`: ``(batch,)``."""
        kspace = HybridSpace(self.measured.shape[-1], self.measured.device).leave(self.measured)
        return noise_level(kspace, self.sampled, self.acs)

    @property
    def noise_energy(self) -> Tensor:
        """The square of :attr:`noise`, for images: float32, ``(batch, 1, 1)``."""
        return self.noise.square()[:, None, None]

    @property
    def sampled(self) -> Tensor:
        """The sampled lines in the order of k-space: bool, ``(batch or 1, phase)``."""
        lines: Tensor = torch.fft.fftshift(self.lines, -1).flatten(1)
        return lines

    def adjoint(self) -> Tensor:
        """A^H measured: complex64, ``(batch, readout, phase)``."""
        return reduce(HybridSpace.to_image(self.measured), self.sensitivities)

    def normal(self, image: Tensor) -> Tensor:
        """A^H A x of an image, complex64, ``(batch, readout, phase)``."""
        return reduce(HybridSpace.to_image(self.lines * self._hybrid(image)), self.sensitivities)

    def residual(self, image: Tensor) -> Tensor:
        """A^H (measured - A x) of an image, complex64, ``(batch, readout, phase)``."""
        missed = self.measured - self.lines * self._hybrid(image)
        return reduce(HybridSpace.to_image(missed), self.sensitivities)

    def combine(self, image: Tensor) -> Tensor:
        """Root-sum-of-squares image of the measured lines, with the others from a solution.

        Where the maps are right this is the solution's magnitude. Elsewhere keeping the measured lines makes
        it comparable with the root-sum-of-squares target: background noise, which no solution over the maps
        can hold, stays in as far as it was measured. On a real head at x4 that is worth 1.2 dB and 0.07 SSIM.

        Args:
            image: the solution, complex64, ``(batch, readout, phase)``.

        Returns:
            float32, ``(batch, readout, phase)``, in the k-space's units.
        """
        return rss(HybridSpace.to_image(self._completed(image))) * self.scale

    def coil_images(self, image: Tensor) -> Tensor:
        """What :meth:`combine` combines: complex64, ``(batch, coil, readout, phase)``. Argument as there."""
        return HybridSpace.to_image(self._completed(image)) * self.scale[:, None]

    def _completed(self, image: Tensor) -> Tensor:
        return torch.where(self.lines, self.measured, self._hybrid(image))

    def _hybrid(self, image: Tensor) -> Tensor:
        return HybridSpace.from_image(expand(image, self.sensitivities))
