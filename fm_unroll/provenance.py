"""Where a result comes from: versions, commit, hardware, hashes."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from fm_unroll.errors import InputError
from fm_unroll.files import whole_file

PACKAGES = ("torch", "lightning", "timm", "open_clip_torch", "fastmri", "numpy")


def provenance() -> dict:
    """Facts about this process that a reader needs to repeat its result."""
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


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: dict) -> None:
    """Write readable JSON, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict:
    """An object from a JSON file; empty where there is no file.

    Raises:
        InputError: the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not a json file ({error}); delete it or run the evaluation again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected an object")
    return content
