"""The data module of pictures: the same scans wherever they are made, and honest labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fm_unroll import PicturesData
from fm_unroll.cli import main
from fm_unroll.data.undersampling import rss_image
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.models.checkpoints import read_checkpoint
from fm_unroll.phantoms.dead_leaves import DeadLeaves
from fm_unroll.phantoms.picture_scans import PictureScans
from fm_unroll.phantoms.pictures import ImageFile, PictureReader

SMALL = PictureScans(matrix=(32, 40), coils=(2, 4), shapes=3)


def pictures(number: int | None = 40, root: Path | None = None, **options) -> PicturesData:
    data = PicturesData(root, number, **{"scans": SMALL, "num_workers": 0, **options})
    data.prepare_data()
    data.setup()
    return data


def bytes_of(data: PicturesData, items: range) -> dict[str, bytes]:
    slices = data.slices(data.index.volumes)
    return {slices[item].volume.name: slices[item].kspace.numpy().tobytes() for item in items}


def test_a_picture_depends_on_seed_and_number_alone():
    data = pictures(12)
    expected = bytes_of(data, range(12))
    assert len(set(expected.values())) == 12
    assert bytes_of(pictures(5, seed=3, batch_size=2), range(4, -1, -1)) == {
        name: expected[name] for name in sorted(expected)[:5]
    }
    workers = {}
    everything = pictures(12, split=(0, 0, 1), num_workers=2, batch_size=3)
    for batch in everything.test_dataloader():
        workers |= dict(zip(batch.volume, (k.numpy().tobytes() for k in batch.kspace), strict=True))
    assert workers == expected
    assert not set(expected.values()) & set(bytes_of(pictures(5, picture_seed=1), range(5)).values())


def test_every_picture_is_a_synthetic_subject_in_one_part_of_the_split():
    data = pictures(40)
    volumes = data.index.volumes
    assert {volume.synthetic for volume in volumes} == {True} and {v.num_images for v in volumes} == {1}
    assert [len(data.subjects[part]) for part in ("train", "val", "test")] == [36, 2, 2]
    assert (
        sorted(sum(data.subjects.values(), ())) == [v.subject for v in volumes] == [v.name for v in volumes]
    )
    assert str(data.population) == "pictures dead leaves 0 (synthetic)" and data.anatomy == "pictures"
    assert all(data.reader.names_subject(volume) for volume in volumes)
    assert len(pictures(None).index.volumes) == 2000
    other = pictures(4, picture_seed=1).population
    assert not data.population.may_be(other)  # the same numbers are other pictures


def test_scans_share_a_few_matrices_so_that_batches_are_full():
    data = pictures(60, batch_size=5, split=(1, 0, 0))
    assert {v.maximum for v in data.index.volumes} == {None}  # nothing was drawn to find it
    shapes = {(v.num_coils, v.readout, v.phase) for v in data.index.volumes}
    assert len(shapes) == 3
    coils, readout, phase = zip(*shapes, strict=True)
    seen = data.describe_training()
    for name, values in (("coils", coils), ("readout", readout), ("phase", phase)):
        assert seen[name] == [min(values), max(values)]
    sizes = [len(batch) for batch in data.loader("train", shuffle=True).batch_sampler]
    assert sum(sizes) == 60 and sizes.count(5) >= 9


def test_the_target_is_the_rss_of_all_lines_and_its_maximum_the_data_range():
    data = pictures(30, batch_size=4, acceleration=3, center_fraction=0.2, split=(0, 0, 1))
    padded = 0
    for full in data.test_dataloader():
        batch = data.on_after_batch_transfer(full, 0)
        images = np.fft.ifft2(np.fft.ifftshift(full.kspace.numpy(), (-2, -1)), norm="ortho")
        rss = np.fft.fftshift(np.sqrt((np.abs(images) ** 2).sum(1)), (-2, -1))
        np.testing.assert_allclose(batch.target, rss, rtol=1e-4, atol=1e-5 * rss.max())
        np.testing.assert_allclose(batch.data_range, rss.max((1, 2)), rtol=1e-4)
        assert set(batch.acceleration) == {3} and not batch.kspace[~batch.mask.expand_as(batch.kspace)].any()
        empty = ~full.mask.expand_as(full.kspace)  # padding
        assert not full.kspace[empty].any() and full.kspace[~empty].all()
        padded += int((~full.mask).any(-1).sum())
    assert 2 <= padded <= 15


def test_options_of_scans_and_leaves_reach_the_pictures():
    def corners(air: float, **leaves: float) -> np.ndarray:
        """Brightness of the corner of some pictures, over their maximum."""
        scans = replace(SMALL, air=air, padded=0, noise=(1e-4, 1e-4))
        data = pictures(5, scans=scans, leaves=DeadLeaves(gamma=(1, 1), **leaves))
        samples = list(data.slices(data.index.volumes))
        assert 1e-4 < np.median([s.volume.maximum for s in samples]) < 3e-3  # as in fastMRI's files
        images = [rss_image(s.kspace, s.volume.crop)[:2, :2].mean() for s in samples]
        return np.array([image / s.volume.maximum for image, s in zip(images, samples, strict=True)])

    full = corners(air=0)
    assert corners(air=1).max() < 0.03 < np.median(full)
    assert (full != corners(air=0, textured=0.0)).all()


def test_two_steps_from_the_command_line(tmp_path):
    config = tmp_path / "config.yaml"
    data = {"pictures": 24, "acceleration": 2, "center_fraction": 0.2, "num_workers": 0, "batch_size": 2}
    content = {
        "model": {"num_cascades": 1, "chans": 2, "pools": 1, "sens_chans": 2, "sens_pools": 1},
        "data": {"class_path": "PicturesData", "init_args": data | {"scans": {"matrix": [32, 40]}}},
        "trainer": {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "accelerator": "cpu"}
        | dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False),
    }
    config.write_text(yaml.safe_dump(content))
    options = ["--data.scans.coils", "[1,3]", "--data.leaves.lines", "3", "--trainer.default_root_dir"]
    main(["fit", "--config", str(config), *options, str(tmp_path / "run")])
    checkpoint = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    facts = checkpoint["fm_unroll"]
    assert checkpoint["global_step"] == 2 and facts["anatomy"] == "pictures" and facts["synthetic"] is True
    assert facts["contrasts"] == ["dead_leaves"] and facts["population"]["data_set"] == "pictures"
    low, high = facts["trained_on"]["coils"]
    assert 1 <= low <= high <= 3
    resolved = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"]["init_args"]
    assert resolved["scans"]["coils"] == [1, 3] and resolved["scans"]["matrix"] == [32, 40]
    assert resolved["leaves"]["lines"] == 3 and resolved["leaves"]["exponent"] == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same picture, bright on the left, in several kinds of files and sizes."""
    grey = np.full((60, 90), 50, np.uint8)
    grey[:, :45] = 200
    image, root = Image.fromarray(grey), tmp_path / "images"
    (root / "more").mkdir(parents=True)
    image.save(root / "grey.png")
    image.convert("RGB").resize((900, 600)).save(root / "more/colour.JPG")
    image.convert("RGBA").save(root / "alpha.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(root / "deep.tiff")
    Image.fromarray(grey / np.float32(7)).save(root / "more/real.tif")
    (root / "._grey.png").write_text("hidden")
    (root / "note.txt").write_text("no image")
    return root


def test_images_of_any_kind_are_read_grey_resized_and_scanned(folder):
    data = pictures(None, folder, split=(1, 0, 0))
    assert [v.name for v in data.index.volumes] == [
        *("alpha.png", "deep.tiff", "grey.png", "more/colour.JPG", "more/real.tif")
    ]
    assert {volume.contrast for volume in data.index.volumes} == {"picture"}
    assert all(volume.synthetic for volume in data.index.volumes)
    for volume in data.index.volumes:
        pixels = ImageFile(folder / volume.path).pixels(np.random.default_rng(0), (48, 40))
        assert pixels.dtype == np.float32 and pixels.shape == (48, 40)
        # the middle of the image: the edge stays in the middle, and both sides keep their brightness
        np.testing.assert_allclose(pixels[:, :16], 200 / pixels.max() / 200 * pixels[24, 4], rtol=0.05)
        np.testing.assert_allclose(pixels[:, 24:].mean() / pixels[:, :16].mean(), 0.25, rtol=0.05)
    samples = list(data.slices(data.index.volumes))
    assert all(torch.isfinite(sample.kspace).all() and sample.volume.maximum > 0 for sample in samples)
    chosen = pictures(3, folder, split=(1, 0, 0)).index.volumes
    assert len(chosen) == 3 and set(chosen) < set(data.index.volumes)


def test_sharp_edges_stay_within_black_and_white(tmp_path):
    grey = np.zeros((60, 90), np.uint8)
    grey[:, 45:] = 255
    Image.fromarray(grey).save(tmp_path / "edge.png")
    pixels = ImageFile(tmp_path / "edge.png").pixels(np.random.default_rng(0), (40, 48))
    assert pixels.min() == 0 and pixels.max() == 1


def test_an_image_that_cannot_be_read_is_named(folder):
    whole = (folder / "grey.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    Image.new("L", (30, 30)).save(folder / "black.png")
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(folder / "nan.tif")
    Image.fromarray(np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)).save(folder / "negative.tif")
    Image.new("RGBA", (30, 30), (255, 255, 255, 0)).save(folder / "hidden.png")
    faults = {
        "black.png": "black or transparent, or holds NaN",
        "cut.png": "cannot be read as an image",
        "hidden.png": "black or transparent, or holds NaN",
        "nan.tif": "black or transparent, or holds NaN",
        "negative.tif": "holds -1, a brightness below 0: shift it",
        "text.jpg": "cannot be read as an image",
    }
    for name, words in faults.items():
        with pytest.raises(InputError, match=f"^{folder / name}: {words}"):
            ImageFile(folder / name).pixels(np.random.default_rng(0), (48, 40))
    with pytest.raises(InputError) as error:  # before training, all of them at once
        pictures(None, folder)
    assert all(f"{folder / name}: {words}" in str(error.value) for name, words in list(faults.items())[:5])
    assert str(error.value).endswith("; and 1 more")


def test_images_are_read_once_and_again_when_they_have_changed(folder, monkeypatch):
    read, require = [], PictureReader.require

    def noted(self: PictureReader, volume: Volume, root: Path) -> None:
        read.append(volume.name)
        require(self, volume, root)

    monkeypatch.setattr(PictureReader, "require", noted)
    names = [volume.name for volume in pictures(None, folder).index.volumes]
    assert read == names
    pictures(None, folder, scans=PictureScans(matrix=(48, 48)))
    assert read == names
    Image.new("L", (30, 30), 9).save(folder / "grey.png")
    pictures(None, folder)
    assert read == [*names, "grey.png"]


def test_what_is_transparent_is_black(tmp_path):
    values = np.full((40, 60, 4), 255, np.uint8)
    values[:, :20, 3], values[:, 20:40, 3] = 0, 51  # hidden, a fifth, opaque
    whole = Image.fromarray(values)
    for name, image in (
        ("rgba.png", whole),
        ("la.png", whole.convert("LA")),
        ("palette.png", whole.quantize(8)),
    ):
        image.save(tmp_path / name)
        assert Image.open(tmp_path / name).has_transparency_data
        pixels = ImageFile(tmp_path / name).pixels(np.random.default_rng(0), (40, 60))
        np.testing.assert_allclose(pixels[:, [5, 30, 55]].mean(0), [0, 0.2, 1], atol=0.01)


def test_what_cannot_be_is_refused_before_anything_is_drawn(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for root, number, words in (
        (tmp_path / "empty", None, "empty: no images; expected files that end in .png"),
        (tmp_path / "nowhere", None, "nowhere: no such folder"),
        (folder, 6, f"data.pictures is 6, but {folder} has 5 images"),
        (None, 0, "data.pictures is 0: give 1 or more"),
    ):
        with pytest.raises(InputError, match=words):
            pictures(number, root)
    with pytest.raises(InputError, match=f"data.leaves: pictures of {folder} are read, not drawn"):
        pictures(None, folder, leaves=DeadLeaves())
    data = PicturesData(pictures=9)
    data.verb = "cross-domain"
    with pytest.raises(InputError, match="pictures are to train on"):
        data.setup()


def test_sources_of_randomness_differ_by_purpose_and_seed():
    reader = PictureReader(seed=1)
    numbers = {tuple(r.random(purpose, name).random(2)) for r in (reader, PictureReader(seed=2))
               for purpose in ("scan", "picture") for name in ("000001", "000002")}  # fmt: skip
    assert len(numbers) == 8
