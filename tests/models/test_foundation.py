import pytest
import torch

from fm_unroll.encoders import build_encoder
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.denoisers.foundation import FoundationDenoiser
from fm_unroll.models.denoisers.trained_embedding import TrainedEmbedding
from fm_unroll.models.denoisers.unet import NormUnet
from fm_unroll.models.insight import size_of
from simulate import complex_noise

TINY = "timm/vit_tiny_patch16_224"
WIDTHS = (8, 8, 8, 8)


def small_encoder(**options):
    return build_encoder(TINY, pretrained=False, blocks=(1, 2, 3, 4), **options)


def denoiser(encoder=None, **options) -> FoundationDenoiser:
    """A denoiser whose head is not zero, as after training."""
    torch.manual_seed(0)
    model = FoundationDenoiser(encoder, WIDTHS, **options)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model


def image(batch: int = 2, readout: int = 40, phase: int = 33) -> torch.Tensor:
    return complex_noise(batch, readout, phase, seed=2)


def trainable(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def test_parameters_are_those_of_the_paper():
    net = build_model("random", num_cascades=12)
    assert round(trainable(net) / 1e6, 1) == 56.4
    frozen = sum(p.numel() for p in net.parameters() if not p.requires_grad)
    assert round(frozen / 1e6) == 43
    encoders = {id(cascade.denoiser.encoder) for cascade in net.cascades}
    assert len(encoders) == 1, "all cascades share one encoder"
    wide = build_model("varnet_wide", num_cascades=12)
    assert trainable(wide) == pytest.approx(trainable(net), rel=0.02)


@pytest.mark.parametrize("readout, phase", [(40, 33), (17, 64), (224, 224)])
@torch.no_grad()
def test_output_has_the_matrix_of_the_input_and_scales_with_it(readout, phase):
    model, x = denoiser(small_encoder()), image(1, readout, phase)
    y = model(x)
    assert y.shape == x.shape and y.dtype == torch.complex64
    torch.testing.assert_close(model(1e-5 * x), 1e-5 * y, rtol=1e-3, atol=1e-9)


@torch.no_grad()
def test_slices_of_a_batch_do_not_see_each_other():
    model, x = denoiser(small_encoder()), image(3)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_encoder_sees_percentiles_of_the_magnitude():
    x = image()
    x[:, 0, 0] = 1e6
    model = denoiser(small_encoder())
    seen = []
    model.encoder.encode = lambda picture: (
        seen.append(picture) or type(model.encoder).encode(model.encoder, picture)
    )
    model(x)
    low = x[0].abs().flatten().quantile(0.01)
    high = x[0].abs().flatten().quantile(0.99)
    torch.testing.assert_close(seen[0][0, 0], ((x[0].abs() - low) / (high - low)).clamp(0, 1))


@torch.no_grad()
def test_real_and_imaginary_parts_can_be_shown():
    x = image()
    model = denoiser(small_encoder(), encoder_input="magnitude_phase")
    low, high = torch.quantile(x.abs().flatten(1), torch.tensor([0.01, 0.99]), dim=1)[..., None, None]
    picture = model.picture(x, low, high)
    assert picture.shape == (2, 3, 40, 33) and picture.min() >= 0 and picture.max() <= 1
    inside = x.abs() < high
    torch.testing.assert_close(((2 * picture[:, 0] - 1) * high)[inside], x.real[inside], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(((2 * picture[:, 1] - 1) * high)[inside], x.imag[inside], rtol=1e-4, atol=1e-5)
    assert not torch.equal(model(x), model(x.conj())), "the encoder sees the phase"


def test_fusion_is_a_weighted_mean_of_normalised_tokens():
    model = denoiser(small_encoder())
    torch.nn.init.normal_(model.fusion.logits)
    tokens = model.encoder(torch.rand(1, 1, 40, 33))
    maps = model.fusion.token_maps(tokens, model.encoder)
    expected = sum(
        weight * torch.nn.functional.layer_norm(block[:, 1:], block.shape[-1:])
        for weight, block in zip(model.fusion.logits.softmax(0), tokens, strict=True)
    )
    torch.testing.assert_close(model.fusion(maps), expected.mT.unflatten(2, (14, 14)))


def test_mean_and_last_fusion_have_no_weights():
    encoder = small_encoder()
    assert denoiser(encoder, fusion="mean").fusion.weights().tolist() == [0.25] * 4
    assert denoiser(encoder, fusion="last").fusion.weights().tolist() == [0, 0, 0, 1]
    names = [name for name, _ in denoiser(encoder, fusion="last").named_parameters()]
    assert "fusion.logits" not in names


@pytest.mark.parametrize("gradient, reaches", [("through", True), ("detach", False)])
def test_gradient_through_the_encoder_is_a_choice(gradient, reaches):
    """Seen where nothing but the encoder connects input and output: the skip is silenced."""
    model, x = denoiser(small_encoder(gradient=gradient)), image(1).requires_grad_()
    scaled = x / 1.0
    low, high = torch.quantile(x.detach().abs().flatten(), torch.tensor([0.01, 0.99])).reshape(2, 1, 1, 1)
    features = model.encoder.encode(model.picture(scaled, low, high))
    assert features[-1].requires_grad is reaches
    model(x).abs().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("encoder."))


def test_decoder_can_be_shared_by_all_cascades():
    sizes = {"num_cascades": 3, "pretrained": False, "blocks": (1, 2), "decoder_widths": WIDTHS}
    shared, separate = build_model(TINY, **sizes, shared_decoder=True), build_model(TINY, **sizes)
    denoiser_size = trainable(separate.cascades[0].denoiser)
    assert trainable(separate) - trainable(shared) == 2 * denoiser_size
    assert len({cascade.step_size for cascade in shared.cascades}) == 3


def test_the_image_skip_alone_is_local():
    """Without tokens, a pixel knows its neighbourhood and the image's statistics alone."""
    net = build_model("image_skip_only", num_cascades=2)
    assert not any("encoder" in name or "stages" in name for name, _ in net.named_parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_trained_embedding_stands_in_for_the_encoder_and_nothing_else():
    """Everything but the encoder has the shapes of the prior's, and the embedding is small and trained."""
    prior, control = (build_model(name, num_cascades=2) for name in ("random", "trained_embedding"))
    shapes = [
        {name: p.shape for name, p in net.named_parameters() if "encoder" not in name}
        for net in (prior, control)
    ]
    assert shapes[0] == shapes[1]
    assert trainable(control) - trainable(prior) == 3 * 16 * 16 * 768 + 768 + 14 * 14 * 768
    assert all(p.requires_grad for p in control.parameters()) and control.encoders == []
    assert len({id(cascade.denoiser.encoder) for cascade in control.cascades}) == 1


def test_the_tokens_of_a_trained_embedding_are_those_of_its_patches():
    embedding = TrainedEmbedding(width=5, patch=4, image_size=12, blocks=(1, 2))
    torch.nn.init.normal_(embedding.position)
    picture = torch.rand(2, 1, 12, 12)
    first, second = embedding.encode(picture)
    assert first.shape == (2, 9, 5) and first is second
    patch = picture[1, :, 8:12, 4:8].expand(3, -1, -1)  # row 2, column 1 of the grid
    weights = embedding.project.weight.flatten(1)
    expected = weights @ patch.flatten() + embedding.project.bias + embedding.position[0, :, 2, 1]
    torch.testing.assert_close(first[1, 2 * 3 + 1], expected)


def test_a_trained_embedding_is_trained():
    net = build_model("trained_embedding", num_cascades=1, zero_head=False, decoder_widths=WIDTHS)
    denoised = net.cascades[0].denoiser(image())
    denoised.abs().sum().backward()
    embedding = net.cascades[0].denoiser.encoder
    assert embedding.project.weight.grad.abs().sum() > 0 and embedding.position.grad.abs().sum() > 0


def test_a_u_net_of_zero_head_is_fastmri_s_but_for_start_and_mean():
    plain, zero = NormUnet(4, 2), NormUnet(4, 2, zero_head=True)
    assert not zero(image()).abs().any() and plain(image()).abs().any()
    zero.load_state_dict(plain.state_dict())
    x = image()
    torch.testing.assert_close(plain(x) - zero(x), x.mean((-2, -1), keepdim=True).expand_as(x))


@pytest.mark.parametrize(
    "options", [{"embedding_patch": 15}, {"embedding_width": 0}, {"blocks": ()}, {"encoder_image_size": 8}]
)
def test_an_embedding_that_cannot_be_is_refused(options):
    with pytest.raises(InputError, match=r"a trained embedding of width .* a multiple of the patch"):
        build_model("trained_embedding", num_cascades=1, **options)


def test_the_size_of_a_network_is_that_of_its_layers():
    small = {"sens_chans": 2, "sens_pools": 1}
    net = build_model("image_skip_only", num_cascades=3, decoder_widths=(8, 8, 8, 6), **small)
    size = size_of(net)
    assert (size["trained"], size["frozen"]) == (trainable(net), 0)
    # 2 -> 6, 6 -> 6 and 6 -> 2 channels by 3 x 3 kernels: a multiplication and an addition each
    assert size["flop"] == 3 * 448 * 168 * 9 * 2 * (2 * 6 + 6 * 6 + 6 * 2)
    prior = size_of(
        build_model(TINY, num_cascades=2, pretrained=False, blocks=(1, 2, 3, 4), decoder_widths=WIDTHS)
    )
    assert prior["frozen"] == sum(p.numel() for p in small_encoder().parameters())


def test_blocks_can_be_chosen():
    net = build_model(TINY, num_cascades=1, pretrained=False, blocks=(2, 5), decoder_widths=WIDTHS)
    assert net.cascades[0].denoiser.fusion.weights().shape == (2,)
    assert len(net.cascades[0].denoiser.encoder.vit.blocks) == 5


@pytest.mark.parametrize(
    "method, options, words",
    [
        ("dinov", {}, "did you mean dinov"),
        ("random", {"num_cascades": 0}, "1 or more"),
        ("random", {"decoder_widths": (8, 8)}, "four positive numbers"),
        (TINY, {"pretrained": False, "blocks": (1, 13)}, "12 blocks"),
        ("dinov2", {"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
    ],
)
def test_impossible_models_say_why(method, options, words):
    with pytest.raises(InputError, match=words):
        build_model(method, **{"num_cascades": 1, **options})
