"""Undersampled copies: the published layouts and masks, nothing of the target, written once."""

from pathlib import Path

import fastmri.data
import h5py
import numpy as np
import pytest
from fastmri.data.subsample import EquispacedMaskFractionFunc

from fm_unroll.cli import main
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from simulate import random_kspace, uniform_lines, write_cmrxrecon, write_fastmri, write_matlab

SLICES, CROP = 3, (8, 8)


@pytest.fixture
def knee(tmp_path: Path) -> Path:
    """Two scans with their targets; one has padding."""
    root = tmp_path / "knee"
    target = np.random.default_rng(1).random((SLICES, *CROP), np.float32)
    for number, padding in enumerate([(0, 0), (3, 2)]):
        write_fastmri(
            root / "multicoil_val" / f"file100000{number}.h5",
            shape=(SLICES, 2, 16, 48),
            recon=CROP,
            padding=padding,
            target=target,
            attributes={"max": float(target.max()), "norm": 1.0, "synthetic": True},
            seed=number,
        )
    return root


def undersample(root: Path, output: Path, *options: str) -> None:
    main(["data", "undersample", str(root), "--output", str(output), "--workers", "0", *options])


def test_fastmri_reads_its_own_test_files_with_its_own_masks(knee: Path, tmp_path: Path):
    undersample(knee, tmp_path / "masked", "--accelerations", "[4]", "--centers", "[0.08]")
    folder = tmp_path / "masked" / "equispaced_x4_0.08" / "multicoil_val"
    assert sorted(path.name for path in folder.iterdir()) == ["file1000000.h5", "file1000001.h5"]
    seen = fastmri.data.SliceDataset(folder, "multicoil", lambda *sample: sample)
    assert len(seen) == 2 * SLICES
    for kspace, mask, target, attributes, name, slice_ in seen:
        with h5py.File(knee / "multicoil_val" / name) as source:
            full = source["kspace"][slice_]
        expected, low = EquispacedMaskFractionFunc([0.08], [4])((1, 48, 2), seed=tuple(map(ord, name)))
        expected = expected.flatten().bool().numpy()
        expected[: attributes["padding_left"]] = expected[attributes["padding_right"] :] = False
        assert mask.tolist() == expected.tolist() and attributes["num_low_frequency"] == low
        np.testing.assert_array_equal(kspace, full * expected)
        assert target is None and not {"max", "norm"} & set(attributes)
        assert (attributes["acquisition"], attributes["acceleration"]) == ("CORPD_FBK", 4)
        assert attributes["sampling"] == "EquispacedSampling(acceleration=4.0, center_fraction=0.08)"
        assert (attributes["sampling_seed"], attributes["synthetic"]) == (name, True)
    with h5py.File(folder / name) as file:
        assert set(file) == {"kspace", "mask", "ismrmrd_header"}


@pytest.mark.parametrize("acceleration", [4, 6])
def test_hearts_lie_in_the_challenges_folders(acceleration: int, tmp_path: Path):
    root, output = tmp_path / "heart", tmp_path / "masked"
    source = write_cmrxrecon(root, shape=(16, 33, 2, 3, 4))
    undersample(root, output, "--accelerations", f"[{acceleration}]", "--centers", "[8]")
    folder = output / f"uniform_x{acceleration}_8/MultiCoil/Cine/TrainingSet/AccFactor0{acceleration}/P001"
    lines = uniform_lines(33, acceleration, 8)
    with h5py.File(source) as full, h5py.File(folder / "cine_sax.mat") as masked:
        assert set(masked) == {f"kspace_sub0{acceleration}"}
        name = f"kspace_sub0{acceleration}"
        assert masked[name].dtype == full["kspace_full"].dtype
        for part in ("real", "imag"):
            whole = full["kspace_full"][()][part]
            np.testing.assert_array_equal(masked[name][()][part], whole * lines[:, None])
        assert masked.attrs["sampling_seed"] == "P001/cine_sax"
    with h5py.File(folder / "cine_sax_mask.mat") as file:
        mask = file[f"mask0{acceleration}"][()]
    np.testing.assert_array_equal(mask, np.repeat(lines[:, None], 16, axis=1))
    for path in folder.iterdir():
        assert (
            path.read_bytes()[:116] == source.read_bytes()[:116] and path.read_bytes()[124:128] == b"\0\2IM"
        )
    reader = CMRxReconReader(("cine_sax",), sampling=f"AccFactor0{acceleration}")
    (found,), _ = reader.find(output / f"uniform_x{acceleration}_8")
    volume = reader.describe(found, output)
    assert volume.lines.tolist() == lines.tolist() and (volume.num_slices, volume.num_frames) == (3, 4)


def test_what_is_written_stays_unless_its_source_changes(knee: Path, tmp_path: Path):
    output = tmp_path / "masked"

    def states() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in output.rglob("*.h5")}

    undersample(knee, output)
    before = states()
    undersample(knee, output)
    assert states() == before
    write_fastmri(knee / "multicoil_val/file1000000.h5", shape=(SLICES, 2, 16, 48), recon=CROP, seed=7)
    undersample(knee, output)
    changed = {name for name, time in states().items() if time != before[name]}
    assert changed == {"file1000000.h5"} and not list(output.rglob("*.part"))


def test_a_header_in_another_file_is_not_followed_and_the_others_are_written(
    knee: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with h5py.File(knee / "multicoil_val/file1000000.h5", "r+") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = h5py.ExternalLink("file1000001.h5", "ismrmrd_header")
    with pytest.raises(SystemExit) as exit_:
        undersample(knee, tmp_path / "masked")
    assert exit_.value.code == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("unusable"))
    assert "file1000000.h5: ismrmrd_header is a link" in line
    assert [path.name for path in (tmp_path / "masked").rglob("*.h5")] == ["file1000001.h5"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--accelerations", "[4.5]", "--sampling", "RandomSampling"], "give a whole acceleration below 100"),
        (["--sampling", "VariedSampling", "--centers", "[8]"], "VariedSampling varies: give --accelerations"),
        (["--centers", "[0.08]"], "UniformSampling needs a number of ACS lines"),
        (["--centers", "[40]"], "40 ACS lines do not fit into 33"),
        (["--subjects", "[P009]"], "--subjects P009"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_cmrxrecon(tmp_path / "heart", shape=(16, 33, 2, 1, 1))
    with pytest.raises(SystemExit) as exit_:
        undersample(tmp_path / "heart", tmp_path / "masked", *options)
    assert exit_.value.code == 2 and not (tmp_path / "masked").exists()
    assert words in capsys.readouterr().err


def test_only_fully_sampled_scans_of_the_subjects_asked_for(tmp_path: Path):
    root = tmp_path / "heart"
    for subject in ("P001", "P002"):
        write_cmrxrecon(root, subject, shape=(16, 33, 2, 1, 1))
    masked = random_kspace(16, 33, 2, 1, 1) * uniform_lines(33, 4, 8)[:, None, None, None]
    write_matlab(root / "MultiCoil/Cine/TrainingSet/AccFactor04/P002/cine_lax.mat", kspace_sub04=masked)
    undersample(root, tmp_path / "masked", "--subjects", "[P002]")
    written = [
        path.relative_to(tmp_path / "masked").as_posix() for path in (tmp_path / "masked").rglob("*.mat")
    ]
    folder = "uniform_x8_24/MultiCoil/Cine/TrainingSet/AccFactor08/P002"
    assert sorted(written) == [f"{folder}/cine_sax.mat", f"{folder}/cine_sax_mask.mat"]
    with pytest.raises(SystemExit):
        undersample(root, root / "masked")
