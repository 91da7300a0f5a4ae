"""Metrics inside the body: air around it does not count, whatever is in it."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from fm_unroll.data import CMRxReconData
from fm_unroll.evaluation.entrants import baseline
from fm_unroll.evaluation.further_metrics.body import body_mask, nmse_body, ssim_body
from fm_unroll.evaluation.metric_table import measures
from fm_unroll.evaluation.scoring import Condition, Scorer, TestSet
from fm_unroll.metrics import ssim
from fm_unroll.physics import Center


@pytest.fixture
def target() -> torch.Tensor:
    """A bright ring with a dark cavity, in air with a little noise: float32 (1, 96, 80)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 80), indexing="ij")
    radius = (x**2 + y**2).sqrt()
    ring = ((radius < 0.6) & (radius > 0.3)).float()
    noise = torch.rand(96, 80, generator=torch.Generator().manual_seed(0))
    return (ring + 0.01 * noise)[None]


def test_the_body_is_the_object_with_its_cavities(target):
    inside = body_mask(target)[0]
    y, x = np.mgrid[-1:1:96j, -1:1:80j]
    radius = np.hypot(x, y)
    assert inside[radius < 0.6].all()  # the cavity too
    assert not inside[radius > 0.75].any()
    assert torch.equal(body_mask(3000 * target), body_mask(target)), "no unit matters"


def test_errors_in_the_air_do_not_count_and_those_in_the_body_do(target):
    worse = target.clone()
    worse[:, :8] += 0.5
    maximum = target.amax((-2, -1))
    assert ssim_body(worse, target, maximum).item() == pytest.approx(1, abs=1e-6)
    assert nmse_body(worse, target, maximum).item() == 0
    inside = target.clone()
    inside[:, 40:56, 30:50] += 0.5
    assert (
        ssim_body(inside, target, maximum).item() < 0.95 and nmse_body(inside, target, maximum).item() > 0.01
    )


def test_the_figures_are_those_of_scikit_image_and_numpy_at_the_pixels_of_the_body(target):
    prediction = target + 0.1 * torch.rand(target.shape, generator=torch.Generator().manual_seed(1))
    maximum = target.amax((-2, -1))
    inside = body_mask(target)[0].numpy()
    first, second = (image[0].double().numpy() for image in (target, prediction))
    full = structural_similarity(first, second, data_range=maximum.item(), full=True)[1]
    centre = np.zeros_like(inside)
    centre[3:-3, 3:-3] = inside[3:-3, 3:-3]
    assert ssim_body(prediction, target, maximum).item() == pytest.approx(full[centre].mean(), abs=1e-5)
    expected = ((first - second)[inside] ** 2).sum() / (first[inside] ** 2).sum()
    assert nmse_body(prediction, target, maximum).item() == pytest.approx(expected, rel=1e-5)


def test_slices_of_a_batch_have_bodies_of_their_own_and_an_empty_one_has_none(target):
    batch = torch.cat([target, target.roll(20, 2), torch.zeros_like(target)])
    maxima = torch.ones(3)
    guess = batch + 0.05
    together = ssim_body(guess, batch, maxima)
    alone = [ssim_body(guess[[row]], batch[[row]], maxima[[row]]).item() for row in range(3)]
    np.testing.assert_allclose(together.numpy(), alone)
    assert (
        together[:2].isfinite().all() and together[2].isnan() and nmse_body(guess, batch, maxima)[2].isnan()
    )


@pytest.mark.parametrize(("share", "rows"), [(1.0, 12), (0.75, 16), (0.5, None)])
def test_measures_without_oversampling_see_the_rows_of_the_object(share, rows):
    data = CMRxReconData("anywhere", acs_lines=8, readout_crop=share)
    test_set = TestSet("hearts", data, [Center(lines=8)])
    condition = Condition(test_set, data.sampling)
    scorer = Scorer(torch.nn.Identity(), baseline("zero_filled"), condition, torch.device("cpu"), ())
    (measure,) = (each for each in measures() if each.columns == ("ssim_half",))
    target = torch.rand(2, 24, 20, generator=torch.Generator().manual_seed(0))
    image, maximum = 0.9 * target + 0.05, torch.ones(2)
    found = scorer._measured(measure, image, target, maximum)["ssim_half"]
    if rows is None:
        assert found.isnan().all()
    else:
        middle = slice(12 - rows // 2, 12 + rows // 2)
        expected = ssim(image[:, middle].contiguous(), target[:, middle].contiguous(), maximum)
        torch.testing.assert_close(found, expected)
    names = {1.0: "hearts", 0.75: "hearts, readout x 0.75", 0.5: "hearts, readout x 0.5"}
    assert condition.identity[0] == test_set.label == names[share]
