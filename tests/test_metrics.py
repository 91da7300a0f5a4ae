import h5py
import numpy as np
import pytest
import torch
from fastmri import evaluate
from fastmri.losses import SSIMLoss as FastMRISSIMLoss
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fm_unroll.metrics import challenge_scores, nmse, psnr, score_slices, ssim, volume_metrics
from fm_unroll.physics import EquispacedSampling, ifft2c, rss
from fm_unroll.training.losses import SSIMLoss, build_loss


def image_pair(unit: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(5, 40, 33, generator=generator)
    return unit * (target + 0.2 * torch.randn(5, 40, 33, generator=generator)), unit * target


def assert_equal_to_fastmri(prediction: torch.Tensor, target: torch.Tensor) -> None:
    ours = volume_metrics(score_slices(prediction, target, target.max().expand(len(target))))
    gt, pred = target.double().numpy(), prediction.double().numpy()
    assert ours["ssim"].item() == pytest.approx(float(evaluate.ssim(gt, pred)[0]), abs=1e-5)
    assert ours["psnr"].item() == pytest.approx(float(evaluate.psnr(gt, pred)), abs=1e-5)
    assert ours["nmse"].item() == pytest.approx(float(evaluate.nmse(gt, pred)), rel=1e-5)


@pytest.mark.parametrize("unit", [1e-6, 1, 1e4])
def test_volume_metrics_equal_fastmri(unit):
    assert_equal_to_fastmri(*image_pair(unit))


def test_volume_metrics_equal_fastmri_on_a_real_brain(shared):
    with h5py.File(shared / "data/fastmri_brain/multicoil_val/file_brain_vfa_13coil.h5") as file:
        kspace = torch.from_numpy(file["kspace"][()])
        target = torch.from_numpy(file["reconstruction_rss"][()])
    mask = EquispacedSampling(4, 0.08)(kspace.shape[-1], "file_brain_vfa_13coil.h5")
    assert_equal_to_fastmri(rss(ifft2c(kspace * mask.lines)), target)


def test_slice_metrics_are_those_of_the_single_slice_with_the_given_range():
    prediction, target = image_pair(1)
    data_range = torch.full((5,), 3.0)
    for row in range(5):
        expected = structural_similarity(target[row].numpy(), prediction[row].numpy(), data_range=3.0)
        assert ssim(prediction, target, data_range)[row].item() == pytest.approx(expected, abs=1e-5)
        squared = np.square(target[row].numpy() - prediction[row].numpy())
        expected = 10 * np.log10(9 / squared.mean())
        assert psnr(prediction, target, data_range)[row].item() == pytest.approx(expected, abs=1e-4)
        expected = squared.sum() / np.square(target[row].numpy()).sum()
        assert nmse(prediction, target, data_range)[row].item() == pytest.approx(expected, rel=1e-5)


@st.composite
def any_pair(draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of one size with values in 0..1, the target with a pixel of 1; flat parts are common."""
    shape = draw(st.tuples(st.integers(7, 24), st.integers(7, 24)))
    values = st.floats(0, 1, width=32)
    prediction, target = (torch.from_numpy(draw(arrays(np.float32, shape, elements=values))) for _ in "pt")
    target[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = 1
    return prediction[None], target[None]


@given(pair=any_pair(), unit=st.sampled_from([1e-7, 1.0, 1e5]))
def test_any_two_images(pair: tuple[torch.Tensor, torch.Tensor], unit: float):
    prediction, target = (unit * image for image in pair)
    data_range = target.max()
    expected = structural_similarity(
        target[0].double().numpy(), prediction[0].double().numpy(), data_range=data_range.item()
    )
    score = ssim(prediction, target, data_range)
    # second moments, up to 4 here, are rounded by 5e-7, and 2 k2^2 = 1.8e-3 is what they are compared with
    assert score.item() == pytest.approx(expected, abs=5e-4)
    exact = ssim(prediction.double(), target.double(), data_range.double())
    assert exact.item() == pytest.approx(expected, abs=1e-9)
    assert exact.item() == pytest.approx(
        ssim(prediction.double().mT, target.double().mT, data_range.double()).item(), abs=1e-9
    )
    assert score.item() == pytest.approx(ssim(target, prediction, data_range).item(), abs=1e-6)
    assert ssim(target, target, data_range).item() == pytest.approx(1, abs=1e-6)
    # a PSNR and an NMSE say the same of one slice: their ratio is a property of the target
    error, energy = nmse(prediction, target).item(), target.double().square().mean().item()
    assert psnr(prediction, target, data_range).item() == pytest.approx(
        10 * np.log10(data_range.double().item() ** 2 / (error * energy)) if error else np.inf, abs=1e-3
    )


def test_challenge_metrics_are_those_of_images_divided_by_their_own_maximum():
    prediction, target = image_pair(1e-4)
    target = target * torch.tensor([1.0, 0.2, 3.0, 1.0, 1.0])[:, None, None]
    ours = challenge_scores(prediction, target)
    for row in range(5):
        true, made = (image[row].double().numpy() / image[row].max().item() for image in (target, prediction))
        expected = structural_similarity(true, made, data_range=true.max())
        assert ours["challenge_ssim"][row].item() == pytest.approx(expected, abs=1e-6)
        expected = peak_signal_noise_ratio(true, made, data_range=true.max())
        assert ours["challenge_psnr"][row].item() == pytest.approx(expected, abs=1e-6)
        expected = np.linalg.norm(true - made) ** 2 / np.linalg.norm(true) ** 2
        assert ours["challenge_nmse"][row].item() == pytest.approx(expected, rel=1e-6)


def test_challenge_metrics_forgive_a_wrong_scale_and_the_others_do_not():
    _, target = image_pair(1)
    assert challenge_scores(0.5 * target, target)["challenge_nmse"].max() < 1e-12
    assert nmse(0.5 * target, target).tolist() == pytest.approx([0.25] * 5)
    black = torch.zeros_like(target)
    assert all(value.isnan().all() for value in challenge_scores(black, target).values())


@pytest.mark.parametrize("unit", [1, 1e4])
def test_loss_equals_fastmri(unit):
    prediction, target = image_pair(unit)
    data_range = unit * torch.tensor([1.0, 1.0, 0.9, 1.2, 1.0])
    expected = FastMRISSIMLoss()(prediction[:, None], target[:, None], data_range)
    torch.testing.assert_close(SSIMLoss()(prediction, target, data_range), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("unit", [1, 1e4])
def test_mixed_loss_is_what_scikit_image_and_numpy_make_of_each_slice(unit):
    prediction, target = image_pair(unit)
    data_range = unit * torch.tensor([1.0, 1.0, 0.9, 1.2, 1.0])
    expected = []
    for made, true, scale in zip(prediction.numpy(), target.numpy(), data_range.tolist(), strict=True):
        similarity = structural_similarity(true, made, data_range=scale)
        expected.append(1 - similarity + 5 * np.abs(made / scale - true / scale).mean())
    loss = build_loss("ssim_l1")
    assert loss(prediction, target, data_range).item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert loss(target, target, data_range).item() == pytest.approx(0, abs=1e-6)


def test_metrics_do_not_depend_on_the_unit_of_the_image():
    data_range = torch.ones(5)
    small, large = image_pair(1e-6), image_pair(1)
    torch.testing.assert_close(ssim(*small, 1e-6 * data_range), ssim(*large, data_range))


def test_gradient_of_ssim_is_right_in_float64():
    prediction, target = (image[:1, :9, :8].double() for image in image_pair(1))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ssim(x, target, torch.ones(1)), prediction)


def test_a_nan_reconstruction_stays_visible():
    prediction, target = image_pair(1)
    prediction[2, 3, 3] = float("nan")
    scores = score_slices(prediction, target, target.max().expand(5))
    assert scores["ssim"].isnan().tolist() == [False, False, True, False, False]
    assert all(value.isnan() for value in volume_metrics(scores).values())


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="at least 7 x 7"):
        ssim(torch.ones(1, 6, 9), torch.ones(1, 6, 9), torch.ones(1))
