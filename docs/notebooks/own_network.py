# %% [markdown]
# # A network of your own, from training to the table
#
# The class `SmallNet` of `new_network.py`, beside this file, is trained by its name, applied to a scan and
# compared with methods without training on hearts and on a knee. Data are synthetic, and training takes
# seconds: this shows *how* it is done, and says nothing about the network.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from new_network import SmallNet

import fm_unroll as fm
from fm_unroll.cli import main
from fm_unroll.commands.synthesize import synthesize

folder = TemporaryDirectory()
data, run = Path(folder.name, "data"), Path(folder.name, "run")
synthesize(data, size="tiny", hearts=3, knees=1, heads=0)

# %% [markdown]
# ## Training
#
# The same as `python -m fm_unroll fit --model.method new_network:SmallNet ...` in a shell. Parameters of the
# class are options: `--model.channels`.

# %%
config = {
    "model": {"learning_rate": 3e-3},
    "data": {
        "class_path": "CMRxReconData",
        "init_args": {
            "root": str(data),
            "acceleration": 4,
            "acs_lines": 8,
            "split": [0.34, 0.33, 0.33],
            "num_workers": 0,
        },
    },
    "trainer": {"max_epochs": 10, "accelerator": "cpu", "default_root_dir": str(run), "logger": False},
}
Path(folder.name, "fit.yaml").write_text(yaml.safe_dump(config))
main(
    [
        *("fit", "--config", f"{folder.name}/fit.yaml"),
        *("--model.method", "new_network:SmallNet", "--model.channels", "8"),
    ]
)

# %% [markdown]
# ## One scan
#
# A checkpoint names its class, and that is all: it runs no code. So you say which class is meant, in Python
# by the class itself, in a shell by `--trust_code new_network:SmallNet`.

# %%
checkpoint = str(run / "checkpoints" / "best.ckpt")
network = fm.load(checkpoint, trust_code=SmallNet)
knee = fm.open_scan(next(data.rglob("*.h5")))
batch = knee.undersample(fm.UniformSampling(4, acs_lines=8))[0]
image = network(batch)
print(image.shape, image.dtype)

# %%
main(
    [
        *("reconstruct", str(knee.path), "--checkpoint", checkpoint, "--output", f"{folder.name}/knee.h5"),
        *("--trust_code", "new_network:SmallNet"),
    ]
)

# %% [markdown]
# ## Beside other methods
#
# The network is one more arm, in the same masks and statistics as all others.

# %%
protocol = {
    "test_sets": [
        {
            "name": "hearts",
            "data": {
                "class_path": "CMRxReconData",
                "init_args": {"root": str(data), "acs_lines": 8, "num_workers": 0},
            },
            "centers": [8],
        },
        {
            "name": "knees",
            "data": {
                "class_path": "FastMRIKneeData",
                "init_args": {"root": str(data / "knee"), "split": [0, 0, 1], "num_workers": 0},
            },
            "centers": [0.2],
        },
    ]
}
Path(folder.name, "protocol.yaml").write_text(yaml.safe_dump(protocol))
main(
    [
        *("cross-domain", "--config", f"{folder.name}/protocol.yaml", "--checkpoints", checkpoint),
        *("--baselines", "zero_filled", "cg_sense", "--accelerations", "4", "--num_workers", "0"),
        *("--output", f"{folder.name}/results", "--trust_code", "new_network:SmallNet"),
    ]
)

# %%
import pandas as pd

records = pd.read_csv(Path(folder.name, "results", "records.csv"))
print(records.groupby(["dataset", "method"]).ssim.mean().round(3))
