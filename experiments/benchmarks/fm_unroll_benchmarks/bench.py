"""Every measurement of the benchmark, one after the other, and the files with its results."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.undersampling import undersample
from fm_unroll.models import UnrolledNetwork
from fm_unroll.models.classical.memory import SETTING as START_MEMORY
from fm_unroll.models.classical.stored import SETTING as START_DISK
from fm_unroll.physics import UniformSampling
from fm_unroll.precision import has_bfloat16
from fm_unroll.provenance import provenance
from fm_unroll.training.memory import ACS_LINES, SimulatedBatch, adam, our_step
from fm_unroll_benchmarks import data
from fm_unroll_benchmarks.costs import (
    classical_costs,
    inference_costs,
    our_training,
    their_training,
    training_costs,
)
from fm_unroll_benchmarks.findings import Findings
from fm_unroll_benchmarks.growth import exponents
from fm_unroll_benchmarks.limits import Work, card_of
from fm_unroll_benchmarks.networks import (
    anchored_network,
    fastmri_network,
    foundation_network,
    precision_effect,
    varnet_network,
)
from fm_unroll_benchmarks.page import machine
from fm_unroll_benchmarks.profiles import take_profile
from fm_unroll_benchmarks.rows import ROWS, Row, Setting, full_setting, quick_setting

Results = Iterator[dict[str, Any]]
Build = Callable[[], UnrolledNetwork]


def run(quick: bool, output: Path, device: torch.device) -> None:
    """Measure everything; write ``<device>.json``, ``<device>.md`` and two profiles as ``.txt`` and ``.png``.

    What is worth most comes first, and the files are written after every row: a run may be ended at any time.

    Args:
        quick: small sizes, for which nothing is aimed at: a trial of the whole run, rows of GPUs included.
        output: folder for the results.
        device: where networks and metrics run.
    """
    # the slices here come again and again, but not in what is measured
    os.environ[START_MEMORY] = os.environ[START_DISK] = "0"
    setting = quick_setting(device) if quick else full_setting(device)
    findings = begin(setting, quick, output)
    for row in ROWS:
        if quick or device.type in row.least:
            least = None if quick else row.least[device.type]
            names = {"what": row.what, "peer": row.peer, "least": least, "ratio": None}
            findings.measure("rows", names, partial(ratio_of, row, setting))
    measure_networks(findings, setting)
    findings.measure("classical", {}, partial(classical_costs, setting.size, device, setting.seconds))
    measure_steps(findings, setting)
    findings.measure("moved", {}, partial(moved, setting))
    findings.measure("growth", {}, partial(growth, setting))
    print(f"{findings.path}.md and .json, {findings.path.name}_*_profile.txt and .png")


def begin(setting: Setting, quick: bool, output: Path) -> Findings:
    """Note what is measured, where, and with which versions."""
    facts = provenance()  # before results of an earlier run are written over
    output.mkdir(parents=True, exist_ok=True)
    kind = {"cuda": "gpu"}.get(setting.device.type, setting.device.type)
    print(f"{machine(setting.device)}; {setting.size}", flush=True)
    content = {
        "machine": machine(setting.device),
        "versions": versions(setting.device, facts),
        "size": asdict(setting.size),
        "physics": asdict(setting.physics),
        "provenance": facts,
    }
    return Findings(output / f"{kind}{'_quick' if quick else ''}", content)


def versions(device: torch.device, facts: dict[str, Any]) -> dict[str, Any]:
    """What the numbers depend on beside the machine."""
    found = {"commit": facts["commit"], "torch": torch.__version__}
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            driver = "not known"
        card = card_of(device)
        peak = "not known" if card is None else f"{card.bfloat16 / 1e12:.0f} TFLOP/s in bfloat16, dense"
        found |= {"driver": driver, "CUDA": torch.version.cuda, "cuDNN": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
        found["peak by the data sheet"] = peak
    return found


def ratio_of(row: Row, setting: Setting) -> Results:
    """Measure a row of the first table."""
    ratio = row.measure(setting)
    yield {"ratio": ratio and asdict(ratio)}


def measure_networks(findings: Findings, setting: Setting) -> None:
    """Costs of training and of inference, by the number of slices."""
    default = default_precision_of(setting.device)
    networks: dict[str, Build] = {
        "clip": partial(foundation_network, setting.size, encoder="clip"),
        "dinov2": partial(foundation_network, setting.size, encoder="dinov2"),
        "varnet": partial(varnet_network, setting.size),
        "anchored": partial(anchored_network, setting.size),
    }
    sized = (setting.size, setting.batches, setting.device, card_of(setting.device), setting.seconds)
    for name, build in networks.items():
        names = {"network": name, "precision": default}
        findings.measure("training", names, partial(training_costs, build, our_training(default), *sized))
        findings.measure("inference", {"network": name}, partial(inference_costs, build, *sized))
    peer = {"network": "fastMRI's VarNet", "precision": "float32"}
    theirs = partial(fastmri_network, setting.size)
    findings.measure("training", peer, partial(training_costs, theirs, their_training, *sized))


def measure_steps(findings: Findings, setting: Setting) -> None:
    """Bounds, profiles and the wait for data of the training step of both kinds of network."""
    networks: dict[str, Build] = {
        "dinov2": partial(foundation_network, setting.size, encoder="dinov2"),
        "e2e_varnet": partial(varnet_network, setting.size),
    }
    for name, build in networks.items():
        names = {"network": name, "precision": default_precision_of(setting.device)}
        profiled = findings.path.with_name(f"{findings.path.name}_{name}_profile")
        findings.measure("profiles", names, partial(profiles, setting, build, profiled))
    for workers in (2, 8):
        alike = partial(waiting, setting, networks["dinov2"], workers)
        findings.measure("waiting", {"network": "dinov2", "workers": workers}, alike)


def default_precision_of(device: torch.device) -> str:
    """What training computes in on a GPU by default; a CPU that has it is asked for it."""
    return "bf16-mixed" if has_bfloat16(device.type) else "32-true"


def profiles(setting: Setting, build: Build, path: Path) -> Results:
    """Profile a training step, and bound it by what the card could do."""
    network = build().to(setting.device)
    batch = SimulatedBatch.draw(setting.size, setting.device)
    step = our_step(network, adam(network), batch, default_precision_of(setting.device))
    title = f"{path.name}: one training step on {machine(setting.device)}"
    facts = take_profile(step, setting.device, title, path)
    work, card = Work.of(step, network), card_of(setting.device)
    bound = None if card is None else 1e3 * work.bound(card)
    yield {**facts, "tflop": work.operations / 1e12, "traffic_gib": work.traffic / 2**30, "bound_ms": bound}


def waiting(setting: Setting, build: Build, workers: int) -> Results:
    """Measure the share of training's time that a step waits for data, with so many reading processes."""
    network = build().to(setting.device)
    drawn = SimulatedBatch.draw(setting.size, setting.device)
    step = our_step(network, adam(network), drawn, default_precision_of(setting.device))
    pattern = UniformSampling(8, acs_lines=ACS_LINES)

    def on_device(batch: KSpaceBatch) -> None:
        undersample(batch.to(setting.device, non_blocking=True), pattern)
        step()

    yield {"waiting": data.waiting_share(on_device, setting.frames, workers)}


def moved(setting: Setting) -> Results:
    """Measure what bfloat16 does to images."""
    for network, value in precision_effect(setting.size, setting.device).items():
        yield {"network": network, "moved": value}


def growth(setting: Setting) -> Results:
    """Measure how cost grows with each size."""
    for name, (time, memory) in exponents(setting.growth, setting.device).items():
        yield {"with": name, "time": time, "memory": memory}
