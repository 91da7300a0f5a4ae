"""The device of these tests; they are skipped where there is none."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fm_unroll.data.sample import KSpaceBatch
from simulate import write_cmrxrecon


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The first CUDA device."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return torch.device("cuda")


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32: by default torch rounds their factors to TF32 on a GPU."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="session")
def slices(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> KSpaceBatch:
    """Three fully sampled slices of noise, read from a file, on the CPU."""
    from fm_unroll.data.scan import open_scan

    path = write_cmrxrecon(tmp_path_factory.mktemp("scan"), shape=(40, 36, 4, 3, 1))
    scan = open_scan(path)
    return KSpaceBatch.collate([scan[index] for index in range(3)])


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Tensor, Tensor, float], None]:
    """A function that holds a tensor of the GPU against one of the CPU, by the norm of the difference."""

    def compare(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert expected.isfinite().all() and expected.norm() > 0
        assert (found.detach().cpu() - expected).norm() <= tolerance * expected.norm()

    return compare


@pytest.fixture(scope="session")
def assert_same_gradients() -> Callable[[nn.Module, nn.Module], None]:
    """A function that holds one network's gradients against another's, by the norm of all together."""

    def compare(network: nn.Module, reference: nn.Module) -> None:
        gradients = [
            {name: p.grad.cpu() for name, p in net.named_parameters() if p.grad is not None}
            for net in (network, reference)
        ]
        assert gradients[0].keys() == gradients[1].keys()
        found, expected = (torch.cat([g.flatten() for g in each.values()]) for each in gradients)
        assert expected.isfinite().all() and expected.norm() > 0
        assert (found - expected).norm() <= 1e-3 * expected.norm()

    return compare


@pytest.fixture(scope="session")
def build() -> Callable[..., nn.Module]:
    """A function that builds a small network of which every part does something."""
    from fm_unroll.models import build_model
    from small_networks import SMALL_OPTIONS

    def build(method: str, **options: object) -> nn.Module:
        torch.manual_seed(0)
        network = build_model(method, **SMALL_OPTIONS[method] | options)
        for name, parameter in network.named_parameters():
            if parameter.requires_grad and not parameter.any() and not name.endswith("bias"):
                # heads, fusion and the pull towards the data start at zero; as after some training
                nn.init.normal_(parameter, std=0.02)
        return network.eval()

    return build
