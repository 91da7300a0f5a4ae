"""The one style of all figures: fonts, lines, colours of arms."""

import base64
import functools
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from fm_unroll.evaluation.arms import LOOKS, Arm
from fm_unroll.methods import PAPER
from fm_unroll.report.sentences import synthetic_notice

Arguments = ParamSpec("Arguments")

WIDTH = 7.2  # inches: the text width of a two-column page
HEIGHT = 9.2  # inches: the largest height that a printed page shows whole, so that its type stays as large
TYPE = 8  # points: no text is smaller
GRAY, WARNING = "#444444", "#9c2f1f"  # of text; both stand clear of white

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TYPE,
    "axes.titlesize": TYPE,
    "figure.constrained_layout.h_pad": 0.06,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": TYPE,
    "xtick.labelsize": TYPE,
    "ytick.labelsize": TYPE,
    "legend.fontsize": TYPE,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRAY,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
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


# of the physics, where there are several
PHYSICS = {PAPER: "o", "anchored": "s"}


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw with the one style, whatever the caller's settings."""

    @functools.wraps(draw)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with mpl.rc_context(SETTINGS):
            return draw(*args, **kwargs)

    return wrapper


def data_uri(picture: Image.Image) -> str:
    """A picture as an address that holds it: lossless WebP, half as large as PNG."""
    buffer = io.BytesIO()
    # quality is the effort here: half of it takes half the time, for up to 4 % more bytes
    picture.convert("RGB").save(buffer, format="webp", lossless=True, quality=50)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


class _NameWrapper(textwrap.TextWrapper):
    """Breaks lines at spaces and behind the marks within names: ``vit_tiny_patch16_224``."""

    wordsep_simple_re = re.compile(r"(\s+|(?<=[-_/])(?=\w))")


def wrapped(text: str, inches: float) -> str:
    """A text broken into lines that fit a width at the size of all type; its own line breaks stay."""
    characters = max(8, int(inches * 72 / (0.56 * TYPE)))  # a wide letter of DejaVu Sans, on average
    wrapper = _NameWrapper(characters, break_on_hyphens=False)
    return "\n".join(wrapper.fill(line) for line in text.splitlines())


def footer(figure: Figure, synthetic: Iterable[bool], legend: str = "") -> None:
    """Lines of explanation below the figure and, where some of what it shows is of phantoms, the notice."""
    notice = synthetic_notice(synthetic)
    legend = wrapped(legend, figure.get_figwidth())
    if legend or notice:
        figure.supxlabel(f"{legend}\n " if notice else legend, x=0.01, ha="left", fontsize=TYPE, color=GRAY)
    if notice:
        figure.text(0.01, 0.08 / figure.get_figheight(), notice, fontsize=TYPE, color=WARNING)


def legend_columns(labels: Iterable[str], inches: float = WIDTH) -> int:
    """How many entries of a legend fit beside each other at the size of all type."""
    widest = (
        0.56 * TYPE * (max(map(len, labels)) + 8) / 72
    )  # the line and the space between take eight letters
    return max(1, int(inches / widest))


def ink_on(ground: tuple[float, ...]) -> str:
    """White or black, whichever has the larger contrast on a ground (WCAG 2.2; 4.6 at least on any).

    Args:
        ground: red, green and blue, 0..1, sRGB.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in ground[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def physics_marker(physics: str) -> str:
    """The marker of a physics."""
    return PHYSICS.get(physics, "D")


def arrange_rows(axis: Axes, arms: Sequence[Arm], named: bool) -> None:
    """Give an axis of differences a line at zero and a row for each arm, the first one on top.

    Args:
        axis: the axis.
        arms: the arms.
        named: whether their names stand beside it.
    """
    axis.axvline(0, color="#000000", linewidth=0.8, zorder=1)
    axis.set_yticks(range(len(arms)), [wrapped(arm.label, 1.3) for arm in arms] if named else [])
    axis.set_ylim(len(arms) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelbottom=True)
    axis.xaxis.set_major_locator(MaxNLocator(3))


LINES = {"classical": ":", "external": "-."}


def line_styles(arms: Iterable[Arm]) -> dict[Arm, dict[str, Any]]:
    """A line style for every arm: dotted without training, dashed for controls and unpublished weights.

    What was made elsewhere has dots and dashes.

    Colours tell methods apart. So do markers, unless there are networks of several physics: these they tell
    apart then.
    """
    arms = sorted(set(arms))
    others = list(dict.fromkeys(arm.of_any_training for arm in arms if arm.color is None))
    several = len({arm.physics for arm in arms if not arm.of_no_physics}) > 1
    styles = {}
    for arm in arms:
        if arm.color is None:
            color, marker = SPARE[others.index(arm.of_any_training) % len(SPARE)]
        else:
            color, marker = arm.color, LOOKS[arm.method].marker
        if several and not arm.of_no_physics:
            marker = physics_marker(arm.physics)
        dashed = arm.kind == "control" or not arm.usual_weights
        styles[arm] = {
            "color": color,
            "marker": marker,
            "linestyle": LINES.get(arm.kind) or ("--" if dashed else "-"),
            "label": arm.label,
        }
    return styles
