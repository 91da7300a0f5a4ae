"""Rebuild every table, every figure and the page from ``records.csv``: assembly only, no GPU, no torch."""

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from fm_unroll.errors import InputError
from fm_unroll.evaluation import selection, statistics
from fm_unroll.evaluation.records import (
    BASELINE,
    CONTROL,
    CONTROLS,
    arm_name,
    prior_arms,
    read_records,
    volume_table,
)
from fm_unroll.files import file_sha256, read_json
from fm_unroll.report import figures, tables

TEMPLATES = Path(__file__).parent / "templates"
BASELINE_NAME = tables.METHODS[BASELINE]


@dataclass(frozen=True)
class Analysis:
    """All numbers of one set of records.

    Attributes:
        records: one row a slice.
        volumes: one row a run, condition and volume.
        arms: all arms in the order of the tables.
        priors: those whose prior is a frozen encoder.
        means: as `statistics.describe` returns them.
        contrasts: the same by contrast, of the data sets that have several.
        comparisons: trained methods minus the baseline; empty without the baseline.
        controls: foundation priors minus the same architecture with a random encoder (SSIM); empty without
            one.
        crossings: where trained methods overtake the baseline in SSIM.
    """

    records: pd.DataFrame
    volumes: pd.DataFrame
    arms: list[str]
    priors: list[str]
    means: pd.DataFrame
    contrasts: pd.DataFrame
    comparisons: pd.DataFrame
    controls: pd.DataFrame
    crossings: pd.DataFrame

    @property
    def synthetic(self) -> bool:
        """Whether any record is synthetic."""
        return bool(self.records.synthetic.any())


@dataclass(frozen=True)
class Pictures:
    """The stored slices that the report shows.

    Attributes:
        typical: of every condition the slice with the median SSIM.
        extremes: the best and the worst slice of every prior.
        searched: number of slices that both were chosen from.
    """

    typical: list[figures.StoredSlice]
    extremes: list[tuple[selection.Extreme, figures.StoredSlice]]
    searched: int

    def each_once(self) -> list[figures.StoredSlice]:
        """Typical slices, then the extreme ones among the others."""
        items = [*self.typical, *(item for _, item in self.extremes)]
        return list({item.place: item for item in items}.values())


def analyse(records: pd.DataFrame) -> Analysis:
    """Compute all numbers.

    Args:
        records: as `fm_unroll.evaluation.records.read_records` returns them.

    Raises:
        InputError: methods do not share masks and targets at a slice.
    """
    volumes = volume_table(records)
    found = statistics.conditions(volumes)
    arms = tables.order_arms(volumes.arm.unique())
    trained = [arm for arm in arms if volumes.loc[volumes.arm == arm, "train_acceleration"].notna().all()]
    priors = [arm for arm in arms if arm in prior_arms(records)]
    comparisons = statistics.compare(found, BASELINE, trained, tables.MAIN)
    return Analysis(
        records=records,
        volumes=volumes,
        arms=arms,
        priors=priors,
        means=statistics.describe(found, arms),
        contrasts=_by_contrast(volumes, arms),
        comparisons=comparisons,
        controls=_controls(found, priors),
        crossings=statistics.crossings(comparisons[comparisons.metric == "ssim"]),
    )


def _controls(found: list[statistics.Condition], priors: list[str]) -> pd.DataFrame:
    """SSIM of the priors minus that of each control: random weights, the same encoder's, no encoder."""
    twins = {prior: arm_name(tables.base_method(prior), CONTROL) for prior in priors}
    pretrained = [prior for prior in priors if prior != twins[prior]]
    baselines = dict.fromkeys(CONTROLS, pretrained)
    for prior in pretrained:
        baselines.setdefault(twins[prior], []).append(prior)
    compared = [statistics.compare(found, *pair) for pair in baselines.items()]
    return pd.concat([table for table in compared if len(table)] or compared[:1], ignore_index=True)


def _by_contrast(volumes: pd.DataFrame, arms: list[str]) -> pd.DataFrame:
    means = [
        statistics.describe(statistics.conditions(group), arms, tables.MAIN).assign(contrast=contrast)
        for _, domain in volumes.groupby(["anatomy", "dataset"])
        if domain.contrast.nunique() > 1
        for contrast, group in domain.groupby("contrast")
    ]
    return pd.concat(means) if means else pd.DataFrame(columns=["dataset", "anatomy"])


def print_summary(records: pd.DataFrame) -> None:
    """Print the mean of every method by data set, center and acceleration.

    Args:
        records: as `fm_unroll.evaluation.records.read_records` returns them.
    """
    volumes = volume_table(records)
    arms = tables.order_arms(volumes.arm.unique())
    print(tables.summary(statistics.describe(statistics.conditions(volumes), arms, tables.MAIN)))


def report(records: Path, out: Path | None = None) -> None:
    """Write ``report.html``, ``tables/`` (csv, md, tex) and ``figures/`` (png, pdf) from a run's records.

    Args:
        records: the ``records.csv`` of a run; ``images/``, ``priors.json`` and ``provenance.json`` beside it
            are used where they are.
        out: folder to write into; the folder of the records by default.

    Raises:
        InputError: records, pictures or one of the json files cannot be used.
    """
    analysis = analyse(read_records(records))
    shown = selection.shown_runs(analysis.records)
    stored = figures.read_slices(records.parent / "images", shown)
    pictures = Pictures(
        typical=[stored[place] for place in selection.typical(shown) if place in stored],
        extremes=[(case, stored[case.place]) for case in selection.extremes(shown) if case.place in stored],
        searched=len(shown.drop_duplicates(list(selection.PLACE))),
    )
    priors = _read_priors(records.parent / "priors.json")
    provenance = read_json(records.parent / "provenance.json")
    out = out or records.parent
    for folder in (out / "tables", out / "figures"):
        folder.mkdir(parents=True, exist_ok=True)
    made = _tables(analysis)
    for table in (table for group in made.values() for table in group):
        for suffix, text in ((".csv", table.csv()), (".md", table.markdown()), (".tex", table.latex())):
            (out / "tables" / f"{table.name}{suffix}").write_text(text, encoding="utf-8")
    drawn = _figures(analysis, pictures, priors, out / "figures")
    page = out / "report.html"
    page.write_text(_page(analysis, pictures, made, drawn, provenance, records), encoding="utf-8")
    print(f"{page}\n{out / 'tables'}: {sum(map(len, made.values()))} tables (csv, md, tex)")
    print(f"{out / 'figures'}: {sum(map(len, drawn.values()))} figures (png, pdf)")


def _tables(analysis: Analysis) -> dict[str, list[tables.Table]]:
    compared = len(analysis.crossings) > 0
    return {
        "results": tables.result_tables(analysis.means),
        "contrasts": tables.contrast_tables(analysis.contrasts),
        "challenge": tables.challenge_tables(analysis.means),
        "comparisons": tables.comparison_tables(analysis.comparisons),
        "controls": tables.comparison_tables(analysis.controls),
        "crossings": [tables.crossing_table(analysis.crossings, BASELINE)] if compared else [],
        "published": tables.published_tables(analysis.means, tables.read_published()),
        "runs": [tables.run_table(analysis.volumes, analysis.records)],
    }


@dataclass(frozen=True)
class Drawn:
    """A figure in the page: its picture as a data URI, and what it shows."""

    source: str
    caption: str


def _figures(
    analysis: Analysis, pictures: Pictures, priors: dict[str, dict], folder: Path
) -> dict[str, list[Drawn]]:
    drawn: dict[str, list[Drawn]] = {
        "regime": [],
        "difference": [],
        "degradation": [],
        "panels": [],
        "extremes": [],
    }
    drawn["priors"] = []

    def add(section: str, name: str, figure: figures.Figure, caption: str) -> None:
        drawn[section].append(Drawn(figures.save(figure, folder, name), caption))

    for metric in tables.MAIN:
        label = tables.METRICS[metric].label
        chosen = analysis.comparisons[analysis.comparisons.metric == metric]
        if chosen.difference.notna().any():
            caption = f"{label} of each method minus that of {BASELINE_NAME}. Purple: the method wins."
            add("regime", f"regime_map_{metric}", figures.regime_map(chosen), caption)
            if metric == "ssim":
                caption = "The same differences over true acceleration. Rings: where a method starts to win."
                add(
                    "difference",
                    "difference_ssim",
                    figures.difference_curves(chosen, analysis.crossings),
                    caption,
                )
        if (analysis.means[analysis.means.metric == metric]["mean"]).notna().any():
            caption = (
                f"{label} over true acceleration; bands: 95 % bootstrap intervals over subjects and seeds."
            )
            add(
                "degradation",
                f"degradation_{metric}",
                figures.degradation_curves(analysis.means, metric),
                caption,
            )
    for item in pictures.typical:
        place = item.place
        name = tables.file_name(
            "panel", place.anatomy, place.dataset, place.center, f"x{place.acceleration:g}"
        )
        add("panels", name, figures.panel(item), item.title)
    if pictures.extremes:
        caption = (
            f"Best and worst case of each prior, by its SSIM minus that of {BASELINE_NAME},"
            f" among all {pictures.searched} slices."
        )
        figure = figures.extreme_cases(pictures.extremes, pictures.searched)
        add("extremes", "extreme_cases", figure, caption)
    if priors:
        caption = "Learned weights of the encoder's blocks and step sizes, over cascades."
        add("priors", "priors", figures.fusion_weights(priors), caption)
    return drawn


def _page(
    analysis: Analysis,
    pictures: Pictures,
    made: dict[str, list[tables.Table]],
    drawn: dict[str, list[Drawn]],
    provenance: dict,
    records: Path,
) -> str:
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # methods keep the order of the tables
    return environment.get_template("report.html").render(
        synthetic=tables.SYNTHETIC if analysis.synthetic else "",
        headline=tables.headline(analysis.priors, ssim, analysis.crossings, analysis.synthetic)
        + tables.control_headline(analysis.controls, analysis.synthetic),
        notices=tables.notices(analysis.records, analysis.means),
        counts={
            "reconstructed slice": len(analysis.records),
            "method": len(analysis.arms),
            "data set": len(analysis.records.drop_duplicates(["dataset", "anatomy"])),
            "subject": len(analysis.records.drop_duplicates(["dataset", "anatomy", "subject"])),
        },
        tables=made,
        figures=drawn,
        wipe=[_wipe_slice(item) for item in pictures.each_once()],
        rules=_rules(),
        provenance={
            "wall time": _duration(provenance.pop("wall_time_s", None)),
            "records": {
                "file": records.name,
                "sha256": file_sha256(records),
                "protocol version": int(analysis.records.protocol_version.iloc[0]),
            },
        }
        | provenance,
    )


def _wipe_slice(item: figures.StoredSlice) -> dict:
    peak = figures.display_maximum(item)
    pictures = {"Target": figures.picture(item.target, peak)}
    scores = {}
    for method, image in item.images.items():
        pictures[tables.method_name(method)] = figures.picture(image, peak)
        score = item.ssim[method]
        scores[tables.method_name(method)] = "failed" if np.isnan(score) else f"SSIM {score:.3f}"
    height, width = item.target.shape
    return {"title": item.title, "height": height, "width": width, "pictures": pictures, "scores": scores}


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not noted"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _rules() -> list[str]:
    """The rules of the statistics, from the one place where they stand: the docstring of `statistics`."""
    bullets = inspect.getdoc(statistics).split("\n- ")[1:]
    named = (
        re.sub(r"`(\w+)`", lambda match: str(getattr(statistics, match[1])), bullet) for bullet in bullets
    )
    return [" ".join(bullet.replace("**", "").split()) for bullet in named]


def _read_priors(path: Path) -> dict[str, dict]:
    priors = read_json(path)
    for label, prior in priors.items():
        if not isinstance(prior, dict) or not {"fusion", "step_sizes", "blocks"} <= prior.keys():
            raise InputError(f"{path}: {label}: expected the keys fusion, step_sizes and blocks")
        if any(len(row) != len(prior["blocks"]) for row in _rows(prior["fusion"])):
            raise InputError(
                f"{path}: {label}: every row of fusion needs one weight a block ({prior['blocks']})"
            )
    return dict(sorted(priors.items(), key=lambda item: tables.order_arms(priors).index(item[0])))


def _rows(fusion: object) -> Iterable[list]:
    return (row if isinstance(row, list) else [] for row in fusion) if isinstance(fusion, list) else ([],)
