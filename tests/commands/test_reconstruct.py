"""The verb ``reconstruct`` on files of every kind."""

from dataclasses import asdict
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import timm
import torch
from fastmri import evaluate
from PIL import Image
from scipy.io import loadmat

from fm_unroll.cli import main
from fm_unroll.data import CMRxReconData
from fm_unroll.data.scan import open_scan
from fm_unroll.errors import InputError
from fm_unroll.files import read_json
from fm_unroll.models.checkpoints import load_network
from fm_unroll.models.classical import CLASSICAL
from fm_unroll.physics import EquispacedSampling, UniformSampling, fft2c, ifft2c, rss
from fm_unroll.reconstruction.adaptation import Adaptation
from fm_unroll.reconstruction.volume import in_chunks
from fm_unroll.training.task import ReconstructionTask
from simulate import random_kspace

HEART = "MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat"
SETTINGS = {
    "method": "varnet",
    "num_cascades": 2,
    "chans": 2,
    "pools": 1,
    "sens_chans": 2,
    "sens_pools": 1,
}


def save_checkpoint(path: Path, root: Path, seed: int = 0, settings: dict = SETTINGS, **facts) -> Path:
    """A checkpoint of random weights that says what ``fit`` would say."""
    torch.manual_seed(seed)
    task = ReconstructionTask(**settings)
    data = CMRxReconData(root, acceleration=4, acs_lines=8, split=(1, 0, 0))
    data.setup()
    told = {
        "encoder": {"name": "", "sha256": "", "weights": ""},
        "anatomy": "cardiac",
        "acceleration": 4.0,
        "sampling": data.sampling.to_config(),
        "trained_on": data.describe_training(),
        "subjects": {"train": [], "val": [], "test": []},
        "seed": seed,
    }
    trained = {name: tensor for name, tensor in task.state_dict().items() if ".encoder." not in name}
    content = {"state_dict": trained, "hyper_parameters": settings, "fm_unroll": told | facts}
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(synthetic, tmp_path_factory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("runs") / "a.ckpt", synthetic)


def run(*args: object) -> None:
    main(["reconstruct", *map(str, args)])


def stored(path: Path, name: str = "reconstruction") -> np.ndarray:
    with h5py.File(path, locking=False) as file:
        return file[name][()]


def error_line(capsys, *args: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        run(*args)
    assert exit_.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_a_heart_in_every_format(synthetic, checkpoint, tmp_path, capsys):
    """Equal to the network applied by hand; metrics equal to fastMRI's; nothing to warn of."""
    file = synthetic / HEART
    run(
        file, "--checkpoint", checkpoint, "--output", tmp_path, "--formats", "[h5,nii,png]", "--batch_size", 3
    )
    printed = capsys.readouterr()
    assert "warning" not in printed.err and "CMRxRecon, synthetic" in printed.out
    image = stored(tmp_path / "P001/cine_sax.h5")

    kspace = stored(file, "kspace_full")
    kspace = torch.from_numpy((kspace["real"] + 1j * kspace["imag"]).swapaxes(-1, -2).copy())
    mask = UniformSampling(4, 8)(kspace.shape[-1])
    network = load_network(checkpoint)
    with torch.no_grad():
        masked = (kspace * mask.lines).flatten(0, 1)
        expected = network(masked, mask.lines[None, None, None], mask.num_acs).numpy()
    assert image.shape == (2, 2, *kspace.shape[-2:]) and image.dtype == np.float32
    np.testing.assert_allclose(image.reshape(expected.shape), expected, rtol=1e-4, atol=1e-6)

    target = rss(ifft2c(kspace)).flatten(0, 1).numpy()
    row = next(line for line in printed.out.splitlines() if line.startswith("reconstruction")).split()
    assert float(row[1]) == pytest.approx(float(evaluate.ssim(target, expected)[0]), abs=1e-4)
    assert float(row[2]) == pytest.approx(float(evaluate.psnr(target, expected)), abs=1e-2)
    assert float(row[3]) == pytest.approx(float(evaluate.nmse(target, expected)), abs=1e-5)

    nifti = nibabel.load(tmp_path / "P001/cine_sax.nii.gz")
    np.testing.assert_array_equal(nifti.get_fdata(dtype=np.float32), image.transpose(2, 3, 1, 0))
    assert Image.open(tmp_path / "P001/cine_sax.png").mode == "L"


def test_the_challenges_submission_of_a_map(synthetic, checkpoint, tmp_path):
    file = synthetic / "MultiCoil/Mapping/TrainingSet/FullSample/P001/T1map.mat"
    options = ["--checkpoint", checkpoint, "--output", tmp_path, "--formats", "[h5,mat]"]
    run(file, *options)
    image = stored(tmp_path / "P001/T1map.h5")
    submitted = loadmat(tmp_path / "P001/T1map.mat")["img4ranking"]
    rows, columns = image.shape[-2:]
    first_row, first_column = rows // 2 - submitted.shape[0] // 2, columns // 2 - submitted.shape[1] // 2
    assert submitted.shape[:2] == (round(rows / 3), (columns + 1) // 2)
    assert submitted.shape[3] == image.shape[0]
    np.testing.assert_array_equal(submitted[0, 0, 0], image[:, 0, first_row, first_column])


def test_raw_and_fastmri_files_of_one_scan_give_one_image(
    synthetic, checkpoint, tmp_path, write_ismrmrd, capsys
):
    fast = sorted((synthetic / "knee").rglob("*.h5"))[0]
    kspace, target = stored(fast, "kspace"), stored(fast, "reconstruction_rss")
    # fields of view of the matrix and of the part that the fastMRI file keeps, along phase encoding alone:
    # without readout oversampling to remove, both networks see the same numbers
    encoded, kept = (kspace.shape[2], kspace.shape[3], 5), (kspace.shape[2], target.shape[2], 5)
    raw = write_ismrmrd(tmp_path / "raw" / fast.name, kspace[None], encoded_mm=encoded, recon_mm=kept)
    options = [
        "--checkpoint",
        checkpoint,
        "--sampling",
        "UniformSampling",
        "--acceleration",
        2,
        "--center",
        8,
    ]
    run(fast, *options, "--output", tmp_path / "fast.h5")
    run(raw, *options, "--output", tmp_path / "raw.h5")
    assert capsys.readouterr().err.count("this is a knee scan") == 2
    fast_image, raw_image = stored(tmp_path / "fast.h5"), stored(tmp_path / "raw.h5")
    top = (raw_image.shape[1] - fast_image.shape[1]) // 2
    raw_image = raw_image[:, top : top + fast_image.shape[1]]
    np.testing.assert_allclose(raw_image, fast_image, rtol=1e-4, atol=1e-6 * fast_image.max())


def test_numpy_and_matlab_files_of_one_scan_give_one_image(synthetic, checkpoint, tmp_path, capsys):
    kspace = stored(synthetic / HEART, "kspace_full")
    array = tmp_path / "scan.npy"
    np.save(array, kspace["real"] + 1j * kspace["imag"])
    options = ["--checkpoint", checkpoint, "--output"]
    run(synthetic / HEART, *options, tmp_path / "a.h5")
    run(array, *options, tmp_path / "b.h5", "--axes", "frame,slice,coil,phase,readout")
    assert "does not say what it shows" in capsys.readouterr().err
    np.testing.assert_array_equal(stored(tmp_path / "a.h5"), stored(tmp_path / "b.h5"))
    assert "--axes slice,coil,readout,phase" in error_line(capsys, array, *options, tmp_path / "c.h5")


def test_a_scan_is_cropped_as_those_of_the_network_s_training(synthetic, tmp_path, capsys):
    path = save_checkpoint(tmp_path / "half.ckpt", synthetic, readout_crop=0.5)
    run(synthetic / HEART, "--checkpoint", path, "--output", tmp_path / "a.h5")
    kspace = stored(synthetic / HEART, "kspace_full")
    kspace = torch.from_numpy((kspace["real"] + 1j * kspace["imag"]).swapaxes(-1, -2).copy())
    rows = kspace.shape[-2]
    whole = ifft2c(kspace)[..., rows // 2 - rows // 4 : rows // 2 - rows // 4 + rows // 2, :]
    mask = UniformSampling(4, 8)(kspace.shape[-1])
    with torch.no_grad():
        masked = (fft2c(whole) * mask.lines).flatten(0, 1)
        expected = load_network(path)(masked, mask.lines[None, None, None], mask.num_acs).numpy()
    image = stored(tmp_path / "a.h5")
    assert image.shape == (2, 2, rows // 2, kspace.shape[-1])
    np.testing.assert_allclose(image.reshape(expected.shape), expected, rtol=1e-3, atol=1e-5)
    assert f"the middle {rows // 2} of {rows} rows" in capsys.readouterr().err


def test_an_undersampled_file_is_taken_as_it_is(synthetic, checkpoint, tmp_path, capsys):
    """The challenge's own mask and the one put on the full file are the same lines."""
    from fm_unroll.phantoms.write import write_cmrxrecon_undersampled

    file = tmp_path / "AccFactor04" / "P001" / "cine_sax.mat"
    write_cmrxrecon_undersampled(file, synthetic / HEART, 4, acs_lines=8)
    run(file, "--checkpoint", checkpoint, "--output", tmp_path / "a.h5")
    run(synthetic / HEART, "--checkpoint", checkpoint, "--output", tmp_path / "b.h5")
    np.testing.assert_allclose(stored(tmp_path / "a.h5"), stored(tmp_path / "b.h5"), rtol=1e-5, atol=1e-7)
    printed = capsys.readouterr()
    assert "warning" not in printed.err and printed.out.count("SSIM") == 1
    assert "leave out --acceleration" in error_line(
        capsys, file, "--checkpoint", checkpoint, "--acceleration", 8
    )


def test_the_trust_map_lies_beside_the_reconstruction(synthetic, checkpoint, tmp_path, capsys):
    options = ["--checkpoint", checkpoint, "--trust", "--output"]
    run(synthetic / HEART, *options, tmp_path / "a.nii.gz")
    run(synthetic / HEART, *options, tmp_path / "b.nii.gz", "--batch_size", 1)
    printed = capsys.readouterr().out
    assert printed.count("no error bar") == 2
    names = {"a.nii.gz", "a_trust.h5", "a_trust.png"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    change = stored(tmp_path / "a_trust.h5", "change")
    assert change.shape == stored(tmp_path / "a_trust.h5").shape and change.min() >= 0 < change.max()
    np.testing.assert_allclose(stored(tmp_path / "b_trust.h5", "change"), change, rtol=1e-3, atol=1e-5)
    # no number that would order slices or scans
    with h5py.File(tmp_path / "a_trust.h5") as file:
        assert set(file) == {"reconstruction", "change"}
        assert not file.attrs and not any(len(values.attrs) for values in file.values())


def test_a_network_is_fitted_to_the_scan_for_a_while(synthetic, checkpoint, tmp_path, capsys):
    options = [synthetic / HEART, "--checkpoint", checkpoint, "--acceleration", 2, "--output"]
    run(*options, tmp_path / "plain.h5")
    run(*options, tmp_path / "adapted.h5", "--adapt.steps", 6, "--adapt.learning_rate", 0.01)
    assert "adapted by" in capsys.readouterr().out
    run(*options, tmp_path / "declined.h5", "--adapt.steps", 1, "--adapt.learning_rate", 1e6)
    assert "not adapted" in capsys.readouterr().out
    plain, adapted, declined = (stored(tmp_path / f"{name}.h5") for name in ("plain", "adapted", "declined"))
    assert np.abs(adapted - plain).max() > 1e-3 * plain.max()
    np.testing.assert_array_equal(declined, plain)
    # the record beside each image says what was done
    records = {
        name: read_json(tmp_path / f"{name}_provenance.json")["reconstruction"]
        for name in ("plain", "adapted", "declined")
    }
    assert "adaptation" not in records["plain"]
    done, undone = records["adapted"]["adaptation"], records["declined"]["adaptation"]
    assert done["settings"] == asdict(Adaptation(steps=6, learning_rate=0.01))
    assert 0 < done["step_chosen"] <= done["steps_taken"] <= 6
    assert 0 < done["error_after"] < done["error_before"]
    assert undone["step_chosen"] == 0 and undone["steps_taken"] == 1
    assert undone["error_after"] == undone["error_before"] > 0


def test_older_checkpoints_are_still_read(synthetic, tmp_path, capsys):
    path = save_checkpoint(tmp_path / "old.ckpt", synthetic)
    content = torch.load(path, weights_only=True)
    del content["fm_unroll"]["trained_on"]
    torch.save(content, path)
    run(synthetic / HEART, "--checkpoint", path, "--output", tmp_path / "a.png")
    assert "does not say which coils" in capsys.readouterr().err


def test_the_encoders_weights_may_have_moved(synthetic, tmp_path, capsys):
    vit = timm.create_model("vit_tiny_patch16_224")
    first, moved, others = (tmp_path / name for name in ("first.pt", "moved.pt", "others.pt"))
    torch.save(vit.state_dict(), first)
    settings = {
        "method": "timm/vit_tiny_patch16_224",
        "weights": str(first),
        "num_cascades": 1,
        "blocks": [1, 2],
        "decoder_widths": [4, 4, 4, 4],
        "sens_chans": 2,
        "sens_pools": 1,
    }
    encoder = ReconstructionTask(**settings).network.encoders[0]
    told = {"name": encoder.name, "sha256": encoder.sha256, "weights": encoder.weights_label}
    path = save_checkpoint(tmp_path / "vit.ckpt", synthetic, settings=settings, encoder=told)
    file, options = synthetic / HEART, ["--checkpoint", path, "--output", tmp_path / "a.png"]
    run(file, *options)
    first.rename(moved)
    assert "first.pt" in error_line(capsys, file, *options)
    run(file, *options, "--weights", moved)
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), others)
    assert "trained over the encoder" in error_line(capsys, file, *options, "--weights", others)


def test_bad_requests_are_answered_before_the_work(synthetic, checkpoint, tmp_path, capsys):
    file, given = synthetic / HEART, ["--checkpoint", checkpoint]
    copy = tmp_path / "P001" / "cine_sax.mat"
    copy.parent.mkdir()
    copy.write_bytes((synthetic / "MultiCoil/Mapping/TrainingSet/FullSample/P001/T1map.mat").read_bytes())
    copy = copy.rename(copy.with_name("T1map.mat"))
    for args, words in (
        ([file, *given, "--method", "wavelet"], "leave out --checkpoint"),
        (
            [file, "--method", "wavelet", "--weights", tmp_path / "w.pt"],
            "leave out --checkpoint and --weights",
        ),
        ([file, "--method", "wavelet", "--trust"], "has no trust map"),
        ([file, "--method", "wavelet", "--adapt"], "nothing to adapt"),
        ([file, *given, "--adapt.steps", 0], "adapt.steps is 0"),
        ([file, *given, "--adapt", "--acceleration", 12], "alone takes 8"),
        ([file, "--checkpoint", tmp_path / "no.ckpt"], "no.ckpt is not a file"),
        ([file, *given, "--output", tmp_path / "a.tiff"], "a.tiff: unknown format"),
        ([file, *given, "--output", tmp_path / "a.h5", "--formats", "png"], "leave out one of the two"),
        ([file, *given, "--output", tmp_path / "a.mat"], "this cine has 2"),
        ([copy, *given, "--output", tmp_path, "--formats", "[mat]"], "is the file to be reconstructed"),
        ([file, *given, "--sampling", "RandomSampling", "--center", 8], "needs a center fraction"),
        ([file, *given, "--center", 0.08], "a number of ACS lines"),
        ([file, *given, "--device", "cuda:99"], "cannot be used"),
        ([file, *given, "--batch_size", 0], "batch_size is 0"),
        ([file, *given, "--weights", tmp_path / "w.pt"], "has no frozen encoder"),
    ):
        assert words in error_line(capsys, *args)
    strange = {"class_path": "os.system", "init_args": {}}
    unknown = save_checkpoint(tmp_path / "unknown.ckpt", synthetic, sampling=strange)
    assert "is not known here" in error_line(capsys, file, "--checkpoint", unknown)


def test_a_failed_reconstruction_is_never_written(synthetic, tmp_path, capsys):
    path = save_checkpoint(tmp_path / "nan.ckpt", synthetic)
    content = torch.load(path, weights_only=True)
    next(iter(content["state_dict"].values())).fill_(torch.nan)
    torch.save(content, path)
    line = error_line(capsys, synthetic / HEART, "--checkpoint", path, "--output", tmp_path / "a.h5")
    assert "P001/cine_sax: the reconstruction of slice 0, frame 0 holds NaN" in line
    assert not (tmp_path / "a.h5").exists()


def printed_metrics(printed: str) -> dict[str, list[float]]:
    """SSIM, PSNR and NMSE in the table that ``reconstruct`` prints, by the name of their row."""
    rows = [line.rsplit(maxsplit=3) for line in printed.splitlines()]
    return {
        row[0].strip(): [float(value) for value in row[1:]]
        for row in rows
        if row and row[0].strip() in {"reconstruction", "zero-filled", "CG-SENSE"}
    }


@pytest.mark.parametrize("method", ["zero_filled", "cg_sense", "wavelet"])
def test_methods_without_training_need_no_checkpoint(method, synthetic, tmp_path, capsys):
    run(synthetic / HEART, "--method", method, "--output", tmp_path / "a.h5")
    printed = capsys.readouterr()
    assert f"by {method}, without training" in printed.out and "warning" not in printed.err
    assert "EquispacedSampling(acceleration=4, center_fraction=0.08)" in printed.out
    scan = open_scan(synthetic / HEART)
    batch = scan.undersample(EquispacedSampling(4, 0.08))[:]
    expected = CLASSICAL[method]()(batch.kspace, batch.mask, batch.num_acs).numpy()
    image = stored(tmp_path / "a.h5").reshape(expected.shape)
    np.testing.assert_allclose(image, expected, rtol=1e-3, atol=1e-4 * expected.max())
    metrics = printed_metrics(printed.out)
    assert metrics.keys() == {"reconstruction", "zero-filled", "CG-SENSE"}
    for name, row in (("zero_filled", "zero-filled"), ("cg_sense", "CG-SENSE")):
        assert (metrics[row] == metrics["reconstruction"]) == (name == method)


def test_chunks_are_halved_when_memory_does_not_suffice():
    sizes = []

    def process(chunk: list[int]) -> list[int]:
        sizes.append(len(chunk))
        if len(chunk) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return chunk

    assert [item for chunk in in_chunks(range(7), process, 5) for item in chunk] == list(range(7))
    assert sizes == [5, 2, 2, 2, 1]
    with pytest.raises(InputError, match="one slice does not fit"):
        list(in_chunks(range(2), lambda chunk: process([0, 1, 2]), 1))


@pytest.mark.parametrize(
    "path, lines",
    [
        ("cmrxrecon/MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat", 246),
        ("fastmri_brain/multicoil_val/file_brain_vfa_13coil.h5", 224),
    ],
)
def test_real_scans(shared, checkpoint, tmp_path, capsys, path, lines):
    """A small network with random weights: that files of real scans go through, not how well."""
    output = tmp_path / "real.nii.gz"
    run(shared / "data" / path, "--checkpoint", checkpoint, "--output", output, "--batch_size", 1)
    printed = capsys.readouterr()
    assert f"{lines} phase lines, trained on" in printed.err and "SSIM" in printed.out
    image = nibabel.load(output).get_fdata()
    assert image.shape[1] == lines and np.isfinite(image).all() and image.max() > 0


@pytest.mark.parametrize("factor, warned", [(1, False), (1e-6, True), (2, True)])
def test_a_maximum_that_is_not_that_of_the_images_is_warned_of(
    factor, warned, synthetic, checkpoint, tmp_path, capsys
):
    """Also where the file stores no images, which would tell it before the slices are read."""
    scan = tmp_path / "scan.h5"
    scan.write_bytes(min((synthetic / "knee").rglob("*.h5")).read_bytes())
    with h5py.File(scan, "r+") as file:
        kspace = np.concatenate([file["kspace"][:]] * 3)  # more slices than are looked at first
        maximum = file["reconstruction_rss"][:].max()
        for name in ("kspace", "reconstruction_rss"):
            del file[name]
        file["kspace"] = kspace
        file.attrs["max"] = factor * maximum
    run(scan, "--checkpoint", checkpoint, "--output", tmp_path / "out.h5")
    assert ("warning: the stated maximum" in capsys.readouterr().err) is warned


def save_array(path: Path, shape: tuple[int, int], gaps: tuple[int, ...] = ()) -> list:
    """An array of one slice of two coils, without some lines; the words that reconstruct it."""
    kspace = random_kspace(2, *shape)
    kspace[..., list(gaps)] = 0
    np.save(path, kspace)
    return [path, "--axes", "coil,readout,phase", "--output", path.parent, "--formats", "h5"]


def test_without_acs_lines_the_zero_filled_image_is_written(tmp_path, capsys):
    words = save_array(tmp_path / "scan.npy", (16, 12), gaps=(1, 6, 9))
    run(*words, "--method", "zero_filled")
    kspace = torch.from_numpy(np.load(tmp_path / "scan.npy"))
    np.testing.assert_allclose(stored(tmp_path / "scan.h5")[0], rss(ifft2c(kspace)), rtol=1e-5)
    for other in (["--method", "cg_sense"], []):
        line = error_line(capsys, *words, *other)
        assert "scan.npy: the centre of k-space is not sampled" in line


def test_images_too_small_to_be_scored_are_refused_before_the_work(tmp_path, capsys):
    words = save_array(tmp_path / "scan.npy", (5, 7))
    line = error_line(capsys, *words, "--method", "zero_filled")
    assert "scan.npy: images of 5 x 7 are smaller than the 7 x 7 window of SSIM" in line
    assert not (tmp_path / "scan.h5").exists()
