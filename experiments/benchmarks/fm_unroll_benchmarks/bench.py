"""Every measurement of the benchmark, one after the other, and the files with its results."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from fm_unroll.files import write_json
from fm_unroll.precision import has_bfloat16
from fm_unroll.provenance import provenance
from fm_unroll.training.memory import ProblemSize, SimulatedBatch, adam, our_step
from fm_unroll_benchmarks import data, limits
from fm_unroll_benchmarks.growth import exponents
from fm_unroll_benchmarks.networks import foundation_network, precision_effect, varnet_network
from fm_unroll_benchmarks.page import line, machine, markdown
from fm_unroll_benchmarks.rows import ROWS, Row, Setting
from fm_unroll_benchmarks.timing import Ratio, seconds_of

# A CPU gets CMRxRecon's smallest matrix (T2 maps): a step at the largest would take it a minute.
SIZES = {"cpu": ProblemSize(readout=384, phase=116), "cuda": ProblemSize()}
QUICK = ProblemSize(coils=4, readout=192, phase=106, cascades=2)


def run(quick: bool, output: Path, device: torch.device) -> None:
    """Measure every row; write ``<device>.json``, ``<device>.md`` and a picture of each network's profile.

    Args:
        quick: small sizes, for which nothing is aimed at.
        output: folder for the results.
        device: where networks and metrics run.
    """
    setting = quick_setting(device) if quick else full_setting(device)
    facts = provenance()  # before results of an earlier run are written over
    output.mkdir(parents=True, exist_ok=True)
    name = f"{device.type}{'_quick' if quick else ''}"
    print(f"{machine(device)}; {setting.size}", flush=True)
    # aims are for the full sizes
    rows = [replace(row, least=dict.fromkeys(row.least)) for row in ROWS] if quick else ROWS
    measured = [measure(row, setting) for row in rows]
    growth = exponents(setting.growth, device)
    moved = precision_effect(setting.size, device)
    steps = list(step_limits(setting, output, name))
    text = "\n".join(markdown(setting, measured, growth, moved, steps))
    (output / f"{name}.md").write_text(text + "\n")
    content = {
        "machine": machine(device),
        "size": asdict(setting.size),
        "rows": [
            {"what": row.what, "peer": row.peer, "least": row.least, "ratio": ratio and asdict(ratio)}
            for row, ratio in measured
        ],
        "growth_exponents": {name: {"time": t, "memory": m} for name, (t, m) in growth.items()},
        "image_moved_by_bfloat16": moved,
        "steps": steps,
        "provenance": facts,
    }
    write_json(output / f"{name}.json", content)
    print(f"{output / name}.md and .json, {name}_*_profile.png")


def full_setting(device: torch.device) -> Setting:
    """Give the sizes for which ratios are aimed at."""
    return Setting(
        size=SIZES[device.type],
        physics=ProblemSize(),
        device=device,
        seconds=30,
        rounds=3,
        frames=6,
        slices=36,
        read=4,
        growth=ProblemSize(4, 256, 160, 2),
    )


def quick_setting(device: torch.device) -> Setting:
    """Give sizes that show within minutes that everything runs."""
    return Setting(
        size=QUICK,
        physics=QUICK,
        device=device,
        seconds=1,
        rounds=1,
        frames=1,
        slices=4,
        read=2,
        growth=ProblemSize(2, 96, 96, 1),
    )


def measure(row: Row, setting: Setting) -> tuple[Row, Ratio | None]:
    """Measure one row and print it at once: the whole table takes long."""
    ratio = row.measure(setting)
    print(line(row, ratio, setting.device.type), flush=True)
    return row, ratio


def step_limits(setting: Setting, output: Path, name: str) -> Iterator[dict[str, Any]]:
    """Arithmetic and traffic of both networks' steps, the card's bound, and a picture of the profile."""
    device = setting.device
    card = limits.card_of(device)
    precision = "bf16-mixed" if has_bfloat16(device.type) else "32-true"
    networks = {"varnet": varnet_network(setting.size), "foundation": foundation_network(setting.size)}
    for method, network in networks.items():
        batch = SimulatedBatch.draw(setting.size, device)
        step = our_step(network.to(device), adam(network), batch, precision)
        work = limits.Work.of(step, network)
        facts = {"method": method, **asdict(work)}
        if card is not None:
            seconds = median(seconds_of(step) for _ in range(5))
            facts |= {"bound_s": work.bound(card), "seconds": seconds}
            facts["flop_utilisation"] = work.utilisation(card, seconds)
            facts["waiting_for_data"] = data.waiting_share(step)
        title = f"{method}: one training step, {precision}, on {machine(device)}"
        limits.draw_profile(step, device, title, output / f"{name}_{method}_profile.png")
        yield facts
