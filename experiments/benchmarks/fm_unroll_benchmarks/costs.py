"""What a network costs on a device, by the number of slices: times, operations, memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fm_unroll.encoders import FrozenEncoder
from fm_unroll.models import UnrolledNetwork
from fm_unroll.models.classical import CGSense, WaveletCS, ZeroFilled
from fm_unroll.models.classical.calibration import estimate_sensitivities
from fm_unroll.physics.sampling import locate_acs
from fm_unroll.training.memory import ACS_LINES, ProblemSize, SimulatedBatch, Step, adam, our_step
from fm_unroll_benchmarks.limits import Card, operations_of
from fm_unroll_benchmarks.networks import peer_step
from fm_unroll_benchmarks.timing import median_seconds

Row = dict[str, Any]
BFLOAT16 = "bf16-mixed"
PRECISIONS = {"float32": False, BFLOAT16: True}


def training_costs(
    build: Callable[[], nn.Module],
    step: Callable[[nn.Module, SimulatedBatch], Step],
    size: ProblemSize,
    batches: tuple[int, ...],
    device: torch.device,
    card: Card | None,
    seconds: float,
) -> Iterator[Row]:
    """Measure the training steps of one network.

    Args:
        build: makes the network.
        step: makes its training step on a batch.
        size: of one slice, and length of the network.
        batches: numbers of slices.
        device: where to run.
        card: what the device could do, if that is known.
        seconds: after this no further step is timed.

    Yields:
        For each number of slices: ``batch``, ``ms`` of a step, ``ms_a_slice``, ``tflop``, ``utilisation`` of
        the card's bfloat16 peak, and on a GPU the peak ``memory_gb`` (10^9 bytes).
    """
    before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    network = build().to(device)
    operations = operations_of(step(network, SimulatedBatch.draw(size, device)))
    for batch in batches:
        run = step(network, SimulatedBatch.draw(replace(size, batch=batch), device))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        row = cost(median_seconds(run, seconds), batch * operations, batch, card)
        if device.type == "cuda":
            row["memory_gb"] = (torch.cuda.max_memory_allocated() - before) / 1e9
        yield row


def inference_costs(
    build: Callable[[], UnrolledNetwork],
    size: ProblemSize,
    batches: tuple[int, ...],
    device: torch.device,
    card: Card | None,
    seconds: float,
) -> Iterator[Row]:
    """Measure images without gradients, and the frozen encoder alone on as many pictures.

    The bound is the time of the encoder alone in every cascade, measured beside: what any network must take
    that runs this encoder once in each.

    Yields:
        For each number of slices and precision what :func:`cost` tells of the network, and of the encoder
        alone ``encoder_ms``, ``encoder_utilisation``, ``over_bound``.
    """
    network = build().to(device).eval()
    encoder, operations = network.encoders[0] if network.encoders else None, {}
    with torch.inference_mode():
        operations["network"] = operations_of(partial(network, *SimulatedBatch.draw(size, device).measured))
        if encoder is not None:
            operations["encoder"] = operations_of(partial(encoder.encode, pictures(encoder, 1, device)))
    for batch in batches:
        scan = SimulatedBatch.draw(replace(size, batch=batch), device)
        for precision, low in PRECISIONS.items():
            with torch.inference_mode(), arithmetic(encoder, device, low):
                run = partial(network, *scan.measured)
                row = cost(median_seconds(run, seconds), batch * operations["network"], batch, card)
                if encoder is not None:
                    alone = partial(encoder.encode, pictures(encoder, batch, device))
                    bare = cost(median_seconds(alone, seconds), batch * operations["encoder"], batch, card)
                    row |= {"encoder_ms": bare["ms"], "encoder_utilisation": bare["utilisation"]}
                    row["over_bound"] = row["ms"] / (len(network.cascades) * bare["ms"])
            yield {"precision": precision, **row}


def pictures(encoder: FrozenEncoder, batch: int, device: torch.device) -> Tensor:
    """Pictures of the encoder's own size: float32, ``(batch, 1, rows, columns)``."""
    return torch.rand(batch, 1, *encoder.image_size, device=device)


@contextmanager
def arithmetic(encoder: FrozenEncoder | None, device: torch.device, low: bool) -> Iterator[None]:
    """Compute in float32, an encoder included, or in bfloat16 where autocast does."""
    exact = encoder.in_float32() if encoder is not None and not low else nullcontext()
    with torch.autocast(device.type, torch.bfloat16, enabled=low), exact:
        yield


def classical_costs(size: ProblemSize, device: torch.device, seconds: float) -> Iterator[Row]:
    """Measure the methods without training, one slice at a time."""
    scan = SimulatedBatch.draw(size, device)
    acs = locate_acs(scan.mask, ACS_LINES)
    methods: dict[str, Callable[[], object]] = {
        "zero-filled": lambda: ZeroFilled()(*scan.measured),
        "ESPIRiT maps": lambda: estimate_sensitivities(scan.kspace, acs),
        "CG-SENSE, maps included": lambda: CGSense()(*scan.measured),
        "L1-wavelet, maps included": lambda: WaveletCS()(*scan.measured),
    }
    with torch.inference_mode():
        for name, run in methods.items():
            yield {"method": name, "ms": 1e3 * median_seconds(run, seconds)}


def cost(seconds: float, operations: float, batch: int, card: Card | None) -> Row:
    """A time in figures: of the whole batch, of a slice, and against the card's peak in bfloat16."""
    return {
        "batch": batch,
        "ms": 1e3 * seconds,
        "ms_a_slice": 1e3 * seconds / batch,
        "tflop": operations / 1e12,
        "utilisation": None if card is None else operations / seconds / card.bfloat16,
    }


def their_training(network: nn.Module, batch: SimulatedBatch) -> Step:
    """The training step of a peer's network, for :func:`training_costs`."""
    return peer_step(network, adam(network), batch)


def our_training(precision: str) -> Callable[[nn.Module, SimulatedBatch], Step]:
    """The training step of one of our networks, for :func:`training_costs`."""
    return lambda network, batch: our_step(network, adam(network), batch, precision)
