"""The one style of all figures: fonts, lines, colours of arms, and how a figure is saved."""

import base64
import functools
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

from fm_unroll.evaluation.arms import LOOKS, Arm
from fm_unroll.report.sentences import SYNTHETIC

Arguments = ParamSpec("Arguments")

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "figure.constrained_layout.h_pad": 0.06,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "image.composite_image": False,  # keep every picture at its own resolution in the PDF
    "savefig.dpi": 200,
}
# whatever the user's own settings are
SETTINGS: dict[Any, Any] = mpl.rcParamsDefault | STYLE
# for arms without a look of their own, such as encoders registered elsewhere
SPARE = (("#8E44AD", "*"), ("#B03A2E", "h"), ("#1F618D", "<"), ("#7D6608", ">"), ("#117A65", "p"))
WIDTH = 7.2  # inches: the text width of a two-column page
WARNING = "#9c2f1f"


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw with the one style, whatever the caller's settings."""

    @functools.wraps(draw)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with mpl.rc_context(SETTINGS):
            return draw(*args, **kwargs)

    return wrapper


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write ``name.png`` and ``name.pdf`` into a folder; return the PNG as a data URI."""
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS):
        figure.savefig(buffer, format="png", metadata={"Software": None})
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    (folder / f"{name}.png").write_bytes(buffer.getvalue())
    return data_uri(buffer.getvalue())


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def footer(figure: Figure, synthetic: bool, legend: str = "") -> None:
    """A line of explanation below the figure and, where it applies, the notice below that."""
    if legend or synthetic:
        figure.supxlabel(
            f"{legend}\n " if synthetic else legend, x=0.01, ha="left", fontsize=6, color="#444444"
        )
    if synthetic:
        figure.text(0.01, 0.08 / figure.get_figheight(), SYNTHETIC, fontsize=6, color=WARNING)


def line_styles(arms: Iterable[Arm]) -> dict[Arm, dict[str, Any]]:
    """A line style for every arm: dotted without training, dashed for controls and unpublished weights."""
    arms = sorted(set(arms))
    others = [arm for arm in arms if arm.color is None]
    styles = {}
    for arm in arms:
        color, marker = (
            SPARE[others.index(arm) % len(SPARE)] if arm in others else (arm.color, LOOKS[arm.method].marker)
        )
        dashed = arm.kind == "control" or not arm.usual_weights
        styles[arm] = {
            "color": color,
            "marker": marker,
            "linestyle": ":" if arm.kind == "classical" else "--" if dashed else "-",
            "label": arm.label,
        }
    return styles
