import math

import pytest
import torch

from fm_unroll.evaluation.perceptual import haarpsi


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 8, 8, generator=generator).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return target + 0.1 * torch.randn(3, 32, 32, generator=generator), target


def test_a_perfect_image_scores_one_and_noise_less():
    prediction, target = pair()
    assert haarpsi(target, target, torch.ones(3)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    score = haarpsi(prediction, target, torch.ones(3))
    assert (score < 0.95).all() and (score > 0).all()
    worse = haarpsi(target + 3 * (prediction - target), target, torch.ones(3))
    assert (worse < score).all()


def test_score_does_not_depend_on_the_unit_of_the_image():
    prediction, target = pair()
    expected = haarpsi(prediction, target, torch.ones(3))
    torch.testing.assert_close(haarpsi(1e-5 * prediction, 1e-5 * target, 1e-5 * torch.ones(3)), expected)


def test_what_cannot_be_scored_is_nan():
    prediction, target = pair()
    expected = haarpsi(prediction, target, torch.ones(3))
    prediction[1, 3, 3] = torch.nan
    score = haarpsi(prediction, target, torch.ones(3))
    assert math.isnan(score[1]) and torch.equal(score[[0, 2]], expected[[0, 2]])
    assert haarpsi(target[:, :8], target[:, :8], torch.ones(3)).isnan().all()
