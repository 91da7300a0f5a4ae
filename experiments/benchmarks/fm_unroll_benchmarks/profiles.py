"""Where the time of a training step goes: PyTorch's profiler, as a table and as a picture."""

import os
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # exported in fact
from torch.profiler import ProfilerActivity, profile

from fm_unroll.training.memory import Step
from fm_unroll_benchmarks.timing import median_seconds

OPERATORS = 30  # in the table
BARS = 15


def take_profile(step: Step, device: torch.device, title: str, path: Path) -> dict[str, Any]:
    """Profile one step and write ``path`` with the suffixes ``.txt`` and ``.png``.

    Returns:
        ``ms`` of a step without the profiler, which slows the CPU down; on a GPU also ``kernels``, the number
        of kernels and copies in it, and ``idle``, the share of the step in which none of them ran.
    """
    seconds = median_seconds(step, 2)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports, on every CPU, that there is no GPU
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        step()
        if on_gpu:
            torch.cuda.synchronize()
    facts: dict[str, Any] = {"ms": 1e3 * seconds}
    if on_gpu:
        kernels, busy = work_of_gpu(profiler)
        facts |= {"kernels": kernels, "idle": max(0.0, 1 - busy / seconds)}
    field = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    averages = profiler.key_averages()
    stated = ", ".join(f"{name} {value:.4g}" for name, value in facts.items())
    table = averages.table(sort_by=field, row_limit=OPERATORS, max_name_column_width=60)
    path.with_suffix(".txt").write_text(f"{title}\n{stated}\n{table}\n")
    # kernels have rows of their own beside the operators that start them
    operators = [e for e in averages if e.device_type == DeviceType.CPU and not e.is_user_annotation]
    draw({event.key: getattr(event, field) for event in operators}, title, path.with_suffix(".png"))
    return facts


def work_of_gpu(profiler: profile) -> tuple[int, float]:
    """Number of kernels and copies, and the seconds in which at least one of them ran."""
    events = profiler.events() or []  # type: ignore[no-untyped-call]  # torch leaves it so
    # the profiler repeats named ranges of the CPU on the GPU's line of time, where they are no work
    ranges = {event.name for event in events if event.device_type == DeviceType.CPU}
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA and event.name not in ranges
    )
    busy, until = 0.0, float("-inf")
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return len(spans), busy / 1e6


def draw(times: dict[str, float], title: str, path: Path) -> None:
    """Draw the operators that take longest as a bar chart (png)."""
    from matplotlib.figure import Figure

    total = sum(times.values())
    longest = sorted(times, key=times.__getitem__, reverse=True)[:BARS]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.barh([key[:48] for key in longest], [100 * times[key] / total for key in longest], color="#6a51a3")
    axes.invert_yaxis()
    axes.set_xlabel("share of the step's time, %")
    figure.suptitle(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
