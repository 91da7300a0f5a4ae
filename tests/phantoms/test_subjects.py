"""What is drawn: the heart beats, subjects differ, air holds nothing but noise."""

import h5py
import numpy as np
import pytest

from fm_unroll.phantoms.data_set import SyntheticData
from simulate import rss_image, to_images


def test_the_heart_beats_and_the_chest_does_not(root):
    with h5py.File(root / "MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat") as file:
        first, second = rss_image(file["kspace_full"][:, 0].view(np.complex64).swapaxes(-2, -1))
    change = np.abs(first - second)
    heart, back = change[14:30, 10:30], change[36:, :]
    assert heart.max() > 8 * back.max()


def test_subjects_differ_widely(root):
    volumes = []
    for path in sorted((root / "brain/multicoil_val").glob("*.h5")):
        with h5py.File(path) as file:
            volumes.append(file["reconstruction_rss"][0] / file.attrs["max"])
    for i, a in enumerate(volumes):
        for b in volumes[:i]:
            assert np.linalg.norm(a - b) > 0.3 * np.linalg.norm(a)


def test_air_beside_the_head_holds_only_the_noise_that_the_file_states(tmp_path):
    SyntheticData("demo", hearts=0, knees=0, heads=1).write(tmp_path)
    with h5py.File(next(tmp_path.rglob("*.h5"))) as file:
        images, noise_std = to_images(file["kspace"][()]), file.attrs["noise_std"]
    assert images[..., :25, :].std() == pytest.approx(noise_std, rel=0.1)
