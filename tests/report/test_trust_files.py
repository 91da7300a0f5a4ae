"""The picture of the trust map: legible type, what is clipped, and what the map is worth."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from fm_unroll.reconstruction.trust import WORTH
from fm_unroll.report import trust_files


def luminance(colour: str) -> float:
    """Of WCAG 2."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], channels))


@pytest.fixture(params=[(128, 96), (112, 112), (60, 240), (512, 168)], ids=str)
def figure(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure as it was written, of random values."""
    made: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(trust_files, "Figure", Kept)
    random = np.random.default_rng(0)
    image, change = random.random((2, *request.param), dtype=np.float32)
    trust_files.draw_trust(tmp_path / "a.png", image, change, "P001/cine_sax, slice 1, frame 0")
    assert (tmp_path / "a.png").stat().st_size > 0
    return made[0]


def texts(figure: Figure) -> list[Text]:
    """All that is drawn: titles, the scales' labels and those ticks of theirs that lie within."""
    found = [*figure.texts]
    for axis in figure.axes:
        low, high = axis.get_ylim()
        ticks = [label for label in axis.get_yticklabels() if low <= label.get_position()[1] <= high]
        found += [axis.title] if axis.images else [axis.yaxis.label, *ticks]
    return [text for text in found if text.get_text()]


def test_type_has_eight_points_and_contrast(figure):
    assert len(texts(figure)) > 12
    paper = luminance(figure.get_facecolor())
    for text in texts(figure):
        assert text.get_fontsize() >= 8, text
        ink = luminance(text.get_color())
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, text


def test_nothing_runs_out_of_the_picture_or_into_its_neighbour(figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in texts(figure)]
    width, height = figure.get_size_inches() * figure.dpi
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    for first, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[first + 1 :])


def test_what_is_clipped_is_told(figure):
    labels = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert len(labels) == 2 and all("0.2 % of pixels above" in label for label in labels)
    # the 99.8th percentile is the top of the scale
    drawn = [axis.images[0] for axis in figure.axes if axis.images]
    shares = [float((image.get_array() > image.get_clim()[1]).mean()) for image in drawn]
    assert shares == pytest.approx([0.002, 0.002], abs=2e-4)
    assert all(image.colorbar.extend == "max" for image in drawn)


def test_the_worth_of_the_map_stands_below_it(figure):
    assert WORTH in " ".join(figure.get_supxlabel().split())
