"""The verb ``data check``: what it finds, expects, refuses and draws."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from fm_unroll.cli import main
from simulate import random_kspace, rss_image, write_cmrxrecon, write_fastmri, write_matlab


def check(capsys, *args: object) -> tuple[int, dict]:
    """Exit status and report."""
    try:
        main(["data", "check", *map(str, args), "--json"])
        status = 0
    except SystemExit as exit_:
        status = exit_.code
    return status, json.loads(capsys.readouterr().out)


def by_name(report: dict) -> dict[str, dict]:
    return {
        f"{data_set['name']} in {Path(data_set['root']).name}": data_set for data_set in report["data_sets"]
    }


def test_finds_every_data_set_below_a_folder(synthetic: Path, capsys):
    status, report = check(capsys, synthetic)
    assert status == 0 and report["problems"] == []
    found = by_name(report)
    assert list(found) == [
        f"CMRxRecon TrainingSet/FullSample in {synthetic.name}",
        "fastMRI multicoil_val in brain",
        "fastMRI multicoil_val in knee",
    ]
    heart, brain, knee = found.values()
    assert (heart["subjects"], heart["volumes"], heart["synthetic"]) == (6, 24, 24)
    assert brain["volumes"] == knee["volumes"] == 2
    assert heart["expected"] is None  # simulated subjects are no part of the published set


def test_compares_with_what_was_published(tmp_path: Path, capsys):
    write_cmrxrecon(tmp_path, "P001")
    write_cmrxrecon(tmp_path, "P003")
    write_fastmri(tmp_path / "head" / "multicoil_val" / "file1.h5", attributes={"acquisition": "AXT2"})
    status, report = check(capsys, tmp_path)
    heart, head = report["data_sets"]
    absent = [f"P{number:03}" for number in range(1, 121) if number not in {1, 3}]
    assert heart["expected"] == {"unit": "subjects", "number": 120, "found": 2, "absent": absent}
    assert heart["missing"][:3] == ["P001/cine_lax", "P001/T1map", "P001/T2map"]
    assert head["expected"] == {"unit": "volumes", "number": 1378, "found": 1, "absent": []}
    assert status == 0  # what is missing is said; what is there can be used
    main(["data", "check", str(tmp_path)])
    assert "subjects not here: P002, P004-P120" in capsys.readouterr().out


def test_undersampled_parts_are_data_sets_of_their_own(tmp_path: Path, capsys):
    write_cmrxrecon(tmp_path)
    folder = tmp_path / "MultiCoil" / "Cine" / "ValidationSet" / "AccFactor04" / "P001"
    mask = np.zeros((8, 16))
    mask[:, 6:10] = 1
    write_matlab(
        folder / "cine_sax.mat", kspace_sub04=random_kspace(8, 16, 2, 1, 1) * mask[..., None, None, None]
    )
    write_matlab(folder / "cine_sax_mask.mat", mask04=mask)
    status, report = check(capsys, tmp_path)
    assert (status, report["ignored"]) == (0, [])
    assert [name.split(" in ")[0] for name in by_name(report)] == [
        "CMRxRecon TrainingSet/FullSample",
        "CMRxRecon ValidationSet/AccFactor04",
    ]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "truncated or no HDF5 file"),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.rename(path.with_suffix(".hdf5")), "a fastMRI scan by its content, but not where"),
        (lambda path: path.rename(path.with_suffix("")), "a fastMRI scan by its content, but not where"),
        (
            lambda path: write_matlab(path, kspace_full=random_kspace(8, 8, 2)),
            "holds no kspace; its keys are kspace_full",
        ),
    ],
)
def test_says_of_every_unusable_file_why(tmp_path: Path, capsys, spoil, reason: str):
    write_fastmri(tmp_path / "multicoil_val" / "good.h5")
    path = write_fastmri(tmp_path / "multicoil_val" / "file1.h5")
    spoil(path)
    status, report = check(capsys, tmp_path)
    assert status == 1
    (problem,) = report["problems"]
    assert problem.startswith(str(path.with_suffix(""))) and reason in problem
    assert report["data_sets"][0]["volumes"] == 1


def test_other_files_are_ignored_aloud(tmp_path: Path, capsys):
    write_fastmri(tmp_path / "multicoil_val" / "file1.h5")
    write_matlab(tmp_path / "notes.mat", diary=np.ones((3, 3)))
    (tmp_path / "readme.txt").write_text("text")
    status, report = check(capsys, tmp_path)
    assert status == 0
    (line,) = report["ignored"]
    assert line.startswith(f"{tmp_path / 'notes.mat'}: holds no k-space that is known here")
    assert line.endswith("its keys are diary")


def test_every_folder_is_reported_and_files_that_share_a_reason_are_counted(tmp_path: Path, capsys):
    root = tmp_path / "data"
    for name in ("a", "b"):
        write_fastmri(tmp_path / "store" / name / "file1.h5")
        (root / name).mkdir(parents=True)
        (root / name / "multicoil_val").symlink_to(tmp_path / "store" / name)
    (root / "loop").symlink_to(root)
    (root / "same.h5").symlink_to(root / "a" / "multicoil_val" / "file1.h5")
    for number in range(5):
        (root / "a" / f"._{number}.h5").write_bytes(bytes(200))
    status, report = check(capsys, root)
    assert (status, report["problems"]) == (0, [])
    folders = ["", "a", "a/multicoil_val", "b", "b/multicoil_val"]
    assert report["folders"] == [str(root / folder) for folder in folders]
    assert sum(data_set["volumes"] for data_set in report["data_sets"]) == 2
    assert len(report["left_out"]) == 7
    main(["data", "check", str(root)])
    lines = capsys.readouterr().out.splitlines()
    assert f"looked at: {root / 'a'}: multicoil_val" in lines
    assert f"looked at: {root / 'b'}: multicoil_val" in lines
    assert f"left out: {root / 'loop'}: a link back to {root}, in which it lies: a loop" in lines
    assert f"left out: {root / 'a'}/._0.h5 and 4 others: a hidden file" in lines
    assert any(line.startswith("left out: ") and "same.h5: the same file as " in line for line in lines)


def test_damaged_data_are_found_by_reading(tmp_path: Path, capsys):
    kspace = random_kspace(16, 12, 2, 3, 1)
    kspace[..., 2, 0] = np.nan
    folder = tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / "P001"
    path = write_matlab(folder / "cine_sax.mat", kspace_full=kspace)
    assert check(capsys, tmp_path)[0] == 0
    status, report = check(capsys, tmp_path, "--read")
    assert (status, report["problems"]) == (1, [f"{path}: slice 2, frame 0: k-space holds NaN or Inf"])


def test_the_contact_sheet_shows_readout_downwards(tmp_path: Path, capsys):
    """A bright corner of the image space stays in its corner of the picture."""
    image = np.full((40, 24), 0.1 + 0j)
    image[2:10, 2:6] = 1
    image += 1e-3 * np.random.default_rng(0).normal(size=image.shape)  # a box alone leaves lines empty
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))
    folder = tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / "P001"
    write_matlab(folder / "cine_sax.mat", kspace_full=np.stack([kspace, kspace], -1)[..., None, None])
    sheet = tmp_path / "sheets" / "sheet"
    assert check(capsys, tmp_path, "--contact_sheet", sheet)[0] == 0
    picture = np.asarray(Image.open(sheet).convert("L"), float)[180:1000, : picture_width(sheet) // 3]
    rows, columns = np.nonzero(picture > 250)
    height, width = np.ptp(rows), np.ptp(columns)
    assert 1.6 < height / width < 2.4  # 8 rows, 4 columns
    assert rows.mean() < picture.shape[0] / 2 and columns.mean() < picture.shape[1] / 2


def picture_width(path: Path) -> int:
    return Image.open(path).width


def test_both_real_files_are_recognised(shared: Path, tmp_path: Path, capsys):
    root = tmp_path / "anything"
    for name in ("cmrxrecon", "fastmri_brain"):
        shutil.copytree(shared / "data" / name, root / name)
    status, report = check(capsys, root, "--contact_sheet", tmp_path / "sheet.png")
    assert status == 0
    assert [data_set["name"] for data_set in report["data_sets"]] == [
        "CMRxRecon TrainingSet/FullSample",
        "fastMRI multicoil_val",
    ]
    assert Image.open(tmp_path / "sheet.png").height > 500


def test_files_that_contradict_themselves_are_named(tmp_path: Path, capsys):
    kspace = random_kspace(3, 2, 16, 12)
    image = rss_image(kspace)[:, 4:12, 2:10].astype("f4")
    folder = tmp_path / "multicoil_val"
    write_fastmri(folder / "good.h5", target=image, attributes={"max": float(image.max())})
    stale = write_fastmri(folder / "stale.h5", target=image, attributes={"max": 2 * float(image.max())})
    scaled = write_fastmri(folder / "scaled.h5", target=4 * image)
    status, report = check(capsys, tmp_path)
    assert (status, report["problems"], report["contradictions"]) == (0, [], [])
    status, report = check(capsys, tmp_path, "--read")
    assert (status, report["problems"], report["remarks"]) == (1, [], [])
    first, second = report["contradictions"]
    assert first == f"{scaled}: slice 0: the stored image is 4 times the RSS of its k-space"
    assert second.startswith(f"{stale}: the stated maximum ") and " is 2 times that of the images" in second


def test_masked_kspace_without_a_mask_is_unusable(tmp_path: Path, capsys):
    path = write_fastmri(tmp_path / "multicoil_val" / "a.h5", (3, 2, 16, 40), mask=np.arange(40) % 2 == 0)
    with h5py.File(path, "r+") as file:
        del file["mask"]
    status, report = check(capsys, tmp_path, "--read")
    words = "slice 0, frame 0: 20 of 40 acquired lines are empty: undersampled, and no mask says so"
    assert (status, report["problems"]) == (1, [f"{path}: {words}"])


def test_zero_padding_is_remarked_on_and_no_fault(tmp_path: Path, capsys):
    kspace = random_kspace(16, 12, 2, 3, 1)
    kspace[:, :3] = 0
    folder = tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / "P001"
    path = write_matlab(folder / "cine_sax.mat", kspace_full=kspace)
    status, report = check(capsys, tmp_path, "--read")
    (remark,) = report["remarks"]
    assert status == 0 and remark.startswith(f"{path}: of 12 lines, 3 at the start")


def test_task_2_of_2024_is_left_out(tmp_path: Path, capsys):
    write_cmrxrecon(tmp_path)
    folder = tmp_path / "MultiCoil" / "Cine" / "ValidationSet" / "UnderSample_Task2" / "P001"
    path = write_matlab(folder / "cine_sax_kus_ktRadial4.mat", kus=random_kspace(16, 12, 2, 1, 3))
    status, report = check(capsys, tmp_path)
    assert status == 0 and report["problems"] == report["ignored"] == []
    assert report["left_out"] == [f"{path}: pseudo-radial k-t sampling, which is not supported"]
