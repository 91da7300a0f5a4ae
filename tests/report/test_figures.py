import base64
import io
import re
import zlib
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from fake_records import arm, fake_records, write_run
from fm_unroll.errors import InputError
from fm_unroll.evaluation.records import read_records
from fm_unroll.evaluation.selection import best_classical, extremes, shown_runs
from fm_unroll.report import figures, panels, pictures, sheet
from fm_unroll.report.analysis import analyse
from fm_unroll.report.figure_files import save
from fm_unroll.report.formats import MINUS, MISSING
from fm_unroll.report.sentences import SYNTHETIC


@pytest.fixture(scope="module")
def shown(records):
    return shown_runs(records)


@pytest.fixture(scope="module")
def slices(run, shown):
    return list(pictures.read_slices(run.parent / "images", shown).values())


@pytest.fixture(scope="module")
def cases(shown, slices):
    by_place = {item.place: item for item in slices}
    return [(case, by_place[case.place]) for case in extremes(shown)]


def test_figures_are_written_as_png_and_pdf_and_are_the_same_every_time(tmp_path, analysis):
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    first = save(figures.regime_map(ssim, analysis.means), tmp_path, "map")
    bytes_of_pdf = (tmp_path / "map.pdf").read_bytes()
    assert Image.open(tmp_path / "map.png").size[0] > 800 and bytes_of_pdf.startswith(b"%PDF")
    assert save(figures.regime_map(ssim, analysis.means), tmp_path, "map") == first
    assert (tmp_path / "map.pdf").read_bytes() == bytes_of_pdf


def test_fonts_in_a_pdf_are_truetype_with_the_outlines_and_the_text_of_what_is_written(tmp_path, analysis):
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    figure = figures.regime_map(ssim, analysis.means)
    written = {letter for text in figure.findobj(Text) for letter in text.get_text() if letter.strip()}
    save(figure, tmp_path, "map")
    pdf = (tmp_path / "map.pdf").read_bytes()
    streams = re.findall(rb"<<((?:[^>]|>(?!>))*)>>\s*stream\n(.*?)\nendstream", pdf, re.DOTALL)
    fonts = [TTFont(io.BytesIO(zlib.decompress(data))) for head, data in streams if b"/Length1" in head]
    assert fonts and b"/Type3" not in pdf
    for font in fonts:
        bold = "bold" if "Bold" in font["name"].getDebugName(4) else "normal"
        whole = TTFont(findfont(FontProperties(family="DejaVu Sans", weight=bold), fallback_to_default=False))
        shown = set(font.getGlyphOrder()) - {".notdef"}
        assert shown and {"cvt ", "fpgm", "prep"} <= set(font.keys()) and "GPOS" not in font
        for name in shown:
            assert font["hmtx"][name] == whole["hmtx"][name]
            outline, expected = (f["glyf"][name].getCoordinates(f["glyf"]) for f in (font, whole))
            assert list(outline[0]) == list(expected[0]) and outline[1] == expected[1]
    texts = [zlib.decompress(data) for _, data in streams if data.startswith(b"x")]
    searchable = b"".join(text for text in texts if b"begincmap" in text).decode()
    assert not {letter for letter in written if f"<{ord(letter):04x}>" not in searchable}


def test_the_regime_map_shows_every_difference_and_marks_only_the_clear_ones(analysis):
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    figure = figures.regime_map(ssim, analysis.means)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    marked = [text for text in texts if text and set(text) == {"*"}]
    assert len(marked) == ssim.clear.sum() > 0
    assert sum(text.startswith(("+", MINUS)) for text in texts) == len(ssim)
    gone = ssim[~((ssim.arm == arm("clip")) & (ssim.acceleration == 10))]
    texts = [text.get_text() for axis in figures.regime_map(gone, analysis.means).axes for text in axis.texts]
    assert texts.count(MISSING) == 3


def test_with_one_seed_the_regime_map_has_no_stars():
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=6, seeds=1)
    found = analyse(records)
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    figure = figures.regime_map(ssim, found.means)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts.count(figures.ONE_SEED) == ssim.clear.sum() > 0
    assert not any(text and set(text) == {"*"} for text in texts)
    below = " ".join(word for text in figure.texts for word in text.get_text().split())
    assert "for these networks (one training seed)" in below


def test_cells_of_what_is_worse_than_zero_filled_are_hatched():
    records = fake_records(("varnet", "clip", "zero_filled"), anatomies=("knee",), subjects=4, seeds=1)
    chosen = {"ssim": 0.99, "squared_error": 1e-6}  # better than all others
    # where zero-filled images are above the baseline: the cells of CLIP and their own
    for methods, cells in (((), 0), (("zero_filled",), 12)):
        lifted = records.copy()
        lifted.loc[records.method.isin(methods), list(chosen)] = list(chosen.values())
        found = analyse(lifted)
        for metric in ("ssim", "nmse_volume"):
            compared = found.comparisons[found.comparisons.metric == metric]
            figure = figures.regime_map(compared, found.means)
            patches = [patch for axis in figure.axes for patch in axis.patches]
            assert sum(patch.get_hatch() is not None for patch in patches) == cells, metric
    one = records.copy()
    worse = (one.method == "varnet") & (one.acceleration == 8) & (one.center == "0.08")
    one.loc[worse, "ssim"] = 0.1
    found = analyse(one)
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    figure = figures.regime_map(ssim, found.means)
    hatched = [patch for axis in figure.axes for patch in axis.patches if patch.get_hatch()]
    assert [patch.get_x() for patch in hatched] == pytest.approx([1 - 0.48] * 2)


def test_rings_and_bars_stand_where_a_method_clearly_overtakes(analysis):
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    figure = figures.difference_curves(ssim, analysis.crossings)
    clear = analysis.crossings[analysis.crossings.course == "overtakes"]
    lines = [line for axis in figure.axes for line in axis.lines]
    rings = [line.get_xdata()[0] for line in lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    bars = [list(line.get_xdata()) for line in lines if line.get_alpha() == 0.5]
    assert len(clear) and sorted(rings) == sorted(clear.crossing)
    assert sorted(bars) == sorted(map(list, zip(clear.low, clear.high, strict=True)))


def test_curves_run_over_true_acceleration(analysis):
    figure = figures.degradation_curves(analysis.means, "ssim")
    expected = analysis.means[(analysis.means.metric == "ssim") & (analysis.means.arm == arm("clip"))]
    drawn = [line for axis in figure.axes for line in axis.lines if line.get_label() == "CLIP"]
    assert sorted(np.concatenate([line.get_xdata() for line in drawn])) == sorted(expected.true_acceleration)
    assert sorted(np.concatenate([line.get_ydata() for line in drawn])) == sorted(expected["mean"])


@pytest.mark.parametrize("subjects", [3, 200])
def test_every_subject_is_a_dot_and_mean_and_interval_are_those_of_the_table(subjects):
    methods = ("varnet", "clip", "dinov2", "zero_filled")
    records = fake_records(methods, anatomies=("knee",), subjects=subjects, slices=1, seeds=2)
    records = records[~((records.method == "clip") & (records.acceleration == 10))]
    found = analyse(records)
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    figure = figures.paired_differences(ssim, found.subjects)
    shown = ssim.groupby(["center", "acceleration"], sort=False)
    for axis, ((center, acceleration), group) in zip(figure.axes, shown, strict=True):
        here = records[(records.center == center) & (records.acceleration == acceleration)]
        means = here.pivot_table(index="subject", columns="method", values="ssim", aggfunc="mean")
        dots = [line for line in axis.lines if line.get_marker() == "o"]
        for line, row in zip(dots, group.itertuples(), strict=True):
            expected = means[row.arm.method] - means.varnet
            np.testing.assert_allclose(sorted(line.get_xdata()), sorted(expected), rtol=0, atol=1e-12)
        ticks = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "|"]
        bars = [tuple(line.get_xdata()) for line in axis.lines if line.get_linewidth() == 3.5]
        assert ticks == list(group.difference)
        assert bars == list(zip(group.low, group.high, strict=True))
        low, high = axis.get_xlim()
        assert all(low < x < high for line in dots for x in line.get_xdata())
        missing = [text.get_text() for text in axis.texts].count("missing")
        assert missing == (acceleration == 10)


def test_figures_of_phantoms_say_so(analysis, slices, cases):
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    drawn = [
        figures.regime_map(ssim, analysis.means),
        figures.degradation_curves(analysis.means, "ssim"),
        figures.difference_curves(ssim, analysis.crossings),
        figures.paired_differences(
            ssim[ssim.anatomy == "knee"], analysis.subjects[analysis.subjects.anatomy == "knee"]
        ),
        panels.panel(slices[0]),
        panels.extreme_cases(cases[:4], 100),
    ]
    for figure in drawn:
        texts = [*figure.texts, *(text for axis in figure.axes for text in axis.texts)]
        assert SYNTHETIC in [text.get_text() for text in texts]


def test_pictures_get_the_score_of_their_own_run(slices, records):
    item = slices[0]
    assert [str(arm) for arm in item.images] == ["varnet", "clip", "dinov2", "random", "zero_filled"]
    rows = records[(records.volume == item.place.volume) & (records["slice"] == item.place.slice)]
    rows = rows[(rows.center == item.place.center) & (rows.acceleration == item.place.acceleration)]
    assert item.ssim[arm("clip")] == rows[(rows.method == "clip") & (rows.seed == 0)].ssim.item()
    assert item.ssim[arm("clip")] != rows[(rows.method == "clip") & (rows.seed == 1)].ssim.item()


def test_pictures_name_other_weights_than_the_pretrained_ones(tmp_path):
    made = fake_records(
        ("varnet", "clip"),
        anatomies=("cardiac",),
        subjects=2,
        seeds=1,
        accelerations=(8.0,),
        encoder_weights="file:tiny.pt",
    )
    path = write_run(tmp_path, made)
    shown = shown_runs(read_records(path))
    item, *_ = pictures.read_slices(path.parent / "images", shown).values()
    assert [str(arm) for arm in item.images] == ["varnet", "clip [file:tiny.pt]"]
    texts = [text.get_text() for text in panels.panel(item).axes[0].texts]
    assert "CLIP (tiny.pt\nweights)" in texts
    assert {case.arm for case in extremes(shown)} == {arm("clip", "file:tiny.pt")}


def test_a_panel_has_one_gray_scale_and_one_error_scale(slices):
    figure = panels.panel(slices[0])
    scales = {(image.get_cmap().name, image.get_clim()) for image in figure.axes[0].images}
    assert len(scales) == 2 and {name for name, _ in scales} == {"gray", "inferno"}
    assert len(figure.axes[0].images) == 2 + 5 * 4  # the target and its detail; five methods, four columns


def test_nothing_is_drawn_over_a_picture(slices, cases):
    for figure in (panels.panel(slices[0]), panels.extreme_cases(cases[:4], 100)):
        FigureCanvasAgg(figure).draw()
        axis = figure.axes[0]
        drawn = [image.get_window_extent() for image in axis.images]
        drawn += [text.get_window_extent() for text in axis.texts if text.get_text()]
        drawn += [figure.axes[1].get_tightbbox()]
        for first, second in combinations(drawn, 2):
            overlap = Bbox.intersection(first, second)
            assert overlap is None or min(overlap.width, overlap.height) < 1, (first, second)


def plain_slice(item, **images):
    """Two gray values, 0 and 4, and images that differ from them by known amounts."""
    target = np.zeros((96, 80), np.float32)
    target[20:60, 20:60] = 4
    return replace(
        item, target=target, images={name: images.get(str(name), target + 0.5) for name in item.images}
    )


def test_clipped_errors_are_counted_and_the_scale_says_that_it_goes_on(slices):
    """The trained methods are off by 0.5 / 4 everywhere, zero-filling by twice that in 77 of 7680 pixels."""
    item = plain_slice(slices[0])
    zero = item.target.copy()
    zero.flat[:77] += 1
    for shown, lines, extend in (
        (item, [], "neither"),
        (plain_slice(slices[0], zero_filled=zero), ["error: 1.0 % clipped"], "max"),
    ):
        figure = panels.panel(shown)
        axis, scale = figure.axes
        errors = [image for image in axis.images if image.get_cmap().name == "inferno"]
        assert {image.get_clim() for image in errors} == {(0, 0.125)}
        texts = [line for text in axis.texts for line in text.get_text().splitlines()]
        assert [line for line in texts if line.endswith("% clipped")] == lines
        assert scale._colorbar.extend == extend
        white = next(text for text in texts if "white too" in text)
        assert (
            "at most 21 %" in " ".join(texts) and white
        )  # the bright square of the target plus 0.5 is above it


def test_the_best_method_without_training_is_shown_beside_the_zero_filled_image(tmp_path):
    methods = ("varnet", "zero_filled", "cg_sense", "wavelet")
    records = fake_records(methods, anatomies=("knee",), subjects=4, seeds=1, accelerations=(4.0, 8.0))
    records.loc[(records.method == "cg_sense") & (records.acceleration == 8), "ssim"] = 0.99
    best = best_classical(analyse(records).means)
    assert {(place[2], place[3]): str(name) for place, name in best.items()} == {
        (center, acceleration): "cg_sense" if acceleration == 8 else "wavelet"
        for center in ("0.08", "0.04")
        for acceleration in (4, 8)
    }
    path = write_run(tmp_path, records)
    for item in pictures.read_slices(path.parent / "images", shown_runs(read_records(path))).values():
        chosen = best[item.place.condition]
        texts = [text.get_text() for text in panels.panel(item, chosen).axes[0].texts]
        rows = [
            text
            for text in texts
            if text in ("Target", "E2E-VarNet", "Zero-filled", "CG-SENSE", "L1-wavelet")
        ]
        assert rows == ["Target", "Zero-filled", chosen.label, "E2E-VarNet"]
    assert best_classical(analyse(records[records.method.isin(["varnet", "zero_filled"])]).means) == {}


def test_a_failed_reconstruction_is_shown_as_failed(slices):
    item = slices[0]
    images = item.images | {arm("clip"): np.full_like(item.target, np.nan)}
    failed = replace(item, images=images, ssim=item.ssim | {arm("clip"): np.nan})
    axis = panels.panel(failed).axes[0]
    lines = [line for text in axis.texts for line in text.get_text().splitlines()]
    assert lines.count("failed") == 1 and "error: 100 % clipped" in lines
    errors = [image for image in axis.images if image.get_cmap().name == "inferno"]
    brightest = [image for image in errors if (image.get_array() >= image.get_clim()[1]).all()]
    assert len(brightest) == 2  # the error and its detail show no black, which would mean no error
    picture = pictures.error_picture(failed.error(arm("clip")), 0.1)
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as shown:
        np.testing.assert_array_equal(
            np.unique(np.reshape(shown, (-1, 3)), axis=0), [mpl.colormaps["inferno"](255, bytes=True)[:3]]
        )


def test_the_zoomed_box_is_where_reconstructions_disagree(slices):
    item = slices[0]
    images = {name: item.target.copy() for name in item.images}
    images[arm("clip")][60:70, 20:30] += 1
    row, column, side = sheet.detail_box(replace(item, images=images))
    assert row <= 60 and row + side >= 70 and column <= 20 and column + side >= 30


def test_pictures_that_cannot_be_used_are_named(tmp_path, records):
    shown = shown_runs(records)
    write_run(tmp_path, records)
    path = sorted((tmp_path / "images").glob("*.npz"))[0]
    with np.load(path) as stored:
        content = dict(stored)
    np.savez(path, **{name: value for name, value in content.items() if name != "target"})
    with pytest.raises(InputError, match=r"\.npz: not a stored slice .*target"):
        pictures.read_slices(tmp_path / "images", shown)
    np.savez(path, **{**content, "image/bart": content["target"]})
    with pytest.raises(InputError, match="bart has no record of this slice"):
        pictures.read_slices(tmp_path / "images", shown)
    np.savez(path, **{**content, "slice": 99})
    with pytest.raises(InputError, match="not in the records"):
        pictures.read_slices(tmp_path / "images", shown)
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a stored slice"):
        pictures.read_slices(tmp_path / "images", shown)
    outside = tmp_path / "outside.npz"
    np.savez(outside, **content)
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(InputError, match="a link out of"):
        pictures.read_slices(tmp_path / "images", shown)
    assert pictures.read_slices(tmp_path / "no such folder", shown) == {}


def test_fusion_weights_are_drawn_cascade_by_block(analysis):
    weights = np.random.default_rng(0).dirichlet(np.ones(6), size=4)
    figure = figures.fusion_weights(
        {
            arm("dinov2"): {
                "fusion": weights.tolist(),
                "step_sizes": [1, 2, 3, 4],
                "blocks": [1, 2, 3, 4, 5, 6],
            }
        }
    )
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), weights.T)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list("123456")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == list("1234")


def test_fusion_weights_stand_at_the_cascades_that_have_them():
    prior = {"fusion": [[0.5, 0.5]] * 4, "step_sizes": [], "blocks": [1, 2], "fused": [9, 10, 11, 12]}
    figure = figures.fusion_weights({arm("clip"): prior})
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["9", "10", "11", "12"]
