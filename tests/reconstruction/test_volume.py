"""Whole scans: broken pixels are refused wherever they are, metrics are those of the whole volume."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fastmri import evaluate
from torch import Tensor, nn

from fm_unroll.data.scan import Scan, open_scan
from fm_unroll.errors import InputError
from fm_unroll.models.classical import ZeroFilled
from fm_unroll.physics import UniformSampling, ifft2c, rss
from fm_unroll.reconstruction.volume import COMPARED, Reconstruction, reconstruct_batch, reconstruct_scan
from simulate import write_cmrxrecon


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    """Three slices of one frame."""
    return open_scan(write_cmrxrecon(tmp_path, shape=(16, 12, 2, 3, 1)))


class OneBrokenPixel(nn.Module):
    """The zero-filled image, with one broken pixel in the second slice."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        image = rss(ifft2c(kspace))
        image[1, 7, 5] = self.value
        return image


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_broken_pixel_is_refused_and_its_slice_named(scan, value):
    words = "P001/cine_sax: the reconstruction of slice 1, frame 0 holds NaN or Inf"
    with pytest.raises(InputError, match=words):
        reconstruct_scan(scan, OneBrokenPixel(value), UniformSampling(4, acs_lines=4), torch.device("cpu"))


class BrokenOnceMoved(nn.Module):
    """The zero-filled image of lines that begin with the first one, and NaN of all others."""

    def coil_images(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return ifft2c(kspace)

    def forward(self, kspace: Tensor, mask: Tensor, num_acs: int) -> Tensor:
        return rss(ifft2c(kspace)) if mask.flatten()[0] else torch.full(kspace[:, 0].shape, torch.nan)


def test_a_broken_trust_map_is_refused(scan):
    arguments = (scan, BrokenOnceMoved(), UniformSampling(4, acs_lines=4), torch.device("cpu"))
    assert reconstruct_scan(*arguments).change is None
    with pytest.raises(InputError, match="the trust map of slice 0, frame 0 holds NaN or Inf"):
        reconstruct_scan(*arguments, trust=True)


def test_only_what_has_a_target_is_compared_with_methods_without_training(scan):
    batch = scan.undersample(UniformSampling(4, acs_lines=4))[:]
    found = reconstruct_batch(batch, ZeroFilled())
    assert found.compared.keys() == COMPARED.keys()
    assert torch.equal(found.compared["zero-filled"], found.image)
    assert reconstruct_batch(replace(batch, target=None), ZeroFilled()).compared == {}


def test_metrics_use_the_maximum_of_the_whole_volume():
    generator = np.random.default_rng(0)
    target = generator.random((3, 16, 12), dtype=np.float32)
    target[1] *= 5  # the brightest slice is neither the first nor the last
    image, dark = (target + generator.normal(0, 0.1, target.shape).astype(np.float32) for _ in range(2))
    tensors = [torch.from_numpy(array) for array in (image, target, dark)]
    metrics = Reconstruction(*tensors[:2], compared={"zero-filled": tensors[2]}, change=None).metrics()
    for name, array in (("reconstruction", image), ("zero-filled", dark)):
        assert metrics[name]["psnr"] == pytest.approx(float(evaluate.psnr(target, array)), rel=1e-5)
        assert metrics[name]["ssim"] == pytest.approx(float(evaluate.ssim(target, array)[0]), rel=1e-4)
