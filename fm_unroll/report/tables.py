"""Tables, and the sentences that say what is in them: laid out once, written in every format.

A `Table` holds the cells as they are printed and, beside them, the exact numbers for the CSV file.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from fm_unroll.errors import InputError
from fm_unroll.evaluation.records import BASELINE, CONDITION, CONTROL, RUN
from fm_unroll.evaluation.statistics import MIN_SUBJECTS

PUBLISHED = Path(__file__).with_name("published.csv")
METHODS = {
    "varnet": "E2E-VarNet",
    "clip": "CLIP",
    "dinov2": "DINOv2",
    "biomedclip": "BiomedCLIP",
    "random": "Random encoder",
    "none": "No encoder",
    "varnet_wide": "VarNet, wide",
    "zero_filled": "Zero-filled",
    "cg_sense": "CG-SENSE",
    "wavelet": "L1-wavelet",
}
PUBLISHED_METHODS = {
    "varnet": "E2E-VarNet",
    "clip": "CMR-CLIP",
    "dinov2": "CMR-DINOv2",
    "biomedclip": "CMR-BiomedCLIP",
}
SYNTHETIC = "Synthetic data (phantoms): not comparable with the published figures."
MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
LONGEST_FILE_NAME = 16  # of weights, in the names of methods


@dataclass(frozen=True)
class Metric:
    """How a metric is printed: label, number of decimals, whether more is better, convention in words."""

    label: str
    digits: int
    higher_is_better: bool
    convention: str

    @property
    def heading(self) -> str:
        """The label with an arrow towards better."""
        return self.label + (" ↑" if self.higher_is_better else " ↓")


METRICS = {
    "ssim": Metric("SSIM", 4, True, "mean over slices, data range of the volume"),
    "psnr_volume": Metric("PSNR", 2, True, "volume convention, dB"),
    "nmse_volume": Metric("NMSE", 4, False, "volume convention"),
    "psnr_slice": Metric("PSNR (slice)", 2, True, "slice convention, dB"),
    "nmse_slice": Metric("NMSE (slice)", 4, False, "slice convention"),
    "challenge_ssim": Metric("Challenge SSIM", 4, True, "challenge convention"),
    "challenge_psnr": Metric("Challenge PSNR", 2, True, "challenge convention, dB"),
    "challenge_nmse": Metric("Challenge NMSE", 4, False, "challenge convention"),
    "haarpsi": Metric("HaarPSI", 4, True, "mean over slices"),
    "lpips": Metric("LPIPS", 4, False, "mean over slices"),
}
MAIN = ("ssim", "psnr_volume", "nmse_volume")
PERCEPTUAL = ("haarpsi", "lpips")
CHALLENGE = ("challenge_ssim", "challenge_psnr", "challenge_nmse")
CONVENTION = (
    "SSIM: mean over slices, data range of the volume;"
    " PSNR (dB) and NMSE: volume convention (fastmri.evaluate)."
)

CHALLENGE_CONVENTION = (
    "Convention of the CMRxRecon 2023 challenge: target and reconstruction are each divided by their own"
    " maximum in the slice, which hides errors of scale; whole images, mean over slices."
    " Not comparable with any other table here."
)
BACKGROUND = (
    "SSIM counts the noisy background like the anatomy: CG-SENSE and L1-wavelet leave it darker than the"
    " root-sum-of-squares target, which costs them SSIM where PSNR and NMSE hardly change."
)


@dataclass(frozen=True)
class Cell:
    """One printed cell: text, mark (``best``, ``second``, ``worse``, ``better`` or none), second line."""

    text: str
    mark: str = ""
    small: str = ""


@dataclass(frozen=True)
class Table:
    """A table as it is printed.

    Attributes:
        name: stem of its files.
        caption: one sentence.
        header: rows of (text, columns spanned).
        body: rows of cells; a row whose first cell has text begins a group.
        notes: sentences below the table.
        data: the exact numbers, one observation a row.
    """

    name: str
    caption: str
    header: tuple[tuple[tuple[str, int], ...], ...]
    body: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    data: pd.DataFrame

    def csv(self) -> str:
        """The exact numbers (six significant digits), one observation a row."""
        return self.data.to_csv(index=False, float_format="%.6g", lineterminator="\n")

    def markdown(self) -> str:
        """GitHub's pipe table; best in bold, second best underlined."""
        wrap = {"best": "**{}**", "second": "<u>{}</u>"}
        rows = [_one_header(self.header)]
        rows.append(["---"] * len(rows[0]))
        for row in self.body:
            rows.append([wrap.get(cell.mark, "{}").format(_joined(cell)).replace("|", "\\|") for cell in row])
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([f"**{self.caption}**", "", *lines, "", *(f"- {note}" for note in self.notes), ""])

    def latex(self) -> str:
        """A booktabs table; best in bold, second best underlined."""
        wrap = {"best": r"\textbf{%s}", "second": r"\underline{%s}"}
        width = len(self.body[0]) if self.body else sum(span for _, span in self.header[-1])
        lines = [r"\begin{table}[t]", r"\centering\small", rf"\caption{{{_tex(self.caption)}}}"]
        lines += [rf"\begin{{tabular}}{{ll{'c' * (width - 2)}}}", r"\toprule"]
        for row in self.header:
            cells = [rf"\multicolumn{{{n}}}{{c}}{{{_tex(text)}}}" if n > 1 else _tex(text) for text, n in row]
            lines.append(" & ".join(cells) + r" \\")
        for row in self.body:
            if row[0].text:
                lines.append(r"\midrule")
            lines.append(" & ".join(wrap.get(cell.mark, "%s") % _tex(_joined(cell)) for cell in row) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par\footnotesize {_tex(note)}" for note in self.notes]
        return "\n".join([*lines, r"\end{table}", ""])

    def text(self) -> str:
        """Aligned columns for a terminal; ``*`` marks the best."""
        rows = [_one_header(self.header)]
        rows += [[cell.text + ("*" if cell.mark == "best" else "") for cell in row] for row in self.body]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join([self.caption, *(line.rstrip() for line in lines), *self.notes])


def _joined(cell: Cell) -> str:
    if not cell.small:
        return cell.text
    return f"{cell.text} {cell.small}" if cell.small.startswith("[") else f"{cell.text} ({cell.small})"


def _one_header(header: tuple[tuple[tuple[str, int], ...], ...]) -> list[str]:
    levels = [[text for text, span in row for _ in range(span)] for row in header]
    return [", ".join(filter(None, column)) for column in zip(*levels, strict=True)]


_TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"} | {TIMES: r"$\times$", MINUS: "$-$", MISSING: "--", "↑": r"$\uparrow$"}
)
_TEX |= {
    ord("↓"): r"$\downarrow$",
    ord("Δ"): r"$\Delta$",
    ord("<"): "$<$",
    ord("≥"): r"$\geq$",
    ord("·"): r"$\cdot$",
    ord("…"): r"\dots{}",
}
_TEX |= {ord("\\"): r"\textbackslash{}", ord("~"): r"\textasciitilde{}", ord("^"): r"\textasciicircum{}"}


def _tex(text: str) -> str:
    return text.translate(_TEX)


# --- words


def method_name(arm: str) -> str:
    """How an arm is printed: ``clip [random]`` -> ``CLIP (random weights)``.

    Long file names lose their middle; what the file is stands in full below the tables.
    """
    method, _, weights = arm.partition(" [")
    name = METHODS.get(method, method.removeprefix("timm/"))
    if not weights:
        return name
    weights = weights.rstrip("]").removeprefix("file:")
    if len(weights) > LONGEST_FILE_NAME:
        stem = PurePath(weights).stem
        weights = stem if len(stem) <= LONGEST_FILE_NAME else f"{stem[:7]}…{stem[-7:]}"
    return f"{name} ({weights} weights)"


def base_method(arm: str) -> str:
    """The method of an arm without its encoder's weights."""
    return arm.partition(" [")[0]


def order_arms(arms: Iterable[str]) -> list[str]:
    """Sort arms as `METHODS` does; unknown ones last."""
    known = list(METHODS)
    return sorted(arms, key=lambda a: (known.index(m) if (m := base_method(a)) in known else len(known), a))


def center_name(center: str) -> str:
    """``0.08`` -> ``center fraction 0.08``; ``24 ACS lines`` as it is."""
    return f"center fraction {center}" if center[:1].isdigit() and " " not in center else center


def domain_name(dataset: str, anatomy: str) -> str:
    """Anatomy and data set in one phrase."""
    return f"{anatomy.capitalize()} ({dataset})"


def times(acceleration: float) -> str:
    """An acceleration as ``×8``."""
    return f"{TIMES}{acceleration:g}"


def signed(value: float, digits: int) -> str:
    """A number with its sign, a dash where there is none."""
    return MISSING if np.isnan(value) else f"{value:+z.{digits}f}".replace("-", MINUS)


def number(value: float, metric: str) -> str:
    """A value of a metric with its number of decimals, a dash where there is none."""
    return MISSING if np.isnan(value) else f"{value:.{METRICS[metric].digits}f}".replace("-", MINUS)


def difference(value: float, metric: str) -> str:
    """A difference of a metric with its sign and number of decimals, a dash where there is none."""
    return signed(value, METRICS[metric].digits)


def interval(low: float, high: float, metric: str, write: Callable[[float, str], str] = number) -> str:
    """``[low, high]``, written by `number` or `difference`; nothing where there is none."""
    return "" if np.isnan(low) else f"[{write(low, metric)}, {write(high, metric)}]"


def p_text(p_value: float, subjects: int) -> str:
    """A p-value, or why there is none."""
    if np.isnan(p_value):
        return f"{subjects} < {MIN_SUBJECTS} subjects"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def stars(p_value: float) -> str:
    """``***`` below 0.001, ``**`` below 0.01, ``*`` below 0.05; nothing for NaN."""
    return "*" * sum(p_value < level for level in (0.05, 0.01, 0.001))


def file_name(*parts: str) -> str:
    """A file's stem from words: letters, digits, dots and underscores only."""
    return "_".join("".join(c if c.isalnum() or c == "." else "_" for c in part) for part in parts)


def notices(records: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    """What a reader has to know before any number: one sentence each.

    Args:
        records: as `fm_unroll.evaluation.records.read_records` returns them.
        means: as `fm_unroll.evaluation.statistics.describe` returns them.
    """
    found = []
    encoders = records[(records.encoder != "") & (records.method != CONTROL)]
    foreign = encoders[~encoders.encoder_weights.isin(["", "pretrained"])]
    for weights, group in foreign.groupby("encoder_weights"):
        names = ", ".join(method_name(m) for m in order_arms(set(group.method)))
        kind = (
            "random weights: a control, not a foundation model"
            if weights == "random"
            else f"weights from the file {weights.removeprefix('file:')}, not the published pretrained ones"
        )
        found.append(f"{names}: the frozen encoder carries {kind}.")
    if records.trained_on_synthetic.any():
        trained = order_arms(set(records[records.trained_on_synthetic].method))
        found.append(f"Trained on phantoms: {', '.join(map(method_name, trained))}.")
    failed = records[records.status == "failed"]
    if len(failed):
        by_method = ", ".join(f"{method_name(m)} {n}" for m, n in failed.groupby("method").size().items())
        found.append(
            f"{len(failed)} of {len(records)} slices failed, not finite ({by_method}):"
            " none is averaged; each table says how many volumes are left out."
        )
    one = means.drop_duplicates([*CONDITION, "arm"])
    absent = one[one.status == "missing"]
    if len(absent):
        found.append(
            f"{len(absent)} of {len(one)} combinations of method and condition are missing,"
            f" shown as {MISSING}."
        )
    trained = one[one.train_acceleration.notna() & (one.status == "ok")]
    if (trained.train_acceleration != trained.acceleration).any():
        found.append(
            "At some accelerations no model was trained for the one tested:"
            " the nearest is used, the same for all trained methods, and named."
        )
    seeds = (
        records.dropna(subset="seed")
        .groupby(["method", "encoder_weights", "train_acceleration"])
        .checkpoint_sha256.nunique()
    )
    if len(seeds) and seeds.max() == 1:
        found.append(
            "One training seed a method: intervals and tests speak of subjects, not of training again."
        )
    elif len(seeds):
        found.append(
            f"{_range(seeds)} training seeds a method:"
            " intervals cover subjects and seeds, tests subjects only."
        )
    if set(records.method) & {"cg_sense", "wavelet"}:
        found.append(BACKGROUND)
    return found


def control_headline(controls: pd.DataFrame, synthetic: bool) -> list[str]:
    """What is left of the priors without pretraining and without an encoder: a sentence a control.

    Args:
        controls: SSIM of the priors minus that of their controls.
        synthetic: whether any record is synthetic.
    """
    where = "on phantoms, " if synthetic else ""
    sentences = []
    for baseline, group in controls.dropna(subset="difference").groupby("baseline", sort=False):
        names = ", ".join(method_name(arm) for arm in order_arms(set(group.arm)))
        sentences.append(f"Control: {where}{names} against {method_name(baseline)} in SSIM: {_tally(group)}.")
    return sentences


def _tally(comparisons: pd.DataFrame) -> str:
    better, worse = (int((comparisons.clear & (sign * comparisons.difference > 0)).sum()) for sign in (1, -1))
    return f"better in {better}, worse in {worse} of {len(comparisons)} comparisons beyond chance"


def headline(
    priors: Iterable[str], comparisons: pd.DataFrame, crossing_table: pd.DataFrame, synthetic: bool
) -> list[str]:
    """The answer in a few sentences: which prior, where, by how much, and is it more than chance.

    Args:
        priors: as `fm_unroll.evaluation.records.prior_arms` returns them.
        comparisons: SSIM of the trained methods minus the baseline.
        crossing_table: as `fm_unroll.evaluation.statistics.crossings` returns it.
        synthetic: whether any record is synthetic.
    """
    found = comparisons[comparisons.arm.isin(set(priors))].dropna(subset="difference")
    if found.empty:
        return [
            f"The records hold no frozen-encoder prior beside {METHODS[BASELINE]}:"
            " nothing can be compared with it."
        ]
    where = "On phantoms, " if synthetic else ""
    untested = int(found.p_holm.isna().sum())
    sentence = (
        f"{where}frozen-encoder priors against {METHODS[BASELINE]} in SSIM: {_tally(found)}"
        " (p < 0.05 after Holm's correction and a 95 % interval without zero)"
    )
    if untested:
        sentence += f"; {untested} could not be tested (fewer than {MIN_SUBJECTS} subjects)"
    if hopeless := int((_smallest_p(comparisons)[found.index] >= 0.05).sum()):
        sentence += f"; in {hopeless} there are too few subjects for any difference to reach it"
    sentence += "."
    sentences = [sentence[0].upper() + sentence[1:]]
    for (dataset, anatomy), group in found.groupby(["dataset", "anatomy"], sort=False):
        best = group.loc[group.difference.idxmax()]
        lead = "largest gain" if best.difference > 0 else "smallest loss"
        text = (
            f"{domain_name(dataset, anatomy)}: {lead} {method_name(best.arm)}"
            f" {difference(best.difference, 'ssim')} {interval(best.low, best.high, 'ssim', difference)}"
            f" at {times(best.acceleration)}, {center_name(best.center)}"
        )
        here = crossing_table[(crossing_table.dataset == dataset) & (crossing_table.anatomy == anatomy)]
        here = here[here.arm.isin(set(found.arm))].dropna(subset="crossing")
        if len(here):
            first = here.loc[here.crossing.idxmin()]
            text += (
                f"; {method_name(first.arm)} is the first to overtake, from a true acceleration of"
                f" {first.crossing:.1f} ({center_name(first.center)})"
            )
        sentences.append(text + ".")
    return sentences


def _smallest_p(comparisons: pd.DataFrame) -> pd.Series:
    """The p-value of each test, after Holm's correction, if all differences of its table had one sign."""
    tests = comparisons.groupby(["dataset", "anatomy", "metric"]).p_value.transform("count")
    return (tests * 0.5 ** (comparisons.subjects - 1)).where(comparisons.p_value.notna())


# --- tables


def _notes(data: pd.DataFrame, *notes: str) -> tuple[str, ...]:
    return (*((SYNTHETIC,) if data.synthetic.any() else ()), *filter(None, notes))


def _domains(data: pd.DataFrame) -> Iterable[tuple[str, str, pd.DataFrame]]:
    for (dataset, anatomy), group in data.groupby(["dataset", "anatomy"], sort=False):
        yield dataset, anatomy, group


def result_tables(means: pd.DataFrame) -> list[Table]:
    """Means in the paper's layout, one table a data set: best in bold, second best underlined.

    Args:
        means: as `fm_unroll.evaluation.statistics.describe` returns them.
    """
    made = []
    for dataset, anatomy, group in _domains(means):
        extra = [m for m in PERCEPTUAL if group[group.metric == m]["mean"].notna().any()]
        made.append(
            _mean_table(
                name=file_name("results", anatomy, dataset),
                caption=f"{domain_name(dataset, anatomy)}: mean over volumes and seeds.",
                blocks=[("", group[group.metric.isin([*MAIN, *extra])])],
                convention=CONVENTION,
            )
        )
    return made


def challenge_tables(means: pd.DataFrame) -> list[Table]:
    """Means by the challenge's own convention, one table a data set, apart from all other metrics.

    Args:
        means: as `fm_unroll.evaluation.statistics.describe` returns them.
    """
    return [
        _mean_table(
            name=file_name("challenge", anatomy, dataset),
            caption=f"{domain_name(dataset, anatomy)}: mean over volumes and seeds, challenge convention.",
            blocks=[("", group[group.metric.isin(CHALLENGE)])],
            convention=CHALLENGE_CONVENTION,
        )
        for dataset, anatomy, group in _domains(means)
    ]


def contrast_tables(means: pd.DataFrame) -> list[Table]:
    """Means by contrast or view, one table a data set that has several.

    Args:
        means: as `fm_unroll.evaluation.statistics.describe` returns them, with a further column ``contrast``.
    """
    return [
        _mean_table(
            name=file_name("contrasts", anatomy, dataset),
            caption=f"{domain_name(dataset, anatomy)}, by contrast: mean over volumes and seeds.",
            blocks=list(group.groupby("contrast", sort=True)),
            convention=CONVENTION,
        )
        for dataset, anatomy, group in _domains(means)
    ]


def _mean_table(name: str, caption: str, blocks: list[tuple[str, pd.DataFrame]], convention: str) -> Table:
    """Methods in rows, centers and metrics in columns; accelerations below each other, blocks likewise."""
    means = pd.concat([block for _, block in blocks])
    metrics, centers = list(dict.fromkeys(means.metric)), list(dict.fromkeys(means.center))
    notes = [note for heading, block in blocks for note in _sample_notes(block, heading)]
    return Table(
        name=name,
        caption=caption,
        header=(
            (("", 1), ("", 1), *((center_name(center), len(metrics)) for center in centers)),
            (
                ("Acceleration", 1),
                ("Method", 1),
                *((METRICS[m].heading, 1) for _ in centers for m in metrics),
            ),
        ),
        body=tuple(row for heading, block in blocks for row in _mean_rows(heading, block, centers, metrics)),
        notes=_notes(means, *notes, convention + " Second line: 95 % interval."),
        data=means,
    )


def _mean_rows(
    heading: str, means: pd.DataFrame, centers: Sequence[str], metrics: Sequence[str]
) -> Iterable[tuple[Cell, ...]]:
    lookup = means.set_index(["center", "acceleration", "arm", "metric"]).sort_index()
    marks = {
        (center, acceleration, arm, metric): mark
        for (center, acceleration, metric), group in means.groupby(["center", "acceleration", "metric"])
        for mark, arm in _ranking(group)
    }
    for acceleration in sorted(means.acceleration.unique()):
        at = means[means.acceleration == acceleration]
        text = " ".join(filter(None, (heading, times(acceleration))))
        first = Cell(text, small=_acceleration_note(at, centers))
        for arm in order_arms(set(means.arm)):
            row = [first, Cell(method_name(arm))]
            for key in [(center, acceleration, arm, metric) for center in centers for metric in metrics]:
                found = lookup.loc[key] if key in lookup.index else None
                row.append(_mean_cell(found, key[-1], marks.get(key, ""), leads=key[-1] == metrics[0]))
            yield tuple(row)
            first = Cell("")


def _ranking(group: pd.DataFrame) -> list[tuple[str, str]]:
    ascending = not METRICS[group.metric.iloc[0]].higher_is_better
    order = group.dropna(subset="mean").sort_values("mean", ascending=ascending, kind="stable").arm
    return list(zip(("best", "second"), order, strict=False)) if len(order) > 1 else []


def _mean_cell(row: pd.Series | None, metric: str, mark: str, leads: bool) -> Cell:
    """A mean; the leading metric of a table carries the interval, or how much failed."""
    if row is None:
        return Cell(MISSING)
    if row.status == "failed":
        return Cell("failed", small=f"{row.failed} volumes" if leads else "")
    return Cell(number(row["mean"], metric), mark, interval(row.low, row.high, metric) if leads else "")


def _acceleration_note(at: pd.DataFrame, centers: Sequence[str]) -> str:
    true = at.drop_duplicates("center").set_index("center").true_acceleration
    note = "true " + ", ".join(f"{true[c]:.1f}" if c in true else MISSING for c in centers)
    trained = at.train_acceleration.dropna().unique()
    off = [t for t in trained if t != at.acceleration.iloc[0]]
    return note + (f"; models of {times(off[0])}" if off else "")


def _sample_notes(means: pd.DataFrame, heading: str) -> list[str]:
    one = means.drop_duplicates([*CONDITION, "arm"])
    sizes = one.drop_duplicates(list(CONDITION))
    counts = f"{_range(sizes.subjects)} subjects, {_range(sizes.volumes)} volumes a condition"
    counts = f"{heading}: {counts}" if heading else counts
    out = sizes[sizes.excluded > 0]
    excluded = "; ".join(f"{r.center}, {times(r.acceleration)}: {r.excluded}" for r in out.itertuples())
    gaps = one[(one.note != "") & (one.note != "not run")]
    partial = "; ".join(
        f"{method_name(r.arm)} at {r.center}, {times(r.acceleration)}: {r.note}" for r in gaps.itertuples()
    )
    return [
        counts + ".",
        f"Volumes left out for all methods because a slice failed in one ({excluded})." if excluded else "",
        f"Incomplete ({partial})." if partial else "",
    ]


def _range(values: pd.Series) -> str:
    return f"{values.min()}" if values.min() == values.max() else f"{values.min()} to {values.max()}"


def comparison_tables(comparisons: pd.DataFrame) -> list[Table]:
    """Paired differences, one table a baseline, data set and metric.

    Args:
        comparisons: as `fm_unroll.evaluation.statistics.compare` returns them.
    """
    return [
        _comparison_table(dataset, anatomy, metric, group)
        for (_, metric, dataset, anatomy), group in comparisons.groupby(
            ["baseline", "metric", "dataset", "anatomy"], sort=False
        )
    ]


def _comparison_table(dataset: str, anatomy: str, metric: str, data: pd.DataFrame) -> Table:
    baseline = method_name(data.baseline.iloc[0])
    sign = 1 if METRICS[metric].higher_is_better else -1
    body, previous = [], None
    for row in data.itertuples():
        place = (row.center, row.acceleration)
        heading = f"{times(row.acceleration)}, {center_name(row.center)}" if place != previous else ""
        mark = "" if not row.clear else "better" if sign * row.difference > 0 else "worse"
        sample = f"{row.subjects} ({row.volumes})" + (f", {row.excluded} left out" if row.excluded else "")
        cells = (
            Cell(heading, small=f"true {row.true_acceleration:.1f}" if heading else ""),
            Cell(method_name(row.arm)),
            Cell(difference(row.difference, metric), mark),
            Cell(interval(row.low, row.high, metric, difference) or MISSING),
            Cell(p_text(row.p_holm, row.subjects)),
            Cell(signed(row.rank_biserial, 2)),
            Cell(signed(row.cohens_dz, 2)),
            Cell(str(row.ties)),
            Cell(sample),
            Cell(f"{row.seeds}, {row.baseline_seeds}"),
        )
        body.append(cells)
        previous = place
    columns = (
        "Condition",
        "Method",
        f"Δ {METRICS[metric].label}",
        "95 % interval",
        "p (Holm)",
        "Rank-biserial",
    )
    columns += ("Cohen's dz", "Ties", "Subjects (volumes)", "Seeds")
    better = "positive" if sign > 0 else "negative"
    return Table(
        name=file_name("comparison", metric, f"to_{data.baseline.iloc[0]}", anatomy, dataset),
        caption=f"{domain_name(dataset, anatomy)}: {METRICS[metric].label} minus that of {baseline}, paired.",
        header=(tuple((column, 1) for column in columns),),
        body=tuple(body),
        notes=_notes(
            data,
            f"{METRICS[metric].label}: {METRICS[metric].convention}; {better} is better than {baseline}."
            " Interval: bootstrap over subjects and seeds. Test and effect sizes: one difference a subject,"
            f" seeds averaged; Holm over the {int(data.p_value.notna().sum())} tests of this table."
            " Coloured: p < 0.05 and an interval without zero.",
        ),
        data=data,
    )


def crossing_table(found: pd.DataFrame, baseline: str) -> Table:
    """Where each method starts to win over the baseline.

    Args:
        found: as `fm_unroll.evaluation.statistics.crossings` returns it.
        baseline: the arm it was computed against.
    """
    body, previous = [], None
    verdicts = [_verdict(row) for row in found.itertuples()]
    for row, verdict in zip(found.itertuples(), verdicts, strict=True):
        place = f"{domain_name(row.dataset, row.anatomy)}, {center_name(row.center)}"
        at = f"{row.crossing:.2f}" if np.isfinite(row.crossing) else "none in range"
        looked_at = f"{row.from_acceleration:.2f} to {row.to_acceleration:.2f}"
        body.append(
            (Cell(place if place != previous else ""), Cell(method_name(row.arm)), Cell(at), Cell(verdict))
        )
        body[-1] += (Cell(looked_at),)
        previous = place
    columns = ("Data", "Method", "Starts to win at", "In words", "True accelerations looked at")
    return Table(
        name="crossings",
        caption=f"True acceleration from which each method overtakes {method_name(baseline)} in SSIM.",
        header=(tuple((column, 1) for column in columns),),
        body=tuple(body),
        notes=_notes(found, "Linear interpolation of the mean difference between the accelerations tested."),
        data=found.assign(verdict=verdicts),
    )


def _verdict(row) -> str:
    if row.points < 2:
        return "one acceleration only"
    if np.isfinite(row.crossing):
        ends = "overtakes" if row.last_gain > 0 else "overtakes, then falls behind again"
        return ends if row.clear else f"{ends}; not beyond chance"
    if row.first_gain > 0:
        return "ahead throughout" if row.last_gain > 0 else "ahead at first, then falls behind"
    return "behind throughout"


def read_published(path: Path = PUBLISHED) -> pd.DataFrame:
    """Read the figures of the paper (arXiv 2604.22557, its Tables 1 to 3).

    Returns:
        60 rows: table, anatomy, center (text), acceleration, method, ssim, psnr_db, nmse.

    Raises:
        InputError: the file is not there.
    """
    if not path.is_file():
        raise InputError(f"{path}: the published figures are not there; run from a checkout of the project")
    return pd.read_csv(path, dtype={"center": str, "acceleration": float})


def published_tables(means: pd.DataFrame, published: pd.DataFrame) -> list[Table]:
    """Our figures beside the published ones, in the layout of the paper's Tables 1 to 3, one a data set.

    Args:
        means: as `fm_unroll.evaluation.statistics.describe` returns them.
        published: as `read_published` returns it.
    """
    return [
        _published_table(dataset, anatomy, group, published[published.anatomy == anatomy])
        for dataset, anatomy, group in _domains(means)
    ]


def _published_table(dataset: str, anatomy: str, means: pd.DataFrame, published: pd.DataFrame) -> Table:
    columns = {"ssim": "ssim", "psnr_volume": "psnr_db", "nmse_volume": "nmse"}
    centers = list(dict.fromkeys(published.center))
    ours = means.set_index(["center", "acceleration", "arm", "metric"])["mean"].to_dict()
    theirs = published.set_index(["center", "acceleration", "method"])
    synthetic = bool(means.synthetic.any())
    body, data = [], []
    for acceleration in sorted(published.acceleration.unique()):
        first = Cell(f"{times(acceleration)}")
        for method, name in PUBLISHED_METHODS.items():
            for arm in order_arms({a for a in means.arm if base_method(a) == method} or {method}):
                row = [first, Cell(name + method_name(arm).removeprefix(METHODS[method]))]
                for center in centers:
                    for metric, column in columns.items():
                        mean = ours.get((center, acceleration, arm, metric), np.nan)
                        paper = float(theirs.loc[(center, acceleration, name), column])
                        row.append(
                            Cell(
                                number(mean, metric),
                                small=f"{number(paper, metric)}; {difference(mean - paper, metric)}",
                            )
                        )
                        place = {
                            "dataset": dataset,
                            "anatomy": anatomy,
                            "center": center,
                            "acceleration": acceleration,
                        }
                        values = {
                            "ours": mean,
                            "published": paper,
                            "difference": mean - paper,
                            "synthetic": synthetic,
                        }
                        data.append({**place, "method": name, "arm": arm, "metric": metric, **values})
                body.append(tuple(row))
                first = Cell("")
    spans = tuple((center_name(center), len(columns)) for center in centers)
    number_in_paper = published.table.iloc[0]
    frame = pd.DataFrame(data)
    return Table(
        name=file_name("published", anatomy, dataset),
        caption=f"{domain_name(dataset, anatomy)} beside Table {number_in_paper} of arXiv 2604.22557.",
        header=(
            (("", 1), ("", 1), *spans),
            (
                ("Acceleration", 1),
                ("Method", 1),
                *((METRICS[m].heading, 1) for _ in centers for m in columns),
            ),
        ),
        body=tuple(body),
        notes=_notes(
            frame,
            "First line: ours. Second line: published; ours minus published. " + CONVENTION,
            "The paper does not say which convention it used.",
        ),
        data=frame,
    )


def run_table(volumes: pd.DataFrame, records: pd.DataFrame) -> Table:
    """Every run at every condition, also those at another than their training acceleration.

    Args:
        volumes: as `fm_unroll.evaluation.records.volume_table` returns them.
        records: the slices they were made of (for the names and hashes of the encoders).
    """
    encoders = records.groupby("checkpoint_sha256")[["encoder", "encoder_sha256", "encoder_weights"]].first()
    grouped = volumes.groupby([*RUN, "arm", *CONDITION], dropna=False)
    data = grouped.agg(
        true_acceleration=("true_acceleration", "mean"),
        synthetic=("synthetic", "any"),
        volumes=("volume", "size"),
        slices=("slices", "sum"),
        expected=("expected", "sum"),
        failed=("failed", "sum"),
    )
    printed = [m for m in METRICS if m not in (*PERCEPTUAL, *CHALLENGE)]
    data = (
        data.join(grouped[list(METRICS)].mean(skipna=False))
        .reset_index()
        .join(encoders, on="checkpoint_sha256")
    )
    body = []
    for row in data.itertuples():
        trained = MISSING if np.isnan(row.train_acceleration) else f"{times(row.train_acceleration)}"
        at = f"{domain_name(row.dataset, row.anatomy)}, {row.center}, {times(row.acceleration)}"
        seed = MISSING if np.isnan(row.seed) else f"{row.seed:g}"
        cells = [method_name(row.arm), trained, seed, row.checkpoint_sha256[:10] or MISSING, at]
        cells += [
            f"{row.slices}" + (f" of {row.expected}" if row.slices < row.expected else ""),
            str(row.failed),
        ]
        cells += [number(getattr(row, metric), metric) for metric in printed]
        body.append(tuple(Cell(text) for text in cells))
    columns = ["Method", "Trained at", "Seed", "Checkpoint", "Tested at", "Slices", "Failed"]
    columns += [METRICS[m].heading for m in printed]
    return Table(
        name="runs",
        caption="Every run at every condition: mean over its volumes, none where a slice failed.",
        header=(tuple((column, 1) for column in columns),),
        body=tuple(body),
        notes=_notes(data, CONVENTION + " “(slice)”: slice convention."),
        data=data,
    )


def summary(means: pd.DataFrame) -> str:
    """A compact table for the terminal: SSIM / PSNR / NMSE by method, data set, center and acceleration.

    Args:
        means: as `fm_unroll.evaluation.statistics.describe` returns them.
    """
    blocks = []
    lookup = means.set_index([*CONDITION, "arm", "metric"])["mean"].to_dict()
    for (dataset, anatomy, center), group in means.groupby(["dataset", "anatomy", "center"], sort=False):
        accelerations = sorted(group.acceleration.unique())
        true = group.drop_duplicates("acceleration").set_index("acceleration").true_acceleration
        body = []
        for arm in order_arms(set(group.arm)):
            row = [Cell(method_name(arm))]
            for acceleration in accelerations:
                key = (dataset, anatomy, center, acceleration, arm)
                row.append(Cell(" ".join(number(lookup[*key, metric], metric) for metric in MAIN)))
            body.append(tuple(row))
        heads = tuple((f"{times(a)} (true {true[a]:.2f})", 1) for a in accelerations)
        title = f"{domain_name(dataset, anatomy)}, {center_name(center)}: SSIM, PSNR (dB), NMSE"
        blocks.append(Table("", title, ((("", 1), *heads),), tuple(body), (), group).text())
    return "\n\n".join([*blocks, *_notes(means)])
