"""The results as text: a row in the terminal, and the markdown page."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

LARGEST_EXPONENT = 1.1
LARGEST_OVER_BOUND = 3.0  # time of an image over that of its encoder alone
LEAST_UTILISATION = 0.45  # of the card's bfloat16 peak, within the encoder
MOST_MEMORY = 8.0  # GB, of a training step of one slice with twelve cascades on an encoder

Row = Mapping[str, Any]


def machine(device: torch.device) -> str:
    """Name what the numbers were measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.cpu.get_capabilities().get('cpu_name', 'CPU')}, {torch.get_num_threads()} threads"


def line(table: str, row: Row) -> str:
    """Format a row for the terminal."""
    if "ratio" in row:
        return f"{row['what']:60}{row['peer']:38}{' '.join(cells(row))}"
    return f"{table}: " + ", ".join(f"{name} {short(value)}" for name, value in row.items())


def short(value: object) -> str:
    """A value in a few characters."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def cells(row: Row) -> tuple[str, str, str]:
    """Format a ratio with its spread, the aim, and whether it is met."""
    least, ratio = row["least"], row["ratio"]
    aim = f"{least:.2g}x" if least else "-"
    if ratio is None:
        return row.get("failed", "not measured"), aim, "-"
    median = ratio["median"]
    several = ratio["rounds"] > 1
    spread = f" ({ratio['low']:.2f} to {ratio['high']:.2f}, {ratio['rounds']} rounds)" if several else ""
    met = "-" if not least else "met" if median >= least else f"missed by {least / median:.2f}x"
    return f"{median:.2f}x{spread}", aim, met


def markdown(content: Mapping[str, Any]) -> Iterator[str]:
    """Write what was measured so far as a page, line by line.

    Args:
        content: the facts and tables of :class:`~fm_unroll_benchmarks.findings.Findings`.
    """
    yield f"# Ours against peers on {content['machine']}\n"
    size, matrix = content["size"], content["physics"]
    yield f"{size['coils']} coils, {size['readout']} x {size['phase']}, {size['cascades']} cascades; physics"
    yield f"and metrics at {matrix['readout']} x {matrix['phase']}; batch 1. Ratios: peer over ours, median"
    yield "and range over rounds measured in turn, in one run. Results were compared in float32 before any"
    yield "timing, except those of the anchored physics and the paper's, which are different functions."
    yield "Training is in bf16-mixed by default on GPUs; a CPU is asked for it here. In float32 torch rounds"
    yield "the factors of convolutions to TF32 on a GPU that has it, for both sides.\n"
    yield from (f"- {name}: {value}" for name, value in content["versions"].items())
    yield ""
    yield "| what | against | ratio | aim | |"
    yield "|---|---|---|---|---|"
    for row in content.get("rows", ()):
        yield f"| {row['what']} | {row['peer']} | {' | '.join(cells(row))} |"
    for table, (title, columns) in TABLES.items():
        if table in content:
            yield f"\n{title}\n"
            yield from grid(content[table], columns)


def grid(rows: list[Row], columns: Mapping[str, Callable[[Row], str]]) -> Iterator[str]:
    """A table with one line for each row; of one that failed, the reason."""
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for row in rows:
        yield f"| {' | '.join(cell(row, column) for column in columns.values())} |"


def cell(row: Row, column: Callable[[Row], str]) -> str:
    """What a column says of a row, which may have failed before the column's value was measured."""
    try:
        return column(row)
    except KeyError:
        return str(row.get("failed", "-"))


def of(name: str, form: str = "{}") -> Callable[[Row], str]:
    """A column that shows one value, ``-`` for None."""
    return lambda row: "-" if row[name] is None else form.format(row[name])


def judged(
    name: str, form: str, met: Callable[[float], bool], applies: Callable[[Row], bool] = lambda row: True
) -> Callable[[Row], str]:
    """A column that shows a value, and whether it meets its aim where one applies."""

    def column(row: Row) -> str:
        value = row[name]
        if value is None:
            return "-"
        verdict = (" met" if met(value) else " missed") if applies(row) else ""
        return form.format(value) + verdict

    return column


def on_encoder(row: Row) -> bool:
    """Whether a row is of a single slice and a network on an encoder."""
    return row["batch"] == 1 and row["network"] in ("clip", "dinov2")


TABLES: dict[str, tuple[str, Mapping[str, Callable[[Row], str]]]] = {
    "training": (
        f"Training steps: forward, SSIM loss, backward, Adam. Aim of the memory: under {MOST_MEMORY:.0f} GB"
        " for one slice on an encoder.",
        {
            "network": of("network"),
            "precision": of("precision"),
            "batch": of("batch"),
            "ms": of("ms", "{:.1f}"),
            "ms a slice": of("ms_a_slice", "{:.1f}"),
            "TFLOP": of("tflop", "{:.2f}"),
            "of the bfloat16 peak": of("utilisation", "{:.1%}"),
            "peak memory": judged("memory_gb", "{:.1f} GB", lambda value: value < MOST_MEMORY, on_encoder),
        },
    ),
    "inference": (
        "Images without gradients; the bound is the time of the encoder alone, as often as there are"
        f" cascades, on as many pictures. Aims: at most {LARGEST_OVER_BOUND:.0f}x the bound;"
        f" {LEAST_UTILISATION:.0%} of the peak within the encoder in bfloat16.",
        {
            "network": of("network"),
            "precision": of("precision"),
            "batch": of("batch"),
            "ms a slice": of("ms_a_slice", "{:.1f}"),
            "encoder alone, ms": of("encoder_ms", "{:.2f}"),
            "its part of the peak": judged(
                "encoder_utilisation",
                "{:.1%}",
                lambda value: value >= LEAST_UTILISATION,
                lambda row: row["precision"] == "bf16-mixed",
            ),
            "over the bound": judged("over_bound", "{:.2f}x", lambda value: value <= LARGEST_OVER_BOUND),
        },
    ),
    "classical": (
        "Methods without training, one slice.",
        {"method": of("method"), "ms": of("ms", "{:.1f}")},
    ),
    "profiles": (
        "Profiles of one training step (files beside this one): time without the profiler, kernels, and the"
        " share of the time in which none ran.",
        {
            "network": of("network"),
            "precision": of("precision"),
            "ms": of("ms", "{:.1f}"),
            "kernels": of("kernels"),
            "idle": of("idle", "{:.0%}"),
            "TFLOP": of("tflop", "{:.2f}"),
            "least traffic": of("traffic_gib", "{:.1f} GiB"),
            "bound, ms": of("bound_ms", "{:.1f}"),
        },
    ),
    "waiting": (
        "Share of a training step's time spent waiting for slices from a gzipped .mat.",
        {"network": of("network"), "workers": of("workers"), "waiting": of("waiting", "{:.1%}")},
    ),
    "growth": (
        "How the cost of an E2E-VarNet step grows.",
        {
            "with": of("with"),
            "time grows as n^": judged("time", "{:.2f}", lambda value: value <= LARGEST_EXPONENT),
            "memory as n^": judged("memory", "{:.2f}", lambda value: value <= LARGEST_EXPONENT),
        },
    ),
    "moved": (
        "How far images move in bf16-mixed (relative norm, random weights).",
        {"network": of("network"), "moved": of("moved", "{:.1e}")},
    ),
}
