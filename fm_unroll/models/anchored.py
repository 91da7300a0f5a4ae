"""The anchored physics: an image is iterated, from a classical solution on, and stays with what was measured.

With A = M F E, the measurement of an image through the sensitivity maps, and y the measured k-space, a
cascade solves

    x[t+1] = argmin |A x - y[t]|^2 + l[t] |x - (x[t] - D x[t])|^2,  y[t] = A x[t] + beta[t] (y - A x[t])

by conjugate gradients from x[t], as MoDL does (Aggarwal et al., IEEE Trans. Med. Imaging 38, 2019,
https://doi.org/10.1109/TMI.2018.2865356) with beta = 1 and one denoiser for all iterations. VS-Net (Duan et
al., MICCAI 2019, https://arxiv.org/abs/1907.10033) splits the problem further, so that data consistency is
solved point by point; here all pixels are solved for together. Denoisers start at zero and so does beta: an
untrained network is the classical method that it starts from, save for two (see :class:`AnchoredNetwork`).
The weight l[t] of a pixel is lambda[t], one learned number, and what the noise asks for there, see
:func:`caution`. Beta and lambda follow the noise level and the acceleration of the measurement. A denoiser
that ``takes_measurement`` is told both, and A^H (y - A x[t]). SDUM (Wang et al. 2025,
https://arxiv.org/abs/2512.17137) is told of the acquisition as well, and also of the cascade's number; here
each cascade has weights of its own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fm_unroll.errors import InputError
from fm_unroll.models.classical.calibration import acs_images
from fm_unroll.models.classical.cg_sense import CGSense, conjugate_gradients
from fm_unroll.models.classical.sense import SenseProblem
from fm_unroll.models.classical.wavelet import WaveletCS
from fm_unroll.models.measurement import describe, relative_logs
from fm_unroll.models.registry import register_physics
from fm_unroll.models.sensitivity import SensitivityModel
from fm_unroll.models.unrolled import UnrolledNetwork

Start = Literal["zero_filled", "cg_sense", "wavelet"]
Maps = Literal["espirit", "learned"]
STARTS: dict[str, Callable[[SenseProblem], Tensor]] = {
    "zero_filled": SenseProblem.adjoint,
    "cg_sense": CGSense().solve,
    "wavelet": WaveletCS().solve,
}
FIRST_STRENGTH = 0.1  # lambda before training
NOISE_WEIGHT, FLOOR = 60.0, 0.01  # see :func:`caution`


class AnchoredNetwork(UnrolledNetwork):
    """A classical solution, improved by denoisers that each end in a SENSE problem.

    Untrained it is the method that it starts from, with two exceptions: from ``zero_filled``, lines that were
    not measured are those of E A^H y, which the method itself leaves zero; and ``learned`` maps are not
    ESPIRiT's, but those of an estimator that is not trained yet.
    """

    def __init__(
        self,
        denoisers: Sequence[nn.Module],
        start: Start = "wavelet",
        sensitivity: SensitivityModel | None = None,
        solver_steps: int = 8,
        checkpoint_every: int = 0,
    ) -> None:
        """Chain one cascade for each denoiser.

        Args:
            denoisers: one for each cascade, which return zero as long as they are not trained.
            start: the classical method that gives the first iterate; nothing of it is trained.
            sensitivity: estimator of the maps, trained with the rest; None: ESPIRiT's, which are not trained.
            solver_steps: conjugate-gradient steps of each cascade.
            checkpoint_every: see :class:`UnrolledNetwork`.
        """
        cascades = [AnchoredCascade(denoiser, solver_steps) for denoiser in denoisers]
        super().__init__(sensitivity, cascades, checkpoint_every)
        self.start = start

    def begin(self, masked_kspace: Tensor, mask: Tensor, num_acs: int) -> tuple[Any, ...]:
        """The classical solution; the SENSE problem, and what is known of the measurement."""
        maps = None if self.sensitivity is None else self._learned_maps
        problem = SenseProblem.calibrate(masked_kspace, mask, num_acs, maps)
        with torch.no_grad():
            return STARTS[self.start](problem), problem, describe(problem)

    def _learned_maps(self, kspace: Tensor, acs: Tensor) -> Tensor:
        assert self.sensitivity is not None
        maps: Tensor = self.sensitivity(acs_images(kspace, acs))
        return maps

    def finish(self, iterate: Tensor, *constants: Any) -> Tensor:
        """See :meth:`UnrolledNetwork.finish`."""
        problem: SenseProblem = constants[0]
        return problem.coil_images(iterate)


class AnchoredCascade(nn.Module):
    """x[t+1] = x[t] + (A^H A + l)^-1 (beta A^H (y - A x[t]) - l D x[t])."""

    def __init__(self, denoiser: nn.Module, solver_steps: int) -> None:
        """Wrap a denoiser D of complex images; give it a strength lambda and a pull beta towards the data."""
        super().__init__()
        self.denoiser = denoiser
        self.takes_measurement = getattr(denoiser, "takes_measurement", False)
        self.solver_steps = solver_steps
        # both depend on the measurement: value at the usual one, change with log noise and log acceleration
        self.pulls = nn.Parameter(torch.zeros(3))
        self.log_strengths = nn.Parameter(torch.tensor([math.log(FIRST_STRENGTH), 0.0, 0.0]))

    def pull(self, facts: Tensor) -> Tensor:
        """Beta for measurements as :func:`describe` describes them: ``(batch, 1, 1)``."""
        return weighted(facts, self.pulls)

    def strength(self, facts: Tensor) -> Tensor:
        """Lambda for measurements as :func:`describe` describes them: ``(batch, 1, 1)``."""
        return weighted(facts, self.log_strengths).exp()

    def forward(self, image: Tensor, problem: SenseProblem, facts: Tensor) -> Tensor:
        """One iteration.

        Args:
            image: current iterate x[t], complex64, ``(batch, readout, phase)``.
            problem: maps and measured lines.
            facts: as :func:`describe` returns them.

        Returns:
            The next iterate x[t+1].
        """
        strength, residual = self.strength(facts) + caution(problem), problem.residual(image)
        seen = (image, residual, facts) if self.takes_measurement else (image,)
        wanted = self.pull(facts) * residual - strength * self.denoiser(*seen)
        return image + solve(lambda x: problem.normal(x) + strength * x, wanted, self.solver_steps)


def caution(problem: SenseProblem) -> Tensor:
    """How little of each pixel is to be learned from the measurement: float32, ``(batch, readout, phase)``.

    The noise's energy over the low-resolution image's brightness, as in CG-SENSE's penalty. Without it the
    equation amplifies noise that networks did not see in training. The general network, on four real heads of
    7 to 16 coils at x4, gains 1.0 to 3.2 dB by it where noise of 2 % of the maximum is added, and 8 to 11 dB
    at 5 %, where it would be 8 to 12 dB below a zero-filled image. 60 is the better one of 20 and 60.
    """
    return NOISE_WEIGHT * problem.noise_energy / (problem.low_resolution + FLOOR)


def weighted(facts: Tensor, weights: Tensor) -> Tensor:
    """A constant and the weighted logs of noise level and acceleration: float32, ``(batch, 1, 1)``."""
    # no product of matrices, which autocast would take in low precision
    return (weights[0] + (relative_logs(facts) * weights[1:]).sum(1))[:, None, None]


def solve(operator: Callable[[Tensor], Tensor], right_side: Tensor, steps: int) -> Tensor:
    """operator(x) = right_side by conjugate gradients, with the gradients of the exact solution.

    The solution is implicit in its equation, so that memory does not grow with the steps: the gradient of a
    loss g with respect to the residual right_side - operator(x) is operator^-1 g, and the residual's own
    gradients with respect to whatever is trained are those of one application (Aggarwal et al. 2019).

    Args:
        operator: linear, Hermitian and positive definite on each slice.
        right_side: complex64, ``(batch, readout, phase)``.
        steps: conjugate-gradient steps, in both directions.
    """
    with torch.no_grad():
        solution = _conjugate_gradients(operator, right_side, steps)
    if not torch.is_grad_enabled():
        return solution
    residual = right_side - operator(solution)
    correction: Tensor = _ThroughInverse.apply(residual, operator, steps)
    return solution + correction


def _conjugate_gradients(operator: Callable[[Tensor], Tensor], right_side: Tensor, steps: int) -> Tensor:
    # beyond rounding a step would divide zero by zero
    return conjugate_gradients(operator, right_side, steps, torch.finfo(right_side.dtype).eps)


class _ThroughInverse(torch.autograd.Function):
    """Zero; backwards the inverse of an operator."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, operator: Callable[[Tensor], Tensor], steps: int) -> Tensor:
        ctx.operator, ctx.steps = operator, steps
        return torch.zeros_like(residual)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _conjugate_gradients(ctx.operator, gradients[0], ctx.steps), None, None


@register_physics("anchored")
def anchored(
    sensitivity: SensitivityModel,
    denoisers: list[nn.Module],
    checkpoint_every: int,
    *,
    start: Start = "wavelet",
    maps: Maps = "espirit",
    solver_steps: int = 8,
) -> AnchoredNetwork:
    """Build an anchored network.

    Args:
        sensitivity: the estimator, for learned maps.
        denoisers: one for each cascade.
        checkpoint_every: see :class:`UnrolledNetwork`.
        start: what it starts from: wavelet, cg_sense or zero_filled.
        maps: sensitivity maps: espirit, or learned as the paper's are.
        solver_steps: conjugate-gradient steps of each cascade.

    Raises:
        InputError: no steps, or denoisers by which an untrained network would be worse than its start.
    """
    if solver_steps < 1:
        raise InputError(f"solver_steps is {solver_steps}: give 1 or more")
    if any(getattr(denoiser, "zero_head", True) is False for denoiser in denoisers):
        raise InputError(
            "the anchored physics improves a classical solution, which denoisers with a random head would "
            "spoil before they are trained: give zero_head true"
        )
    learned = sensitivity if maps == "learned" else None
    return AnchoredNetwork(denoisers, start, learned, solver_steps, checkpoint_every)
