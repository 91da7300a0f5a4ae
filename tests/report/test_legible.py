"""All type of all figures is at least 8 points, stands clear of its ground, and lies within the figure."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from fake_records import arm, fake_records, write_run
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.records import read_records
from fm_unroll.report import page
from fm_unroll.report.analysis import analyse
from fm_unroll.report.contact_sheet import contact_sheet
from fm_unroll.report.sentences import SYNTHETIC
from fm_unroll.report.style import ink_on, wrapped

PRINTED = 7.2  # inches
WEIGHTS = "file:quite_a_long_name_of_weights.pt"


@contextmanager
def watched() -> Iterator[list[Text]]:
    """Every text that is drawn meanwhile: ticks beyond an axis' limits are artists as well, and are not."""
    drawn: list[Text] = []
    draw = Text.draw

    def watch(text: Text, *args, **kwargs) -> None:
        if text.get_visible() and text.get_text().strip():
            drawn.append(text)
        draw(text, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", watch)
        yield drawn


@dataclass
class Drawn:
    """A figure, its texts with their boxes (pixels) and colours, and what it looks like without them."""

    figure: Figure
    texts: list[tuple[str, float, tuple[float, float, float, float], np.ndarray]]
    ground: np.ndarray

    @classmethod
    def of(cls, figure: Figure) -> "Drawn":
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # lays the figure out
        with watched() as texts:
            canvas.draw()
        found = [
            (t.get_text(), t.get_fontsize(), t.get_window_extent().extents, np.array(to_rgb(t.get_color())))
            for t in texts
        ]
        for text in texts:
            text.set_color("none")  # a box behind it stays
        canvas.draw()
        return cls(figure, found, np.array(canvas.buffer_rgba())[::-1, :, :3] / 255)

    def behind(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """The colours behind a text, ``(pixels, 3)``."""
        left, bottom, right, top = (round(edge) for edge in box)
        return self.ground[bottom + 1 : top - 1, left + 1 : right - 1].reshape(-1, 3)


@pytest.fixture(scope="module")
def figures(tmp_path_factory) -> dict[str, Drawn]:
    """Every figure of a report on many methods, with gaps, long names and a method below zero-filling."""
    records = fake_records(subjects=4, seeds=1, slices=1, encoder_weights=WEIGHTS)
    records = records[~((records.method == "clip") & (records.acceleration == 10))]
    records.loc[(records.method == "dinov2") & (records.acceleration == 8), "ssim"] = 0.3
    records.loc[records.anatomy == "brain", "dataset"] = "fastMRI brain, of a long name"
    path = write_run(tmp_path_factory.mktemp("legible"), records)
    analysis = analyse(read_records(path))
    shown = page._shown(analysis.records, path.parent / "images")
    learned = {"fusion": np.full((12, 6), 1 / 6).tolist(), "step_sizes": [1.0] * 12, "blocks": list(range(6))}
    shuffled = Arm("clip", "clip", f"shuffled {WEIGHTS}")
    priors = dict.fromkeys((*analysis.priors, arm("random"), shuffled), learned)
    made = {drawing.name: drawing.figure for drawing in page._drawings(analysis, shown, priors)}
    image = np.random.default_rng(0).random((40, 24))
    labels = [(f"multicoil_val/file_brain_AXT2_{number}, 40 x 24", image) for number in range(6)]
    made["contact_sheet"] = contact_sheet({"fastMRI multicoil_val\nAXT2": labels}, "readout downwards")
    return {name: Drawn.of(figure) for name, figure in made.items()}


def luminance(colors: np.ndarray) -> np.ndarray:
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(colors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of sRGB colours, 0..1, ``(..., 3)``, by WCAG 2.2."""
    pair = np.stack(np.broadcast_arrays(luminance(colors), luminance(others)))
    return (pair.max(0) + 0.05) / (pair.min(0) + 0.05)


def test_the_measure_of_contrast_is_that_of_the_guideline():
    """#767676 is known as the lightest gray that passes on white; #777777 fails."""
    white = np.ones(3)
    assert contrast(np.zeros(3), white) == pytest.approx(21)
    assert contrast(np.full(3, 0x76 / 255), white) > 4.5 > contrast(np.full(3, 0x77 / 255), white)


def test_ink_is_legible_on_every_ground():
    for ground in np.random.default_rng(0).random((500, 3)):
        assert contrast(np.array(to_rgb(ink_on(tuple(ground)))), ground) >= 4.5


def test_every_kind_of_figure_is_looked_at(figures):
    kinds = ("regime_map", "difference", "degradation", "subjects", "panel", "extreme_cases", "priors")
    for kind in (*kinds, "contact_sheet"):
        assert any(name.startswith(kind) and drawn.texts for name, drawn in figures.items()), kind


def test_type_is_at_least_eight_points_as_printed(figures):
    for name, drawn in figures.items():
        scale = min(1, PRINTED / drawn.figure.get_figwidth())
        for text, size, _, _ in drawn.texts:
            assert size * scale >= 8, (name, text)


def test_no_text_leaves_its_figure(figures):
    for name, drawn in figures.items():
        width, height = drawn.figure.bbox.max
        for text, _, (left, bottom, right, top), _ in drawn.texts:
            assert min(left, bottom, width - right, height - top) >= -1, (name, text)


def test_no_text_runs_into_another(figures):
    for name, drawn in figures.items():
        for i, (text, _, box, _) in enumerate(drawn.texts):
            for other, _, its, _ in drawn.texts[:i]:
                across = min(box[2], its[2]) - max(box[0], its[0])
                along = min(box[3], its[3]) - max(box[1], its[1])
                # the notice stands in the last line of a footer, which is empty
                assert min(across, along) < 2 or SYNTHETIC in (text, other), (name, text, other)


def test_text_stands_clear_of_what_is_drawn_behind_it(figures):
    for name, drawn in figures.items():
        for text, _, box, color in drawn.texts:
            assert np.median(contrast(color, drawn.behind(box))) >= 4.5, (name, text)


def test_hatching_stays_off_the_letters(figures):
    hatched = 0
    for name, drawn in figures.items():
        if name.startswith("regime_map"):
            hatched += sum(bool(patch.get_hatch()) for axis in drawn.figure.axes for patch in axis.patches)
            for text, _, box, color in drawn.texts:
                assert contrast(color, drawn.behind(box)).min() >= 4.5, (name, text)
    assert hatched > 0


def test_long_names_are_broken_at_their_marks_and_lose_nothing():
    name = "vit_tiny_patch16_224 (random weights, anchored)"
    lines = wrapped(name, 1.0).splitlines()
    assert lines[:2] == ["vit_tiny_", "patch16_224"]
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")
    assert wrapped("first\nsecond", 7.0) == "first\nsecond"
