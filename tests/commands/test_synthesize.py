"""The verb writes the data set and a picture of it, and takes every option from the command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fm_unroll.cli import main
from fm_unroll.phantoms.examples import example_images


def test_every_anatomy_is_written_and_pictured(tmp_path: Path):
    options = ["--size", "tiny", "--hearts", "2", "--knees", "1", "--heads", "1", "--accelerations", "[4]"]
    main(["data", "synthesize", "--root", str(tmp_path / "new"), *options])
    assert len(list((tmp_path / "new").rglob("AccFactor04/*/*.mat"))) == 2 * 4 * 2
    images = example_images(tmp_path / "new", per_row=3)
    views = ["heart, short axis", "heart, long axis", "heart, T1-weighted", "heart, T2-weighted"]
    assert {title: len(row) for title, row in images.items()} == dict.fromkeys(views, 3) | {
        "knee": 1,
        "head": 1,
    }
    assert all(image.ndim == 2 and image.max() > 0 for row in images.values() for _, image in row)
    with Image.open(tmp_path / "new" / "contact_sheet.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_bad_options_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["data", "synthesize", "--root", str(tmp_path / "new"), "--hearts", "-1"])
    assert capsys.readouterr().err == "error: hearts is -1: give a number that is not negative\n"
    assert not (tmp_path / "new").exists()
