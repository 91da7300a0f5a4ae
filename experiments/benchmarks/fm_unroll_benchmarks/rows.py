"""The rows of the table: what is measured, against which peer, and the ratio aimed at."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch

from fm_unroll.precision import has_bfloat16
from fm_unroll.training.memory import ProblemSize, our_step, peak_memory
from fm_unroll_benchmarks import data
from fm_unroll_benchmarks.networks import (
    anchored_network,
    anchored_step,
    cascade_physics,
    distance,
    foundation_network,
    foundation_step,
    peer_step,
    straightforward_network,
    varnet_network,
    varnet_step,
)
from fm_unroll_benchmarks.quality import volume_scores
from fm_unroll_benchmarks.timing import Pair, Ratio, time_in_turn


@dataclass(frozen=True)
class Setting:
    """How much is measured, and where.

    Attributes:
        size: slices and length of the networks of the training steps.
        physics: slices of the cascade alone, and matrix of the metrics.
        device: where networks and metrics run.
        seconds: time for the rounds of one row.
        rounds: the least number of rounds per row.
        frames: frames of the file that is read.
        slices: slices of the volume that is scored.
        read: slices that are read per round.
        growth: the smallest size from which cost is let grow.
        batches: numbers of slices at which networks are measured.
    """

    size: ProblemSize
    physics: ProblemSize
    device: torch.device
    seconds: float
    rounds: int
    frames: int
    slices: int
    read: int
    growth: ProblemSize
    batches: tuple[int, ...]


# A CPU gets CMRxRecon's smallest matrix (T2 maps): a step at the largest would take it a minute.
SIZES = {"cpu": ProblemSize(readout=384, phase=116), "cuda": ProblemSize(phase=204)}
QUICK = ProblemSize(coils=4, readout=192, phase=106, cascades=2)


def full_setting(device: torch.device) -> Setting:
    """Give the sizes for which ratios are aimed at."""
    on_gpu = device.type == "cuda"
    return Setting(
        size=SIZES[device.type],
        physics=ProblemSize(),
        device=device,
        seconds=1.5 if on_gpu else 30,
        rounds=5 if on_gpu else 3,
        frames=2 if on_gpu else 6,
        slices=36,
        read=4,
        growth=ProblemSize(4, 256, 160, 2),
        batches=(1, 2, 4, 8) if on_gpu else (1,),
    )


def quick_setting(device: torch.device) -> Setting:
    """Give sizes that show within minutes that everything runs."""
    return Setting(
        size=QUICK,
        physics=QUICK,
        device=device,
        seconds=0.5,
        rounds=1,
        frames=1,
        slices=4,
        read=2,
        growth=ProblemSize(2, 96, 96, 1),
        batches=(1,),
    )


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what is measured.
        peer: against what.
        least: the ratio aimed at on two CPU cores and on one data-centre GPU; None: not aimed at there;
            missing: not measured there.
        measure: the measurement; None where it cannot be made.
    """

    what: str
    peer: str
    least: dict[str, float | None]
    measure: Callable[[Setting], Ratio | None]


def timed(pair: Callable[[Setting], Pair]) -> Callable[[Setting], Ratio]:
    """Make a row's measurement whose ratio is one of times."""
    return lambda setting: time_in_turn(pair(setting), setting.seconds, setting.rounds)


def in_bfloat16(measure: Callable[[Setting], Ratio | None]) -> Callable[[Setting], Ratio | None]:
    """Restrict a row to devices that compute in bfloat16, as training does by default on GPUs."""
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
        "clip training step, float32",
        "straightforward, float32",
        {"cpu": None, "cuda": None},
        timed(lambda s: foundation_step(s.size, s.device, "32-true", "clip")),
    ),
    Row(
        "clip training step, bf16-mixed",
        "straightforward, float32",
        {"cpu": 2, "cuda": 4},
        in_bfloat16(timed(lambda s: foundation_step(s.size, s.device, "bf16-mixed", "clip"))),
    ),
    Row(
        "dinov2 training step, bf16-mixed",
        "straightforward, float32",
        {"cpu": None, "cuda": 4},
        in_bfloat16(timed(lambda s: foundation_step(s.size, s.device, "bf16-mixed", "dinov2"))),
    ),
    Row(
        "clip: peak memory, bf16-mixed",
        "straightforward, float32",
        {"cpu": None, "cuda": None},
        in_bfloat16(lambda s: memory_ratio(s, "none")),
    ),
    Row(
        "clip: peak memory with all cascades checkpointed",
        "straightforward, float32",
        {"cpu": 3, "cuda": 3},
        in_bfloat16(lambda s: memory_ratio(s, "all")),
    ),
    Row(
        "anchored training step, U-Nets, new masks",
        "the paper's physics",
        {"cpu": None, "cuda": 1 / 1.5},
        timed(lambda s: anchored_step(s.size, s.device, comes_again=False)),
    ),
    Row(
        "anchored training step, U-Nets, fixed masks",
        "the paper's physics",
        {"cpu": 1 / 1.5, "cuda": 1 / 1.5},
        timed(lambda s: anchored_step(s.size, s.device, comes_again=True)),
    ),
    Row(
        "anchored: peak memory",
        "the paper's physics",
        {"cpu": None, "cuda": 1 / 1.5},
        lambda s: anchored_memory_ratio(s),
    ),
    Row(
        "slices from a gzipped .mat, chunks of a coil image",
        "whole file an item (PromptMR)",
        {"cpu": 5},
        lambda s: reading_ratio(s, data.COIL_IMAGES, packed=False),
    ),
    Row(
        "slices from a gzipped .mat, chunks that span slices",
        "whole file an item (PromptMR)",
        {"cpu": None},
        lambda s: reading_ratio(s, data.SPANNING, packed=False),
    ),
    Row(
        "slices from its packed copy",
        "whole file an item (PromptMR)",
        {"cpu": 5},
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
        {"cpu": 1 / 1.3},
        lambda s: start_ratio(s),
    ),
)


def memory_ratio(setting: Setting, checkpoint: Literal["all", "none"]) -> Ratio | None:
    """Divide the straightforward version's peak memory by ours, each measured in a process of its own."""
    peer, ours = memory_of("peer", setting), memory_of(checkpoint, setting)
    return None if peer is None or ours is None else Ratio.of([peer], [ours], "GiB")


@lru_cache
def memory_of(side: Literal["peer", "all", "none"], setting: Setting) -> float | None:
    """Measure, once, the peak memory of the peer, or of ours with ``all`` or ``none`` checkpointed."""
    if side == "peer":
        peer = partial(straightforward_network, setting.size)
        return peak_memory(peer, peer_step, setting.size, setting.device)
    ours = partial(foundation_network, setting.size, side)
    step = partial(our_step, precision="bf16-mixed")
    return peak_memory(ours, step, setting.size, setting.device)


def anchored_memory_ratio(setting: Setting) -> Ratio | None:
    """Divide the peak memory of the paper's physics by that of the anchored one."""
    precision = "bf16-mixed" if has_bfloat16(setting.device.type) else "32-true"
    step = partial(our_step, precision=precision)
    paper, anchored = (
        peak_memory(partial(build, setting.size), step, setting.size, setting.device)
        for build in (varnet_network, anchored_network)
    )
    return None if paper is None or anchored is None else Ratio.of([paper], [anchored], "GiB")


def reading_ratio(setting: Setting, chunks: data.Chunks, packed: bool) -> Ratio:
    """Time the reading of slices in random order."""
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

        def ours() -> data.Slices:
            return data.read_ours(copy if packed else root, items)

        def peer() -> data.Slices:
            return data.read_peer(root, items)

        difference = max(distance(*pair) for pair in zip(ours(), peer(), strict=True))
        return time_in_turn(Pair(ours, peer, difference, 1e-5), setting.seconds, setting.rounds)


def start_ratio(setting: Setting) -> Ratio:
    """Divide the time of importing Lightning by the time of our help page."""

    def run(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    ours, peer = run("-m", "fm_unroll", "--help"), run("-c", "import lightning.pytorch")
    return time_in_turn(Pair(ours, peer, 0.0, 0.0), setting.seconds, setting.rounds)
