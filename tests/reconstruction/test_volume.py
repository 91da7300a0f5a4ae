"""Whole scans: broken pixels are refused wherever they are, metrics are those of the whole volume."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastmri import evaluate
from torch import Tensor, nn

from fm_unroll.data.scan import Scan, open_scan
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.physics import UniformSampling, ifft2c, rss
from fm_unroll.reconstruction.volume import Reconstruction, reconstruct_scan
from simulate import write_cmrxrecon

VARNET = {"method": "varnet", "num_cascades": 1, "sens_chans": 2, "sens_pools": 1, "chans": 2, "pools": 1}


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
@pytest.mark.parametrize("position", [0, 1], ids=["first network", "second network"])
def test_one_broken_pixel_is_refused_and_its_slice_named(scan, value, position):
    networks = [build_model(**VARNET).eval()]
    networks.insert(position, OneBrokenPixel(value))
    words = "P001/cine_sax: the reconstruction of slice 1, frame 0 holds NaN or Inf"
    with pytest.raises(InputError, match=words):
        reconstruct_scan(scan, networks, UniformSampling(4, acs_lines=4), torch.device("cpu"))


def test_metrics_use_the_maximum_of_the_whole_volume():
    generator = np.random.default_rng(0)
    target = generator.random((3, 16, 12), dtype=np.float32)
    target[1] *= 5  # the brightest slice is neither the first nor the last
    image, dark = (target + generator.normal(0, 0.1, target.shape).astype(np.float32) for _ in range(2))
    tensors = [torch.from_numpy(array) for array in (image, dark, target)]
    metrics = Reconstruction(*tensors, trust=None).metrics()
    for name, array in (("reconstruction", image), ("zero-filled", dark)):
        assert metrics[name]["psnr"] == pytest.approx(float(evaluate.psnr(target, array)), rel=1e-5)
        assert metrics[name]["ssim"] == pytest.approx(float(evaluate.ssim(target, array)[0]), rel=1e-4)
