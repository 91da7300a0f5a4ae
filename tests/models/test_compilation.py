"""Compiled denoisers compute what plain ones do; where nothing can be compiled, all stays plain."""

import warnings

import pytest
import torch

from fm_unroll.models import build_model
from fm_unroll.models.compilation import compile_denoisers
from simulate import noise_scan

SMALL = {"num_cascades": 1, "decoder_widths": (4, 4, 4, 4), "sens_chans": 2, "sens_pools": 2}


def scan() -> tuple[torch.Tensor, torch.Tensor, int]:
    return noise_scan(1, coils=2, readout=32, phase=24, acceleration=3, acs_lines=8)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model("image_skip_only", **SMALL)
    torch.nn.init.normal_(model.cascades[0].denoiser.head.weight)
    return model


@pytest.fixture(autouse=True)
def forget_compiled_code():
    errors_were_hidden = torch._dynamo.config.suppress_errors
    yield
    torch._dynamo.config.suppress_errors = errors_were_hidden
    torch._dynamo.reset()


def test_compiled_network_gives_the_same_image_and_state(monkeypatch):
    plain, compiled = network(), network()
    compile_denoisers(compiled, torch.device("cpu"))
    stage = compiled.cascades[0].denoiser.image_stage
    assert stage._compiled_call_impl is not None
    torch.testing.assert_close(compiled(*scan()), plain(*scan()), rtol=1e-4, atol=1e-5)
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_without_a_compiler_there_is_one_warning_and_the_plain_network(monkeypatch, tmp_path):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    plain, uncompiled = network(), network()
    with pytest.warns(UserWarning, match=r"torch\.compile does not work on cpu, nothing is compiled"):
        compile_denoisers(uncompiled, torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = uncompiled(*scan())
    assert torch.equal(image, plain(*scan()))
