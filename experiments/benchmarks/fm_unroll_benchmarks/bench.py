"""The verb ``bench``: every row of the table, measured one after the other."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from fm_unroll.errors import InputError
from fm_unroll.files import write_json
from fm_unroll.precision import has_bfloat16
from fm_unroll.provenance import provenance
from fm_unroll_benchmarks import data, limits
from fm_unroll_benchmarks.growth import exponents
from fm_unroll_benchmarks.memory import peak_memory
from fm_unroll_benchmarks.networks import (
    Scan,
    Size,
    adam,
    cascade_physics,
    distance,
    foundation_network,
    foundation_step,
    our_step,
    peer_step,
    precision_effect,
    straightforward_network,
    varnet_network,
    varnet_step,
)
from fm_unroll_benchmarks.quality import volume_scores
from fm_unroll_benchmarks.timing import Pair, Ratio, seconds_of, time_in_turn

# A CPU gets CMRxRecon's smallest matrix (T2 maps): a step at the largest would take it a minute.
SIZES = {"cpu": Size(readout=384, phase=116), "cuda": Size()}
QUICK = Size(coils=4, readout=192, phase=106, cascades=2)
LARGEST_EXPONENT = 1.1


@dataclass(frozen=True)
class Setting:
    """How much is measured, and where."""

    size: Size
    physics: Size
    device: torch.device
    seconds: float
    rounds: int
    frames: int
    slices: int
    read: int
    growth: Size


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what is measured.
        peer: against what.
        least: the ratio aimed at on two CPU cores and on one data-centre GPU; None: not aimed at there.
        measure: the measurement; None where it cannot be made.
    """

    what: str
    peer: str
    least: dict[str, float | None]
    measure: Callable[[Setting], Ratio | None]


def timed(pair: Callable[[Setting], Pair]) -> Callable[[Setting], Ratio]:
    """A row whose ratio is one of times."""
    return lambda setting: time_in_turn(pair(setting), setting.seconds, setting.rounds)


def in_bfloat16(measure: Callable[[Setting], Ratio | None]) -> Callable[[Setting], Ratio | None]:
    """A row that is measured where the device computes in bfloat16; training does so by default on GPUs."""
    return lambda setting: measure(setting) if has_bfloat16(setting.device.type) else None


ROWS = (
    Row(
        "cascade physics, forward and backward",
        "fastMRI VarNetBlock, same weights",
        {"cpu": 2.5, "cuda": 2.5},
        timed(lambda s: cascade_physics(s.physics, s.device)),
    ),
    Row(
        "E2E-VarNet training step, float32",
        "fastMRI VarNet, float32",
        {"cpu": 1.2, "cuda": 1.5},
        timed(lambda s: varnet_step(s.size, s.device, "32-true")),
    ),
    Row(
        "E2E-VarNet training step, bf16-mixed",
        "fastMRI VarNet, float32",
        {"cpu": 1.7, "cuda": 3},
        in_bfloat16(timed(lambda s: varnet_step(s.size, s.device, "bf16-mixed"))),
    ),
    Row(
        "foundation prior training step, float32",
        "straightforward, float32",
        {"cpu": None, "cuda": None},
        timed(lambda s: foundation_step(s.size, s.device, "32-true")),
    ),
    Row(
        "foundation prior training step, bf16-mixed",
        "straightforward, float32",
        {"cpu": 2, "cuda": 4},
        in_bfloat16(timed(lambda s: foundation_step(s.size, s.device, "bf16-mixed"))),
    ),
    Row(
        "its peak memory",
        "straightforward, float32",
        {"cpu": None, "cuda": None},
        in_bfloat16(lambda s: memory_ratio(s, "none")),
    ),
    Row(
        "its peak memory with all cascades checkpointed",
        "straightforward, float32",
        {"cpu": 3, "cuda": 3},
        in_bfloat16(lambda s: memory_ratio(s, "all")),
    ),
    Row(
        "slices from a gzipped .mat, chunks of a coil image",
        "whole file an item (PromptMR)",
        {"cpu": 5, "cuda": None},
        lambda s: reading_ratio(s, data.COIL_IMAGES, packed=False),
    ),
    Row(
        "slices from a gzipped .mat, chunks that span slices",
        "whole file an item (PromptMR)",
        {"cpu": None, "cuda": None},
        lambda s: reading_ratio(s, data.SPANNING, packed=False),
    ),
    Row(
        "slices from its packed copy",
        "whole file an item (PromptMR)",
        {"cpu": 5, "cuda": None},
        lambda s: reading_ratio(s, data.SPANNING, packed=True),
    ),
    Row(
        "SSIM, PSNR, NMSE of a volume",
        "fastmri.evaluate",
        {"cpu": 5, "cuda": 50},
        timed(lambda s: volume_scores(s.slices, s.physics.readout, s.physics.phase, s.device)),
    ),
    Row(
        "start of `--help`",
        "import lightning.pytorch",
        {"cpu": 1 / 1.3, "cuda": 1 / 1.3},
        lambda s: start_ratio(s),
    ),
)


def bench(
    *,
    quick: bool = False,
    output: Path = Path("experiments/benchmarks"),
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Time this package and its peers in turn; write the table of ratios as json and markdown.

    Args:
        quick: small sizes, for which nothing is aimed at.
        output: folder for the results.
        device: where networks and metrics run.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("no GPU is at hand: give --device cpu")
    setting = Setting(
        size=QUICK if quick else SIZES[device],
        physics=QUICK if quick else Size(),
        device=torch.device(device),
        seconds=1 if quick else 30,
        rounds=1 if quick else 3,
        frames=1 if quick else 6,
        slices=4 if quick else 36,
        read=2 if quick else 4,
        growth=Size(2, 96, 96, 1) if quick else Size(4, 256, 160, 2),
    )
    facts = provenance()  # before results of an earlier run are written over
    output.mkdir(parents=True, exist_ok=True)
    name = f"{device}{'_quick' if quick else ''}"
    measured = []
    print(f"{machine(setting.device)}; {setting.size}", flush=True)
    # aims are for the full sizes
    for row in [replace(row, least=dict.fromkeys(row.least)) for row in ROWS] if quick else ROWS:
        ratio = row.measure(setting)
        measured.append((row, ratio))
        print(line(row, ratio, device), flush=True)
    growth = exponents(setting.growth, setting.device)
    moved = precision_effect(setting.size, setting.device)
    steps = list(step_limits(setting, output, name))
    text = "\n".join(markdown(setting, measured, growth, moved, steps))
    (output / f"{name}.md").write_text(text + "\n")
    content = {
        "machine": machine(setting.device),
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


def memory_ratio(setting: Setting, checkpoint: Literal["all", "none"]) -> Ratio | None:
    """Peak memory of the straightforward version over ours, one process each."""
    peaks = memory_of("peer", setting), memory_of(checkpoint, setting)
    return None if None in peaks else Ratio.of(peaks[:1], peaks[1:], "GiB")


@lru_cache
def memory_of(side: Literal["peer", "all", "none"], setting: Setting) -> float | None:
    """Peak memory of the peer, or of ours with all or none of its cascades checkpointed; measured once."""
    if side == "peer":
        build, step = partial(straightforward_network, setting.size), peer_step
    else:
        build = partial(foundation_network, setting.size, side)
        step = partial(our_step, precision="bf16-mixed")
    return peak_memory(build, step, setting.size, setting.device)


def reading_ratio(setting: Setting, chunks: tuple[int, ...], packed: bool) -> Ratio:
    """Slices in random order, ours over the peer's."""
    with tempfile.TemporaryDirectory() as folder:
        root, copy = Path(folder, "original"), Path(folder, "packed")
        data.write_cine(root, frames=setting.frames, chunks=chunks)
        random = torch.Generator().manual_seed(0)
        items = [
            (
                int(torch.randint(10, (), generator=random)),
                int(torch.randint(setting.frames, (), generator=random)),
            )
            for _ in range(setting.read)
        ]
        if packed:
            data.pack_cine(root, copy)

        def ours():
            return data.read_packed(root, copy, items) if packed else data.read_ours(root, items)

        def peer():
            return data.read_peer(root, items)

        difference = max(distance(*pair) for pair in zip(ours(), peer(), strict=True))
        return time_in_turn(Pair(ours, peer, difference, 1e-5), setting.seconds, setting.rounds)


def start_ratio(setting: Setting) -> Ratio:
    """Time of importing Lightning over time of our help page."""

    def run(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    ours, peer = run("-m", "fm_unroll", "--help"), run("-c", "import lightning.pytorch")
    return time_in_turn(Pair(ours, peer, 0.0, 0.0), setting.seconds, setting.rounds)


def step_limits(setting: Setting, output: Path, name: str) -> Iterator[dict]:
    """Arithmetic and traffic of both networks' steps, the card's bound, and a picture of the profile."""
    card = limits.card_of(setting.device)
    precision = "bf16-mixed" if has_bfloat16(setting.device.type) else "32-true"
    networks = {"varnet": varnet_network(setting.size), "foundation": foundation_network(setting.size)}
    for method, network in networks.items():
        scan = Scan.simulate(setting.size, setting.device)
        step = our_step(network.to(setting.device), adam(network), scan, precision)
        work = limits.Work.of(step, network)
        facts = {"method": method, **asdict(work)}
        if card is not None:
            seconds = median(seconds_of(step) for _ in range(5))
            facts |= {"bound_s": work.bound(card), "seconds": seconds}
            facts["flop_utilisation"] = work.utilisation(card, seconds)
            facts["waiting_for_data"] = data.waiting_share(step)
        title = f"{method}: one training step, {precision}, on {machine(setting.device)}"
        limits.draw_profile(step, setting.device, title, output / f"{name}_{method}_profile.png")
        yield facts


def machine(device: torch.device) -> str:
    """What the numbers were measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.cpu.get_capabilities().get('cpu_name', 'CPU')}, {torch.get_num_threads()} threads"


def line(row: Row, ratio: Ratio | None, device: str) -> str:
    """A row for the terminal."""
    return f"{row.what:60}{row.peer:38}{' '.join(cells(row, ratio, device))}"


def cells(row: Row, ratio: Ratio | None, device: str) -> tuple[str, str, str]:
    """Ratio with its spread, the aim, and whether it is met."""
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
    growth: dict[str, tuple[float, float]],
    moved: dict[str, float],
    steps: Sequence[dict],
) -> Iterator[str]:
    """The results as a page; the other kind of device stands there as not measured."""
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
        yield f"  {facts['traffic'] / 2**30:.1f} GiB of traffic a step" + (
            f"; bound {1e3 * facts['bound_s']:.0f} ms, measured {1e3 * facts['seconds']:.0f} ms, "
            f"{100 * facts['flop_utilisation']:.0f} % of the card's bfloat16 peak, "
            f"{100 * facts['waiting_for_data']:.0f} % of the time waiting for data."
            if "bound_s" in facts
            else "."
        )
