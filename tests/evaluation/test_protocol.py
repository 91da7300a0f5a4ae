"""The cross-domain run on real files of the tiny data set."""

import hashlib
import json
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fastmri import evaluate

from fm_unroll.cli import main
from fm_unroll.commands.cross_domain import cross_domain
from fm_unroll.data import CMRxReconData, FastMRIBrainData, FastMRIKneeData
from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.entrants import Entrant, baseline, trained
from fm_unroll.evaluation.metric_table import measures
from fm_unroll.evaluation.parts import Parts
from fm_unroll.evaluation.protocol import Protocol, choose_conditions, default_checkpoints, find_checkpoints
from fm_unroll.evaluation.records import read_records, volume_table
from fm_unroll.evaluation.scoring import Condition, Scorer, TestSet
from fm_unroll.evaluation.selection import PLACE, shown_runs, typical
from fm_unroll.files import file_sha256
from fm_unroll.models.release import GENERAL
from fm_unroll.physics import Center, EquispacedSampling, RandomSampling, UniformSampling, ifft2c, rss
from fm_unroll.report.pictures import read_slices
from fm_unroll.training.run_folder import latest_checkpoint
from warm_processes import run_together, start

pytestmark = pytest.mark.slow

SPLIT = (0.5, 0.25, 0.25)
ACS8, FIFTH, TENTH = Center(lines=8), Center(fraction=0.2), Center(fraction=0.1)


def test_sets(root: Path) -> list[TestSet]:
    return [
        TestSet("heart", CMRxReconData(root, acs_lines=8, split=SPLIT, num_workers=0), [ACS8]),
        TestSet("knee", FastMRIKneeData(root / "knee", num_workers=0), [FIFTH, TENTH]),
        TestSet("brain", FastMRIBrainData(root / "brain", num_workers=0), [FIFTH]),
    ]


test_sets.__test__ = False


def run(root: Path, output: Path, **options) -> pd.DataFrame:
    options = {"checkpoints": (), "accelerations": (2, 4), "num_workers": 0} | options
    cross_domain(test_sets=test_sets(root), output=output, **options)
    return read_records(output / "records.csv")


@pytest.fixture(scope="module")
def checkpoint(synthetic, tmp_path_factory) -> Path:
    """A network after one epoch."""
    run_dir = tmp_path_factory.mktemp("runs") / "image_skip_only"
    fit(synthetic, run_dir)
    return run_dir / "checkpoints" / "best.ckpt"


def fit(synthetic: Path, run_dir: Path, **options) -> None:
    """Train for a moment."""
    data = {"root": str(synthetic), "acceleration": 4, "acs_lines": 8, "split": list(SPLIT), "num_workers": 0}
    model = {
        "method": "image_skip_only",
        "num_cascades": 1,
        "decoder_widths": [4, 4, 4, 4],
        "sens_chans": 2,
        "sens_pools": 2,
    }
    trainer = {"max_epochs": 1, "default_root_dir": str(run_dir), "accelerator": "cpu", "logger": False}
    trainer |= {"enable_progress_bar": False, "limit_train_batches": 2, "limit_val_batches": 1} | options
    content = {"model": model, "data": {"class_path": "CMRxReconData", "init_args": data}, "trainer": trainer}
    config = run_dir.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(content))
    main(["fit", "--config", str(config)])


@pytest.fixture(scope="module")
def results(synthetic, checkpoint, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("results")
    run(synthetic, output, checkpoints=[str(checkpoint)])
    return output


@pytest.fixture(scope="module")
def records(results) -> pd.DataFrame:
    return read_records(results / "records.csv")


def test_every_slice_of_every_condition_has_one_row(records, synthetic):
    slices = 0
    for test_set in test_sets(synthetic):
        test_set.data.setup()
        volumes = test_set.data.volumes("test")
        slices += sum(v.num_slices * v.num_frames for v in volumes) * len(test_set.centers)
    zero_filled = records[records.method == "zero_filled"]
    assert len(zero_filled) == slices * 2
    # trained for x4, so evaluated at x4 alone
    assert set(records[records.method == "image_skip_only"].acceleration) == {4}
    assert len(records[records.method == "image_skip_only"]) == slices
    assert records.synthetic.all() and (records.status == "ok").all()


def test_all_methods_see_the_same_masks_and_none_of_the_training_subjects(records, checkpoint):
    at_four = records[records.acceleration == 4]
    assert (
        at_four.groupby(["anatomy", "center", "volume", "slice", "frame"]).mask_sha256.nunique() == 1
    ).all()
    seen = torch.load(checkpoint, weights_only=True)["fm_unroll"]["subjects"]
    tested = set(records[records.anatomy == "cardiac"].subject)
    assert tested == set(seen["test"]) and not tested & {*seen["train"], *seen["val"]}


def test_ssim_without_readout_oversampling_is_that_of_the_middle_rows_of_hearts(records, synthetic):
    row = records[(records.method == "zero_filled") & (records.anatomy == "cardiac")].iloc[0]
    (path,) = synthetic.glob(f"MultiCoil/*/TrainingSet/FullSample/{row.volume}.mat")
    with h5py.File(path) as file:
        stored = file["kspace_full"][row.frame, row.slice]  # coil, ky, kx
    kspace = torch.from_numpy((stored["real"] + 1j * stored["imag"]).swapaxes(1, 2))
    mask = UniformSampling(row.acceleration, ACS8.lines)(kspace.shape[-1], "any")
    target, image = (rss(ifft2c(k))[None].numpy() for k in (kspace, kspace * mask.lines))
    rows = slice(kspace.shape[1] // 4, kspace.shape[1] // 4 + kspace.shape[1] // 2)
    expected = evaluate.ssim(target[:, rows], image[:, rows], maxval=row.data_range)
    assert row.ssim_half == pytest.approx(float(expected[0]), abs=1e-5)
    assert row.ssim == pytest.approx(float(evaluate.ssim(target, image, maxval=row.data_range)[0]), abs=1e-5)
    assert records[records.anatomy != "cardiac"].ssim_half.isna().all()


def test_volume_metrics_equal_fastmri_on_the_files_themselves(records, synthetic):
    table = volume_table(records)
    path = sorted((synthetic / "knee").rglob("*.h5"))[0]
    with h5py.File(path) as file:
        kspace, target = torch.from_numpy(file["kspace"][()]), file["reconstruction_rss"][()]
    mask = EquispacedSampling(4, 0.1)(kspace.shape[-1], path.name)
    image = rss(ifft2c(kspace * mask.lines)).numpy()
    rows, columns = target.shape[1:]
    top, left = (image.shape[1] - rows) // 2, (image.shape[2] - columns) // 2
    image = image[:, top : top + rows, left : left + columns]
    row = table[(table.volume == path.stem) & (table.method == "zero_filled") & (table.center == "0.10")]
    row = row[row.acceleration == 4].squeeze()
    assert row.ssim == pytest.approx(float(evaluate.ssim(target, image)[0]), abs=1e-5)
    assert row.psnr_volume == pytest.approx(float(evaluate.psnr(target, image)), abs=1e-4)
    assert row.nmse_volume == pytest.approx(float(evaluate.nmse(target, image)), rel=1e-4)
    assert row.true_acceleration == mask.true_acceleration


def write_config(root: Path, folder: Path, **options) -> Path:
    """The protocol of `test_sets` as a config file, with the results in ``folder``."""
    sets = [
        ("heart", "CMRxReconData", {"root": str(root), "acs_lines": 8, "split": list(SPLIT)}, [8]),
        ("knee", "FastMRIKneeData", {"root": str(root / "knee")}, [0.2, 0.1]),
        ("brain", "FastMRIBrainData", {"root": str(root / "brain")}, [0.2]),
    ]
    content = {
        "test_sets": [
            {"name": name, "data": {"class_path": class_path, "init_args": init_args}, "centers": centers}
            for name, class_path, init_args, centers in sets
        ],
        "checkpoints": [],
        "accelerations": [2, 4],
        "output": str(folder),
        "num_workers": 0,
    }
    config = folder.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(content | options))
    return config


def test_a_run_killed_five_times_goes_on_to_the_same_bytes(synthetic, tmp_path):
    """SIGKILL at random moments: nothing is done twice, and the result is that of a run left alone."""
    options = {"baselines": ["zero_filled", "cg_sense"], "accelerations": [2, 3, 4]}
    run(synthetic, tmp_path / "whole", **options)
    parts = sorted(path.relative_to(tmp_path / "whole") for path in parts_below(tmp_path / "whole/parts"))
    output = tmp_path / "killed"
    arguments = ["cross-domain", "--config", str(write_config(synthetic, output, **options))]
    moment = random.Random(2604)
    written: dict[Path, int] = {}
    for finished in sorted(moment.sample(range(1, len(parts) - 3), 5)):
        process = start(arguments)
        deadline = time.monotonic() + 300
        while len(parts_below(output / "parts")) < finished:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(moment.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        now = parts_below(output / "parts")
        assert len(now) < len(parts) and written.items() <= now.items(), "nothing is done twice"
        written = now
    main(arguments)
    last = parts_below(output / "parts")
    assert written.items() <= last.items()
    assert sorted(path.relative_to(output) for path in last) == parts
    assert (output / "records.csv").read_bytes() == (tmp_path / "whole/records.csv").read_bytes()


def parts_below(output: Path) -> dict[Path, int]:
    """Finished parts and when they were written, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.suffix in (".csv", ".npz")}


def test_processes_share_the_work(synthetic, tmp_path):
    run(synthetic, tmp_path / "alone")
    config = write_config(synthetic, tmp_path / "shared")
    run_together(2, ["cross-domain", "--config", str(config)], tmp_path)
    alone, shared = (read_records(tmp_path / name / "records.csv") for name in ("alone", "shared"))
    pd.testing.assert_frame_equal(alone, shared)


SLOW_PROCESS = """
import os, sys, time
from datetime import timedelta
import torch.distributed.distributed_c10d as c10d
from fm_unroll.cli import main
from fm_unroll.evaluation.run import Run

c10d.default_pg_timeout = timedelta(seconds=3)  # 30 minutes otherwise
score = Run.score

def slowly(*args):
    score(*args)
    time.sleep(8 * int(os.environ["RANK"]))

Run.score = slowly
time.sleep(8 * (1 - int(os.environ["RANK"])))
main(sys.argv[1:])
"""


def test_processes_wait_for_the_slowest_one(synthetic, tmp_path):
    """One indexes for long, the other has the larger volumes."""
    config = write_config(synthetic, tmp_path / "waited")
    run_together(2, ["cross-domain", "--config", str(config), "--only", "[knee]"], tmp_path, SLOW_PROCESS)
    assert read_records(tmp_path / "waited/records.csv").volume.nunique() == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--only", "[knee]", "--centers", "[0.1]"], {("knee", "0.10", 2), ("knee", "0.10", 4)}),
        (
            ["--accelerations", "[4]", "--only", "[heart, brain]"],
            {("heart", "8 ACS lines", 4), ("brain", "0.20", 4)},
        ),
    ],
)
def test_any_subset_can_be_run_by_command_and_reported(words, expected, synthetic, checkpoint, tmp_path):
    config = write_config(synthetic, tmp_path / "subset")
    main(["cross-domain", "--config", str(config), "--checkpoints", f"[{checkpoint}]", *words])
    records = read_records(tmp_path / "subset/records.csv")
    found = set(records[["dataset", "center", "acceleration"]].itertuples(index=False, name=None))
    assert found == expected and set(records.method) == {"zero_filled", "image_skip_only"}
    # the rest of the protocol, then the subset again: nothing is done twice, and nothing goes
    main(["cross-domain", "--config", str(config)])
    everything = read_records(tmp_path / "subset/records.csv")
    assert len(everything) > len(records)
    before = parts_below(tmp_path / "subset/parts")
    main(["cross-domain", "--config", str(config), "--checkpoints", f"[{checkpoint}]", *words])
    assert parts_below(tmp_path / "subset/parts") == before
    pd.testing.assert_frame_equal(read_records(tmp_path / "subset/records.csv"), everything)
    main(["report", str(tmp_path / "subset/records.csv")])
    assert (tmp_path / "subset/report.html").is_file()


def test_the_general_network_needs_no_checkpoint_and_its_rows_stay(synthetic, tmp_path):
    part = {"accelerations": (2,), "only": ("heart",)}
    records = run(synthetic, tmp_path, baselines=("general",), **part)
    assert set(records.method) == {"general"}
    assert set(records.checkpoint_sha256) == {file_sha256(GENERAL)}
    both = run(synthetic, tmp_path, baselines=("zero_filled",), **part)
    stayed = both[both.method == "general"].reset_index(drop=True)
    pd.testing.assert_frame_equal(stayed, records, check_categorical=False)


def test_a_mask_that_leaves_no_line_is_refused_before_anything_is_scored(synthetic, tmp_path):
    with pytest.raises(
        InputError, match=r"at .*0\.20_x8: 7 ACS lines of 36 .* leave no line for acceleration 8"
    ):
        run(synthetic, tmp_path, only=("knee",), baselines=("zero_filled",), accelerations=(4, 8))
    assert not list(tmp_path.rglob("*.csv"))


def test_subsets_that_are_not_there_are_named(synthetic, tmp_path):
    with pytest.raises(
        InputError, match="--only liver: no such test set, choose from heart, cardiac, knee, brain"
    ):
        run(synthetic, tmp_path, only=["liver"])
    with pytest.raises(InputError, match=r"--centers 0\.3: not in the protocol, choose from 8, 0\.2, 0\.1"):
        run(synthetic, tmp_path, centers=[Center(fraction=0.3)])
    hearts = TestSet("heart", CMRxReconData(synthetic, num_workers=0), [TENTH])
    with pytest.raises(InputError, match=r"0\.10: UniformSampling needs a number of ACS lines"):
        choose_conditions([hearts], (), (4,))
    with pytest.raises(InputError, match="nothing to evaluate"):
        run(synthetic, tmp_path, baselines=[])


def test_default_checkpoints_are_the_runs_or_else_the_demos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no checkpoint at runs/\*/\*/checkpoints/best.ckpt"):
        default_checkpoints()
    controls = touch(tmp_path / "runs/demo-controls/none/checkpoints/best.ckpt")
    with pytest.raises(InputError, match="no checkpoint at runs/demo/"):
        default_checkpoints()
    demo = touch(tmp_path / "runs/demo/varnet/checkpoints/best.ckpt")
    assert default_checkpoints() == [demo.relative_to(tmp_path)]
    touch(tmp_path / "runs/.trash/varnet/checkpoints/best.ckpt")
    touch(tmp_path / "runs/clip_x8/.old/checkpoints/best.ckpt")
    own = [touch(tmp_path / f"runs/clip_x8/{run}/checkpoints/best.ckpt") for run in ("seed0", "1a2b3c")]
    assert default_checkpoints() == sorted(path.relative_to(tmp_path) for path in own)
    assert controls.is_file()


def test_by_default_saved_epochs_are_evaluated_along_training_and_the_best_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    best = touch(tmp_path / "runs/clip_x8/seed0/checkpoints/best.ckpt")
    saved = [touch(tmp_path / "runs/clip_x8/seed0/epochs/epoch_001.ckpt")]
    saved.append(saved[0].with_name("epoch_003.ckpt"))
    for path in (saved[1], best.with_name("last.ckpt")):
        path.touch()
    assert Protocol([], along_training=True).paths() == [path.relative_to(tmp_path) for path in saved]
    assert Protocol([]).paths() == [best.relative_to(tmp_path)]


def test_a_primary_comparison_is_none_along_training(tmp_path):
    chosen, along = (Protocol([], along_training=way).facts([], [], tmp_path) for way in (False, True))
    assert "primary" in chosen and "primary" not in along


def test_a_checkpoint_given_twice_is_found_once(tmp_path):
    path = touch(tmp_path / "run/best.ckpt")
    assert find_checkpoints([str(path), str(path), f"{tmp_path}/*/best.ckpt"]) == [path]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_provenance_says_what_was_run_and_counts_the_time_of_all_sessions(synthetic, checkpoint, tmp_path):
    for _ in range(2):
        run(synthetic, tmp_path, checkpoints=[str(checkpoint)])
        facts = json.loads((tmp_path / "provenance.json").read_text())
    assert facts["protocol"]["baselines"] == ["zero_filled"]
    ((path, description),) = facts["protocol"]["checkpoints"].items()
    assert path == str(checkpoint) and hashlib.sha256(checkpoint.read_bytes()).hexdigest() in description
    assert [test_set["name"] for test_set in facts["protocol"]["test_sets"]] == ["heart", "knee", "brain"]
    earlier = facts["wall_time_s"]
    run(synthetic, tmp_path, checkpoints=[str(checkpoint)])
    assert json.loads((tmp_path / "provenance.json").read_text())["wall_time_s"] > earlier > 0


def test_saved_epochs_are_evaluated_apart_and_all_of_them_stay(synthetic, tmp_path, capsys):
    saved = [{"class_path": "fm_unroll.training.callbacks.EpochCheckpoints"}]
    run_dir, output = tmp_path / "run", tmp_path / "results"
    fit(synthetic, run_dir, max_epochs=3, callbacks=saved)
    names = [f"epoch_00{number}.ckpt" for number in range(3)]
    assert sorted(path.name for path in (run_dir / "epochs").iterdir()) == names
    assert latest_checkpoint(run_dir) == run_dir / "checkpoints/last.ckpt", "those are for going on"
    options = {"only": ["knee"], "centers": [TENTH], "accelerations": [4], "along_training": True}
    chosen = {"checkpoints": [str(run_dir / "epochs/*.ckpt")], "test_sets": test_sets(synthetic)}
    cross_domain(**chosen, **options, output=output, num_workers=0)
    folder = output / "along_training"
    records = read_records(folder / "records.csv")
    trained = records[records.method == "image_skip_only"]
    assert sorted(set(trained.epoch)) == [1, 2, 3] and set(trained.train_anatomy) == {"cardiac"}
    untrained = records[records.method == "zero_filled"]
    assert untrained.epoch.isna().all() and set(untrained.train_anatomy) == {""}
    assert trained.groupby("epoch").size().tolist() == [len(untrained)] * 3
    assert trained.groupby("epoch").ssim.mean().nunique() == 3
    assert not (folder / "images").exists() and not (output / "records.csv").exists()
    # another command keeps the rows of the same trainings' other epochs
    cross_domain(
        **chosen | {"checkpoints": [str(run_dir / "epochs" / names[0])]},
        **options | {"centers": [FIFTH]},
        output=output,
        num_workers=0,
    )
    assert "left out of" not in capsys.readouterr().out
    both = read_records(folder / "records.csv")
    assert both.groupby("center", observed=True).epoch.nunique().to_dict() == {"0.10": 3, "0.20": 1}


def test_rows_of_another_mask_or_of_other_metrics_are_not_taken(synthetic, checkpoint):
    """A part is found by all that its content depends on."""
    knee = test_sets(synthetic)[1]
    knee.data.setup()
    volume = knee.data.volumes("test")[0]
    method = baseline("zero_filled")
    paths = {
        Parts(Path(), metrics).of_volume(method, Condition(knee, pattern), volume)
        for metrics in ((), tuple(m for m in measures() if m.columns == ("haarpsi",)))
        for pattern in (EquispacedSampling(4, 0.1), RandomSampling(4, 0.1), EquispacedSampling(4, 0.2))
    }
    changed = replace(volume, maximum=2 * volume.maximum)
    paths.add(Parts(Path(), ()).of_volume(method, Condition(knee, EquispacedSampling(4, 0.1)), changed))
    paths.add(
        Parts(Path(), ()).of_volume(trained(checkpoint), Condition(knee, EquispacedSampling(4, 0.1)), volume)
    )
    knee.data.index.stamps[volume.path] = [1, 2]
    paths.add(Parts(Path(), ()).of_volume(method, Condition(knee, EquispacedSampling(4, 0.1)), volume))
    assert len(paths) == 9


def test_pictures_of_typical_slices_hold_every_method_and_agree_with_the_rows(records, results):
    shown = shown_runs(records)
    slices = read_slices(results / "images", shown)
    assert set(slices) == set(typical(shown))  # without a prior there are no extremes
    for place, item in slices.items():
        here = shown[(shown[list(PLACE)] == list(place)).all(axis=1)].set_index("arm")
        assert {str(arm) for arm in item.images} == {str(arm) for arm in here.index}
        for arm, image in item.images.items():
            error = np.square(image.astype(float) - item.target).sum()
            assert error == pytest.approx(here.squared_error[arm], rel=1e-4)


def test_training_subjects_in_the_test_set_are_refused(synthetic, checkpoint, tmp_path, capsys):
    leaking = TestSet("heart", CMRxReconData(synthetic, acs_lines=8, split=(0, 0, 1), num_workers=0), [ACS8])
    with pytest.raises(
        ValueError,
        match=r"now in the part 'test' of the split, were in 'train' when .*best\.ckpt was trained",
    ):
        cross_domain(test_sets=[leaking], checkpoints=[str(checkpoint)], output=tmp_path)


def test_empty_test_set_and_absent_checkpoints_are_refused(synthetic, tmp_path):
    empty = TestSet("heart", CMRxReconData(synthetic, split=(0.5, 0.5, 0), num_workers=0), [ACS8])
    with pytest.raises(ValueError, match=r"`cross-domain` has no test subjects in .*split: "):
        cross_domain(test_sets=[empty], checkpoints=(), output=tmp_path)
    with pytest.raises(ValueError, match="no checkpoint at nowhere"):
        run(synthetic, tmp_path, checkpoints=["nowhere/*.ckpt"])
    with pytest.raises(ValueError, match="unknown baseline 'bart'"):
        run(synthetic, tmp_path, baselines=["bart"])


def test_a_nan_image_is_recorded_as_failed(synthetic):
    class Broken(torch.nn.Module):
        def forward(self, kspace, mask, num_acs):
            return rss(ifft2c(kspace)) * float("nan")

    knee = test_sets(synthetic)[1]
    knee.data.setup()
    condition = Condition(knee, EquispacedSampling(4, 0.1))
    entrant = Entrant(Arm("broken"), Broken)
    volume = knee.data.volumes("test")[0]
    scorer = Scorer(Broken(), entrant, condition, torch.device("cpu"), tuple(measures()[:2]))
    ((scored, records, outcome),) = scorer.volumes([volume], batch_size=2, num_workers=0)
    assert outcome is None and scored == volume and len(records) == volume.num_slices
    for record in records:
        assert record.status == "failed" and record.scores["target_energy"] > 0
        unknown = [record.scores[name] for name in ("ssim", "psnr", "squared_error", "challenge_ssim")]
        assert np.isnan(unknown).all()


def test_real_scans_are_reconstructed_the_right_way_up(shared, checkpoint, tmp_path):
    """Both real files, masked x4, through a trained network: the image lies where the stored one does."""
    brain = FastMRIBrainData(shared / "data/fastmri_brain", num_workers=0)
    heart = CMRxReconData(shared / "data/cmrxrecon", split=(0, 0, 1), num_workers=0)
    # the real heart's placeholder id is also that of a phantom the network was trained on: no leak
    cross_domain(
        test_sets=[
            TestSet("real brain", brain, [Center(fraction=0.08)]),
            TestSet("real heart", heart, [Center(lines=24)]),
        ],
        checkpoints=[str(checkpoint)],
        accelerations=[4],
        output=tmp_path,
        num_workers=0,
    )
    records = read_records(tmp_path / "records.csv")
    assert len(records) == 2 * (4 + 1) and not records.synthetic.any() and (records.status == "ok").all()
    assert (records.trained_on_synthetic == (records.method == "image_skip_only")).all()
    slices = read_slices(tmp_path / "images", shown_runs(records))
    assert {place.anatomy for place in slices} == {"brain", "cardiac"}
    for item in slices.values():
        target = torch.from_numpy(item.target)
        for image in map(torch.from_numpy, item.images.values()):
            rows, columns = (size // 2 for size in image.shape)
            displaced = [image.flip(0), image.flip(1), image.roll(rows, 0), image.roll(columns, 1)]
            likeness = [correlation(other, target) for other in (image, *displaced)]
            assert likeness[0] > 0.9 and likeness[0] > max(likeness[1:]) + 0.1


def correlation(image: torch.Tensor, other: torch.Tensor) -> float:
    """Pearson's correlation of two images."""
    return torch.corrcoef(torch.stack([image.flatten(), other.flatten()]))[0, 1].item()
