import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from torchvision.models import alexnet

from fm_unroll.errors import InputError
from fm_unroll.evaluation.further_metrics import perceptual
from fm_unroll.evaluation.further_metrics.perceptual import alexnet_weights
from fm_unroll.evaluation.metric_table import METRICS, metrics_of, obstacles

HEADS = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/alex.pth"


def pair(size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, size // 4, size // 4, generator=generator)
    target = target.repeat_interleave(4, 1).repeat_interleave(4, 2)
    return target + 0.1 * torch.randn(3, size, size, generator=generator), target


def score(metric: str, prediction: torch.Tensor, target: torch.Tensor, data_range: float = 1) -> torch.Tensor:
    return METRICS[metric].measure(prediction, target, torch.full((len(target),), data_range))[metric]


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty hub cache; returns where AlexNet's weights belong."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(perceptual, "_lpips_network", perceptual._lpips_network.__wrapped__)
    assert alexnet_weights().is_relative_to(tmp_path)
    alexnet_weights().parent.mkdir(parents=True)
    return alexnet_weights()


@pytest.fixture
def random_alexnet(hub) -> dict[str, torch.Tensor]:
    """AlexNet with random weights, saved as torchvision publishes it."""
    torch.manual_seed(0)
    weights = alexnet().state_dict()
    torch.save(weights, hub)
    return weights


def test_a_perfect_image_scores_one_and_noise_less():
    prediction, target = pair()
    assert score("haarpsi", target, target).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    noisy = score("haarpsi", prediction, target)
    assert (noisy < 0.95).all() and (noisy > 0).all()
    assert (score("haarpsi", target + 3 * (prediction - target), target) < noisy).all()


def test_lpips_is_the_published_sum_over_layers(random_alexnet):
    """Zhang et al. 2018, equation 1, written out: unit features, squared differences, learned weights."""
    prediction, target = pair(64)
    heads = [*torch.load(HEADS, map_location="cpu", weights_only=True).values()]
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    layers = alexnet().features.eval()
    layers.load_state_dict({k[9:]: v for k, v in random_alexnet.items() if k.startswith("features.")})
    expected = torch.zeros(3)
    images = [
        ((2 * image.clamp(0, 1)[:, None] - 1) - shift[:, None, None]) / scale[:, None, None]
        for image in (prediction, target)
    ]
    with torch.no_grad():
        for index, layer in enumerate(layers):
            images = [layer(image) for image in images]
            if index in (1, 4, 7, 9, 11):  # after each ReLU
                units = [F.normalize(image, dim=1) for image in images]
                weighted = heads[(1, 4, 7, 9, 11).index(index)] * (units[0] - units[1]).square()
                expected += weighted.sum(1).mean((1, 2))
    found = score("lpips", prediction, target)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert (found > 0).all()
    assert score("lpips", target, target).tolist() == [0, 0, 0]
    one = score("lpips", prediction[:1], target[:1])
    torch.testing.assert_close(one, found[:1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("metric", metrics_of("perceptual"))
def test_score_does_not_depend_on_the_unit_of_the_image(metric, random_alexnet):
    prediction, target = pair()
    expected = score(metric, prediction, target)
    torch.testing.assert_close(score(metric, 1e-5 * prediction, 1e-5 * target, 1e-5), expected)


@pytest.mark.parametrize("metric", metrics_of("perceptual"))
def test_what_cannot_be_scored_is_nan(metric, random_alexnet):
    prediction, target = pair()
    expected = score(metric, prediction, target)
    prediction[1, 3, 3] = torch.nan
    found = score(metric, prediction, target)
    assert math.isnan(found[1])
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]])
    assert score(metric, target[:, :8], target[:, :8]).isnan().all()


def test_absent_weights_are_named_and_nothing_is_downloaded(hub, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    assert obstacles().keys() == {"lpips"}
    assert f"there is no {hub} (fetch it with python -c" in obstacles()["lpips"]


def test_weights_that_are_not_the_published_ones_give_no_lpips(random_alexnet, hub):
    assert "not the published 7be5be79...: delete it" in obstacles()["lpips"]


def test_weights_with_code_in_them_are_refused(hub):
    torch.save({"features.0.weight": print}, hub)
    with pytest.raises(InputError, match="cannot be read"):
        score("lpips", *pair())
