"""The model card of a network on the Hugging Face hub: what it is, of what it was made, what it is worth."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from huggingface_hub import ModelCardData

from fm_unroll import __version__
from fm_unroll.consent import is_own
from fm_unroll.encoders.registry import find_encoder
from fm_unroll.errors import InputError
from fm_unroll.evaluation.records import read_records
from fm_unroll.files import file_sha256
from fm_unroll.models.classical import CLASSICAL
from fm_unroll.models.insight import size_of
from fm_unroll.models.release import CONFIG
from fm_unroll.models.unrolled import UnrolledNetwork
from fm_unroll.report.analysis import main_means
from fm_unroll.report.formats import environment
from fm_unroll.report.mean_tables import summary
from fm_unroll.subjects.population import Population, data_sets_of

TAGS = ("mri", "image-reconstruction", "inverse-problems")


def model_card(
    checkpoint: Mapping[str, Any],
    network: UnrolledNetwork,
    file: Path,
    name: str,
    license: str,
    records: pd.DataFrame | None = None,
) -> str:
    """Write a model card: Markdown under metadata in YAML.

    Source of the metadata: https://huggingface.co/docs/hub/model-cards.

    Args:
        checkpoint: its content, see :func:`~fm_unroll.models.checkpoints.read_checkpoint`.
        network: what it builds.
        file: ``model.safetensors``.
        name: by which users name it, such as ``hf://owner/name``.
        license: of the trained weights, as the hub writes it: ``mit``, ``cc-by-nc-4.0``, ``other``.
        records: rows of :func:`records_of`; None: nothing was measured.
    """
    facts, settings = checkpoint["fm_unroll"], checkpoint["hyper_parameters"]
    parts, encoders = data_sets_of(facts), facts["encoders"]
    anatomies = list(dict.fromkeys(part["anatomy"] for part in parts))
    specs = {encoder["name"]: find_encoder(encoder["name"]) for encoder in encoders}
    bases = [specs[one["name"]].repository for one in encoders if one["weights"] == "pretrained"]
    template = environment().get_template("model_card.md")
    data = ModelCardData(
        license=license,
        library_name="fm_unroll",
        pipeline_tag="image-to-image",
        tags=[*TAGS, *anatomies],
        base_model=[base for base in bases if base] or None,
    )
    body = template.render(
        title=f"{settings['method']} for {' and '.join(anatomies)}",
        network=name,
        pattern=_call(parts[0]["sampling"]),
        settings=settings,
        own=is_own(settings["method"]),
        trained=size_of(network)["trained"],
        epoch=checkpoint.get("epoch", math.nan) + 1,  # Lightning counts from 0
        sha256=file_sha256(file),
        version=__version__,
        encoders=[{**one, "licence": specs[one["name"]].licence} for one in encoders],
        parts=[_trained_on(part) for part in parts],
        has_config=file.with_name(CONFIG).is_file(),
        results=None if records is None else summary(main_means(records)),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def records_of(checkpoint: Path, path: Path) -> pd.DataFrame:
    """The rows of a checkpoint in a ``records.csv``, and those of methods without training beside it.

    Args:
        checkpoint: the file that was evaluated.
        path: the records.

    Raises:
        InputError: they cannot be read, or have no row of the checkpoint.
    """
    records, sha256 = read_records(path), file_sha256(checkpoint)
    own = records.checkpoint_sha256 == sha256
    if not own.any():
        raise InputError(
            f"--records {path}: no row is of {checkpoint} (sha256 {sha256[:12]}): give those of a "
            "cross-domain evaluation of this very file"
        )
    return records[own | records.method.isin(list(CLASSICAL))]


def _trained_on(part: Mapping[str, Any]) -> str:
    """One data set of a training, in words."""
    low, *high = np.atleast_1d(part["acceleration"]).tolist()
    masks = f"{part['sampling']['class_path'].rpartition('.')[2]} at x{low:g}"
    masks += f" to x{high[0]:g}" if high else ""
    if "all_but" in part:
        without = ", ".join(part["all_but"]) or "none of its folders"
        return f"{Population(**part['population'])}, subjects not known, without {without}; {masks}"
    subjects = part["subjects"]
    return (
        f"{Population(**part['population'])} ({', '.join(part.get('contrasts') or [part['anatomy']])}): "
        f"{len(subjects['train'])} subjects, selected on {len(subjects['val'])} others; {masks}"
    )


def _call(sampling: Mapping[str, Any]) -> str:
    """The pattern of training as code, or a usual one where it is of another package."""
    module, _, name = sampling["class_path"].rpartition(".")
    if not module.startswith("fm_unroll."):
        return "fm.EquispacedSampling(4, 0.08)"
    return f"fm.{name}({', '.join(f'{key}={value!r}' for key, value in sampling['init_args'].items())})"
