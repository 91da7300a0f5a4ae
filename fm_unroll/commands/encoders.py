"""The verbs ``encoders list``, ``encoders fetch`` and ``encoders verify``."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fm_unroll.encoders.formats import recognise_format
from fm_unroll.encoders.hub import cached_weights, check_sha256, fetch_weights
from fm_unroll.encoders.registry import EncoderSpec, find_encoder, list_encoders
from fm_unroll.encoders.vit import FrozenEncoder, bare_vit, build_encoder
from fm_unroll.encoders.weights import locate_weights, read_tensors, to_timm
from fm_unroll.errors import InputError
from fm_unroll.files import file_sha256


def list_() -> None:
    """Print all encoders, and which of them have their weights on this machine."""
    rows = [_row(find_encoder(name)) for name in list_encoders()]
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in rows[0]}
    for row in [{column: column for column in widths}, *rows]:
        print("  ".join(row[column].ljust(width) for column, width in widths.items()).rstrip())
    print(
        "\nAny plain vision transformer of timm is an encoder too: timm/NAME.\n"
        "A download is checked against the SHA-256 that the hub states for it, and against the pinned one."
    )


def fetch(name: str) -> None:
    """Download an encoder's published weights into the Hugging Face hub's cache, and check them.

    Args:
        name: an encoder of ``encoders list``, or timm/NAME.
    """
    path = fetch_weights(find_encoder(name))
    print(f"{name}: {path} (SHA-256 {file_sha256(path)})")


def verify(target: str, encoder: str | None = None) -> None:
    """Load an encoder strictly, count and hash its tensors and run one image through it.

    Args:
        target: an encoder of ``encoders list``, timm/NAME, or the path of a weights file or of its folder.
        encoder: for a path: the encoder that the file is for; by default it is recognised by its tensors.
    """
    named = target in list_encoders() or target.startswith("timm/")
    path = Path(target)
    if encoder is not None or (not named and (path.exists() or path.suffix)):
        path = locate_weights(path)
        names = [encoder] if encoder is not None else recognise_encoder(path)
        _report(build_encoder(names[0], path), path, file_sha256(path), names)
        return
    spec = find_encoder(target)
    if not spec.files:
        _report(build_encoder(target))
        return
    cached = cached_weights(spec)
    if cached is None:
        raise InputError(
            f"the weights of '{target}' are not on this machine: run "
            f"`python -m fm_unroll encoders fetch {target}`, or give the path of a file"
        )
    digest = check_sha256(cached, spec)
    _report(build_encoder(target), cached, digest, [target])


def recognise_encoder(path: Path) -> list[str]:
    """Find the registered encoders whose whole transformer a weights file fits, by keys and shapes.

    Raises:
        InputError: the file fits none.
    """
    tensors = read_tensors(path)
    weights_format = recognise_format(tensors, path)
    fitting = []
    for spec in map(find_encoder, list_encoders()):
        if not spec.files:
            continue
        with torch.device("meta"):
            vit = bare_vit(spec, spec.depth, spec.native_size)
        try:
            to_timm(tensors, weights_format, vit, spec, path)
        except InputError:
            continue
        fitting.append(spec.name)
    if not fitting:
        raise InputError(f"{path}: fits no registered encoder: name one by --encoder, such as timm/NAME")
    return fitting


def _row(spec: EncoderSpec) -> dict[str, str]:
    return {
        "name": spec.name,
        "architecture": spec.architecture,
        "patch": str(spec.patch),
        "native": f"{spec.native_size} px",
        "own statistics": spec.statistics.label,
        "weights": spec.repository or ("given by path" if spec.files else "random, seeded"),
        "here": "-" if not spec.files else "yes" if cached_weights(spec) else "no",
        "pinned SHA-256": spec.sha256[:12] if spec.sha256 else "-",
        "licence": spec.licence,
        "citation": spec.citation,
    }


def _report(
    encoder: FrozenEncoder, path: Path | None = None, digest: str = "", names: Sequence[str] = ()
) -> None:
    image = torch.linspace(0, 1, 224).outer(torch.linspace(0, 1, 224))[None, None]
    tokens = encoder(image)
    if not all(block.isfinite().all() for block in tokens):
        raise InputError(f"{path}: {encoder.name} gives tokens that are not finite")
    if path is not None:
        print(f"file         {path}\nfile SHA-256 {digest}\nfits         {', '.join(names)}")
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    computes = ", ".join(f"{fact} {value}" for fact, value in encoder.untold.items())
    shape = " x ".join(map(str, tokens[0].shape[1:]))
    print(
        f"encoder      {encoder.name}, weights {encoder.weights_label}\n"
        f"blocks       {encoder.blocks[0]} to {encoder.blocks[-1]}, {parameters:,} parameters, all frozen\n"
        f"SHA-256      {encoder.sha256} (of the tensors in use, as in checkpoints)\n"
        f"computes     {computes} (no tensor tells)\n"
        f"one image    {len(tokens)} token maps of {shape}, all finite"
    )
