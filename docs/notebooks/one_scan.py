# %% [markdown]
# # I have one scan
#
# What is in the file, what does an accelerated scan of it look like, and which method can be trusted with
# it? Here a head is drawn and written as a fastMRI file. Put the path of your own file in its place:
# fastMRI, CMRxRecon, ISMRMRD and NumPy files are recognised by their content.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from fm_unroll.commands.synthesize import synthesize

folder = TemporaryDirectory()
synthesize(Path(folder.name), size="small", hearts=0, knees=0, heads=1)
path = next(Path(folder.name).rglob("file_brain*.h5"))

# %%
import fm_unroll as fm

scan = fm.open_scan(path)
print(scan)

# %% [markdown]
# A fully sampled scan has a target to compare with, so it is masked as an accelerated scan would have been.
# One that is undersampled already has none: its slices are taken as they are, and there is nothing to
# score.

# %%
if scan.volume.fully_sampled:
    batch = scan.undersample(fm.EquispacedSampling(4, 0.08))[:2]  # two slices
else:
    batch = scan.batch()[:2]

# %% [markdown]
# Methods without training, and the general network that comes with the package. It was trained on drawings,
# the heads of this notebook among their kind: on your own scan it has to show what it is worth.
# `fm.load("best.ckpt")` loads a network of your own.

# %%
from fm_unroll.models.classical import CGSense, WaveletCS, ZeroFilled
from fm_unroll.reconstruction.engine import reconstruct

images = {
    "zero-filled": reconstruct(ZeroFilled(), batch),
    "CG-SENSE": reconstruct(CGSense(), batch),
    "L1-wavelet": reconstruct(WaveletCS(), batch),
    "general network": fm.load()(batch),
}

# %%
from fm_unroll.metrics import psnr, ssim

scores = {}
if batch.target is not None:
    for name, image in images.items():
        similarity = ssim(image, batch.target, batch.data_range).mean().item()
        scores[name] = similarity, psnr(image, batch.target, batch.data_range).mean().item()
        print(f"{name:16} SSIM {similarity:.3f}, PSNR {scores[name][1]:.1f} dB")

# %% [markdown]
# Numbers average over much. Look at the images, and at where they differ from the target:

# %%
from matplotlib import pyplot

shown = images if batch.target is None else {"target": batch.target} | images
white = shown[next(iter(shown))][0].max().item()
figure, axes = pyplot.subplots(2, len(shown), figsize=(2.4 * len(shown), 6), layout="constrained")
for column, (name, image) in enumerate(shown.items()):
    axes[0, column].imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=0.8 * white)
    axes[0, column].set_title(f"{name}\nSSIM {scores[name][0]:.3f}" if name in scores else name)
    if batch.target is not None and name != "target":
        error = (image - batch.target)[0].abs().numpy()
        axes[1, column].imshow(error, cmap="magma", vmin=0, vmax=0.15 * white)
        axes[1, column].set_title("error")
for axis in axes.flat:
    axis.axis("off")
figure.suptitle("Synthetic head, x4" if scan.volume.synthetic else f"{scan.volume.name}, x4")
figure.savefig("one_scan.png", dpi=110)

# %% [markdown]
# The same for all slices, from the shell, with an image for your viewer:
# `python -m fm_unroll reconstruct scan.h5 --acceleration 4 --output scan.nii.gz`
