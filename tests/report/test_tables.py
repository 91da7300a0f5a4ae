import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fake_records import arm, fake_records
from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.metric_table import metrics_of
from fm_unroll.report import mean_tables, published, sentences, tables
from fm_unroll.report.analysis import analyse, main_means
from fm_unroll.report.formats import MISSING, Cell
from fm_unroll.report.notices import BACKGROUND
from fm_unroll.report.notices import notices as all_notices


def texts(table, mark):
    return [cell.text for row in table.body for cell in row if cell.mark == mark]


def test_best_and_second_are_those_of_the_numbers(analysis):
    for table, (_, group) in zip(
        mean_tables.result_tables(analysis.means),
        analysis.means.groupby(["dataset", "anatomy"], sort=False),
        strict=True,
    ):
        main = group[group.metric.isin(metrics_of("main"))]
        ranked = {}
        for (center, acceleration, metric), cell in main.groupby(
            ["center", "acceleration", "metric"], sort=False
        ):
            order = np.argsort(cell["mean"].to_numpy() * (1 if metric == "nmse_volume" else -1))
            ranked[center, acceleration, metric] = cell["mean"].to_numpy()[order[:2]]
        expected = [
            [sentences.number(pair[place], key[2]) for key, pair in ranked.items()] for place in (0, 1)
        ]
        assert sorted(texts(table, "best")) == sorted(expected[0])
        assert sorted(texts(table, "second")) == sorted(expected[1])


def test_the_worst_slices_stand_beside_the_mean_of_the_results(analysis):
    for table, results in zip(
        mean_tables.worst_tables(analysis.worst, analysis.means),
        mean_tables.result_tables(analysis.means),
        strict=True,
    ):
        same = [results.one_header.index(heading) for heading in table.one_header[2::2]]
        printed = [[row[column].text for column in same] for row in results.body]
        assert [[cell.text for cell in row[2::2]] for row in table.body] == printed
        pairs = [pair for row in table.body for pair in zip(row[2::2], row[3::2], strict=True)]
        assert all(float(worst.text) < float(mean.text) for mean, worst in pairs)
        assert "worst 2 of 24 slices" in table.body[0][0].small
        assert set(pd.read_csv(io.StringIO(table.csv())).slices) == {24}


def test_failed_and_missing_methods_have_no_worst_slices():
    records = fake_records(("varnet", "clip", "zero_filled"), anatomies=("knee",), subjects=4, seeds=1)
    failed = records.index[
        (records.method == "clip") & (records.acceleration == 4) & (records.center == "0.08")
    ]
    scores = ["ssim", "psnr", "nmse", "squared_error", "challenge_ssim", "challenge_psnr", "challenge_nmse"]
    records.loc[failed[:1], scores] = np.nan
    records.loc[failed[:1], "status"] = "failed"
    found = analyse(records[~((records.method == "clip") & (records.acceleration == 10))])
    (table,) = mean_tables.worst_tables(found.worst, found.means)
    clip = [row for row in table.body if row[1].text == "CLIP"]
    assert clip[0][3] == Cell("failed", small="1 slice")
    assert clip[0][5].text not in ("failed", MISSING) and clip[2][3].text == MISSING


def test_every_table_made_of_phantoms_says_so_in_every_format(analysis):
    made = [
        *mean_tables.result_tables(analysis.means),
        *mean_tables.challenge_tables(analysis.means),
        *mean_tables.worst_tables(analysis.worst, analysis.means),
        *tables.comparison_tables(analysis.comparisons),
        *published.published_tables(analysis.means, published.read_published()),
        *tables.crossing_tables(analysis.crossings),
        tables.run_table(analysis.volumes, analysis.records),
    ]
    assert len(made) == 2 + 2 + 2 + 6 + 2 + 1 + 1
    for table in made:
        assert sentences.SYNTHETIC in table.markdown() and sentences.SYNTHETIC in table.latex()
        assert pd.read_csv(io.StringIO(table.csv())).synthetic.all()
    assert sentences.SYNTHETIC in mean_tables.summary(analysis.means)


def test_real_data_carry_no_such_notice():
    real = analyse(
        fake_records(("varnet", "clip"), anatomies=("knee",), subjects=6, seeds=1, synthetic=False)
    )
    for table in published.published_tables(real.means, published.read_published()):
        assert sentences.SYNTHETIC not in table.markdown() and not table.data.synthetic.any()
    assert not sentences.headline(real.priors, real.comparisons, real.crossings)[0].startswith("On phantoms")


def test_all_published_figures_stand_beside_ours(analysis):
    paper = published.read_published()
    assert len(paper) == 60
    everything = analyse(fake_records(("varnet", "clip", "dinov2", "biomedclip"), subjects=2, seeds=1))
    rows = pd.concat([table.data for table in published.published_tables(everything.means, paper)])
    assert len(rows) == 60 * 3 and rows[["ours", "published", "difference"]].notna().all(axis=None)
    np.testing.assert_allclose(rows.difference, rows.ours_over_slices - rows.published)
    row = rows[
        (rows.anatomy == "knee")
        & (rows.center == "0.04")
        & (rows.acceleration == 10)
        & (rows.arm == arm("clip"))
    ]
    assert row.set_index("metric").published.to_dict() == {
        "ssim": 0.6576,
        "psnr_volume": 26.08,
        "nmse_volume": 0.0839,
    }
    missing = published.published_tables(analysis.means, paper)[0]  # there is no BiomedCLIP in this run
    cells = [row for row in missing.body if row[1].text == "CMR-BiomedCLIP"]
    assert len(cells) == 3 and {cell.text for row in cells for cell in row[2:]} == {MISSING}


def test_the_challenges_metrics_stand_in_tables_of_their_own(analysis, records):
    for table in mean_tables.challenge_tables(analysis.means):
        assert set(table.data.metric) == set(metrics_of("challenge"))
        assert "hides errors of scale" in table.markdown() and "Challenge SSIM" in table.markdown()
    others = [
        *mean_tables.result_tables(analysis.means),
        *tables.comparison_tables(analysis.comparisons),
        *published.published_tables(analysis.means, published.read_published()),
    ]
    assert not any("challenge" in table.markdown().lower() for table in others)
    (knee,) = (t for t in mean_tables.challenge_tables(analysis.means) if "knee" in t.name)
    row = knee.data.set_index(["center", "acceleration", "arm", "metric"])
    here = records[(records.anatomy == "knee") & (records.center == "0.04") & (records.acceleration == 10)]
    expected = here[here.method == "clip"].challenge_ssim.mean()
    assert row.loc[("0.04", 10, arm("clip"), "challenge_ssim"), "mean"] == pytest.approx(expected)


def test_contrasts_of_one_data_set_stand_apart():
    records = fake_records(("varnet", "clip"), anatomies=("cardiac", "knee"), subjects=4, seeds=1)
    assert mean_tables.contrast_tables(analyse(records).contrasts) == []
    mapping = (records.anatomy == "cardiac") & records.subject.isin(["C001", "C003"])
    records.loc[mapping, "contrast"] = "T1map"
    (table,) = mean_tables.contrast_tables(analyse(records).contrasts)
    means = table.data[table.data.metric == "ssim"].set_index(["contrast", "acceleration", "arm"])["mean"]
    cardiac = records[records.anatomy == "cardiac"]
    expected = cardiac.groupby(["contrast", "acceleration", "method"]).ssim.mean()
    means.index = means.index.set_levels(means.index.levels[2].map(str), level=2)
    assert means.to_dict() == pytest.approx(expected.to_dict()) and len(means) == 2 * 3 * 2
    headings = [row[0].text for row in table.body if row[0].text]
    assert headings == [f"{c} {sentences.times(a)}" for c in ("T1map", "cine_sax") for a in (4, 8, 10)]
    assert "T1map: 2 subjects, 2 volumes per condition." in table.notes


def test_what_the_networks_were_trained_on_and_what_ssim_counts_is_said():
    records = fake_records(("varnet", "cg_sense"), anatomies=("knee",), subjects=2, seeds=1)
    records["trained_on_synthetic"] = records.method == "varnet"
    found = analyse(records)
    notices = all_notices(found.records, found.means)
    assert "Trained on phantoms: E2E-VarNet." in notices and BACKGROUND in notices
    without = analyse(records[records.method == "varnet"].assign(trained_on_synthetic=False))
    assert not {BACKGROUND, "Trained on phantoms: E2E-VarNet."} & set(
        all_notices(without.records, without.means)
    )


def test_a_prior_of_any_encoder_is_in_the_headline():
    records = fake_records(("varnet", "dinov2"), anatomies=("knee",), subjects=6, seeds=1)
    records = records.replace({"method": {"dinov2": "my_vit"}, "encoder": {"dinov2": "my_vit"}})
    found = analyse(records)
    assert found.priors == [Arm("my_vit", "my_vit", "pretrained")]
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    assert "of 6 comparisons" in sentences.headline(found.priors, ssim, found.crossings)[0]


def test_published_figures_that_are_not_there_are_named(tmp_path):
    with pytest.raises(InputError, match="published figures"):
        published.read_published(tmp_path / "absent.csv")


def test_other_metrics_stand_beside_ssim_where_they_were_computed():
    records = fake_records(("varnet", "zero_filled"), anatomies=("cardiac", "knee"), subjects=3, seeds=1)
    assert mean_tables.further_tables(analyse(records).means) == []
    hearts = records.anatomy == "cardiac"
    records.loc[hearts, "ssim_half"] = records.ssim[hearts] - 0.1
    records["haarpsi"], records["ssim_body"] = 0.5, records.ssim - 0.05
    found = analyse(records)
    of_hearts, of_knees = mean_tables.further_tables(found.means)
    labels = ["SSIM", "SSIM (body)", "SSIM (half readout)", "HaarPSI"]
    assert [text for text, _ in of_hearts.header[1]][2:] == [f"{label} ↑" for label in labels]
    assert "half readout" not in of_knees.markdown() and of_knees.width == 2 + 2 * 3
    for row in of_hearts.body:
        whole, body, half, perceptual = (float(cell.text) for cell in row[2:])
        assert [body, half, perceptual] == pytest.approx([whole - 0.05, whole - 0.1, 0.5], abs=2e-4)
    assert "inside the body, mean over slices" in of_hearts.notes[2]


def test_missing_and_failed_are_shown_as_such():
    records = fake_records(("varnet", "clip", "dinov2"), anatomies=("cardiac",), subjects=6, seeds=1)
    records = records[~((records.method == "dinov2") & (records.acceleration == 4))]
    clip = (records.method == "clip") & (records.acceleration == 8)
    records.loc[clip, ["ssim", "psnr", "nmse", "squared_error"]] = np.nan
    records.loc[clip, "status"] = "failed"
    found = analyse(records)
    (table,) = mean_tables.result_tables(found.means)
    rows = {(i // 3, row[1].text): row for i, row in enumerate(table.body)}
    assert rows[0, "DINOv2"][2].text == MISSING
    assert rows[1, "CLIP"][2] == Cell("failed", small="6 volumes")
    assert rows[1, "E2E-VarNet"][2].text not in (MISSING, "failed")
    notices = " ".join(all_notices(found.records, found.means))
    assert f"12 of {len(records)} slices failed" in notices and "CLIP 12" in notices
    assert "1 of 9 combinations of method and condition are missing" in notices


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("tiny.pt", "CLIP (tiny.pt weights)"),
        ("vit_b_16_openai.safetensors", "CLIP (vit_b_16_openai weights)"),
        ("dinov2_small_derived_timm_fp16.safetensors", "CLIP (dinov2_…mm_fp16 weights)"),
    ],
)
def test_long_names_of_files_are_shortened_where_they_would_not_fit(file: str, name: str):
    assert Arm("clip", "clip", f"file:{file}").label == name


def test_other_weights_than_the_pretrained_ones_are_named_where_the_numbers_stand():
    records = fake_records(
        ("varnet", "clip"), anatomies=("knee",), subjects=6, seeds=1, encoder_weights="random"
    )
    found = analyse(records)
    assert "CLIP (random weights)" in mean_tables.result_tables(found.means)[0].markdown()
    assert (
        "CMR-CLIP (random weights)"
        in published.published_tables(found.means, published.read_published())[0].markdown()
    )
    assert any(
        "carries random weights: a control" in notice for notice in all_notices(found.records, found.means)
    )


def test_of_several_encoders_those_with_other_weights_are_named():
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=2, seeds=1)
    clip = records.method == "clip"
    several = {"method": "clip x 8, random x 4", "encoder": "clip + random"}
    records.loc[clip, [*several, "encoder_weights"]] = [*several.values(), "pretrained + random"]
    found = analyse(records)
    notices = [notice for notice in all_notices(found.records, found.means) if "carries" in notice]
    words = "the frozen encoder carries random weights: a control, not a foundation model."
    assert notices == [f"CLIP x 8, Random encoder x 4: {words}"]


def test_numbers_do_not_depend_on_the_order_of_rows(records, analysis):
    shuffled = records.sample(frac=1, random_state=3)
    shuffled = shuffled.sort_values(list(records.columns[:5]), kind="stable", ignore_index=True)
    again = analyse(shuffled)
    for ours, other in zip(
        tables.comparison_tables(analysis.comparisons),
        tables.comparison_tables(again.comparisons),
        strict=True,
    ):
        assert ours.csv() == other.csv()


def test_p_values_are_printed_only_with_enough_subjects():
    small = analyse(fake_records(("varnet", "clip"), anatomies=("knee",), subjects=2, seeds=1))
    text = tables.comparison_tables(small.comparisons)[0].markdown()
    assert text.count("2 < 3 subjects") == 6
    ssim = small.comparisons[small.comparisons.metric == "ssim"]
    said = sentences.headline(small.priors, ssim, small.crossings)
    assert "(6 not tested: fewer than 3 subjects)" in said[0] and "which is not tested" in said[1]
    assert tables.crossing_tables(small.crossings)[0].markdown().count("fewer than 3 subjects") == 2


def test_the_headline_counts_what_the_comparisons_say(analysis):
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    priors = ssim[ssim.arm.isin([arm("clip"), arm("dinov2")])]
    better = (priors.clear & (priors.difference > 0)).sum()
    worse = (priors.clear & (priors.difference < 0)).sum()
    said = sentences.headline(analysis.priors, ssim, analysis.crossings)
    assert f"better in {better}, worse in {worse} of {len(priors)} comparisons" in said[0]
    knee = priors[priors.anatomy == "knee"]
    assert sentences.difference(knee.difference.max(), "ssim") in said[2]


def test_without_a_baseline_there_is_nothing_to_compare():
    lone = analyse(fake_records(("clip", "zero_filled"), anatomies=("knee",), subjects=6, seeds=1))
    assert lone.comparisons.empty and lone.crossings.empty
    (said,) = sentences.headline(lone.priors, lone.comparisons, lone.crossings)
    assert said == "The records hold no E2E-VarNet that a prior could be compared with."


def test_a_prior_with_random_weights_is_a_control():
    records = fake_records(
        ("varnet", "clip"), anatomies=("knee",), subjects=6, seeds=1, encoder_weights="random"
    )
    found = analyse(records)
    assert found.priors == []
    (said,) = sentences.headline(found.priors, found.comparisons, found.crossings)
    assert said == "The records hold no pretrained prior: they say nothing about foundation models."
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    (control,) = sentences.control_headline(found.controls, ssim)
    assert control.startswith("Control: on phantoms, CLIP (random weights) against E2E-VarNet in SSIM: ")
    assert f"of {len(ssim)} comparisons" in control


def test_methods_of_different_training_data_are_named_and_not_compared():
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=6, seeds=1)
    records["training_data"] = records.method
    found = analyse(records)
    assert found.comparisons.empty and found.crossings.empty and len(found.means)
    notices = all_notices(found.records, found.means, found.apart)
    assert "CLIP and E2E-VarNet were trained on different data: they are not compared." in notices


def test_each_training_of_the_baseline_has_tables_of_its_own():
    records = fake_records(("varnet", "clip"), anatomies=("knee",), subjects=6, seeds=1)
    varnet = records.method == "varnet"
    hearts = records.assign(training_data="hearts")
    knees = records[varnet].assign(training_data="knees", checkpoint_sha256="k" + records.checkpoint_sha256)
    found = analyse(pd.concat([hearts, knees], ignore_index=True))
    assert len(found.baselines) == 2 and len(set(found.comparisons.baseline)) == 1
    (baseline,) = set(found.comparisons.baseline)
    assert baseline.variant and baseline.of_any_training == Arm("varnet")
    assert set(found.comparisons.arm) == {arm("clip")}
    assert [pair[0] for pair in found.apart] == [arm("clip")]
    made = [*tables.comparison_tables(found.comparisons), *tables.crossing_tables(found.crossings)]
    assert len({table.name for table in made}) == len(made)
    assert f"minus that of {baseline.label}" in made[0].caption


def test_priors_are_compared_with_their_own_controls():
    made = [
        fake_records(("clip", "image_skip_only"), anatomies=("knee",), subjects=6, seeds=1),
        fake_records(("clip",), anatomies=("knee",), subjects=6, seeds=1, encoder_weights="random"),
        fake_records(("dinov2",), anatomies=("knee",), subjects=6, seeds=1),
    ]
    found = analyse(pd.concat(made, ignore_index=True))
    pairs = set(zip(found.controls.arm.map(str), found.controls.baseline.map(str), strict=True))
    assert pairs == {("clip", "image_skip_only"), ("dinov2", "image_skip_only"), ("clip", "clip [random]")}
    made = tables.comparison_tables(found.controls)
    assert len({table.name for table in made}) == len(made) == 2
    said = sentences.control_headline(found.controls, found.comparisons)
    assert [sentence.split(" in SSIM")[0] for sentence in said] == [
        "Control: on phantoms, CLIP against CLIP (random weights)",
        "Control: on phantoms, CLIP, DINOv2 against Image skip only",
    ]
    twin = found.controls[found.controls.baseline == arm("clip", "random")]
    assert f"of {len(twin)} comparisons, for these networks" in said[0]
    notices = " ".join(all_notices(found.records, found.means))
    assert "One training seed per method" in notices


def test_a_prior_is_compared_with_each_of_its_controls_and_no_other():
    pretrained = fake_records(("clip", "dinov2"), anatomies=("knee",), subjects=3, seeds=1)
    shuffled = pretrained[pretrained.method == "clip"].assign(
        encoder_weights="shuffled pretrained", checkpoint_sha256="s" + pretrained.checkpoint_sha256
    )
    others = [
        fake_records(("varnet", name), anatomies=("knee",), subjects=3, seeds=1).replace(
            {"method": {name: renamed}}
        )
        for name, renamed in (("image_skip_only", "trained_embedding"), ("varnet_wide", "varnet_zero"))
    ]
    others[1] = others[1][others[1].method != "varnet"]
    found = analyse(pd.concat([pretrained, shuffled, *others], ignore_index=True))
    pairs = set(zip(found.controls.arm.map(str), found.controls.baseline.map(str), strict=True))
    assert pairs == {
        ("clip", "clip [shuffled pretrained]"),
        *(
            (prior, control)
            for prior in ("clip", "dinov2")
            for control in ("trained_embedding", "varnet_zero")
        ),
    }


def test_the_size_of_its_networks_stands_below_a_method():
    records = fake_records(("varnet", "clip", "zero_filled"), anatomies=("knee",), subjects=3, seeds=1)
    learned = {"clip": {"size": {"trained": 56_412_000, "frozen": 43_270_000, "flop": 7.2e12}}}
    sizes = sentences.sizes(learned | {"varnet": {"step_sizes": []}})
    assert sizes == {"clip": "56.4 M, 7.2 TFLOP"}
    found = analyse(records, sizes=sizes)
    for table in (mean_tables.result_tables(found.means)[0], tables.comparison_tables(found.comparisons)[0]):
        below = {cell.text: cell.small for row in table.body for cell in row[1:2]}
        assert below["CLIP"] == "56.4 M, 7.2 TFLOP" and not below.get("E2E-VarNet")
        assert sentences.SIZES in table.notes
    without = analyse(records)
    assert sentences.SIZES not in mean_tables.result_tables(without.means)[0].notes


def test_special_characters_survive_every_format(analysis):
    table = mean_tables.result_tables(analysis.means)[0]
    odd = replace(
        table,
        caption="50 % of a_b & c | \N{MULTIPLICATION SIGN}4",
        body=((Cell("a|b"), Cell("c_d"), *table.body[0][2:]),),
    )
    assert r"50 \% of a\_b \& c | $\times$4" in odd.latex() and r"c\_d" in odd.latex()
    assert r"a\|b" in odd.markdown()
    widths = {line.count(" | ") for line in table.markdown().splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_the_summary_fits_a_terminal(records):
    printed = mean_tables.summary(main_means(records))
    assert max(map(len, printed.splitlines())) <= 100
    assert "Knee (Phantom knee), center fraction 0.04" in printed
    mean = records[
        (records.method == "clip") & (records.center == "0.04") & (records.acceleration == 10)
    ].ssim.mean()
    assert f"{mean:.4f}" in printed
