"""`encoders verify`, and a trained file: loaded strictly, and better than random weights."""

import math
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from fm_unroll.commands import encoders as commands
from fm_unroll.encoders import EncoderSpec, FrozenEncoder, build_encoder, registry
from fm_unroll.errors import InputError
from fm_unroll.physics import ifft2c, rss
from reference_networks import randomise


def test_file_is_recognised_by_its_tensors(
    tiny: EncoderSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two encoders with one architecture both fit; other sizes, depths and positions do not."""
    monkeypatch.setitem(registry._REGISTRY, "twin", replace(tiny, name="twin"))
    monkeypatch.setitem(registry._REGISTRY, "larger", replace(tiny, name="larger", native_size=96))
    path = tmp_path / "tiny.safetensors"
    save_file(randomise(timm.create_model(tiny.architecture, img_size=64)).state_dict(), path)
    assert commands.recognise_encoder(path) == ["tiny", "twin"]
    with pytest.raises(InputError, match=r"'pos_embed' has the shape \(1, 17, 192\) where larger needs"):
        commands.verify(str(path), "larger")
    save_file(randomise(timm.create_model(tiny.architecture, img_size=64, depth=11)).state_dict(), path)
    with pytest.raises(InputError, match="fits no registered encoder"):
        commands.verify(str(path))


def test_random_control_and_wrong_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.verify("random")
    assert "43,269,888 parameters, all frozen" in capsys.readouterr().out
    with pytest.raises(InputError, match="no such weights file"):
        commands.verify(str(tmp_path / "weights.pt"))
    with pytest.raises(InputError, match="did you mean dinov2_small"):
        commands.verify("dinov2small")


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    network = randomise(timm.create_model("vit_tiny_patch16_224"))
    with torch.no_grad():
        network.blocks[3].norm1.weight[0] = torch.nan
    save_file(network.state_dict(), tmp_path / "tiny.safetensors")
    with pytest.raises(InputError, match="tokens that are not finite"):
        commands.verify(str(tmp_path / "tiny.safetensors"), "timm/vit_tiny_patch16_224")


@pytest.fixture(scope="module")
def trained(shared: Path) -> Path:
    """A trained ViT-S/14 derived from DINOv2, float16, 37 x 37 positions."""
    return shared / "weights" / "dinov2_small_derived_timm_fp16.safetensors"


def test_trained_file_is_verified(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.verify(str(trained))
    report = capsys.readouterr().out
    assert "fits         dinov2_small\n" in report
    assert "10,976,640 parameters, all frozen" in report
    assert "6 token maps of 257 x 384, all finite" in report
    with pytest.raises(InputError, match=r"\(1, 1, 384\) where dinov2 needs \(1, 1, 768\)"):
        commands.verify(str(trained), "dinov2")


def test_trained_features_tell_images_apart(trained: Path, shared: Path, tmp_path: Path) -> None:
    """Two augmented views of one image lie closer than views of two images.

    Eight images: four quadrants of a real head and four of a real heart. A view is a random rotation, crop,
    gamma, brightness and noise; its feature is the mean of block 6's patch tokens, centred over all views.
    """
    images = quadrants(shared)
    shuffled = tmp_path / "shuffled.safetensors"
    save_file(in_random_order(load_file(trained)), shuffled)
    learned = separation(build_encoder("dinov2_small", trained), images)
    random = separation(build_encoder("dinov2_small", pretrained=False), images)
    random_order = separation(build_encoder("dinov2_small", shuffled), images)
    assert learned > 0.9
    assert 1 - learned < (1 - max(random, random_order)) / 3


def in_random_order(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Shuffle the values of every tensor: random weights of the trained ones' distribution."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape)
        for key, tensor in state.items()
    }


def separation(encoder: FrozenEncoder, images: Tensor, num_trials: int = 4) -> float:
    """How often two views of one image are closer than views of two images; 0.5 is chance."""
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(num_trials):
        views = [torch.cat([view(image, generator) for image in images]) for _ in range(2)]
        with torch.no_grad():
            features = torch.stack([encoder(batch)[-1][:, 1:].mean(1) for batch in views])
        first, second = F.normalize(features - features.mean((0, 1)), dim=-1)
        similarity = first @ second.T
        other = similarity[~torch.eye(len(images), dtype=torch.bool)]
        shares.append((similarity.diagonal()[:, None] > other).float().mean())
    return torch.stack(shares).mean().item()


def view(image: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by up to 15 degrees, crop to 0.7-0.9, change gamma and brightness, add noise."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand(1, generator=generator).item()

    angle, zoom = math.radians(uniform(-15, 15)), uniform(0.7, 0.9)
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    affine = torch.tensor([[[cosine, -sine, uniform(-0.1, 0.1)], [sine, cosine, uniform(-0.1, 0.1)]]])
    grid = F.affine_grid(affine, [1, 1, 224, 224], align_corners=False)
    cropped = F.grid_sample(image[None], grid, padding_mode="reflection", align_corners=False).clamp(0, 1)
    changed = cropped ** uniform(0.5, 2) * uniform(0.5, 1)
    return (changed + 0.03 * torch.randn(changed.shape, generator=generator)).clamp(0, 1)


def quadrants(shared: Path) -> Tensor:
    """Return (8, 1, 256, 256) in 0..1: the four quadrants of the middle of a head, and of a heart."""
    cells = []
    for kspace in (head_kspace(shared), heart_kspace(shared)):
        image = rss(ifft2c(kspace))
        image = (image / image.quantile(0.99)).clamp(0, 1)[None, None]
        image = F.interpolate(image, (384, 384), mode="bilinear", antialias=True)[..., 64:320, 64:320]
        cells += [quadrant for half in image.chunk(2, dim=2) for quadrant in half.chunk(2, dim=3)]
    return F.interpolate(torch.cat(cells), (256, 256), mode="bilinear")


def head_kspace(shared: Path) -> Tensor:
    with h5py.File(shared / "data/fastmri_brain/multicoil_val/file_brain_vfa_13coil.h5") as file:
        return torch.from_numpy(file["kspace"][0])


def heart_kspace(shared: Path) -> Tensor:
    path = shared / "data/cmrxrecon/MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat"
    with h5py.File(path) as file:
        values = file["kspace_full"][0, 0]
    return torch.complex(torch.from_numpy(values["real"]), torch.from_numpy(values["imag"]))
