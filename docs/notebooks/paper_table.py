# %% [markdown]
# # I want the table for my paper
#
# From two methods to a table with intervals: train each with several seeds, evaluate all of them on the
# same slices under the same masks, and let the report do the statistics. Data are drawn, the networks are
# tiny and trained for seconds: this shows the way, and its figures mean nothing.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from fm_unroll.cli import main

folder = TemporaryDirectory()
root = Path(folder.name)
sizes = ["--size", "tiny", "--hearts", "6", "--knees", "3", "--heads", "0"]
main(["data", "synthesize", "--root", str(root / "data"), *sizes])

# %% [markdown]
# One config holds what the methods share; a method and a seed are options. Compare only what differs in one
# thing: here the denoiser, on the paper's physics.

# %%
hearts = {"root": str(root / "data"), "contrasts": ["cine_sax"], "split": [0.34, 0.16, 0.5]}
shared = {
    "model": {"num_cascades": 2, "sens_chans": 2, "sens_pools": 2},
    "data": {"class_path": "CMRxReconData", "init_args": hearts | {"acceleration": 4, "acs_lines": 8}},
    "trainer": {
        "max_epochs": 1,
        "limit_train_batches": 8,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    },
}
(root / "shared.yaml").write_text(yaml.safe_dump(shared))
methods = {
    "unet": ["--model.method", "varnet", "--model.chans", "4", "--model.pools", "2"],
    "prior": [
        *("--model.method", "timm/vit_tiny_patch16_224", "--model.pretrained", "false"),
        *("--model.encoder_image_size", "32", "--model.decoder_widths", "[8,8,8,8]"),
    ],
}
for name, options in methods.items():
    for seed in ("0", "1"):
        run = ["--trainer.default_root_dir", str(root / "runs" / name / seed), "--seed_everything", seed]
        main(["fit", "--config", str(root / "shared.yaml"), *options, *run])

# %% [markdown]
# The protocol names data sets, networks and methods without training, and the one comparison that the paper
# is about, before its result is known. A fraction in `centers` is a share of all lines, a whole number
# counts lines.

# %%
protocol = {
    "test_sets": [
        {"name": "phantoms", "data": {"class_path": "CMRxReconData", "init_args": hearts}, "centers": [8]},
        {
            "name": "phantoms",
            "data": {"class_path": "FastMRIKneeData", "init_args": {"root": str(root / "data/knee")}},
            "centers": [0.2],
        },
    ],
    "checkpoints": [str(root / "runs/*/*/checkpoints/best.ckpt")],
    "baselines": ["zero_filled", "cg_sense"],
    "accelerations": [4],
    "primary": {
        "method": "timm/vit_tiny_patch16_224",
        "baseline": "varnet",
        "test_sets": ["knee"],
        "margin": 0.01,
    },
    "output": str(root / "results"),
}
(root / "protocol.yaml").write_text(yaml.safe_dump(protocol))
main(["cross-domain", "--config", str(root / "protocol.yaml")])

# %% [markdown]
# The report: a page to read, and every table as LaTeX, Markdown and CSV, every figure as PDF and PNG.

# %%
main(["report", str(root / "results/records.csv")])
tables = sorted(path.stem for path in (root / "results/tables").glob("*.tex"))
print(tables)

# %% [markdown]
# This is what goes into the paper: `\input{results_knee_phantoms.tex}`. Beside it stands the paired
# comparison, whose interval covers subjects and seeds.

# %%
table = (root / "results/tables/comparison_ssim_to_varnet_knee_phantoms.md").read_text()
print(table)
