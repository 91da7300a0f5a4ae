"""The trust map against what it must be by construction."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.physics import EquispacedSampling, UniformSampling, ifft2c, rss
from fm_unroll.reconstruction.trust import SAMPLINGS, WORTH, change_map, moved_lines
from simulate import complex_noise

LINES = torch.tensor([1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 1], dtype=torch.bool)
VARNET = {"method": "varnet", "num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}


def sample_of(kspace: Tensor, lines: Tensor, slice_: int = 0) -> KSpaceSample:
    """A slice of an undersampled scan, with four ACS lines."""
    volume = Volume.of_array(Path("v.h5"), (1, 2, 3, 16, 12), lines.numpy())
    return KSpaceSample(kspace, None, volume, slice_, frame=0)


@pytest.fixture
def batch() -> KSpaceBatch:
    samples = [sample_of(complex_noise(3, 16, 12, seed=slice_) * LINES, LINES, slice_) for slice_ in range(2)]
    return KSpaceBatch.collate(samples)


class Linear(nn.Module):
    """A network whose coil images are a known function of what was sampled."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return ifft2c(kspace * self.weight)

    def forward(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return rss(self.coil_images(kspace, mask, num_acs))


class Anything(Linear):
    """Finds one and the same image, whatever was sampled."""

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return ifft2c(self.weight.expand_as(kspace))


def test_an_image_that_comes_back_has_no_change(batch):
    always = Anything(complex_noise(3, 16, 12, seed=7))
    torch.testing.assert_close(change_map(always, batch), torch.zeros(2, 16, 12), atol=1e-6, rtol=0)


def image_of(kspace: np.ndarray) -> np.ndarray:
    """The RSS of the coil images, by NumPy."""
    axes = (-2, -1)
    coils = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes), norm="ortho"), axes)
    return np.sqrt((np.abs(coils) ** 2).sum(1))


def test_of_the_zero_filled_image_what_is_sampled_again_comes_back(batch):
    """Four lines in the eight places beside the centre are two apart: there is one place to move to."""
    kspace = batch.kspace.numpy()
    centre_and_moved = [line in {4, 5, 6, 7, 1, 3, 10, 0} for line in range(12)]
    expected = np.abs(image_of(kspace * centre_and_moved) - image_of(kspace))
    change = change_map(Linear(torch.ones(12)), batch)
    np.testing.assert_allclose(change.numpy(), expected, atol=1e-5)
    assert expected.max() > 0.1


class Filling(Linear):
    """Doubles what was sampled, and puts a known k-space where its mask says that nothing was."""

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return ifft2c(2 * kspace + ~mask * self.weight)


def test_it_is_the_root_mean_square_over_samplings_of_the_reconstruction_itself():
    """Five lines in the 44 places beside the centre are 8.8 apart: they move by 2, 4 and 7."""
    outer = np.array([1, 10, 19, 30, 39])
    sampled = [np.isin(np.arange(48), [*range(22, 26), *(outer + step)]) for step in (0, 2, 4, 7)]
    lines = torch.from_numpy(sampled[0])
    volume = Volume.of_array(Path("v.h5"), (1, 1, 3, 16, 48), sampled[0])
    batch = KSpaceBatch.collate(
        [KSpaceSample(complex_noise(3, 16, 48, seed=1) * lines, None, volume, 0, frame=0)]
    )
    filler = complex_noise(3, 16, 48, seed=2)

    def found(kspace: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return 2 * kspace * mask + ~mask * filler.numpy()

    truth = found(batch.kspace.numpy(), sampled[0])
    changes = [image_of(found(truth, moved)) - image_of(truth) for moved in sampled[1:]]
    expected = np.sqrt(np.mean(np.square(changes), axis=0))
    np.testing.assert_allclose(change_map(Filling(filler), batch).numpy(), expected, rtol=1e-3, atol=1e-5)


def test_of_nearly_all_lines_there_still_is_a_map():
    """Ten of twelve lines: six of them in eight places, which can move by one."""
    lines, moved = (torch.tensor([line not in missing for line in range(12)]) for missing in ({3, 8}, {8, 9}))
    batch = KSpaceBatch.collate([sample_of(complex_noise(3, 16, 12, seed=0) * lines, lines)])
    kspace = batch.kspace.numpy()
    expected = np.abs(image_of(kspace * moved.numpy()) - image_of(kspace))
    np.testing.assert_allclose(change_map(Linear(torch.ones(12)), batch).numpy(), expected, atol=1e-5)
    assert expected.max() > 0.1


def test_it_scales_with_the_image_and_not_with_the_batch(batch):
    """What a network that keeps scales makes of a slice does not depend on its neighbours."""
    torch.manual_seed(0)
    network = build_model(**VARNET).eval()
    whole = change_map(network, batch)
    alone = change_map(network, batch[1])
    torch.testing.assert_close(alone[0], whole[1], rtol=1e-3, atol=1e-5)
    assert (
        whole.shape == (2, 16, 12) and whole.dtype == torch.float32 and whole.min() >= 0 and whole.max() > 0
    )
    linear = Linear(torch.ones(12))
    louder = KSpaceBatch.collate([sample_of(5 * batch.kspace[0], LINES)])
    torch.testing.assert_close(change_map(linear, louder)[0], 5 * change_map(linear, batch)[0])


@pytest.mark.parametrize(
    "pattern", [UniformSampling(4, 24), UniformSampling(8, 24), EquispacedSampling(8, center_fraction=0.04)]
)
@pytest.mark.parametrize("width", [96, 104, 204])
def test_moved_lines_are_as_many_and_others(pattern, width):
    mask = pattern(width, "P001/cine_sax")
    centre = slice(width // 2 - mask.num_acs // 4, width // 2 + mask.num_acs // 4)
    moved = moved_lines(mask.lines, mask.num_acs)
    assert len(moved) == SAMPLINGS
    outside = [set(lines.nonzero().flatten().tolist()) for lines in (mask.lines, *moved)]
    for lines in moved:
        # one line of a side may come to lie within the centre
        assert abs(int(lines.sum()) - int(mask.lines.sum())) <= 1 and lines[centre].all()
    within = set(range(width // 2 - mask.num_acs, width // 2 + mask.num_acs))
    far = [lines - within for lines in outside]
    for first, one in enumerate(far):
        for other in far[first + 1 :]:
            assert len(one & other) <= len(one) / 4


def test_without_outer_lines_there_is_no_map(batch):
    centre = torch.zeros(12, dtype=torch.bool)
    centre[4:8] = True
    sample = sample_of(batch.kspace[0] * centre, centre)
    with pytest.raises(InputError, match="no lines besides its ACS lines"):
        change_map(Linear(torch.ones(12)), KSpaceBatch.collate([sample]))


def test_the_picture_says_what_the_page_says():
    """The correlations in the picture stand in the first table of the page, of the map and of the edges."""
    page = (Path(__file__).parents[2] / "docs/trust.md").read_text()
    table = page[page.index("| means of 7 x 7 pixels |") :].split("\n\n")[0]
    rows = (line.strip("| ").split(" | ") for line in table.splitlines())
    shown = {name: [cell.strip("*")[:4] for cell in cells[:2]] for name, *cells in rows}
    change, edges = shown["change when sampled again"], shown["edges of the image"]
    assert (
        f"{change[0]} (x4) and {change[1]} (x8), edges of the image alone {edges[0]} and {edges[1]}" in WORTH
    )
