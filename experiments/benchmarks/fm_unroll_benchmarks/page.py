"""The results as text: the rows in the terminal, and the markdown page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from fm_unroll_benchmarks.rows import Row, Setting
from fm_unroll_benchmarks.timing import Ratio

LARGEST_EXPONENT = 1.1


def machine(device: torch.device) -> str:
    """Name what the numbers were measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.cpu.get_capabilities().get('cpu_name', 'CPU')}, {torch.get_num_threads()} threads"


def line(row: Row, ratio: Ratio | None, device: str) -> str:
    """Format a row for the terminal."""
    return f"{row.what:60}{row.peer:38}{' '.join(cells(row, ratio, device))}"


def cells(row: Row, ratio: Ratio | None, device: str) -> tuple[str, str, str]:
    """Format a ratio with its spread, the aim, and whether it is met."""
    least = row.least[device]
    aim = f"{least:.2g}x" if least else "-"
    if ratio is None:
        return "not measured", aim, "-"
    spread = f" ({ratio.low:.2f} to {ratio.high:.2f}, {ratio.rounds} rounds)" if ratio.rounds > 1 else ""
    met = "-" if not least else "met" if ratio.median >= least else f"missed by {least / ratio.median:.2f}x"
    return f"{ratio.median:.2f}x{spread}", aim, met


def markdown(
    setting: Setting,
    measured: Sequence[tuple[Row, Ratio | None]],
    growth: Mapping[str, tuple[float, float]],
    moved: Mapping[str, float],
    steps: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """Write the results as a page, line by line.

    Args:
        setting: what was measured, and where; the page says that the other kind of device was not.
        measured: the rows with their ratios; None: not measured.
        growth: exponents of time and memory, by what grew.
        moved: how far images move in bfloat16, by network.
        steps: facts about one training step of each network.
    """
    device = setting.device.type
    other = {"cpu": "cuda", "cuda": "cpu"}[device]
    yield f"# Ours against peers on {machine(setting.device)}\n"
    matrix = f"{setting.physics.readout} x {setting.physics.phase}"
    yield f"{setting.size}; physics and metrics at {matrix}; batch 1. Ratios: peer over ours, median"
    yield "and range over rounds measured in turn, in one run. Results were compared before any timing."
    yield "Training is in bf16-mixed by default on GPUs; a CPU is asked for it here.\n"
    yield "| what | against | ratio | aim | |"
    yield "|---|---|---|---|---|"
    for row, ratio in measured:
        yield f"| {row.what} | {row.peer} | {' | '.join(cells(row, ratio, device))} |"
    yield f"\nOn a {'GPU' if other == 'cuda' else 'CPU'}: not measured in this run.\n"
    yield "| cost of an E2E-VarNet step against | time grows as n^ | memory as n^ | aim |"
    yield "|---|---|---|---|"
    for name, exponents_ in growth.items():
        met = "met" if max(exponents_) <= LARGEST_EXPONENT else "missed"
        yield f"| {name} | {exponents_[0]:.2f} | {exponents_[1]:.2f} | at most {LARGEST_EXPONENT}: {met} |"
    if moved:
        yield "\nImages move by this much (relative norm, random weights) in bf16-mixed: "
        yield ", ".join(f"{name} {value:.1e}" for name, value in moved.items()) + ".\n"
    for facts in steps:
        yield f"- {facts['method']}: {facts['operations'] / 1e12:.2f} TFLOP and at least"
        yield f"  {facts['traffic'] / 2**30:.1f} GiB of traffic per step" + (
            f"; bound {1e3 * facts['bound_s']:.0f} ms, measured {1e3 * facts['seconds']:.0f} ms, "
            f"{100 * facts['flop_utilisation']:.0f} % of the card's bfloat16 peak, "
            f"{100 * facts['waiting_for_data']:.0f} % of the time waiting for data."
            if "bound_s" in facts
            else "."
        )
