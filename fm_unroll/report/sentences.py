"""Words: how numbers are printed, and the sentences that say what is in the tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fm_unroll.evaluation.arms import BASELINE, Arm
from fm_unroll.evaluation.endpoint import Answer, Endpoint, Verdict
from fm_unroll.evaluation.inference import MIN_SUBJECTS
from fm_unroll.evaluation.metric_table import METRICS
from fm_unroll.evaluation.records import CONDITION
from fm_unroll.physics import Center
from fm_unroll.report.formats import MINUS, MISSING, TIMES

SYNTHETIC = "Synthetic data (phantoms): not comparable with the published figures."
PARTLY = "Partly synthetic data (phantoms), which are not comparable with the published figures."
SIZES = (
    "Below a method: its trained parameters in millions, and the operations of its denoisers for one slice of"
    " 448 x 168."
)


def synthetic_notice(synthetic: Iterable[bool]) -> str:
    """What stands beside numbers or pictures, some or all of which are of phantoms; nothing if none is."""
    found = set(map(bool, synthetic))
    return PARTLY if len(found) == 2 else SYNTHETIC if found == {True} else ""


def _where(synthetic: Iterable[bool]) -> str:
    """The beginning of a sentence about comparisons, some or all of which are on phantoms."""
    found = set(map(bool, synthetic))
    return "on phantoms and scans, " if len(found) == 2 else "on phantoms, " if found == {True} else ""


def center_name(center: str) -> str:
    """``0.08`` -> ``center fraction 0.08``; ``24 ACS lines`` as it is."""
    return Center.parse(center).name


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


def percent(share: float) -> str:
    """A share in percent with two digits, and never 0 % where it is not 0."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.0995 else f"{100 * share:.1f} %"


def score(ssim: float) -> str:
    """The SSIM of one picture, or that its reconstruction failed."""
    return "failed" if np.isnan(ssim) else f"SSIM {ssim:.3f}"


def differs(row: Any) -> str:
    """Whether a comparison is clear: ``better``, ``worse``, or empty where it is not, or not tested."""
    if not row.clear:
        return ""
    higher = row.difference > 0
    return "better" if higher == METRICS[row.metric].higher_is_better else "worse"


def interval(low: float, high: float, metric: str, write: Callable[[float, str], str] = number) -> str:
    """``[low, high]``, written by :func:`number` or :func:`difference`; nothing where there is none."""
    return "" if np.isnan(low) else f"[{write(low, metric)}, {write(high, metric)}]"


def span(values: pd.Series) -> str:
    """``4``, or ``4 to 8`` where values differ."""
    return f"{values.min()}" if values.min() == values.max() else f"{values.min()} to {values.max()}"


def counted(values: pd.Series, noun: str) -> str:
    """``1 subject``, ``4 to 8 subjects``."""
    return f"{span(values)} {noun}{'' if values.max() == 1 else 's'}"


def p_text(p_value: float, subjects: int, equal: str = "") -> str:
    """A p-value, with a word before it unless it is too small to print; or why there is none."""
    if np.isnan(p_value):
        return f"{subjects} < {MIN_SUBJECTS} subjects"
    return "< 0.001" if p_value < 0.001 else f"{equal}{p_value:.3f}"


def stars(p_value: float) -> str:
    """``***`` below 0.001, ``**`` below 0.01, ``*`` below 0.05; nothing for NaN."""
    return "*" * sum(p_value < level for level in (0.05, 0.01, 0.001))


def file_name(*parts: str) -> str:
    """A file's stem from words: letters, digits, dots and underscores only."""
    return "_".join("".join(c if c.isalnum() or c == "." else "_" for c in part) for part in parts)


def beside_baseline(stem: str, baseline: Arm) -> str:
    """A file's stem, which names the baseline unless it is the paper's and there is one training of it."""
    return file_name(stem) if baseline == BASELINE else file_name(stem, f"to_{baseline}")


def sizes(learned: Mapping[str, Any]) -> dict[str, str]:
    """How large networks are: ``56.4 M, 7.2 TFLOP``; a dictionary by arm.

    Args:
        learned: the content of ``priors.json``, by arm.
    """
    return {
        arm: f"{facts['size']['trained'] / 1e6:.3g} M{_operations(facts['size']['flop'])}"
        for arm, facts in learned.items()
        if isinstance(facts, dict) and "size" in facts
    }


def _operations(flop: float | None) -> str:
    """Operations, which are not counted of a network of the user's own."""
    return "" if flop is None else f", {flop / 1e12:.2g} TFLOP"


def floor_headline(means: pd.DataFrame) -> list[str]:
    """How many times trained methods lie above methods without training, in mean SSIM: one sentence.

    Args:
        means: as :func:`fm_unroll.evaluation.statistics.describe` returns them.
    """
    ssim = means[(means.metric == "ssim") & (means.status == "ok")].dropna(subset="mean")
    classical = ssim.arm.map(lambda arm: arm.kind == "classical").astype(bool)
    trained = ssim[~classical]
    if not classical.any():
        return ["No method without training is among the records: nothing says that the networks beat none."]
    names = ", ".join(arm.label for arm in sorted(set(ssim[classical].arm)))
    floor = ssim[classical].groupby(list(CONDITION))["mean"].max().rename("floor")
    beside = trained.join(floor, on=list(CONDITION)).dropna(subset="floor")
    counts = [
        f"{arm.label} {int((group['mean'] > group.floor).sum())} of {len(group)}"
        for arm, group in beside.groupby("arm", sort=True)
    ]
    if not counts:
        return []
    best = "the best of " if "," in names else ""
    return [f"Conditions in which the mean SSIM is above {best}{names}: {', '.join(counts)}."]


def control_headline(controls: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """How controls compare with the baseline, and the priors with their controls, one sentence each.

    Args:
        controls: SSIM of the priors minus that of their controls.
        comparisons: SSIM of the trained methods minus the baseline.
    """
    sentences = []
    known = comparisons.dropna(subset="difference")
    for (arm, baseline), group in known.groupby(["arm", "baseline"], sort=False):
        if arm.kind != "control":
            continue
        where = _where(group.synthetic)
        sentences.append(f"Control: {where}{arm.label} against {baseline.label} in SSIM: {_tally(group)}.")
    for baseline, group in controls.dropna(subset="difference").groupby("baseline", sort=False):
        names = ", ".join(arm.label for arm in sorted(set(group.arm)))
        where = _where(group.synthetic)
        sentences.append(f"Control: {where}{names} against {baseline.label} in SSIM: {_tally(group)}.")
    return sentences


def _tally(comparisons: pd.DataFrame) -> str:
    """How many comparisons are clear, apart for several seeds and for one, and how many are not tested."""
    parts = []
    for covers_seeds, group in comparisons.groupby("covers_seeds", sort=False):
        verdicts = [differs(row) for row in group.itertuples()]
        text = f"better in {verdicts.count('better')}, worse in {verdicts.count('worse')} of {len(group)}"
        text += " comparisons beyond chance" if covers_seeds else " comparisons, for these networks"
        if untested := int(group.p_holm.isna().sum()):
            text += f" ({untested} not tested: fewer than {MIN_SUBJECTS} subjects)"
        parts.append(text)
    return "; ".join(parts)


VERDICTS: dict[Verdict, str] = {
    "better": "better, by what matters",
    "slightly better": "better, by less than what matters",
    "alike": "no difference that matters",
    "slightly worse": "worse, by less than what matters",
    "worse": "worse, by what matters",
    "open": "open",
}


# of a p-value above 0.05 beside an interval without 0: only the former is averaged over possible variances
RAISED = " (raised above that of the interval, because few seeds tell little of their variance)"


def endpoint_headline(
    endpoint: Endpoint | None, answers: Sequence[Answer], provenance: Mapping[str, Any]
) -> list[str]:
    """What the records say to the primary endpoint; nothing if none was named.

    Args:
        endpoint: the question.
        answers: as :func:`fm_unroll.evaluation.endpoint.answer` returns them.
        provenance: the run's, which says when the question was asked.
    """
    if endpoint is None:
        return []
    late = provenance["protocol"]["primary"].get("after_results")
    when = "named when results were there already" if late else "named before the results"
    metric = METRICS[endpoint.metric]
    asked, against = (
        Arm(method, physics=endpoint.physics) for method in (endpoint.method, endpoint.baseline)
    )
    if not answers:
        return [
            f"Primary endpoint, {when}: {metric.label} of {asked.label} against {against.label} is not among"
            " the records."
        ]
    if len(answers) > 1:
        when += f", one of {len(answers)} that bear its name and none of which was named alone"
    return [f"Primary endpoint, {when}: {_answer_text(endpoint, each)}" for each in answers]


def _answer_text(endpoint: Endpoint, given: Answer) -> str:
    found = given.found.estimate
    margin = number(endpoint.margin, endpoint.metric)
    places = f"{given.test_sets} data set{'s' * (given.test_sets > 1)}, {given.found.subjects} subjects"
    text = (
        f"{given.arm.label} against {given.baseline.label}, gain in {METRICS[endpoint.metric].label} over"
        f" {places}: {difference(found.value, endpoint.metric)}"
    )
    if np.isnan(found.low):
        return f"{text}, not tested (fewer than {MIN_SUBJECTS} subjects in one of them)."
    seeds = "" if given.found.covers_seeds else " for these networks"
    raised = "" if found.low <= 0 <= found.high or found.p_value < 0.05 else RAISED
    detectable = number(found.detectable, endpoint.metric)
    return (
        f"{text} {interval(found.low, found.high, endpoint.metric, difference)}{seeds},"
        f" p {p_text(found.p_value, given.found.subjects, equal='= ')} for no difference at all{raised}:"
        f" {VERDICTS[given.verdict]} (what matters: {margin})."
        f" Four in five such studies would find a difference of {detectable}."
    )


def headline(priors: Iterable[Arm], comparisons: pd.DataFrame, crossings: pd.DataFrame) -> list[str]:
    """The answer in a few sentences: which prior, where, by how much, and is it more than chance.

    Args:
        priors: the arms whose prior is a frozen encoder.
        comparisons: SSIM of the trained methods minus the baseline.
        crossings: as :func:`fm_unroll.evaluation.crossings.crossings` returns them.
    """
    names = set(priors)
    if not names:
        return ["The records hold no pretrained prior: they say nothing about foundation models."]
    found = comparisons[comparisons.arm.isin(names)].dropna(subset="difference")
    alone = {prior.physics for prior in names} - {arm.physics for arm in found.arm}
    missing = ", ".join(arm.label for arm in sorted(Arm(BASELINE.method, physics=name) for name in alone))
    return [
        *(
            sentence
            for baseline, group in found.groupby("baseline", sort=False)
            for sentence in _against(baseline, group, crossings)
        ),
        *([f"The records hold no {missing} that a prior could be compared with."] if alone else []),
    ]


def _against(baseline: Arm, found: pd.DataFrame, crossings: pd.DataFrame) -> Iterator[str]:
    """The priors against one baseline: how often they are better, and the best of them in every domain."""
    sentence = (
        f"{_where(found.synthetic)}frozen-encoder priors against {baseline.label} in SSIM: {_tally(found)};"
        " p < 0.05 after Holm's correction counts"
    )
    yield sentence[0].upper() + sentence[1:] + "."
    for (dataset, anatomy), group in found.groupby(["dataset", "anatomy"], sort=False):
        yield _best_of_domain(dataset, anatomy, group, crossings)


def _best_of_domain(dataset: str, anatomy: str, found: pd.DataFrame, crossings: pd.DataFrame) -> str:
    best = found.loc[found.difference.idxmax()]
    lead = "largest gain" if best.difference > 0 else "smallest loss"
    text = (
        f"{domain_name(dataset, anatomy)}: {lead} {best.arm.label}"
        f" {difference(best.difference, 'ssim')} {interval(best.low, best.high, 'ssim', difference)}"
        f" at {times(best.acceleration)}, {center_name(best.center)}"
    )
    if not best.clear:
        text += ", which is not clear" if np.isfinite(best.p_holm) else ", which is not tested"
    here = crossings[(crossings.dataset == dataset) & (crossings.anatomy == anatomy)]
    here = here[here.arm.isin(set(found.arm))]
    if len(ahead := here[here.course == "ahead"]):
        first = ahead.iloc[0]
        text += f"; {first.arm.label} is ahead from the lowest acceleration on ({center_name(first.center)})"
    elif len(turns := here[here.course == "overtakes"]):
        first = turns.loc[turns.crossing.idxmin()]
        text += (
            f"; {first.arm.label} is the first to overtake, from a true acceleration of"
            f" {crossing_text(first)} on ({center_name(first.center)})"
        )
    return text + "."


def crossing_text(row: Any) -> str:
    """Where a method overtakes, with its interval; a dash where it does not."""
    return f"{row.crossing:.1f} [{row.low:.1f}, {row.high:.1f}]" if row.course == "overtakes" else MISSING
