"""Reconstructions of other programs: made of what `data undersample` writes, checked, scored as one arm."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fastmri
import fastmri.data
import h5py
import numpy as np
import pytest
import torch
from fastmri.data import transforms
from scipy.io import savemat

from fm_unroll.cli import main
from fm_unroll.data import FastMRIKneeData
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.elsewhere import Elsewhere, fault_of
from fm_unroll.evaluation.records import read_records, record_arms
from fm_unroll.files import read_json
from fm_unroll.physics import EquispacedSampling, UniformSampling
from simulate import coil_maps, rss_image, to_kspace, uniform_lines, write_fastmri, write_matlab

MATRIX, COILS, SLICES, FRAMES = (32, 30), 4, 3, 2


def scene(number: int, images: int = SLICES) -> np.ndarray:
    """Lopsided images that differ from each other: complex ``(images, row, column)``."""
    rows, columns = np.meshgrid(np.linspace(-1, 1, MATRIX[0]), np.linspace(-1, 1, MATRIX[1]), indexing="ij")
    found = []
    for image in range(images):
        body = ((rows + 0.2) ** 2 / 0.5 + (columns - 0.1) ** 2 / 0.4 < 1).astype(complex)
        body += (abs(rows + 0.4) < 0.2) & (abs(columns - 0.1 - 0.1 * image) < 0.12 + 0.02 * number)
        found.append(body * (1 + 0.3 * rows - 0.2 * columns) * np.exp(0.5j * rows))
    return np.stack(found)


def knee(folder: Path, number: int) -> Path:
    """A fastMRI file of a scene."""
    path = write_fastmri(folder / f"file{number}.h5", (SLICES, COILS, *MATRIX), recon=(24, 24))
    kspace = to_kspace(scene(number)[:, None] * coil_maps(COILS, *MATRIX)).astype(np.complex64)
    with h5py.File(path, "r+") as file:
        file["kspace"][:] = kspace
        file["reconstruction_rss"] = rss_image(kspace)[:, 4:28, 3:27].astype(np.float32)
    return path


def heart(root: Path, subject: str, number: int) -> Path:
    """A CMRxRecon cine of a scene, by MATLAB's order of axes."""
    images = scene(number, FRAMES * SLICES).reshape(FRAMES, SLICES, 1, *MATRIX)
    kspace = to_kspace(images * coil_maps(COILS, *MATRIX)).astype(np.complex64)
    path = root / "MultiCoil/Cine/TrainingSet/FullSample" / subject / "cine_sax.mat"
    return write_matlab(path, kspace_full=np.einsum("tzcxy->xyczt", kspace))


def command(folder: Path, *words: str) -> list[str]:
    """The evaluation of both data sets."""
    heart_data = f"{{class_path: CMRxReconData, init_args: {{root: {folder}/heart, split: [0, 0, 1], "
    heart_data += "contrasts: [cine_sax]}}"
    knee_data = f"{{class_path: FastMRIKneeData, init_args: {{root: {folder}/knee}}}}"
    config = folder / "protocol.yaml"
    config.write_text(
        "test_sets:\n"
        f"  - {{name: heart, data: {heart_data}, centers: [6]}}\n"
        f"  - {{name: knee, data: {knee_data}, centers: [0.2]}}\n"
        f"checkpoints: []\naccelerations: [4]\nnum_workers: 0\noutput: {folder}/results\n"
    )
    return ["cross-domain", "--config", str(config), *words]


def reconstruct_by_fastmri(masked: Path, results: Path) -> None:
    """Zero-filled images by fastMRI's own reader, transforms and writer."""
    images: dict[str, list[np.ndarray]] = {}

    def zero_fill(kspace, mask, target, attributes, name, slice_):
        image = fastmri.rss(fastmri.complex_abs(fastmri.ifft2c(transforms.to_tensor(kspace))))
        images.setdefault(name, []).append(
            transforms.center_crop(image, attributes["recon_size"][:2]).numpy()
        )
        return slice_

    data = fastmri.data.SliceDataset(masked, "multicoil", zero_fill)
    assert len([data[item] for item in range(len(data))]) == 2 * SLICES
    fastmri.save_reconstructions({name: np.stack(each) for name, each in images.items()}, results)


def reconstruct_hearts(masked: Path, results: Path) -> None:
    """The same of the challenge's files, as its submissions are."""
    for path in sorted(masked.rglob("cine_sax.mat")):
        with h5py.File(path) as file:
            stored = file["kspace_sub04"][()]
        kspace = (stored["real"] + 1j * stored["imag"]).swapaxes(-1, -2)
        (results / path.parent.name).mkdir(parents=True)
        images = np.einsum("tzxy->xyzt", rss_image(kspace)).astype(np.float32)
        savemat(results / path.parent.name / path.name, {"img4ranking": images})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, ``masked`` made of them, and ``theirs``, made of that without this package."""
    folder = tmp_path_factory.mktemp("study")
    for number in (1, 2):
        knee(folder / "knee/multicoil_val", number)
        heart(folder / "heart", f"P00{number}", number)
    for name, center in (("knee", "0.2"), ("heart", "6")):
        options = ["--output", str(folder / "masked"), "--accelerations", "[4]", "--centers", f"[{center}]"]
        main(["data", "undersample", str(folder / name), *options, "--workers", "0"])
    masked, results = folder / "masked", folder / "theirs"
    reconstruct_by_fastmri(masked / "equispaced_x4_0.2/multicoil_val", results / "equispaced_x4_0.2")
    reconstruct_hearts(masked / "uniform_x4_6", results / "uniform_x4_6")
    return folder


def test_an_arm_of_other_programs_has_the_rows_of_the_method_that_it_is(study: Path, capsys):
    main(command(study, "--reconstructions", f"theirs={study / 'theirs'}"))
    records = read_records(study / "results/records.csv")
    ours, theirs = (records[records.method == name] for name in ("zero_filled", "external/theirs"))
    assert len(ours) == len(theirs) == 2 * (SLICES + FRAMES * SLICES)
    key = ["dataset", "volume", "slice", "frame"]
    ours, theirs = (rows.sort_values(key).reset_index(drop=True) for rows in (ours, theirs))
    assert ours.mask_sha256.tolist() == theirs.mask_sha256.tolist()
    for metric in ("ssim", "psnr", "nmse", "ssim_body"):
        np.testing.assert_allclose(theirs[metric], ours[metric], rtol=2e-5, atol=1e-6)
    # of it nothing is known
    assert theirs.seed.isna().all() and theirs.train_acceleration.isna().all()
    assert set(theirs.checkpoint_sha256) | set(theirs.training_data) | set(theirs.physics) == {""}
    (arm,) = set(record_arms(theirs))
    assert (arm.kind, arm.label) == ("external", "theirs (external)")
    said = read_json(study / "results/provenance.json")["protocol"]
    assert said["baselines"] == ["zero_filled"]
    assert said["reconstructions"]["external/theirs"].startswith(f"{study / 'theirs'}, sha256 ")
    pictures = [np.load(path) for path in (study / "results/images").glob("*.npz")]
    for stored in pictures:
        np.testing.assert_allclose(
            stored["image/external/theirs"], stored["image/zero_filled"], rtol=1e-3, atol=1e-6
        )
    assert len(pictures) == 2
    # a later command for something else keeps the rows; they go once a file is another one
    main(command(study, "--baselines", "cg_sense"))
    assert set(read_records(study / "results/records.csv").method) >= {"external/theirs", "cg_sense"}
    main(["report", str(study / "results/records.csv")])
    page = (study / "results/report.html").read_text()
    assert "Reconstructions of theirs, made elsewhere" in page and "theirs (external)" in page
    path = study / "theirs/equispaced_x4_0.2/file1.h5"
    kept = path.read_bytes()
    with h5py.File(path, "r+") as file:
        file["reconstruction"][0, 0, 0] = 1
    capsys.readouterr()
    main(command(study, "--baselines", "cg_sense"))
    assert "rows made of other files or by other code" in capsys.readouterr().out
    path.write_bytes(kept)


def with_knee(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """A change of the images of one knee."""

    def spoil(results: Path) -> None:
        path = results / "equispaced_x4_0.2/file2.h5"
        with h5py.File(path) as file:
            images = file["reconstruction"][()]
        fastmri.save_reconstructions({"file2.h5": change(images)}, path.parent)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda results: (results / "equispaced_x4_0.2/file2.h5").unlink(), "equispaced_x4_0.2: no file2{"),
        (with_knee(lambda images: images[:2]), "file2.h5: its images are (2, 24, 24)"),
        (with_knee(lambda images: images * 1e6), "file2.h5: is "),
        (with_knee(lambda images: images[:, ::-1]), "file2.h5: looks flipped up-down"),
        (with_knee(lambda images: images.swapaxes(1, 2)), "file2.h5: looks transposed"),
        (with_knee(lambda images: images * np.nan), "file2.h5: slice 0, frame 0 holds NaN or Inf"),
        (lambda results: (results / "equispaced_x4_0.2").rename(results / "x4"), ""),
        (
            lambda results: np.save(results / "uniform_x4_6/P001/cine_sax.npy", 1),
            "are both of P001/cine_sax: keep one",
        ),
    ],
    ids=["missing", "slices", "scale", "flipped", "transposed", "NaN", "another folder", "twice"],
)
def test_what_cannot_be_scored_is_named_before_anything_is(
    spoil, words: str, study: Path, tmp_path: Path, capsys
):
    spoil(shutil.copytree(study / "theirs", tmp_path / "theirs"))
    output = tmp_path / "results"
    given = command(study, "--reconstructions", f"theirs={tmp_path / 'theirs'}", "--output", str(output))
    if not words:  # what is not asked for is left out, and said
        main([*given, "--baselines", "zero_filled"])
        assert "theirs (external): has nothing for knee/knee" in capsys.readouterr().out
        return
    with pytest.raises(SystemExit) as exit_:
        main(given)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error"))
    assert exit_.value.code == 2 and words in line and not output.exists()


def test_files_that_are_not_scored_are_said(study: Path, tmp_path: Path, capsys):
    folder = shutil.copytree(study / "theirs", tmp_path / "theirs")
    loose, surplus = folder / "file1.h5", [folder / f"equispaced_x4_0.2/file{n}.h5" for n in (8, 9)]
    for path in (
        loose,
        *surplus,
        folder / "equispaced_x8_0.2/file1.h5",
    ):  # the last of a sampling not asked for
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((folder / "equispaced_x4_0.2/file1.h5").read_bytes())
    output = tmp_path / "results"
    main(
        command(
            study,
            "--reconstructions",
            f"theirs={folder}",
            "--output",
            str(output),
            "--baselines",
            "zero_filled",
        )
    )
    said = [line for line in capsys.readouterr().out.splitlines() if "not scored" in line]
    assert said == [
        f"theirs: 1 file of no sampling, not scored: {loose}",
        f"theirs: 2 files of no test volume, not scored: {surplus[0]}, ...",
    ]


@pytest.mark.parametrize(("factor", "said"), [(1, ""), (1.9, "images are ")])
def test_images_that_are_brighter_than_any_method_makes_them_are_said(factor, said, study, tmp_path, capsys):
    folder = tmp_path / "equispaced_x4_0.2"
    folder.mkdir()
    for path in sorted((study / "theirs/equispaced_x4_0.2").glob("*.h5")):
        with h5py.File(path) as file:
            images = file["reconstruction"][()]
        fastmri.save_reconstructions({path.name: factor * images}, folder)
    data = FastMRIKneeData(study / "knee", num_workers=0)
    data.serve("cross-domain", [])
    data.setup()
    Elsewhere.below("theirs", tmp_path).require(data, [EquispacedSampling(4, 0.2)])
    printed = capsys.readouterr().out
    assert printed.startswith(f"theirs: {said}") if said else not printed
    assert not said or "times their targets, and scored so" in printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("folder", "give NAME=FOLDER"),
        ("a/b=folder", "give NAME=FOLDER"),
        ("a=nowhere", "nowhere: no such folder"),
        ("a={study}/knee", "its folders are multicoil_val, expected some of uniform_x4_6"),
        ("a={study}/knee/multicoil_val", "holds no reconstructions"),
    ],
)
def test_a_folder_without_results_is_refused(text: str, words: str, study: Path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(command(study, "--reconstructions", text.format(study=study)))
    assert exit_.value.code == 2 and words in capsys.readouterr().err


TARGETS = {
    (frame, slice_): torch.from_numpy(np.abs(scene(frame)[slice_])).float()
    for frame in range(SLICES)
    for slice_ in range(SLICES)
}
TRUE = torch.stack(list(TARGETS.values())).reshape(SLICES, SLICES, *MATRIX)
PLACES = [(0, 0), (1, 2), (2, 0)]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (TRUE, ""),
        (0.6 * TRUE + 0.05, ""),
        (TRUE.flip(2), "looks flipped up-down"),
        (TRUE.flip(3), "looks flipped left-right"),
        (TRUE.flip(2, 3), "looks turned by 180 degrees"),
        (TRUE.roll(16, 2), "looks shifted by -16 rows and 0 columns"),
        (TRUE.roll((16, -3), (2, 3)), "looks shifted by -16 rows and -3 columns"),
        (TRUE.roll(2, 2), "looks shifted by 2 rows and 0 columns"),
        (
            TRUE * torch.tensor([1.2, 1.2, 0.5])[:, None, None, None],
            "has slices of different scales, 0.5 to 1.2",
        ),
        (TRUE.flip(1), "looks with its slices backwards"),
        (TRUE.flip(0), "looks with its frames backwards"),
        (TRUE.swapaxes(0, 1), "looks with slices and frames exchanged"),
        (-TRUE, "slice 0, frame 0 is the negative of its target"),
        (
            TRUE * torch.where(torch.arange(SLICES) == 2, -1, 1)[:, None, None],
            "slice 2, frame 1 is the negative",
        ),
        (TRUE * 0, "slice 0, frame 0 is the same everywhere"),
        (TRUE * (torch.arange(SLICES) != 1)[:, None, None], "slice 1, frame 0 is the same everywhere"),
        (TRUE * 3, "is 3 times its target"),
        (TRUE / 100, "is 0.01 times its target"),
        (torch.rand(TRUE.shape, generator=torch.Generator().manual_seed(0)), "is not this scan"),
    ],
)
def test_faults_are_told_apart(images: torch.Tensor, words: str):
    found = fault_of(images, {place: TARGETS[place] for place in PLACES})
    assert found.startswith(words) and bool(found) == bool(words)


def test_targets_without_content_are_those_of_no_image():
    assert fault_of(TRUE, {place: 0 * TARGETS[place] for place in PLACES}).startswith("is not this scan")


def test_a_slice_that_hardly_resembles_its_target_has_no_scale():
    images, targets = TRUE[:1].clone(), {(0, slice_): TARGETS[0, slice_] for slice_ in range(SLICES)}
    noise = torch.rand(MATRIX, generator=torch.Generator().manual_seed(0))
    images[0, 1] = 0.1 * TRUE[0, 1] + 0.2 * noise
    assert fault_of(images, targets) == ""
    images[0, 1] -= 0.2 * noise
    assert fault_of(images, targets).startswith("has slices of different scales")


def test_files_that_change_after_they_were_checked_are_refused(tmp_path: Path):
    path = tmp_path / "uniform_x4_6/P001/cine_sax.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.zeros((4, 4), np.float32))
    volume = replace(Volume.of_array(path, (1, 1, 1, 4, 4)), name="P001/cine_sax")
    pattern, theirs = UniformSampling(4, 6), Elsewhere.below("theirs", tmp_path)
    assert theirs.find(pattern, volume) == path and theirs.find(UniformSampling(8, 6), volume) is None
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(InputError, match="P001/cine_sax changed while it was in use"):
        theirs.images(None, pattern, volume)


@pytest.mark.parametrize("acceleration", [2, 4, 10])
def test_the_worst_method_is_taken_for_what_it_is(acceleration: int):
    """A zero-filled image of one line in ten is of this scan, not turned, and not too dark."""
    kspace = to_kspace(scene(1)[:, None] * coil_maps(COILS, *MATRIX))
    images = rss_image(kspace * uniform_lines(MATRIX[1], acceleration, 4))
    targets = {(0, slice_): TARGETS[1, slice_] for slice_ in range(SLICES)}
    assert fault_of(torch.from_numpy(images[None]).float(), targets) == ""


def test_an_external_arm_stands_last_and_beside_every_physics():
    external = Arm("external/sigpy")
    assert sorted([external, Arm("varnet"), Arm("wavelet")])[-1] == external
    assert external.comparable(Arm("clip", physics="anchored")) and Arm("varnet").comparable(external)
