"""The frozen encoder: what it is fed, that nothing changes it, that no state dict knows it."""

import copy
import io
import warnings
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fm_unroll.encoders import EncoderSpec, FrozenEncoder, build_encoder
from fm_unroll.encoders.vit import build_vit
from fm_unroll.errors import InputError
from fm_unroll.precision import bfloat16_or_warning, default_precision, has_bfloat16
from reference_networks import random_image, standardise

SMALL = {"pretrained": False, "blocks": (1, 2), "image_size": 64}


class Cascade(nn.Module):
    def __init__(self, encoder: FrozenEncoder):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, 1)


class Network(nn.Module):
    """Two cascades that share one encoder."""

    def __init__(self, encoder: FrozenEncoder):
        super().__init__()
        self.cascades = nn.ModuleList([Cascade(encoder), Cascade(encoder)])


@pytest.fixture
def encoder(tiny: EncoderSpec) -> FrozenEncoder:
    return build_encoder("tiny", **SMALL)


def test_first_six_blocks_alone_are_built() -> None:
    """ViT-B/16: 43.27 M = patches 590,592, class token 768, 197 positions, six blocks of 7,087,872."""
    encoder = build_encoder("random")
    parameters = list(encoder.parameters())
    assert sum(p.numel() for p in parameters) == 590_592 + 768 + 197 * 768 + 6 * 7_087_872
    assert not any(p.requires_grad for p in parameters)
    assert (encoder.width, encoder.num_prefix_tokens, encoder.grid) == (768, 1, (14, 14))
    assert (encoder.name, encoder.weights_label, encoder.blocks) == ("random", "random", (1, 2, 3, 4, 5, 6))


def test_chosen_blocks(tiny: EncoderSpec) -> None:
    """Only up to the last block asked for; its tokens are those of the encoder that has all."""
    every, some, second = (build_encoder("tiny", **SMALL | {"blocks": b}) for b in [(1, 2, 3), (1, 3), (2,)])
    image = random_image(64)
    torch.testing.assert_close(some(image), [every(image)[0], every(image)[2]])
    assert len(second.vit.blocks) == 2


@pytest.mark.parametrize("statistics", ["imagenet", "own"])
def test_image_is_resized_repeated_and_standardised(tiny: EncoderSpec, statistics: str) -> None:
    encoder = build_encoder("tiny", statistics=statistics, **SMALL)
    image = torch.rand(2, 1, 50, 81, generator=torch.Generator().manual_seed(0))
    resized = F.interpolate(image, (64, 64), mode="bilinear").repeat(1, 3, 1, 1)
    standardised = standardise(resized) if statistics == "imagenet" else (resized - 0.5) / 0.5
    expected = encoder.vit.forward_intermediates(
        standardised, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    for tokens, (patches, prefix) in zip(encoder(image), expected, strict=True):
        assert tokens.shape == (2, 17, 192)
        torch.testing.assert_close(tokens[:, 1:], patches)
        torch.testing.assert_close(tokens[:, :1], prefix)
    torch.testing.assert_close(encoder(resized), encoder(image))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.rand(1, 2, 64, 64), "(1, 2, 64, 64)"),
        (torch.rand(64, 64), "(64, 64)"),
        (torch.rand(1, 1, 64, 64, dtype=torch.complex64), "torch.complex64"),
        (torch.rand(1, 1, 64, 64) + 0.5, "0..1"),
        (torch.rand(1, 1, 64, 64) - 0.5, "0..1"),
        (torch.full((1, 1, 64, 64), torch.nan), "0..1"),
    ],
)
def test_images_that_are_refused(encoder: FrozenEncoder, image: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
        encoder(image)


def test_gradients_pass_through_or_are_detached(tiny: EncoderSpec) -> None:
    image = random_image(64).requires_grad_()
    through = build_encoder("tiny", gradient="through", **SMALL)
    detached = build_encoder("tiny", gradient="detach", **SMALL)
    assert not any(tokens.requires_grad for tokens in detached(image))
    tokens = through(image)
    torch.testing.assert_close(tokens, detached(image))
    # a directional derivative, in float64, against finite differences
    through = through.double()
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).double()
    inner = (0.25 + 0.5 * image.detach()).double().requires_grad_()
    (gradient,) = torch.autograd.grad(through(inner)[-1].square().mean(), inner)
    step = 1e-5
    high, low = (through(inner.detach() + sign * step * direction)[-1].square().mean() for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(), (high - low) / (2 * step), rtol=1e-5, atol=0)
    assert all(parameter.grad is None for parameter in through.parameters())


def test_state_dict_of_a_model_knows_nothing_of_its_encoder(encoder: FrozenEncoder) -> None:
    network = Network(encoder)
    state = network.state_dict()
    assert set(state) == {f"cascades.{i}.head.{name}" for i in (0, 1) for name in ("weight", "bias")}
    assert encoder.state_dict() == {}
    before = encoder.compute_sha256()
    other = Network(build_encoder("tiny", seed=1, **SMALL))
    changed = other.cascades[0].encoder.compute_sha256()
    for assign in (False, True):
        other.load_state_dict(state, strict=True, assign=assign)
        assert other.cascades[0].encoder.compute_sha256() == changed != before
        assert not any(parameter.requires_grad for parameter in encoder.parameters())
    encoder.load_state_dict({})
    buffer = io.BytesIO()
    torch.save(state, buffer)
    assert buffer.tell() < 10_000


def test_tensors_for_the_encoder_are_refused(encoder: FrozenEncoder) -> None:
    network = Network(encoder)
    before = encoder.compute_sha256()
    smuggled = {"cascades.0.encoder.vit.cls_token": torch.ones(1, 1, 192)}
    with pytest.raises(RuntimeError, match=r"Unexpected key.*cascades\.0\.encoder\.vit\.cls_token"):
        network.load_state_dict({**network.state_dict(), **smuggled})
    assert encoder.compute_sha256() == before


def test_eval_mode_whatever_the_parents_are_told(encoder: FrozenEncoder) -> None:
    network = Network(encoder).train()
    assert network.cascades[0].training
    assert not any(module.training for module in encoder.modules())


def test_training_a_model_leaves_the_encoder_as_it_is(encoder: FrozenEncoder) -> None:
    network = Network(encoder)
    before = encoder.sha256
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        tokens = encoder(random_image(64))[-1]
        sum(cascade.head(tokens).square().mean() for cascade in network.cascades).backward()
        optimiser.step()
    assert encoder.compute_sha256() == before
    trained = {id(parameter) for parameter in optimiser.state}
    assert trained.isdisjoint(id(parameter) for parameter in encoder.parameters())


def test_moves_and_copies_with_its_parents(encoder: FrozenEncoder) -> None:
    network = Network(encoder)
    twin = copy.deepcopy(network)
    assert twin.cascades[0].encoder is twin.cascades[1].encoder is not encoder
    assert twin.cascades[0].encoder.compute_sha256() == encoder.sha256
    twin.load_state_dict(network.state_dict())
    twin.to("meta")
    assert twin.cascades[1].encoder.mean.is_meta
    assert all(parameter.is_meta for parameter in twin.parameters())
    assert not any(parameter.is_meta for parameter in network.parameters())


@pytest.fixture
def global_generator() -> Iterator[None]:
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def test_random_blocks_change_their_tokens() -> None:
    """DINOv2 too, whose layer scales would start at 1e-5."""
    blocks = build_encoder("dinov2_small", **SMALL | {"image_size": 56})(random_image(56))
    assert (blocks[1] - blocks[0]).abs().mean() > 0.05 * blocks[0].abs().mean()


def test_random_weights_depend_on_their_seed_alone(tiny: EncoderSpec, global_generator: None) -> None:
    torch.manual_seed(7)
    first = build_encoder("tiny", seed=3, **SMALL)
    untouched = torch.rand(3)
    second = build_encoder("tiny", seed=3, **SMALL)
    torch.manual_seed(7)
    torch.testing.assert_close(torch.rand(3), untouched, rtol=0, atol=0)
    assert first.sha256 == second.sha256
    assert first.sha256 != build_encoder("tiny", seed=4, **SMALL).sha256
    weight = first.vit.blocks[1].mlp.fc1.weight
    assert abs(weight.std().item() - 0.02) < 1e-4
    assert abs(weight.mean().item()) < 1e-4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"blocks": (1, 13)}, "has 12 blocks, block 13"),
        ({"blocks": (2, 1)}, "ascending"),
        ({"blocks": (0, 1)}, "first block is 1"),
        ({"blocks": ()}, "ascending"),
        ({"image_size": 100}, "multiple of 16"),
        ({"statistics": "clip"}, "imagenet or own"),
        ({"gradient": "stop"}, "through or detach"),
        ({"weights": "w.pt"}, "not both"),
    ],
)
def test_arguments_that_are_refused(tiny: EncoderSpec, arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_encoder("tiny", **SMALL | arguments)


def test_shuffled_weights_have_the_values_of_the_file_at_other_places(tiny: EncoderSpec, tmp_path) -> None:
    options = {"blocks": (1, 2), "image_size": 64}
    file = tmp_path / "tiny.pt"
    source = build_vit(tiny, 2, 64, seed=5)
    torch.save(source.state_dict(), file)
    plain = build_encoder("tiny", weights=file, **options)
    shuffled, again, other = (
        build_encoder("tiny", weights=file, shuffled=True, seed=seed, **options) for seed in (0, 0, 1)
    )
    moved = 0
    for (name, before), after in zip(plain.vit.named_parameters(), shuffled.vit.parameters(), strict=True):
        assert torch.equal(before.flatten().sort().values, after.flatten().sort().values), name
        moved += int((before != after).sum())
    assert moved > 0.9 * sum(p.numel() for p in plain.vit.parameters() if p.ndim > 1)
    assert shuffled.sha256 == again.sha256 != other.sha256 != plain.sha256
    assert shuffled.weights_label.startswith("shuffled file:tiny.pt")
    with pytest.raises(InputError, match="random weights, which have no structure to shuffle"):
        build_encoder("random", shuffled=True)


def test_random_takes_no_weights() -> None:
    with pytest.raises(InputError, match="takes no weights"):
        build_encoder("random", "w.pt")


def test_precision_of_the_blocks(tiny: EncoderSpec) -> None:
    """bfloat16 has 8 bits: tokens move by less than a hundredth, and come back in the image's type."""
    image = random_image(64)
    exact = build_encoder("tiny", **SMALL)(image)
    with torch.autocast("cpu", torch.bfloat16):
        float32 = build_encoder("tiny", precision="float32", **SMALL)(image)
        surrounded = build_encoder("tiny", **SMALL)(image)
    torch.testing.assert_close(float32, exact, rtol=0, atol=0)
    for tokens, reference in zip(surrounded, exact, strict=True):
        assert tokens.dtype == torch.float32
        assert 0 < (tokens - reference).norm() / reference.norm() < 0.01


def test_missing_bfloat16_is_said_once(tiny: EncoderSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    has_bfloat16.cache_clear(), bfloat16_or_warning.cache_clear()
    encoder = build_encoder("tiny", precision="bfloat16", **SMALL)
    with pytest.warns(UserWarning, match="cpu has no bfloat16 arithmetic"):
        tokens = encoder(random_image(64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(random_image(64))
    assert default_precision("cpu") == "32-true"
    has_bfloat16.cache_clear(), bfloat16_or_warning.cache_clear()
    torch.testing.assert_close(tokens, build_encoder("tiny", **SMALL)(random_image(64)), rtol=0, atol=0)


def plain_tokens(encoder: FrozenEncoder, image: torch.Tensor) -> list[torch.Tensor]:
    """The tokens by autocast alone, which casts every weight whenever it meets it."""
    image = (image.expand(-1, 3, -1, -1) - encoder.mean) / encoder.std
    maps = encoder.vit.forward_intermediates(
        image, indices=[0, 1], return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    return [torch.cat([prefix, patches], dim=1).float() for patches, prefix in maps]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_are_cast_once_and_give_what_autocast_gives(encoder: FrozenEncoder, dtype) -> None:
    image, before = random_image(64).requires_grad_(), encoder.compute_sha256()
    with torch.autocast("cpu", dtype):
        with torch.inference_mode():
            encoder(image)
        torch.testing.assert_close(encoder(image), plain_tokens(encoder, image), rtol=0, atol=0)
        gradient, expected = (
            torch.autograd.grad(sum(t.square().sum() for t in tokens), image)[0]
            for tokens in (encoder(image), plain_tokens(encoder, image))
        )
        torch.testing.assert_close(gradient, expected, rtol=0, atol=0)
        with torch.no_grad():  # what was cast is not used any longer once the weights are others
            encoder.vit.blocks[0].mlp.fc1.weight.mul_(2)
        torch.testing.assert_close(encoder(image), plain_tokens(encoder, image), rtol=0, atol=0)
        with torch.no_grad():
            encoder.vit.blocks[0].mlp.fc1.weight.div_(2)
    assert encoder.compute_sha256() == before
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    torch.testing.assert_close(encoder(image), copy.deepcopy(encoder)(image), rtol=0, atol=0)


def test_cascades_keep_one_set_of_cast_weights(encoder: FrozenEncoder) -> None:
    weights = {layer.weight.shape for layer in encoder.vit.blocks.modules() if isinstance(layer, nn.Linear)}
    kept = set()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.bfloat16 and {tensor.shape, tensor.mT.shape} & weights:
            kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    image = random_image(64).requires_grad_()
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        outputs = [encoder(image) for _ in range(3)]
    layers = sum(isinstance(layer, nn.Linear) for layer in encoder.vit.blocks.modules())
    assert outputs and len(kept) == layers
