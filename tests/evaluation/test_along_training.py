"""SSIM out of domain at every saved epoch: numbers worked out by hand, their figure and their table."""

import numpy as np
import pandas as pd
import pytest

from fake_records import fake_records, write_run
from fm_unroll.errors import InputError
from fm_unroll.evaluation.along_training import courses, gains
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.records import read_records
from fm_unroll.report.along_training import along_training, gain_table
from fm_unroll.report.page import write_report

METHODS = ("varnet", "clip", "zero_filled")
EPOCHS = 4


def epochs_of(tmp_path, ssim, seeds: int = 2) -> pd.DataFrame:
    """Records of networks of several epochs; SSIM of every slice is `ssim(method, anatomy, seed, epoch)`."""
    some = fake_records(METHODS, subjects=3, seeds=seeds, accelerations=(8.0,))
    trained = some.method != "zero_filled"
    some.loc[trained, "train_anatomy"] = "cardiac"
    parts = [some[~trained]]
    for epoch in range(1, EPOCHS + 1):
        part = some[trained].assign(epoch=float(epoch))
        part["checkpoint_sha256"] += f"-{epoch}"
        part["ssim"] = [ssim(r.method, r.anatomy, r.seed, epoch) for r in part.itertuples()]
        parts.append(part)
    path = tmp_path / "epochs.csv"
    pd.concat(parts).to_csv(path, index=False)
    return read_records(path)


def rising(method, anatomy, seed, epoch) -> float:
    """Both rise in domain; elsewhere CLIP falls behind after the second epoch."""
    if anatomy == "cardiac":
        return 0.8 + 0.02 * epoch + 0.001 * seed
    return 0.7 + (0.01 * (2.5 - epoch) if method == "clip" else 0) + 0.002 * seed


def test_every_network_has_its_means_in_and_out_of_domain(tmp_path):
    records = epochs_of(tmp_path, rising)
    found = courses(records.assign(chosen_epoch=3.0))
    assert set(found.anatomy) == {"knee", "brain"}
    trained = found[found.epoch.notna()]
    assert len(trained) == 2 * EPOCHS * 2 * 4  # methods, epochs, seeds, and two centers of two anatomies
    for row in trained.itertuples():
        assert row.ssim == pytest.approx(rising(row.arm.method, row.anatomy, row.seed, row.epoch))
        assert row.in_domain == pytest.approx(rising(row.arm.method, "cardiac", row.seed, row.epoch))
        assert row.subjects == 3
    assert (trained.chosen == (trained.epoch == 3)).all()
    floor = found[found.epoch.isna()]
    assert set(floor.arm) == {Arm("zero_filled")} and len(floor) == 4
    hearts = records[(records.method == "zero_filled") & (records.anatomy == "cardiac")]
    by_subject = hearts.groupby("subject", observed=True).ssim.mean()
    assert floor.in_domain.to_numpy() == pytest.approx(by_subject.mean())


def test_subjects_count_alike_however_many_volumes_they_have(tmp_path):
    records = epochs_of(tmp_path, rising)
    knees = (records.anatomy == "knee") & (records.subject == "K000")
    records["ssim"] = np.where(knees, 0.1, 0.4)
    more = records[knees].assign(volume="K000/another", slice=7)
    everything = pd.concat([records, more])
    found = courses(everything)
    assert found[found.anatomy == "knee"].ssim.to_numpy() == pytest.approx(0.3)  # (0.1 + 0.4 + 0.4) / 3


@pytest.mark.parametrize("spoil", ["failed", "missing"])
def test_a_network_without_all_slices_has_no_mean(tmp_path, spoil):
    records = epochs_of(tmp_path, rising)
    one = (
        (records.anatomy == "knee") & (records.epoch == 2) & (records.method == "clip") & (records.seed == 0)
    )
    where = records.index[one & (records.center == "0.08")][0]
    if spoil == "failed":
        records.loc[where, "ssim"] = np.nan
    else:
        records = records.drop(index=where)
    found = courses(records)
    unknown = found[found.ssim.isna()]
    assert [(r.anatomy, r.center, r.arm.method, r.epoch, r.seed) for r in unknown.itertuples()] == [
        ("knee", "0.08", "clip", 2, 0)
    ]


def test_the_gain_is_given_at_the_chosen_epoch_and_over_all(tmp_path):
    records = epochs_of(tmp_path, rising)
    # validation chose the first epoch of CLIP and the last one of the baseline
    by_method = {"clip": 1, "varnet": EPOCHS}
    records["chosen_epoch"] = records.method.map(by_method).astype(float)
    found = gains(courses(records))
    assert len(found) == 4 and set(found.arm) == {Arm("clip", "clip", "pretrained")}
    for row in found.itertuples():
        assert (row.ahead, row.epochs) == (2, EPOCHS)
        assert [row.at_chosen, row.low, row.high] == pytest.approx([0.015, -0.015, 0.015])
    (table,) = gain_table(found)
    assert [cell.text for cell in table.body[0][1:]] == [
        "CLIP",
        "E2E-VarNet",
        "2 of 4",
        "+0.0150",
        "\N{MINUS SIGN}0.0150 to +0.0150",
    ]


def test_only_epochs_that_all_networks_saved_count(tmp_path):
    records = epochs_of(tmp_path, rising)
    records["chosen_epoch"] = 1.0
    late = (records.method == "clip") & (records.seed == 1) & (records.epoch == 1)
    found = gains(courses(records[~late]))
    assert set(found.epochs) == {EPOCHS - 1} and set(found.ahead) == {1}
    assert found.high.to_numpy() == pytest.approx(0.005) and found.at_chosen.isna().all()


def test_every_acceleration_has_its_own_networks_and_its_own_domain(tmp_path):
    """Networks for x4 and x8, tested at both: those of the tested acceleration, each beside its own SSIM."""
    records = epochs_of(tmp_path, rising)
    others = records.assign(train_acceleration=records.train_acceleration.where(records.epoch.isna(), 4.0))
    others["ssim"] = others.ssim - 0.3
    others["checkpoint_sha256"] = others.checkpoint_sha256.astype(str) + "-x4"
    tested = [table.assign(acceleration=at) for table in (records, others) for at in (4.0, 8.0)]
    both = pd.concat(tested)[lambda rows: rows.epoch.notna()].reset_index(drop=True)
    both.loc[both.acceleration == 8, "ssim"] -= 0.05
    found = courses(both)
    assert (found.train_acceleration == found.acceleration).all() and len(found) == 2 * 2 * EPOCHS * 2 * 4
    for row in found.itertuples():
        less = 0.05 if row.acceleration == 8 else 0.3
        assert row.ssim == pytest.approx(rising(row.arm.method, row.anatomy, row.seed, row.epoch) - less)
        assert row.in_domain == pytest.approx(rising(row.arm.method, "cardiac", row.seed, row.epoch) - less)
    order = list(dict.fromkeys(zip(found.anatomy, found.center, found.acceleration, strict=True)))
    centers = ["0.08", "0.04"]
    assert order == [(a, c, x) for a in ("knee", "brain") for c in centers for x in (4.0, 8.0)]


def test_each_network_stands_beside_the_anatomy_of_its_own_training(tmp_path):
    records = epochs_of(tmp_path, rising)
    records = records[records.epoch.notna()]
    records["train_anatomy"] = np.where(records.method == "clip", "knee", "cardiac")
    found = courses(records)
    where = found.groupby(found.arm.map(str)).anatomy.unique().map(set).to_dict()
    assert where == {"clip": {"cardiac", "brain"}, "varnet": {"knee", "brain"}}
    knees = found[found.arm.map(str) == "clip"]
    assert knees.in_domain.to_numpy() == pytest.approx(
        [rising("clip", "knee", r.seed, r.epoch) for r in knees.itertuples()]
    )


def test_a_failed_slice_in_domain_leaves_no_figure_of_its_network(tmp_path):
    records = epochs_of(tmp_path, rising)
    one = (records.anatomy == "cardiac") & (records.epoch == 2) & (records.method == "clip")
    records.loc[records.index[one & (records.seed == 1)][0], "ssim"] = np.nan
    found = courses(records)
    unknown = found[found.in_domain.isna()]
    assert set(zip(unknown.arm.map(str), unknown.epoch, unknown.seed, strict=True)) == {("clip", 2, 1)}


def test_trainings_that_differ_in_more_than_their_seed_are_several_arms(tmp_path):
    records = epochs_of(tmp_path, rising, seeds=1)
    other = records[records.method == "clip"].assign(hyper_parameters="another", seed=7.0)
    other["checkpoint_sha256"] = other.checkpoint_sha256.astype(str) + "-other"
    found = courses(pd.concat([records, other], ignore_index=True))
    assert len({arm for arm in found.arm if arm.method == "clip"}) == 2


def test_gains_that_are_not_alike_at_all_epochs(tmp_path):
    gain = {1: 0.01, 2: 0.0, 3: -0.02, 4: 0.04}

    def ssim(method, anatomy, seed, epoch) -> float:
        return 0.7 + 0.01 * epoch + (gain[epoch] if method == "clip" and anatomy != "cardiac" else 0)

    records = epochs_of(tmp_path, ssim)
    records["chosen_epoch"] = records.method.map({"clip": 3.0, "varnet": 2.0}).astype(float)
    found = gains(courses(records))
    for row in found.itertuples():
        assert (row.ahead, row.epochs) == (2, 4)
        assert [row.low, row.high] == pytest.approx([-0.02, 0.04])
        assert row.at_chosen == pytest.approx(0.7 + 0.03 - 0.02 - (0.7 + 0.02))


def test_networks_of_other_training_data_are_not_compared(tmp_path):
    records = epochs_of(tmp_path, rising)
    records["training_data"] = np.where(records.method == "clip", "some", "others")
    assert gains(courses(records)).empty and gain_table(gains(courses(records))) == []


def test_without_another_anatomy_there_is_nothing_to_show(tmp_path):
    records = epochs_of(tmp_path, rising)
    assert courses(records[records.anatomy == "cardiac"]).empty
    assert courses(records[records.anatomy == "knee"]).empty


def test_the_figure_shows_every_network_and_rings_the_chosen(tmp_path):
    records = epochs_of(tmp_path, rising)
    figure = along_training(courses(records.assign(chosen_epoch=3.0)))
    axes = [axis for axis in figure.axes if axis.get_visible()]
    assert len(axes) == 4
    for axis in axes:
        points = np.concatenate([dots.get_offsets() for dots in axis.collections])
        assert len(points) == 2 * 2 * EPOCHS
        rings = [line for line in axis.lines if line.get_marker() == "o" and line.get_markersize() == 10]
        at = sorted(line.get_xdata()[0] for line in rings)
        assert at == pytest.approx([0.86, 0.86, 0.861, 0.861])
        assert [line.get_marker() for line in axis.lines].count("x") == 1


def course(**floor) -> pd.DataFrame:
    """One training of three epochs, the second chosen, in any order; two more are not known; and a floor."""
    place = {"dataset": "Phantom knee", "anatomy": "knee", "center": "0.08", "acceleration": 8.0}
    network = place | {"arm": Arm("varnet"), "train_acceleration": 8.0, "seed": 0, "synthetic": True}
    of_epochs = [
        {"epoch": 3.0, "in_domain": 0.86, "ssim": 0.71, "chosen": False},
        {"epoch": 1.0, "in_domain": 0.80, "ssim": 0.70, "chosen": False},
        {"epoch": 2.0, "in_domain": 0.83, "ssim": 0.76, "chosen": True},
        {"epoch": 4.0, "in_domain": 0.10, "ssim": np.nan, "chosen": False},
        {"epoch": 5.0, "in_domain": np.nan, "ssim": 0.10, "chosen": False},
    ]
    nothing_known = network | {"center": "0.04", "epoch": 1.0, "chosen": True, "in_domain": 0.8}
    rows = [nothing_known | {"ssim": np.nan}, *(network | row for row in of_epochs)]
    without = {"arm": Arm("zero_filled"), "train_acceleration": np.nan, "epoch": np.nan, "chosen": False}
    return pd.DataFrame([*rows, network | without | floor])


def test_lines_dots_rings_and_crosses_are_at_their_two_figures():
    (axis,) = along_training(course(in_domain=0.45, ssim=0.31)).axes
    assert axis.get_ylabel() == "SSIM out of domain"
    (line,) = [line for line in axis.lines if len(line.get_xdata()) > 1]
    in_order = [(0.80, 0.70), (0.83, 0.76), (0.86, 0.71)]
    assert line.get_xydata() == pytest.approx(np.array(in_order))
    (dots,) = axis.collections
    found = sorted(zip(dots.get_offsets().tolist(), dots.get_sizes(), strict=True), key=lambda dot: dot[1])
    assert np.array([place for place, _ in found]) == pytest.approx(np.array(in_order))
    assert len(np.unique(dots.get_sizes())) == 3
    single = {line.get_marker(): line.get_xydata() for line in axis.lines if len(line.get_xdata()) == 1}
    assert single["o"] == pytest.approx(np.array([(0.83, 0.76)]))
    assert single["x"] == pytest.approx(np.array([(0.45, 0.31)]))
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    assert 0.75 < left < 0.80 and 0.86 < right < 0.91 and 0.65 < bottom < 0.70 and 0.76 < top < 0.81


@pytest.mark.parametrize(
    ("in_domain", "ssim", "far"),
    [
        (0.45, 0.31, "Zero-filled: 0.45, 0.31"),
        (0.82, 0.31, "Zero-filled: 0.82, 0.31"),
        (0.82, 0.96, "Zero-filled: 0.82, 0.96"),
        (0.45, 0.72, "Zero-filled: 0.45, 0.72"),
        (0.97, 0.72, "Zero-filled: 0.97, 0.72"),
        (0.82, 0.72, ""),
    ],
)
def test_methods_outside_are_named_below_the_axis(in_domain, ssim, far):
    (axis,) = along_training(course(in_domain=in_domain, ssim=ssim)).axes
    assert " ".join(axis.get_xlabel().split()) == f"SSIM in domain {far}".strip()


def test_a_place_is_named_once_in_the_table(tmp_path):
    found = gains(courses(epochs_of(tmp_path, rising).assign(chosen_epoch=1.0)))
    another = found.assign(arm=Arm("dinov2", "dinov2", "pretrained"))
    (table,) = gain_table(pd.concat([found, another]).sort_index(kind="stable"))
    places = [row[0].text for row in table.body]
    assert places[1::2] == [""] * 4
    assert len(set(places[::2])) == 4 and all("\N{MULTIPLICATION SIGN}8" in text for text in places[::2])


def test_networks_that_all_failed_are_no_figure(tmp_path):
    records = write_run(
        tmp_path, fake_records(METHODS, subjects=3, seeds=1, accelerations=(8.0,)), stored=False
    )
    broken = epochs_of(tmp_path, rising, seeds=1)
    broken = broken[broken.method != "zero_filled"]
    hearts = broken.anatomy == "cardiac"
    broken.loc[hearts, ["ssim", "psnr", "nmse", "squared_error"]] = np.nan
    broken.loc[hearts, ["challenge_ssim", "challenge_psnr", "challenge_nmse"]] = np.nan
    broken["status"] = np.where(hearts, "failed", "ok")
    (tmp_path / "along_training").mkdir()
    broken.to_csv(tmp_path / "along_training/records.csv", index=False)
    write_report(records, tmp_path / "out")
    assert not (tmp_path / "out/figures/along_training.png").exists()
    with pytest.raises(InputError, match=r"which the report of .*records\.csv shows"):
        write_report(tmp_path / "along_training/records.csv", tmp_path / "out")


def test_the_report_holds_it_where_it_was_evaluated(tmp_path):
    records = write_run(
        tmp_path, fake_records(METHODS, subjects=3, seeds=1, accelerations=(8.0,)), stored=False
    )
    write_report(records, tmp_path / "without")
    assert "Along training" not in (tmp_path / "without/report.html").read_text()
    folder = tmp_path / "along_training"
    folder.mkdir()
    epochs_of(folder, rising, seeds=1).to_csv(folder / "records.csv", index=False)
    write_report(records, tmp_path / "with")
    page = (tmp_path / "with/report.html").read_text()
    assert "Along training" in page and "2 of 4" in page
    assert (tmp_path / "with/figures/along_training.png").is_file()
    assert (tmp_path / "with/tables/along_training.csv").is_file()
