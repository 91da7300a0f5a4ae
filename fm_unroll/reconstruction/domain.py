"""Is this scan like those that the checkpoint was trained on?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# masks with random offsets differ by a line or two
TOLERANCE = 0.05


@dataclass(frozen=True)
class ScanFacts:
    """The properties of a scan that are compared.

    Attributes:
        subject: the subject's id.
        anatomy: ``cardiac``, ``knee``, ``brain``; None where the file does not say.
        coils: number of receive coils.
        readout: samples along readout.
        phase: phase-encoding lines.
        acs_lines: number of fully sampled centre lines.
        true_acceleration: available lines over acquired lines.
    """

    subject: str
    anatomy: str | None
    coils: int
    readout: int
    phase: int
    acs_lines: int
    true_acceleration: float


def outside_training(scan: ScanFacts, checkpoint: Mapping[str, Any]) -> list[str]:
    """List what the checkpoint has not seen in training, and a subject that it has seen.

    Args:
        scan: the scan.
        checkpoint: the facts in ``checkpoint["fm_unroll"]``. Those of older checkpoints lack ``trained_on``:
            then only anatomy and subject can be compared, and a line says so.

    Returns:
        One line per difference; none if the scan is like the training data in all that is compared.
    """
    trained = checkpoint["anatomy"]
    lines = []
    if scan.anatomy is None:
        lines.append(f"the file does not say what it shows; the checkpoint was trained on {trained} scans")
    elif scan.anatomy != trained:
        lines.append(f"this is a {scan.anatomy} scan, the checkpoint was trained on {trained} scans")
    elif scan.subject in (*checkpoint["subjects"]["train"], *checkpoint["subjects"]["val"]):
        lines.append(f"a subject called {scan.subject} was trained on: metrics may be better than for others")
    seen = checkpoint.get("trained_on")
    if seen is None:
        return [*lines, "the checkpoint does not say which coils, matrices and masks it was trained on"]
    for name, label in (("coils", "coils"), ("readout", "readout samples"), ("phase", "phase lines")):
        low, high = seen[name]
        if not low <= getattr(scan, name) <= high:
            lines.append(f"{getattr(scan, name)} {label}, trained on {between(low, high)}")
    low, high = seen["true_acceleration"]
    if not low * (1 - TOLERANCE) <= scan.true_acceleration <= high * (1 + TOLERANCE):
        lines.append(f"true acceleration {scan.true_acceleration:.3g}, trained on {between(low, high)}")
    if scan.acs_lines < seen["acs_lines"][0]:
        lines.append(
            f"{scan.acs_lines} ACS lines for the sensitivity maps, trained on {between(*seen['acs_lines'])}"
        )
    return lines


def between(low: float, high: float) -> str:
    """Format a range: ``10``, or ``116 to 246``."""
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
