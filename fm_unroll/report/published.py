"""The figures of the paper (arXiv 2604.22557), and ours beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fm_unroll.errors import InputError
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.records import CROPPED
from fm_unroll.methods import PAPER
from fm_unroll.report.formats import Cell, Table
from fm_unroll.report.sentences import difference, domain_name, file_name, number, times
from fm_unroll.report.tables import CONVENTION, domains, metric_header, notes_of

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
# method -> its name in the paper
PUBLISHED_NAMES = {
    "varnet": "E2E-VarNet",
    "clip": "CMR-CLIP",
    "dinov2": "CMR-DINOv2",
    "biomedclip": "CMR-BiomedCLIP",
}
# metric -> column of the file
PUBLISHED_COLUMNS = {"ssim": "ssim", "psnr_volume": "psnr_db", "nmse_volume": "nmse"}


def read_published(path: Path = PUBLISHED_FILE) -> pd.DataFrame:
    """Read the paper's Tables 1 to 3.

    Returns:
        60 rows: table, anatomy, center (text), acceleration, method, ssim, psnr_db, nmse.

    Raises:
        InputError: the file is not there.
    """
    if not path.is_file():
        raise InputError(f"{path}: the published figures are not there; run from a checkout of the project")
    return pd.read_csv(path, dtype={"center": str, "acceleration": float})


def published_tables(means: pd.DataFrame, published: pd.DataFrame) -> list[Table]:
    """Our figures beside the published ones, in the layout of the paper's Tables 1 to 3, one per data set.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
        published: as :func:`read_published` returns it.
    """
    papers = means[[arm.physics == PAPER for arm in means.arm]]
    return [
        _published_table(dataset, anatomy, group, published[published.anatomy == anatomy])
        for dataset, anatomy, group in domains(papers)
        if CROPPED not in dataset  # the paper scored whole images
    ]


def _published_table(dataset: str, anatomy: str, means: pd.DataFrame, published: pd.DataFrame) -> Table:
    fixed = {"dataset": dataset, "anatomy": anatomy}
    data = pd.DataFrame([fixed | row for row in _pairs(means, published)])
    data["synthetic"] = bool(means.synthetic.any())
    paper = f"Table {published.table.iloc[0]} of arXiv 2604.22557"
    body, previous, sizes = [], None, dict(zip(means.arm, means["size"], strict=True))
    for (acceleration, name, arm), row in data.groupby(["acceleration", "method", "arm"], sort=False):
        first = Cell(times(acceleration) if acceleration != previous else "")
        weights = arm.label.removeprefix(Arm(arm.method).label)
        size = sizes.get(arm, "")
        body.append(
            (first, Cell(name + weights, small=size), *(_pair_cell(pair) for pair in row.itertuples()))
        )
        previous = acceleration
    return Table(
        name=file_name("published", anatomy, dataset),
        caption=f"{domain_name(dataset, anatomy)} beside {paper}.",
        header=metric_header(list(dict.fromkeys(published.center)), list(PUBLISHED_COLUMNS)),
        body=tuple(body),
        notes=notes_of(
            data,
            "First line: ours, over subjects. Second line: ours over slices (a volume counts as often as it"
            " has slices); published; ours over slices minus published. " + CONVENTION,
            "The paper does not say which convention it used. Networks of another physics, and those trained"
            " for another acceleration than the tested one, are left out.",
        ),
        data=data,
    )


def _pairs(means: pd.DataFrame, published: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Our figure and the paper's, in the order of the cells."""
    matched = means[means.train_acceleration == means.acceleration]
    ours = matched.set_index(["center", "acceleration", "arm", "metric"])[["mean", "slice_mean"]]
    known = {key: tuple(row) for key, *row in ours.itertuples()}
    theirs = published.set_index(["center", "acceleration", "method"])
    for acceleration in sorted(published.acceleration.unique()):
        for method, name in PUBLISHED_NAMES.items():
            for arm in sorted({arm for arm in means.arm if arm.method == method} or {Arm(method)}):
                for center in dict.fromkeys(published.center):
                    for metric, column in PUBLISHED_COLUMNS.items():
                        key = (center, acceleration, arm, metric)
                        mean, over_slices = known.get(key, (np.nan, np.nan))
                        paper = float(theirs.loc[(center, acceleration, name), column])
                        yield {
                            "center": center,
                            "acceleration": acceleration,
                            "method": name,
                            "arm": arm,
                            "metric": metric,
                            "ours": mean,
                            "ours_over_slices": over_slices,
                            "published": paper,
                            "difference": over_slices - paper,
                        }


def _pair_cell(pair: Any) -> Cell:
    slices, published = (number(value, pair.metric) for value in (pair.ours_over_slices, pair.published))
    beside = f"{slices}; {published}; {difference(pair.difference, pair.metric)}"
    return Cell(number(pair.ours, pair.metric), small=beside)
