"""Training steps on a GPU: low precision, frozen encoder, recomputed and compiled cascades, transfers."""

import copy

import pytest
import torch

from fm_unroll.data.undersampling import undersample
from fm_unroll.models.compilation import compile_denoisers
from fm_unroll.models.paper import Cascade
from fm_unroll.models.sensitivity import SensitivityModel
from fm_unroll.physics import UniformSampling
from fm_unroll.precision import default_precision
from fm_unroll.training.losses import SSIMLoss
from fm_unroll.training.memory import adam
from small_networks import TINY_VIT

pytestmark = pytest.mark.gpu

LOW = {"bf16-mixed": (torch.bfloat16, 5e-2), "16-mixed": (torch.float16, 1e-2)}
METHODS = [("varnet", {}), (TINY_VIT, {}), ("varnet_zero", {"physics": "anchored"})]


@pytest.fixture
def measured(device, scan):
    """An undersampled scan on the device, and its target."""
    kspace, mask, num_acs = scan.measured
    return (kspace.to(device), mask.to(device), num_acs), scan.image.abs().to(device)


def loss_of(network, measured) -> torch.Tensor:
    scan, target = measured
    return SSIMLoss()(network(*scan), target, target.amax((1, 2)))


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("method, options", METHODS)
def test_low_precision_stays_near_float32(device, exact, build, measured, method, options, precision):
    """Images move by less than the dtype's rounding, carried through three cascades."""
    dtype, bound = LOW[precision]
    network = build(method, **options).to(device)
    with torch.no_grad():
        image = network(*measured[0])
        with torch.autocast(device.type, dtype):
            moved = network(*measured[0])
    assert moved.dtype == torch.float32
    assert 0 < (moved - image).norm() < bound * image.norm()


@pytest.mark.parametrize("precision", ["32-true", *LOW])
@pytest.mark.parametrize("method, options", METHODS)
def test_a_training_step_is_finite_and_leaves_the_encoder_as_it_is(
    device, build, measured, method, options, precision
):
    network = build(method, **options).to(device).train()
    encoder = next(iter(network.encoders), None)
    before = encoder.compute_sha256() if encoder else ""
    weights = {name: parameter.clone() for name, parameter in network.named_parameters()}
    optimizer, dtype = adam(network), LOW.get(precision, (None,))[0]
    # the scale that Lightning's comes down to, after some steps that it leaves out
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**10, enabled=dtype == torch.float16)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = loss_of(network, measured)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and torch.tensor(losses).isfinite().all()
    for name, parameter in network.named_parameters():
        assert parameter.isfinite().all(), name
        assert parameter.requires_grad == ("encoder" not in name), name
        if not parameter.requires_grad:
            assert parameter.grad is None and torch.equal(parameter, weights[name]), name
    assert any(not torch.equal(p, weights[name]) for name, p in network.named_parameters())
    if encoder:
        assert encoder.compute_sha256() == before and not encoder.training


def test_a_gpu_trains_in_bfloat16_unless_told_otherwise(device):
    expected = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    assert default_precision("gpu") == default_precision("auto") == expected


@pytest.mark.parametrize("method, options", METHODS[:2])
def test_physics_stays_in_float32_under_autocast(device, build, measured, method, options):
    network = build(method, **options).to(device)
    seen = {}
    for name, module in network.named_modules():
        if isinstance(module, Cascade | SensitivityModel):
            module.register_forward_hook(
                lambda _, inputs, output, name=name: seen.update({name: (*inputs, output)})
            )
    with torch.autocast(device.type, torch.bfloat16):
        image = network(*measured[0])
    assert image.dtype == torch.float32
    assert len(seen) == len(network.cascades) + 1
    kinds = {tensor.dtype for tensors in seen.values() for tensor in tensors}
    assert kinds == {torch.complex64, torch.bool}


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("method, options", METHODS)
def test_checkpointed_cascades_have_the_same_gradients(
    device, exact, build, measured, assert_same_gradients, method, options, precision
):
    networks = []
    for checkpoint in ("none", "all"):
        network = build(method, checkpoint_cascades=checkpoint, **options).to(device).train()
        with torch.autocast(device.type, precision, enabled=precision is not None):
            loss = loss_of(network, measured)
        loss.backward()
        networks.append(network)
    kept, recomputed = networks
    # sums on a GPU are taken in another order each time, in bfloat16 with other results
    assert_same_gradients(recomputed, kept, tolerance=1e-3 if precision is None else 2e-2)


def test_compiled_denoisers_agree_with_plain_ones(device, exact, build, measured, assert_same_gradients):
    """One cascade has all that is compiled: a U-Net, decoder stages and an encoder's blocks."""
    plain = build(TINY_VIT, num_cascades=1, sens_pools=1, encoder_precision="float32")
    compiled = copy.deepcopy(plain).to(device)
    errors_were_hidden = torch._dynamo.config.suppress_errors
    torch._dynamo.utils.counters.clear()
    try:
        compile_denoisers(compiled, device)
        found, expected = compiled(*measured[0]), plain.to(device)(*measured[0])
        found.square().mean().backward()
        expected.square().mean().backward()
    finally:
        torch._dynamo.config.suppress_errors = errors_were_hidden
        torch._dynamo.reset()
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0  # not all ran uncompiled
    assert (found - expected).norm() <= 1e-4 * expected.norm()
    assert_same_gradients(compiled, plain)


def test_pinned_batches_arrive_whole_and_without_waiting(device, slices):
    pinned = slices.pin_memory()
    assert pinned.kspace.is_pinned() and pinned.mask.is_pinned() and pinned.data_range.is_pinned()
    there = pinned.to(device, non_blocking=True)
    torch.cuda.synchronize()
    assert there.kspace.device.type == there.mask.device.type == there.data_range.device.type == device.type
    assert torch.equal(there.kspace.cpu(), slices.kspace) and torch.equal(there.mask.cpu(), slices.mask)
    assert there.volume == slices.volume and there.crop == slices.crop


def test_nothing_in_a_training_step_waits_for_the_gpu(device, build, slices):
    """Host and device work side by side: no value is fetched in forward pass, loss and backward pass."""
    network = build(TINY_VIT).to(device).train()
    batch = undersample(slices.to(device), UniformSampling(3, acs_lines=8))

    def step():
        with torch.autocast(device.type, torch.bfloat16):
            image = network(batch.kspace, batch.mask, batch.num_acs)
            loss = SSIMLoss()(image, batch.target, batch.target.amax((1, 2)))
        loss.backward()

    step()  # copies constants and chooses algorithms
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
