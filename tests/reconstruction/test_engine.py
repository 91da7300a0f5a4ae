"""The one way from a batch to its image computes in float32."""

from pathlib import Path

import pytest
import torch

from fm_unroll.data.scan import open_scan
from fm_unroll.encoders import vit
from fm_unroll.models import build_model
from fm_unroll.physics import UniformSampling
from fm_unroll.reconstruction.engine import reconstruct
from fm_unroll.reconstruction.trust import change_map
from reference_networks import TINY_PRIOR
from simulate import write_cmrxrecon


def test_encoder_of_an_evaluation_is_in_float32_whatever_training_asked_for(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit, "bfloat16_or_warning", lambda device: True)
    networks = []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        network = build_model("tiny", encoder_precision=precision, **TINY_PRIOR).eval()
        for parameter in network.cascades[0].denoiser.head.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
        networks.append(network)
    scan = open_scan(write_cmrxrecon(tmp_path, shape=(16, 12, 2, 2, 1)))
    batch = scan.undersample(UniformSampling(2, acs_lines=4))
    exact, low = (network(batch.kspace, batch.mask, batch.num_acs) for network in networks)
    assert not torch.equal(exact, low)
    images = [reconstruct(network, batch) for network in networks]
    torch.testing.assert_close(images[1], images[0], rtol=0, atol=0)
    maps = [change_map(network, batch) for network in networks]
    torch.testing.assert_close(maps[1], maps[0], rtol=0, atol=0)
    assert networks[1].encoders[0].precision == "bfloat16"
