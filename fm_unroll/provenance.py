"""Where a result comes from: versions, commit and hardware."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "lightning", "timm", "open_clip_torch", "fastmri", "numpy")


def provenance() -> dict[str, Any]:
    """Facts about this process that are needed to repeat its result."""
    import torch

    from fm_unroll import __version__

    return {
        "fm_unroll": __version__,
        "commit": commit(),
        "command": " ".join(["python -m fm_unroll", *sys.argv[1:]]),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "machine": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "cpu_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def commit() -> str:
    """The git commit of the package's source, marked when there are uncommitted changes."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return described.stdout.strip()
