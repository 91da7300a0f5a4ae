"""What the report says of any records is what its numbers say."""

import re

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from fake_records import ALL_METHODS, fake_records
from fm_unroll.report import by_physics, page, sentences
from fm_unroll.report.analysis import Analysis, analyse
from fm_unroll.report.notices import notices as all_notices

TRAINED = ("varnet", "varnet_zero", "clip", "dinov2", "random", "varnet_wide", "image_skip_only")


@st.composite
def studies(draw: st.DrawFn) -> pd.DataFrame:
    """Records of a study: any methods, sizes, seeds, weights, gaps and failures."""
    methods = draw(st.lists(st.sampled_from((*TRAINED, *ALL_METHODS[-3:])), min_size=1, unique=True))
    records = fake_records(
        tuple(methods),
        anatomies=tuple(draw(st.lists(st.sampled_from(["cardiac", "knee"]), min_size=1, unique=True))),
        subjects=draw(st.integers(1, 5)),
        slices=1,
        seeds=draw(st.integers(1, 3)),
        accelerations=tuple(draw(st.lists(st.sampled_from([4.0, 8.0, 10.0]), min_size=1, unique=True))),
        synthetic=draw(st.booleans()),
        physics=draw(st.sampled_from([("paper",), ("paper", "anchored"), ("anchored",)])),
        encoder_weights=draw(st.sampled_from(["pretrained", "random", "shuffled pretrained", "file:a.pt"])),
    )
    if draw(st.booleans()):
        data = {name: draw(st.sampled_from(["hearts", "knees"])) for name in methods if name in TRAINED}
        records["training_data"] = records.method.map(lambda name: data.get(name, ""))
    if draw(st.booleans()):
        failed = draw(st.sampled_from(methods))
        rows = (records.method == failed) & records.subject.str.endswith("0")
        records.loc[rows, ["ssim", "psnr", "nmse", "squared_error"]] = np.nan
        records.loc[rows, "status"] = "failed"
    if draw(st.booleans()) and len(methods) > 1:
        one = (records.method == methods[0]) & (records.acceleration == records.acceleration.max())
        records = records[~one | (records.anatomy != records.anatomy.iloc[0])]
    if draw(st.booleans()):
        records["synthetic"] &= records.anatomy != "cardiac"  # phantoms beside real hearts
    return records.reset_index(drop=True)


def said(found: Analysis) -> list[str]:
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    return [
        *sentences.floor_headline(found.means),
        *sentences.headline(found.priors, ssim, found.crossings),
        *by_physics.headline(found.survival),
        *sentences.control_headline(found.controls, ssim),
        *all_notices(found.records, found.means, found.apart),
    ]


@settings(max_examples=40, deadline=None)
@given(studies())
def test_sentences_say_what_the_numbers_say(records):
    found = analyse(records)
    text = said(found)
    together = " ".join(text)
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    assert "nan" not in together.lower() and "()" not in together
    # phantoms are named where a comparison is of them, and scans where it is of both
    for (arm, baseline), group in ssim.dropna(subset="difference").groupby(["arm", "baseline"]):
        if arm.kind == "control":
            (sentence,) = (s for s in text if f" {arm.label} against {baseline.label} in SSIM" in s)
            kinds = set(map(bool, group.synthetic))
            assert ("on phantoms, " in sentence) == (kinds == {True})
            assert ("on phantoms and scans, " in sentence) == (len(kinds) == 2)
    # chance is spoken of where seeds vary, and one seed is called one
    compared = pd.concat([ssim, found.controls]).dropna(subset="difference")
    assert ("beyond chance" in together) <= bool(compared.covers_seeds.any())
    if records.groupby("method").seed.nunique().max() == 1:
        assert "One training seed per method" in together and "beyond chance" not in together
    # a prior is pretrained, and is no control
    for arm in found.priors:
        assert arm.encoder and arm.weights not in ("random",) and not arm.weights.startswith("shuffled")
    assert ("no pretrained prior" in together) == (not found.priors)
    # every count is that of the table
    for (arm, baseline), group in ssim.dropna(subset="difference").groupby(["arm", "baseline"]):
        if arm.kind == "control":
            against = f" {arm.label} against {baseline.label} in"
            (sentence,) = (s for s in text if s.startswith("Control:") and against in s)
            assert sum(map(int, re.findall(r"of (\d+) comparisons", sentence))) == len(group)
    # what is not compared is not compared for a reason that is said
    for arm, baseline in found.apart:
        alike = arm.physics == baseline.physics
        why = "were trained on different data" if alike else "differ in more than their physics"
        assert f"{arm.label} and {baseline.label} {why}" in together
        assert ssim[(ssim.arm == arm) & (ssim.baseline == baseline)].empty


@settings(max_examples=25, deadline=None)
@given(studies())
def test_the_floor_is_counted_condition_by_condition(records):
    found = analyse(records)
    (sentence, *_), means = sentences.floor_headline(found.means) or [""], found.means
    ssim = means[(means.metric == "ssim")].dropna(subset="mean")
    classical = ssim[ssim.arm.map(lambda arm: arm.kind == "classical").astype(bool)]
    if classical.empty:
        assert "No method without training" in sentence
        return
    floors = classical.groupby(["dataset", "center", "acceleration"])["mean"].max()
    for arm, group in ssim.groupby("arm"):
        if arm.kind == "classical":
            assert f"{arm.label} " not in sentence.partition(": ")[2]
            continue
        keyed = group.set_index(["dataset", "center", "acceleration"])["mean"]
        beside = keyed[keyed.index.isin(floors.index)]
        above = sum(value > floors[place] for place, value in beside.items())
        assert not len(beside) or f"{arm.label} {above} of {len(beside)}" in sentence


@settings(max_examples=10, deadline=None)
@given(studies())
def test_figures_and_tables_of_any_records_say_what_is_synthetic(records):
    found = analyse(records)
    for drawing in page._drawings(found, page.Shown([], [], 0), {}):
        kinds = set(map(bool, drawing.synthetic))
        texts = " ".join(text.get_text() for text in drawing.figure.findobj(Text))
        assert ("Synthetic data" in texts) == (kinds == {True}), drawing.name
        assert ("Partly synthetic" in texts) == (len(kinds) == 2), drawing.name
    for table in (table for group in page._tables(found, {}).values() for table in group):
        assert any("ynthetic data" in note for note in table.notes) == bool(table.data.synthetic.any())
        assert "nan" not in table.markdown().lower()
