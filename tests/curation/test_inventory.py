"""Counts and pictures of what a survey found."""

from pathlib import Path

import numpy as np

from fm_unroll.curation.inventory import count, pictures, read_all
from fm_unroll.curation.survey import DataSet, Survey, survey
from simulate import random_kspace, rss_image, write_cmrxrecon, write_fastmri, write_matlab


def only(folder: Path) -> DataSet:
    (data_set,) = survey(folder).data_sets
    return data_set


def test_every_frame_of_a_slice_counts(tmp_path: Path):
    write_cmrxrecon(tmp_path, shape=(16, 12, 2, 3, 4))
    (found,) = count(tmp_path, survey(tmp_path))["data_sets"]
    assert found["contrasts"]["cine_sax"] == {"volumes": 1, "slices": 12, "shapes": {"2 x 16 x 12": 1}}


def test_a_problem_of_two_parts_is_listed_once(tmp_path: Path):
    found = Survey(problems=["a.h5: torn", "b.h5: empty", "a.h5: torn"])
    assert count(tmp_path, found)["problems"] == ["a.h5: torn", "b.h5: empty"]


def test_images_too_small_for_ssim_are_reported(tmp_path: Path):
    path = write_fastmri(tmp_path / "multicoil_val" / "small.h5", recon=(6, 8))
    write_fastmri(tmp_path / "multicoil_val" / "whole.h5", recon=(7, 8))
    _, (problem,) = read_all(only(tmp_path))
    assert problem.startswith(f"{path}: images of 6 x 8 are smaller")


def test_the_picture_is_the_middle_slice_of_the_first_frame(tmp_path: Path):
    scales = np.arange(1, 11).reshape(5, 2)  # slice, frame
    kspace = random_kspace(16, 12, 2, 1, 1) * scales.astype(np.float32)
    folder = tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / "P001"
    write_matlab(folder / "cine_sax.mat", kspace_full=kspace)
    ((_, picture),) = pictures(only(tmp_path), per_contrast=1)
    expected = rss_image(kspace[..., 2, 0].transpose(2, 0, 1))
    np.testing.assert_allclose(picture, expected, rtol=1e-4)
