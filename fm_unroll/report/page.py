"""Rebuild every table, every figure and the page from ``records.csv``: assembly only, no GPU, no torch."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from fm_unroll.errors import InputError
from fm_unroll.evaluation import selection
from fm_unroll.evaluation.along_training import ALONG_TRAINING, courses, gains
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.endpoint import Endpoint
from fm_unroll.evaluation.metric_table import METRICS, metrics_of
from fm_unroll.evaluation.records import read_records
from fm_unroll.files import file_sha256, make_folder, read_json
from fm_unroll.report import (
    along_training,
    by_physics,
    figures,
    mean_tables,
    notices,
    overview,
    panels,
    pictures,
    published,
    sentences,
    tables,
)
from fm_unroll.report.analysis import Analysis, analyse
from fm_unroll.report.figure_files import saving
from fm_unroll.report.formats import Table

Prior = dict[str, Any]
WIPE_BYTES = 10_000_000  # of the pictures that the wipe holds


@dataclass(frozen=True)
class Shown:
    """The stored slices that the report shows.

    Attributes:
        typical: of every condition the slice with the median SSIM, and the method whose median it is.
        extremes: the best and the worst slice of every trained method.
        searched: number of slices that both were chosen from.
    """

    typical: list[tuple[Arm, pictures.StoredSlice]]
    extremes: list[tuple[selection.Extreme, pictures.StoredSlice]]
    searched: int

    def each_once(self) -> list[pictures.StoredSlice]:
        """Typical slices of the highest accelerations, extreme ones, then the other typical ones."""
        typical = [item for _, item in self.typical]
        highest = {item.place[:3]: item for item in sorted(typical, key=lambda item: item.place.acceleration)}
        items = [*highest.values(), *(item for _, item in self.extremes), *typical]
        return list({item.place: item for item in items}.values())


@dataclass(frozen=True)
class Drawing:
    """A figure on its way into the page.

    Attributes:
        section: of the page.
        name: its file's stem.
        figure: the figure.
        caption: what it shows.
        synthetic: of what it shows, whether it is of phantoms.
    """

    section: str
    name: str
    figure: Figure
    caption: str
    synthetic: Iterable[bool]


@dataclass(frozen=True)
class Drawn:
    """A figure in the page.

    Attributes:
        source: its picture as a data URI, as soon as it is written.
        caption: what it shows.
        notice: what stands beside pictures of phantoms.
        width: in CSS pixels, at which its type has the size it is printed in.
    """

    source: Future[str]
    caption: str
    notice: str
    width: int


def write_report(records: Path, out: Path) -> tuple[int, int]:
    """Write ``report.html``, ``tables/`` (csv, md, tex) and ``figures/`` (png, pdf).

    Args:
        records: the ``records.csv`` of a run; ``images/``, ``along_training/``, ``priors.json`` and
            ``provenance.json`` beside it are used where they are.
        out: folder to write into.

    Returns:
        The number of tables and of figures.

    Raises:
        InputError: records, pictures or one of the json files cannot be used.
    """
    if records.parent.name == ALONG_TRAINING:
        whole = records.parent.parent / records.name
        raise InputError(f"{records}: networks of all epochs, which the report of {whole} shows")
    provenance = read_json(records.parent / "provenance.json")
    primary = (provenance.get("protocol") or {}).get("primary")
    learned = read_json(records.parent / "priors.json")
    endpoint = Endpoint.of(primary) if primary else None
    sizes = sentences.sizes(learned)
    analysis = analyse(read_records(records), endpoint, sizes)
    shown = _shown(analysis.records, records.parent / "images")
    epochs = _epochs(records.parent / ALONG_TRAINING / "records.csv")
    priors = _read_priors(records.parent / "priors.json", analysis.arms)
    for folder in (out / "tables", out / "figures"):
        make_folder(folder)
    made = _tables(analysis, sizes) | {"along_training": along_training.gain_table(gains(epochs), sizes)}
    drawn: defaultdict[str, list[Drawn]] = defaultdict(list)
    with saving(out / "figures") as saved:
        for drawing in chain(_drawings(analysis, shown, priors), _along_training(epochs)):
            source = saved(drawing.figure, drawing.name)
            width = round(96 * drawing.figure.get_figwidth())
            notice = sentences.synthetic_notice(drawing.synthetic)
            drawn[drawing.section].append(Drawn(source, drawing.caption, notice, width))
        for table in (table for group in made.values() for table in group):
            for suffix, text in ((".csv", table.csv()), (".md", table.markdown()), (".tex", table.latex())):
                (out / "tables" / f"{table.name}{suffix}").write_text(text, encoding="utf-8")
        page = _page(analysis, shown, made, drawn, provenance, records)
    (out / "report.html").write_text(page, encoding="utf-8")
    return sum(map(len, made.values())), sum(map(len, drawn.values()))


def _shown(records: pd.DataFrame, images: Path) -> Shown:
    shown = selection.shown_runs(records)
    stored = pictures.read_slices(images, shown)
    return Shown(
        typical=[(arm, stored[place]) for place, arm in selection.typical(shown).items() if place in stored],
        extremes=[(case, stored[case.place]) for case in selection.extremes(shown) if case.place in stored],
        searched=len(shown.drop_duplicates(list(selection.PLACE))),
    )


def _epochs(records: Path) -> pd.DataFrame:
    """What was evaluated along training, if anything was."""
    return courses(read_records(records)) if records.is_file() else pd.DataFrame()


def _along_training(epochs: pd.DataFrame) -> Iterator[Drawing]:
    if len(epochs) and epochs.dropna(subset=["ssim", "in_domain"]).epoch.notna().any():
        caption = "SSIM out of domain against SSIM on the anatomy of training, while networks are trained."
        figure = along_training.along_training(epochs)
        yield Drawing("along_training", "along_training", figure, caption, epochs.synthetic)


def _tables(analysis: Analysis, sizes: Mapping[str, str]) -> dict[str, list[Table]]:
    return {
        "results": mean_tables.result_tables(analysis.means),
        "further": mean_tables.further_tables(analysis.means),
        "contrasts": mean_tables.contrast_tables(analysis.contrasts),
        "challenge": mean_tables.challenge_tables(analysis.means),
        "worst": mean_tables.worst_tables(analysis.worst, analysis.means),
        "comparisons": tables.comparison_tables(analysis.comparisons),
        "controls": tables.comparison_tables(analysis.controls),
        "survival": by_physics.survival_table(analysis.survival),
        "physics": tables.comparison_tables(analysis.physics, "physics"),
        "crossings": tables.crossing_tables(analysis.crossings),
        "interactions": tables.interaction_tables(analysis.interactions),
        "published": published.published_tables(analysis.means, published.read_published()),
        "runs": [tables.run_table(analysis.volumes, analysis.records, sizes)],
    }


def _drawings(analysis: Analysis, shown: Shown, priors: dict[Arm, Prior]) -> Iterator[Drawing]:
    classical = selection.best_classical(analysis.means)
    if first_shown := overview.overview_slices(shown.typical):
        places = [item.place for _, item in first_shown]
        names = ", ".join(dict.fromkeys(place.anatomy for place in places))
        caption = f"{names}: targets, and of every method the framed part and its error"
        figure = overview.overview(first_shown, classical.get(places[0].condition))
        yield Drawing("overview", "overview", figure, caption, [item.synthetic for _, item in first_shown])
    for metric in metrics_of("main"):
        yield from _curves(analysis, metric)
    yield from _subjects(analysis)
    yield from _survival(analysis)
    for arm, item in shown.typical:
        place = item.place
        where = (place.anatomy, place.dataset, place.center, f"x{place.acceleration:g}")
        caption = f"{item.title}: the median SSIM of {arm.label} at this condition"
        figure = panels.panel(item, classical.get(place.condition))
        yield Drawing("panels", sentences.file_name("panel", *where), figure, caption, [item.synthetic])
    for first in range(0, len(shown.extremes), panels.CASES_PER_SHEET):
        cases = shown.extremes[first : first + panels.CASES_PER_SHEET]
        names = ", ".join(dict.fromkeys(case.arm.label for case, _ in cases))
        baselines = " or ".join(dict.fromkeys(case.baseline.label for case, _ in cases))
        caption = (
            f"{names}: best and worst case, by SSIM minus that of {baselines}, among all"
            f" {shown.searched} slices."
        )
        stem = f"extreme_cases_{first // panels.CASES_PER_SHEET + 1}"
        figure = panels.extreme_cases(cases, shown.searched)
        yield Drawing("extremes", stem, figure, caption, [item.synthetic for _, item in cases])
    if priors:
        caption = "Learned weights of the encoder's blocks, and those of the physics, over cascades."
        figure = figures.fusion_weights(priors)
        yield Drawing("priors", "priors", figure, caption, _trained_on_synthetic(analysis.records))


def _survival(analysis: Analysis) -> Iterator[Drawing]:
    known = analysis.survival.dropna(subset="difference")
    if len(known):
        caption = "Gain of each method over the U-Net of its physics, out of domain and at each data set."
        figure = by_physics.survival_figure(known)
        yield Drawing("survival", "survival", figure, caption, known.synthetic)


def _trained_on_synthetic(records: pd.DataFrame) -> "pd.Series[bool]":
    return records[records.checkpoint_sha256 != ""].trained_on_synthetic


def _subjects(analysis: Analysis) -> Iterator[Drawing]:
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    keys = ["baseline", "dataset", "anatomy"]
    of_subjects = dict(list(analysis.subjects.groupby(keys, sort=False)))
    # where they are far below, no other difference could be read beside theirs
    ssim = ssim[ssim.arm != selection.ZERO_FILLED]
    for (baseline, dataset, anatomy), compared in ssim.groupby(keys, sort=False):
        if not compared.difference.notna().any():
            continue
        caption = (
            f"{sentences.domain_name(dataset, anatomy)}: SSIM of each method minus that of {baseline.label},"
            " subject by subject. Right of zero: the method is better. Zero-filled images stand in the table"
            " alone."
        )
        figure = figures.paired_differences(compared, of_subjects[baseline, dataset, anatomy])
        stem = sentences.file_name("subjects_ssim", anatomy, dataset)
        name = sentences.beside_baseline(stem, baseline)
        yield Drawing("subjects", name, figure, caption, compared.synthetic)


def _curves(analysis: Analysis, metric: str) -> Iterator[Drawing]:
    label = METRICS[metric].label
    for baseline in analysis.baselines:
        of_metric = analysis.comparisons[analysis.comparisons.metric == metric]
        compared = of_metric[of_metric.baseline == baseline]
        if not compared.difference.notna().any():
            continue
        caption = f"{label} of each method minus that of {baseline.label}. Purple: the method wins."
        figure = figures.regime_map(compared, analysis.means)
        name = sentences.beside_baseline(f"regime_map_{metric}", baseline)
        yield Drawing(
            "regime" if metric == "ssim" else "regime_others", name, figure, caption, compared.synthetic
        )
        trained = compared[[arm.kind != "classical" for arm in compared.arm]]
        if metric == "ssim" and trained.difference.notna().any():
            turns = analysis.crossings[analysis.crossings.baseline == baseline]
            caption = (
                "The same differences over true acceleration, with 95 % intervals."
                " Rings and bars: where a method clearly overtakes, with the interval of that acceleration."
            )
            figure = figures.difference_curves(trained, turns)
            name = sentences.beside_baseline("difference_ssim", baseline)
            yield Drawing("difference", name, figure, caption, trained.synthetic)
    if (analysis.means[analysis.means.metric == metric]["mean"]).notna().any():
        caption = f"{label} over true acceleration; bands: 95 % intervals (seeds: where several)."
        figure = figures.degradation_curves(analysis.means, metric)
        yield Drawing("degradation", f"degradation_{metric}", figure, caption, analysis.means.synthetic)


def _page(
    analysis: Analysis,
    shown: Shown,
    made: dict[str, list[Table]],
    drawn: dict[str, list[Drawn]],
    provenance: dict[str, Any],
    records: Path,
) -> str:
    ssim = analysis.comparisons[analysis.comparisons.metric == "ssim"]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fm_unroll.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # methods keep the order of the tables
    return environment.get_template("report.html").render(
        synthetic=sentences.synthetic_notice(analysis.records.synthetic),
        notices_of_synthetic=(sentences.SYNTHETIC, sentences.PARTLY),
        headline=sentences.floor_headline(analysis.means)
        + sentences.endpoint_headline(analysis.endpoint, analysis.answers, provenance)
        + by_physics.headline(analysis.survival)
        + sentences.headline(analysis.priors, ssim, analysis.crossings)
        + sentences.control_headline(analysis.controls, ssim),
        notices=notices.notices(analysis.records, analysis.means, analysis.apart),
        counts={
            "reconstructed slice": len(analysis.records),
            "method": len(analysis.arms),
            "data set": len(analysis.records.drop_duplicates(["dataset", "anatomy"])),
            "subject": len(analysis.records.drop_duplicates(["dataset", "anatomy", "subject"])),
        },
        tables=made,
        figures=drawn,
        wipe=_wipe(shown.each_once()),
        wipe_notice=sentences.synthetic_notice(item.synthetic for item in shown.each_once()),
        stored=len(shown.each_once()),
        error_colors=pictures.error_colors(),
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


def _wipe(items: list[pictures.StoredSlice]) -> list[dict[str, Any]]:
    """What the page's wipe shows: as many slices, at least one, as let the page be mailed."""
    made: list[dict[str, Any]] = []
    size = 0
    for item in items:
        shown = _wipe_slice(item)
        size += sum(len(text) for view in shown["views"] for text in view.values())
        if made and size > WIPE_BYTES:
            break
        made.append(shown)
    return made


def _wipe_slice(item: pictures.StoredSlice) -> dict[str, Any]:
    """What the page's wipe shows of a slice: images, errors on one scale, and what is said of each."""
    errors = {arm: item.error(arm) for arm in item.images}
    brightest = pictures.brightest_error(errors[arm] for arm in item.trained)
    height, width = item.target.shape
    views = [{"name": "Target", "image": pictures.gray_picture(item.target, item.white)}]
    for arm, image in item.images.items():
        view = {
            "name": arm.label,
            "image": pictures.gray_picture(image, item.white),
            "error": pictures.error_picture(errors[arm], brightest),
            "score": sentences.score(item.ssim[arm]),
            "clipped": sentences.percent(pictures.clipped(errors[arm], brightest)),
        }
        views.append(view)
    return {
        "title": item.title,
        "height": height,
        "width": width,
        "brightest": f"{brightest:.2g}",
        "views": views,
    }


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not noted"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _read_priors(path: Path, arms: Iterable[Arm]) -> dict[Arm, Prior]:
    """What each prior has learned, in the order of the tables."""
    priors: dict[str, Prior] = read_json(path)
    for text, prior in priors.items():
        if not isinstance(prior, dict) or not {"fusion", "step_sizes", "blocks"} <= prior.keys():
            raise InputError(f"{path}: {text}: expected the keys fusion, step_sizes and blocks")
        if any(len(row) != len(prior["blocks"]) for row in _rows(prior["fusion"])):
            raise InputError(
                f"{path}: {text}: every row of fusion needs one weight per block ({prior['blocks']})"
            )
    known = {str(arm): arm for arm in arms}
    by_arm = {known.get(text, Arm(text)): prior for text, prior in priors.items()}
    return {arm: by_arm[arm] for arm in sorted(by_arm)}


def _rows(fusion: object) -> Iterable[list[object]]:
    return (row if isinstance(row, list) else [] for row in fusion) if isinstance(fusion, list) else ([],)
