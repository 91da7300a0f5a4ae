"""Trust maps against what they must be by construction."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.physics import fft2c, ifft2c, rss
from fm_unroll.reconstruction.trust import TrustMaps, leave_lines_out, trust_maps
from simulate import complex_noise

LINES = torch.tensor([1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 1], dtype=torch.bool)


def sample_of(kspace: torch.Tensor, lines: torch.Tensor, slice_: int = 0) -> KSpaceSample:
    """A slice of an undersampled scan, with four ACS lines."""
    volume = Volume.of_array(Path("v.h5"), (1, 2, 3, 16, 12), lines.numpy())
    return KSpaceSample(kspace, None, volume, slice_, frame=0)


@pytest.fixture
def batch() -> KSpaceBatch:
    samples = [sample_of(complex_noise(3, 16, 12, seed=slice_) * LINES, LINES, slice_) for slice_ in range(2)]
    return KSpaceBatch.collate(samples)


def maps(kspace: torch.Tensor, batch: KSpaceBatch) -> TrustMaps:
    images = [rss(ifft2c(kspace)), rss(ifft2c(batch.kspace))]
    return trust_maps(ifft2c(kspace), batch, images)


def test_a_reconstruction_that_keeps_the_data_has_no_residual(batch):
    result = maps(torch.where(LINES, batch.kspace, complex_noise(2, 3, 16, 12, seed=9)), batch)
    assert result.residual.max() < 1e-5 and result.numbers()["residual"] < 1e-6
    assert result.numbers()["prior"] > 0.1


def test_the_zero_filled_image_has_no_prior(batch):
    result = maps(batch.kspace, batch)
    assert result.prior.max() < 1e-5 and result.numbers()["prior"] < 1e-12


def test_numbers_are_shares_of_energy_by_parseval(batch):
    """An added pattern of known energy is found again, in k-space and in the image."""
    error, invented = (
        complex_noise(2, 3, 16, 12, seed=3) * LINES,
        complex_noise(2, 3, 16, 12, seed=4) * ~LINES,
    )
    result = maps(batch.kspace + error + invented, batch)
    numbers = result.numbers()
    measured = batch.kspace.abs().square().sum()
    total = (batch.kspace + error + invented).abs().square().sum()
    assert numbers["residual"] == pytest.approx(float(error.abs().square().sum() / measured) ** 0.5, rel=1e-5)
    assert numbers["prior"] == pytest.approx(float(invented.abs().square().sum() / total), rel=1e-5)
    torch.testing.assert_close(result.residual, rss(ifft2c(error)), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.prior, rss(ifft2c(invented)), atol=1e-5, rtol=0)
    assert float(result.prior.square().sum()) == pytest.approx(float(invented.abs().square().sum()), rel=1e-5)


def test_spread_is_numpys_deviation_and_zero_for_equal_images(batch):
    images = [complex_noise(2, 16, 12, seed=seed).abs() for seed in range(5)]
    result = trust_maps(ifft2c(batch.kspace), batch, images)
    np.testing.assert_allclose(result.spread.numpy(), np.std(np.stack(images), axis=0), atol=1e-6)
    result = trust_maps(ifft2c(batch.kspace), batch, images[:1] * 3)
    assert result.spread.max() == 0 and result.numbers()["spread"] == 0


def test_numbers_do_not_depend_on_how_slices_are_batched(batch):
    kspace = fft2c(complex_noise(2, 3, 16, 12, seed=5))
    whole = maps(kspace, batch)
    halves = []
    for row in range(2):
        sample = sample_of(batch.kspace[row], LINES, row)
        halves.append(maps(kspace[row : row + 1], KSpaceBatch.collate([sample])))
    joined = TrustMaps.join(halves)
    torch.testing.assert_close(joined.spread, whole.spread)
    assert joined.numbers() == pytest.approx(whole.numbers())


def test_subsets_keep_the_centre_and_are_seeded(batch):
    subset = leave_lines_out(batch, seed=1)
    kept = subset.mask[0].flatten()
    # six of the ten lines are outside of the four in the centre; a fifth of six is one
    assert int(LINES.sum() - kept.sum()) == 1 and not (kept & ~LINES).any() and kept[4:8].all()
    torch.testing.assert_close(subset.kspace, batch.kspace * kept)
    assert torch.equal(leave_lines_out(batch, seed=1).mask, subset.mask)
    assert len({tuple(leave_lines_out(batch, seed).mask[0].flatten().tolist()) for seed in range(9)}) > 1


def test_without_outer_lines_there_are_no_subsets(batch):
    centre = torch.zeros(12, dtype=torch.bool)
    centre[4:8] = True
    sample = sample_of(batch.kspace[0] * centre, centre)
    with pytest.raises(InputError, match="no lines besides its ACS lines"):
        leave_lines_out(KSpaceBatch.collate([sample]), seed=0)
