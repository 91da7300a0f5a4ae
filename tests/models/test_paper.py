"""The paper, written out a second time: denoiser and recipe, from its text alone (arXiv 2604.22557)."""

import lightning
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from fastmri.losses import SSIMLoss

from fm_unroll.data import CMRxReconData
from fm_unroll.encoders import build_encoder
from fm_unroll.models.denoisers.foundation import FoundationDenoiser
from fm_unroll.physics import RandomSampling
from fm_unroll.training.recipe import RECIPE
from fm_unroll.training.task import ReconstructionTask
from simulate import complex_noise

BLOCKS = (1, 2, 3, 4, 5, 6)


def denoise(weights: dict[str, torch.Tensor], encoder: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """One complex image ``(readout, phase)`` through the denoiser whose weights these are."""

    def convolve(name: str, x: torch.Tensor, groups: int = 1) -> torch.Tensor:
        kernel = weights[f"{name}.weight"]
        return F.conv2d(x, kernel, weights[f"{name}.bias"], padding=kernel.shape[-1] // 2, groups=groups)

    def normalise(x: torch.Tensor) -> torch.Tensor:
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-5).sqrt()

    def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(x, size, mode="bilinear", align_corners=False)

    # 1: magnitude between its 1st and 99th percentile, as a picture
    low, high = np.percentile(image.abs().numpy(), (1, 99))
    picture = ((image.abs() - low) / (high - low)).clip(0, 1).float()[None, None]
    # 2 and 4: token maps of the six blocks, without the class token
    tokens = [block[0, 1:] for block in encoder(picture)]
    side = round(len(tokens[0]) ** 0.5)
    maps = []
    for number, token in enumerate(tokens):
        mean, variance = token.mean(1, keepdim=True), token.var(1, keepdim=True, correction=0)
        scale, shift = (weights[f"fusion.norms.{number}.{part}"] for part in ("weight", "bias"))
        normal = (token - mean) / (variance + 1e-5).sqrt() * scale + shift
        maps.append(normal.T.reshape(1, -1, side, side))
    # 3: their weighted sum
    shares = weights["fusion.logits"].exp() / weights["fusion.logits"].exp().sum()
    features = sum(share * each for share, each in zip(shares, maps, strict=True))
    # 5: up by two, three times, joined by blocks 5, 4 and 3; then to the image, joined by the image itself
    two_channels = torch.stack([image.real, image.imag])[None].float() / float(high)
    sizes = [(2 * side,) * 2, (4 * side,) * 2, (8 * side,) * 2, tuple(image.shape)]
    names = ["stages.0", "stages.1", "stages.2", "image_stage"]
    for name, size, skip in zip(names, sizes, [maps[4], maps[3], maps[2], two_channels], strict=True):
        larger = resize(features, size)
        refined = convolve(f"{name}.refine.1", convolve(f"{name}.refine.0", larger, larger.shape[1]))
        joined = torch.cat([normalise(refined).relu(), convolve(f"{name}.skip", resize(skip, size))], 1)
        features = normalise(convolve(f"{name}.merge.0", joined)).relu()
    # 6: real and imaginary part
    real, imaginary = convolve("head", features)[0] * float(high)
    return torch.complex(real, imaginary)


@torch.no_grad()
@pytest.mark.parametrize(("readout", "phase"), [(40, 33), (224, 224), (61, 96)])
def test_the_denoiser_is_that_of_the_paper(readout, phase):
    torch.manual_seed(3)
    encoder = build_encoder("timm/vit_tiny_patch16_224", pretrained=False, blocks=BLOCKS)
    denoiser = FoundationDenoiser(encoder, (12, 10, 8, 6))
    for parameter in denoiser.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    image = complex_noise(2, readout, phase, seed=4)
    image[:, : readout // 2] *= 3
    weights = denoiser.state_dict()
    found = denoiser(image)
    for row in range(2):
        expected = denoise(weights, encoder, image[row])
        assert (found[row] - expected).norm() < 1e-5 * expected.norm()


def test_the_recipe_is_that_of_the_paper():
    recipe = yaml.safe_load(RECIPE.read_text())
    (stopping,) = (c for c in recipe["trainer"]["callbacks"] if c["class_path"].endswith("EarlyStopping"))
    assert stopping["init_args"] == {"monitor": "val/ssim", "mode": "max", "patience": 5}
    assert recipe["trainer"]["max_epochs"] == 50
    task = ReconstructionTask("varnet", num_cascades=1, chans=2, pools=1, sens_chans=2, sens_pools=1)
    settings = task.configure_optimizers()
    optimizer, scheduler = settings["optimizer"], settings["lr_scheduler"]
    assert type(optimizer) is torch.optim.Adam and optimizer.param_groups[0]["weight_decay"] == 0
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1e-3] * 40 + [1e-4] * 10)


class Watcher(lightning.Callback):
    """Keeps the masks of every batch that a run sees, and its losses beside those of fastMRI."""

    def __init__(self) -> None:
        self.masks: dict[str, list[dict[tuple, torch.Tensor]]] = {"train": [], "val": []}
        self.losses: list[tuple[float, float]] = []
        self.darker = 0

    def keep(self, stage: str, trainer, batch) -> None:
        epochs = self.masks[stage]
        epochs.extend({} for _ in range(trainer.current_epoch + 1 - len(epochs)))
        for row, place in enumerate(zip(batch.volume, batch.slice, batch.frame, strict=True)):
            epochs[trainer.current_epoch][place] = batch.mask[row].flatten()

    @torch.no_grad()
    def on_train_batch_start(self, trainer, module, batch, index) -> None:
        """The loss that is to come, by the maximum of each slice's volume."""
        expected = SSIMLoss()(module(batch)[:, None], batch.target[:, None], batch.data_range)
        self.losses.append((expected.item(), float("nan")))
        self.darker += int((batch.target.amax((-2, -1)) < 0.95 * batch.data_range).sum())

    def on_train_batch_end(self, trainer, module, outputs, batch, index) -> None:
        self.losses[-1] = (self.losses[-1][0], outputs["loss"].item())
        self.keep("train", trainer, batch)

    def on_validation_batch_end(self, trainer, module, outputs, batch, index, loader=0) -> None:
        self.keep("val", trainer, batch)


def test_what_a_run_sees_and_minimises(synthetic, tmp_path):
    """Training masks vary by epoch, validation masks never do; the loss takes the maximum of the volume."""
    data = CMRxReconData(
        synthetic,
        sampling=RandomSampling(4, 0.1),
        contrasts=["cine_sax"],
        split=(0.5, 0.25, 0.25),
        num_workers=0,
        batch_size=2,
    )
    task = ReconstructionTask("varnet", num_cascades=1, chans=2, pools=1, sens_chans=2, sens_pools=1)
    watcher = Watcher()
    trainer = lightning.Trainer(
        default_root_dir=tmp_path,
        max_epochs=3,
        accelerator="cpu",
        callbacks=[watcher],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(task, datamodule=data)
    for stage, same in (("train", False), ("val", True)):
        epochs = watcher.masks[stage]
        assert len(epochs) == 3 and len(epochs[0]) > 2
        assert epochs[0].keys() == epochs[1].keys() == epochs[2].keys()
        for place, mask in epochs[0].items():
            assert all(torch.equal(mask, later[place]) is same for later in epochs[1:]), (stage, place)
    assert watcher.darker, "no slice is darker than its volume"
    for expected, found in watcher.losses:
        assert found == pytest.approx(expected, rel=1e-5)
