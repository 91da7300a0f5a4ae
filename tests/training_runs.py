"""Configs of runs that are small enough for tests, and what they leave behind."""

from pathlib import Path

import torch
import yaml

MODEL = {
    "method": "timm/vit_tiny_patch16_224",
    "pretrained": False,
    "num_cascades": 2,
    "encoder_image_size": 32,
    "blocks": [1, 2, 3],
    "decoder_widths": [8, 8, 8, 8],
    "sens_chans": 2,
    "sens_pools": 2,
}
DATA = {
    "acceleration": 4,
    "acs_lines": 8,
    "batch_size": 4,
    "num_workers": 0,
    "split": [0.5, 0.25, 0.25],
    "contrasts": ["cine_sax", "cine_lax"],
}
TRAINER = {
    "max_epochs": 2,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


def config_for(root: Path, run_dir: Path, model: dict | None = None, **trainer) -> Path:
    """A config of a small run on the tiny data set."""
    content = {
        "model": model or MODEL,
        "data": {"class_path": "CMRxReconData", "init_args": {"root": str(root), **DATA}},
        "trainer": {**TRAINER, "default_root_dir": str(run_dir), **trainer},
    }
    path = run_dir.parent / f"{run_dir.name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The trained tensors of a checkpoint."""
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def same_weights(checkpoint: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same tensors, bit for bit."""
    mine, theirs = weights(checkpoint), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
