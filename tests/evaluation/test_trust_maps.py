"""``experiments/trust_maps.py``: known correlations, bounds that keep their promise, and the whole way."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import trust_maps
import yaml
from scipy.stats import rankdata, ttest_1samp
from torch import Tensor, nn

from fm_unroll.cli import call, main
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.scan import open_scan
from fm_unroll.metrics import window_means
from fm_unroll.physics import UniformSampling, fft2c, ifft2c, rss
from fm_unroll.reconstruction.engine import accelerate
from simulate import write_cmrxrecon


@pytest.fixture
def error() -> np.ndarray:
    """Errors that are smooth enough for their means over windows to differ."""
    random = np.random.default_rng(0)
    return np.abs(random.normal(size=(40, 30)).cumsum(0)).astype(np.float32)


def test_the_error_itself_has_rank_correlation_one_and_its_negative_minus_one(error):
    inside = np.ones_like(error, bool)
    assert trust_maps.correlations(error, error, inside) == pytest.approx({"pixels": 1, "windows": 1})
    assert trust_maps.correlations(-3 * error, error, inside) == pytest.approx({"pixels": -1, "windows": -1})
    # ranks alone count: of pixels, but not of means, which a curve changes
    curved = trust_maps.correlations(error**4, error, inside)
    assert curved["pixels"] == pytest.approx(1) and curved["windows"] < 1


def test_what_lies_outside_of_the_object_does_not_count(error):
    inside = np.zeros_like(error, bool)
    inside[10:30, 8:22] = True
    map_ = np.random.default_rng(1).random(error.shape, dtype=np.float32)
    found = trust_maps.correlations(map_, error, inside)
    ranks = [rankdata(values[inside]) for values in (map_, error)]
    assert found["pixels"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    means = [window_means(torch.from_numpy(values)[None])[0].numpy() for values in (map_, error)]
    ranks = [rankdata(values[inside[3:-3, 3:-3]]) for values in means]
    assert found["windows"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-4)
    map_[~inside] = 100 * error[~inside]
    assert trust_maps.correlations(map_, error, inside)["pixels"] == pytest.approx(found["pixels"])


class Known(nn.Module):
    """Finds the same coil images, whatever was sampled."""

    def __init__(self, kspace: Tensor) -> None:
        super().__init__()
        self.kspace = kspace

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return ifft2c(self.kspace)

    def forward(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return rss(ifft2c(self.kspace))


@pytest.fixture
def full(tmp_path: Path) -> KSpaceBatch:
    scan = open_scan(write_cmrxrecon(tmp_path, shape=(24, 20, 2, 3, 1)))
    samples: list[KSpaceSample] = [scan[item] for item in range(len(scan))]
    return KSpaceBatch.collate(samples)


def test_of_a_network_that_knows_the_truth_all_but_the_image_and_its_edges_are_silent(full):
    batch = accelerate(full, UniformSampling(4, acs_lines=4))
    image, maps = trust_maps.candidates([Known(full.kspace)] * 3, batch)
    torch.testing.assert_close(image, batch.target)
    silent = set(maps) - {trust_maps.IMAGE, trust_maps.EDGES, "prior's part"}
    assert len(silent) == 6 and "spread over 3 seeds" in silent
    for name in silent:
        assert maps[name].max() < 1e-5 * image.max(), name
    assert maps["prior's part"].max() > 0.01 * image.max()  # it is right, and a large part of the image


def test_an_error_at_left_out_lines_is_found_where_it_is(full):
    """All lines are wrong by the same small part of the image, and the map is that part of it."""
    lines = torch.ones_like(full.mask)
    found = trust_maps.maps_without_lines(
        Known(1.01 * full.kspace),
        KSpaceBatch(**vars(full) | {"mask": lines, "num_acs": 0}),
        ifft2c(full.kspace),
    )
    torch.testing.assert_close(
        found[trust_maps.LEFT_OUT], 0.01 * rss(ifft2c(full.kspace)), rtol=1e-3, atol=1e-6
    )


def test_an_error_in_quadrature_changes_no_magnitude(full):
    coil_images = ifft2c(full.kspace)
    everything = KSpaceBatch(**vars(full) | {"mask": torch.ones_like(full.mask), "num_acs": 0})
    found = trust_maps.maps_without_lines(Known((1 + 0.01j) * full.kspace), everything, coil_images)
    assert found[trust_maps.LEFT_OUT].max() < 1e-4 * rss(coil_images).max()


class Noting(Known):
    """Remembers the lines it was given."""

    def __init__(self, kspace: Tensor) -> None:
        super().__init__(kspace)
        self.given: list[set[int]] = []

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        self.given.append(set(mask[0].flatten().nonzero().flatten().tolist()))
        return super().coil_images(kspace, mask, num_acs)


def test_subsets_leave_out_every_line_once_and_none_of_the_centre(full):
    batch = accelerate(full, UniformSampling(2, acs_lines=4))
    noting = Noting(full.kspace)
    trust_maps.maps_without_lines(noting, batch, ifft2c(full.kspace))
    lines = set(batch.mask[0].flatten().nonzero().flatten().tolist())
    left_out = [line for given in noting.given for line in lines - given]
    assert len(noting.given) == 5 and all(given < lines for given in noting.given)
    assert sorted(left_out) == sorted(lines - {8, 9, 10, 11})


def test_the_prior_s_part_is_the_image_of_what_was_not_measured(full):
    batch = accelerate(full, UniformSampling(4, acs_lines=4))
    _, maps = trust_maps.candidates([Known(full.kspace)], batch)
    torch.testing.assert_close(maps["prior's part"], rss(ifft2c(full.kspace * ~batch.mask)))


def test_two_seeds_spread_by_half_of_what_they_differ(full):
    batch = accelerate(full, UniformSampling(4, acs_lines=4))
    image, maps = trust_maps.candidates([Known(full.kspace), Known(1.5 * full.kspace)], batch)
    torch.testing.assert_close(maps["spread over 2 seeds"], 0.25 * image)


def test_edges_are_the_slope_of_the_image(full):
    batch = accelerate(full, UniformSampling(4, acs_lines=4))
    rows = torch.arange(24.0)[:, None].expand(24, 20)
    for image, slope in ((torch.ones(24, 20), 0), (1 + rows, 2)):
        kspace = fft2c((image * (slope or 1)).expand_as(full.kspace).to(torch.complex64))
        found = trust_maps.candidates([Known(kspace)], batch)[1][trust_maps.EDGES]
        expected = torch.full_like(found, slope * full.kspace.shape[1] ** 0.5)  # of all coils
        torch.testing.assert_close(found[:, 5:-5], expected[:, 5:-5], rtol=1e-3, atol=1e-3)


def slices_of(random: np.random.Generator, subjects: int, slices: int = 4) -> pd.DataFrame:
    """Losses of slices that are a map's number times luck, which the slices of a subject share in part."""
    of_subject = np.repeat(random.normal(size=subjects), slices)
    luck = np.exp(of_subject + 0.3 * random.normal(size=subjects * slices))
    number = random.lognormal(size=subjects * slices)
    subject = np.repeat(np.arange(subjects), slices)
    return pd.DataFrame({"subject": subject, "number": number, "nmse": number * luck})


def test_a_bound_keeps_its_promise_for_all_slices_of_a_further_subject():
    random = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        limit = trust_maps.bound(slices_of(random, 12), "nmse")
        further = slices_of(random, 1)
        held.append((further.nmse <= limit * further.number).all())
    # of 13 exchangeable subjects the further one is not the worst: 12 in 13, plus or minus four deviations
    assert np.mean(held) == pytest.approx(12 / 13, abs=4 * np.sqrt(12 / 169 / 2000))


def test_eight_subjects_are_too_few_for_nine_tenths():
    random = np.random.default_rng(0)
    assert trust_maps.bound(slices_of(random, 8), "nmse") == np.inf
    assert trust_maps.bound(slices_of(random, 9), "nmse") < np.inf


def table_of(lines: list[str]) -> dict[str, list[str]]:
    """The cells of one table by the name of their line."""
    cells = (line.strip("| ").split(" | ") for line in lines if line.startswith("| "))
    return {name: others for name, *others in cells}


def test_what_is_clearly_better_than_edges_is_bold_and_what_is_not_is_not():
    random = np.random.default_rng(0)
    rows = [
        {"candidate": name, "condition": "heart x8", "subject": subject}
        | {kind: level + 0.05 * random.normal() for kind in ("pixels", "windows")}
        for subject in range(8)
        for name, level in {"better": 0.6, "alike": 0.305, "worse": 0.1, trust_maps.EDGES: 0.3}.items()
        for _ in range(3)
    ]
    table = table_of(list(trust_maps.of_maps(pd.DataFrame(rows)))[:6])
    bold = {name for name, (cell,) in table.items() if cell.startswith("**")}
    assert bold == {"better"}
    assert table["better"][0].startswith("**0.6") and "(-0." in table["worse"][0]


def test_what_is_clear_by_itself_is_not_among_six():
    """A gain with p of 0.03 beside five cells that gain nothing; the interval is a t-test's."""
    gain = 0.4 + 0.42 * np.array([1.5, -1.1, 0.3, -0.9, 1.2, -0.4, 0.6, -1.2])
    alone = ttest_1samp(gain, 0)
    assert 0.02 < alone.pvalue < 0.05
    rows = [
        {"candidate": name, "condition": "heart x8", "subject": subject, "pixels": pixels, "windows": windows}
        for subject, more in enumerate(gain)
        for name, pixels, windows in (
            ("slight", 0.3 + more, 0.3 - more),
            ("worse", 0.2 - more, 0.2 - more),
            ("bad", 0.1 - more, 0.1 - more),
            (trust_maps.EDGES, 0.3, 0.3),
        )
    ]
    table = table_of(list(trust_maps.of_maps(pd.DataFrame(rows)))[:6])
    half = alone.confidence_interval().high - gain.mean()
    assert table["slight"] == [f"{0.3 + gain.mean():.2f} ({gain.mean():+.2f} ± {half:.2f})"]
    assert table[trust_maps.EDGES] == ["0.30"]


@pytest.mark.slow
def test_from_a_checkpoint_to_the_tables(synthetic, tmp_path, monkeypatch):
    """With the protocol whose results are published, on fewer and smaller phantoms."""
    data = {"root": str(synthetic), "acs_lines": 8, "split": [0.5, 0.25, 0.25], "acceleration": 4}
    model = {"method": "varnet", "num_cascades": 1, "chans": 2, "pools": 1, "sens_chans": 2, "sens_pools": 1}
    trainer = {"max_epochs": 1, "default_root_dir": "run", "accelerator": "cpu", "logger": False}
    trainer |= {"enable_progress_bar": False, "limit_train_batches": 1, "limit_val_batches": 1}
    content = {"model": model, "data": {"class_path": "CMRxReconData", "init_args": data}, "trainer": trainer}
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(yaml.safe_dump(content))
    main(["fit", "--config", "run.yaml"])
    Path("data").mkdir()
    Path("data/more_synthetic").symlink_to(synthetic)

    protocol = Path(__file__).parents[2] / "experiments/trust_maps.yaml"
    options = [
        "--config",
        str(protocol),
        "--checkpoints",
        "run/checkpoints/best.ckpt",
        "--accelerations",
        "[2]",
    ]
    call(trust_maps.trust_maps, options, prog="trust_maps.py")
    rows = pd.read_csv("results/trust_maps/trust_maps.csv")
    # of each heart two slices and two frames, of the two knees and two heads two slices each
    images = {"cardiac x2, 24 ACS lines": 24, "knee x2, 0.08": 4, "brain x2, 0.08": 4}
    assert rows.groupby("condition").size().to_dict() == {name: 8 * count for name, count in images.items()}
    assert rows[["pixels", "windows"]].abs().max().max() <= 1
    assert rows[rows.candidate == trust_maps.IMAGE].number.to_numpy() == pytest.approx(1)
    text = Path("results/trust_maps/trust_maps.md").read_text()
    assert all(condition in text for condition in rows.condition) and "too few to calibrate" in text
