# %% [markdown]
# # Two priors on one slice
#
# A U-Net prior and a prior on a frozen encoder, on the same slice with the same mask. Data are synthetic, the
# encoder's weights are random, and both networks are trained for seconds on another frame of the same heart:
# this shows *how* priors are compared, and says nothing about which is better.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from fm_unroll.commands.synthesize import synthesize
from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.data.scan import open_scan
from fm_unroll.data.undersampling import undersample
from fm_unroll.physics import UniformSampling

folder = TemporaryDirectory()
synthesize(Path(folder.name), size="tiny", hearts=1, knees=0, heads=0)
sampling = UniformSampling(4, acs_lines=8)
scan = open_scan(next(Path(folder.name).rglob("cine_sax.mat")))


def load(frame: int) -> KSpaceBatch:
    """All slices of one frame, undersampled, with target and mask."""
    items = range(frame * scan.volume.num_slices, (frame + 1) * scan.volume.num_slices)
    slices = KSpaceBatch.collate([scan[item] for item in items])
    return undersample(slices, sampling)


train, test = load(frame=0), load(frame=1)
data_range = train.target.max()

# %% [markdown]
# Everything but the prior is the same: sensitivity estimator, number of cascades, loss, steps.

# %%
from fm_unroll.models import build_model
from fm_unroll.training.losses import SSIMLoss

sizes = {"num_cascades": 2, "sens_chans": 4, "sens_pools": 2}
priors = {
    "U-Net": {"method": "varnet", "chans": 8, "pools": 2},
    "frozen random ViT": {
        "method": "timm/vit_tiny_patch16_224",
        "pretrained": False,
        "blocks": (1, 2, 3, 4),
        "encoder_image_size": 64,
        "encoder_gradient": "detach",
        "decoder_widths": (16, 16, 16, 16),
    },
}
networks = {}
for name, prior in priors.items():
    torch.manual_seed(0)
    network = build_model(**prior, **sizes)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    for _ in range(50):
        image = network(train.kspace, train.mask, train.num_acs)
        loss = SSIMLoss()(image, train.target, data_range)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    networks[name] = network.eval()
    print(f"{name}: {sum(parameter.numel() for parameter in trained):,} trained parameters")

# %% [markdown]
# The other frame. Every method must be better than its zero-filled image:

# %%
from fm_unroll.metrics import ssim
from fm_unroll.physics import ifft2c, rss

images = {"zero-filled": rss(ifft2c(test.kspace))}
with torch.no_grad():
    for name, network in networks.items():
        images[name] = network(test.kspace, test.mask, test.num_acs)
scores = {name: ssim(image, test.target, data_range)[0].item() for name, image in images.items()}
print("SSIM of one slice:", {name: round(score, 3) for name, score in scores.items()})

# %%
from matplotlib import pyplot

peak = data_range.item()
figure, axes = pyplot.subplots(2, 1 + len(images), figsize=(10, 6), layout="constrained")
axes[0, 0].imshow(test.target[0].numpy(), cmap="gray", vmin=0, vmax=peak)
axes[0, 0].set_title("target")
for column, (name, image) in enumerate(images.items(), start=1):
    axes[0, column].imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=peak)
    axes[0, column].set_title(f"{name}\nSSIM {scores[name]:.3f}")
    axes[1, column].imshow((image - test.target)[0].abs().numpy(), cmap="magma", vmin=0, vmax=peak / 4)
axes[1, 1].set_title("error, x4")
for axis in axes.flat:
    axis.axis("off")
figure.suptitle("Synthetic heart, random encoder weights: not a result")
figure.savefig("compare_priors.png", dpi=110)
