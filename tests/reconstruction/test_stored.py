"""Reconstructions that others wrote: one volume in every published format, and what is refused."""

from pathlib import Path

import fastmri
import h5py
import numpy as np
import pytest
from scipy.io import savemat

from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.reconstruction.stored import read_images
from fm_unroll.reconstruction.writers import write_h5
from simulate import write_matlab

FRAMES, SLICES, CROP, MATRIX = 3, 2, (10, 8), (16, 12)
IMAGES = np.random.default_rng(0).random((FRAMES, SLICES, *CROP), np.float32)


def volume(frames: int = FRAMES, slices: int = SLICES) -> Volume:
    return Volume(
        path="P001/cine_sax.mat",
        name="P001/cine_sax",
        subject="P001",
        contrast="cine_sax",
        num_slices=slices,
        num_frames=frames,
        num_coils=2,
        readout=MATRIX[0],
        phase=MATRIX[1],
        crop=CROP,
        acquired=(0, MATRIX[1]),
    )


def in_matlabs_order(images: np.ndarray) -> np.ndarray:
    """``(frame, slice, row, column)`` -> ``(kx, ky, slice, frame)``."""
    return np.einsum("tzxy->xyzt", images)


def write_numpy(path: Path, images: np.ndarray) -> None:
    np.save(path, images)


WRITERS = {
    "own.h5": write_h5,
    "5.mat": lambda path, images: savemat(path, {"img4ranking": in_matlabs_order(images)}),
    "7.3.mat": lambda path, images: write_matlab(path, img4ranking=in_matlabs_order(images)),
    "any.npy": write_numpy,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("frames", "slices"), [(FRAMES, SLICES), (1, SLICES), (FRAMES, 1), (1, 1)])
def test_every_format_gives_the_same_images(name: str, frames: int, slices: int, tmp_path: Path):
    images = IMAGES[:frames, :slices]
    WRITERS[name](tmp_path / name, images)
    np.testing.assert_array_equal(read_images(tmp_path / name, volume(frames, slices)), images)


def test_what_fastmri_submits(tmp_path: Path):
    fastmri.save_reconstructions({"file1.h5": IMAGES[0]}, tmp_path)
    np.testing.assert_array_equal(read_images(tmp_path / "file1.h5", volume(frames=1))[0], IMAGES[0])


def test_of_complex_images_of_the_whole_matrix_the_magnitude_of_the_centre_counts(tmp_path: Path):
    whole = np.zeros((FRAMES, SLICES, *MATRIX), np.complex128)
    whole[..., 3:13, 2:10] = IMAGES * np.exp(2j)
    np.save(tmp_path / "a.npy", whole)
    np.testing.assert_allclose(read_images(tmp_path / "a.npy", volume()), IMAGES, rtol=1e-6)


def broken(value: float) -> np.ndarray:
    images = IMAGES.copy()
    images[2, 1, 3, 3] = value
    return images


def link(path: Path, images: np.ndarray) -> None:
    with h5py.File(path.with_name("secret"), "w") as other:
        other["reconstruction"] = images
    with h5py.File(path, "w") as file:
        file["reconstruction"] = h5py.ExternalLink("secret", "reconstruction")


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        (
            "a.npy",
            lambda p: np.save(p, IMAGES.swapaxes(0, 1)),
            r"\(2, 3, 10, 8\) by .*, expected \(3, 2, 10, 8\)",
        ),
        ("a.npy", lambda p: np.save(p, IMAGES.swapaxes(2, 3)), r"\(3, 2, 8, 10\) by"),
        ("a.npy", lambda p: np.save(p, IMAGES.reshape(6, *CROP)), r"are \(6, 10, 8\)"),
        ("a.npy", lambda p: np.save(p, IMAGES[:, :, :9]), r"are \(3, 2, 9, 8\)"),
        ("a.npy", lambda p: np.save(p, np.float32(1)), r"are \(\)"),
        ("a.npy", lambda p: np.save(p, IMAGES > 0.5), "expected numbers"),
        ("a.npy", lambda p: np.save(p, np.array([{}])), "damaged NumPy file"),
        ("a.npy", lambda p: np.save(p, broken(np.nan)), "slice 1, frame 2 holds NaN or Inf"),
        ("a.mat", lambda p: savemat(p, {"img4ranking": IMAGES}), r"are \(8, 10, 3, 2\)"),
        ("a.mat", lambda p: savemat(p, {"image": IMAGES}), "holds no img4ranking; its variables are image"),
        ("a.mat", lambda p: write_matlab(p, kspace_sub08=IMAGES), "its keys are kspace_sub08"),
        ("a.mat", lambda p: p.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200)), "damaged MATLAB file"),
        ("a.mat", lambda p: p.write_bytes(b""), "an empty file"),
        ("a.h5", lambda p: h5py.File(p, "w").close(), "holds no reconstruction; its keys are none"),
        ("a.h5", lambda p: link(p, IMAGES), "links are not followed"),
        ("a.h5", lambda p: write_h5(p, broken(np.inf)), "slice 1, frame 2 holds NaN or Inf"),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(name: str, write, words: str, tmp_path: Path):
    write(tmp_path / name)
    with pytest.raises(InputError, match=words) as error:
        read_images(tmp_path / name, volume())
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
