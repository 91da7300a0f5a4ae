# %% [markdown]
# # From k-space to image
#
# The scan is synthetic: a drawn heart, written as a CMRxRecon file. Put the path of a real fastMRI, CMRxRecon
# or ISMRMRD file in its place: files are recognised by their content.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from fm_unroll.commands.synthesize import synthesize

folder = TemporaryDirectory()
synthesize(Path(folder.name), size="demo", hearts=1, knees=0, heads=0)
path = next(Path(folder.name).rglob("cine_sax.mat"))

# %% [markdown]
# Ten lines from the file to an image:

# %%
from fm_unroll.data.scan import open_scan
from fm_unroll.models.classical import CGSense, ZeroFilled
from fm_unroll.physics import UniformSampling, ifft2c, rss

kspace = open_scan(path)[0].kspace[None]  # complex64 (batch, coil, readout, phase)
mask = UniformSampling(4, acs_lines=16)(num_lines=kspace.shape[-1])
measured = kspace * mask.lines, mask.lines[None, None, None], mask.num_acs
target = rss(ifft2c(kspace))  # float32 (batch, readout, phase)
zero_filled = ZeroFilled()(*measured)
image = CGSense()(*measured)

# %% [markdown]
# Networks are called in the same way: `build_model("dinov2")(*measured)`, or, trained,
# `ReconstructionTask.from_checkpoint(path).network(*measured)`.
#
# How good are they? The data range is the maximum of the target; in a data set, that of the whole volume.

# %%
from fm_unroll.metrics import ssim

scores = {
    "zero-filled": ssim(zero_filled, target, target.max()).item(),
    "CG-SENSE": ssim(image, target, target.max()).item(),
}
print(f"nominal acceleration {mask.acceleration}, true {mask.true_acceleration:.2f}; SSIM:", scores)

# %%
from matplotlib import pyplot

figure, axes = pyplot.subplots(1, 3, figsize=(9, 4), layout="constrained")
pictures = {"target": target, "zero-filled": zero_filled, "CG-SENSE": image}
for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=target.max().item())
    axis.set_title(f"{name}, SSIM {scores[name]:.3f}" if name in scores else name)
    axis.axis("off")
figure.suptitle(f"Synthetic heart, true acceleration {mask.true_acceleration:.2f}")
figure.savefig("kspace_to_image.png", dpi=110)
