"""Where a result comes from: versions, commit and hardware, and the code that decided it."""

import hashlib
import os
import platform
import subprocess
import sys
import uuid
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
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


@cache
def commit() -> str:
    """The git commit of the package's source, marked when there are uncommitted changes."""
    try:
        # an environment inside of another project's checkout must not give that project's commit
        _git("ls-files", "--error-unmatch", __file__)
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=PACKAGE, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@cache
def source_sha256(*modules: str) -> str:
    """Hex SHA-256 of the source of some modules: what they compute can change only if it does.

    It is the same on every machine: neither the package's place nor the ends of lines count. Nothing is
    imported. A module without a file, typed into a session, is never the same twice.

    Args:
        modules: dotted names of modules and packages of ``fm_unroll``, and of other modules that have been
            imported. Of a package all files below it count.

    Raises:
        OSError: there is no such module in ``fm_unroll``.
    """
    digest = hashlib.sha256()
    for module in sorted(set(modules)):
        for path in _sources(module):
            name = path.relative_to(PACKAGE).as_posix() if path and path.is_relative_to(PACKAGE) else module
            content = path.read_text(encoding="utf-8") if path else uuid.uuid4().hex
            digest.update(f"{name}\n{len(content)}\n{content}".encode())
    return digest.hexdigest()


def _sources(module: str) -> list[Path | None]:
    """The files of a module, in an order that is the same everywhere; None stands for one that has none."""
    root, *inner = module.split(".")
    if root != PACKAGE.name:
        file = getattr(sys.modules.get(module), "__file__", None)
        return [Path(file) if file else None]
    path = PACKAGE.joinpath(*inner)
    return [*sorted(path.rglob("*.py"), key=Path.as_posix)] if path.is_dir() else [path.with_suffix(".py")]
