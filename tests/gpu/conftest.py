"""The device of these tests; they are skipped where there is none."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fm_unroll.data.sample import KSpaceBatch
from simulate import DiscScan, complex_noise, disc_scan, write_cmrxrecon


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
def scan() -> DiscScan:
    """Noisy discs: in an empty background maps are rounding, which differs between devices."""
    scan = disc_scan()
    noise = 0.03 * complex_noise(*scan.kspace.shape, seed=9) * scan.mask
    return replace(scan, kspace=scan.kspace + noise)


@pytest.fixture(scope="session")
def slices(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> KSpaceBatch:
    """Three fully sampled slices of noise, read from a file, on the CPU."""
    from fm_unroll.data.scan import open_scan

    path = write_cmrxrecon(tmp_path_factory.mktemp("scan"), shape=(40, 36, 4, 3, 1))
    scan = open_scan(path)
    return KSpaceBatch.collate([scan[index] for index in range(3)])


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """A function that holds a tensor of the GPU against one of the CPU, by the norm of the difference."""

    def compare(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert expected.isfinite().all() and expected.norm() > 0
        assert (found.detach().cpu() - expected).norm() <= tolerance * expected.norm()

    return compare


@pytest.fixture(scope="session")
def assert_same_gradients() -> Callable[..., None]:
    """A function that holds one network's gradients against another's, by the norm of all together.

    Rounding carries single pixels over the kinks of activations: on a CPU, a change of 2e-7 in k-space moves
    these gradients by up to 4e-3.
    """

    def compare(network: nn.Module, reference: nn.Module, tolerance: float = 2e-2) -> None:
        gradients = [
            {name: p.grad.cpu() for name, p in net.named_parameters() if p.grad is not None}
            for net in (network, reference)
        ]
        assert gradients[0].keys() == gradients[1].keys()
        found, expected = (torch.cat([g.flatten() for g in each.values()]) for each in gradients)
        assert expected.isfinite().all() and expected.norm() > 0
        assert (found - expected).norm() <= tolerance * expected.norm()

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
