"""A scan beside a checkpoint: which mask it gets, and whether it is like what was seen in training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fm_unroll.data.scan import Scan
from fm_unroll.data.volume import PICTURES
from fm_unroll.errors import InputError
from fm_unroll.physics import Center, SamplingPattern, VariedSampling, pattern_from_config
from fm_unroll.subjects.population import Population, Seen, data_sets_of

# of the true acceleration: masks with random offsets differ by a line or two
TOLERANCE = 0.05


@dataclass(frozen=True)
class ScanFacts:
    """The properties of a scan that are compared.

    Attributes:
        subject: the subject's id.
        named: whether the file or its place says whose it is.
        population: where the subject comes from.
        anatomy: ``cardiac``, ``knee``, ``brain``; None where the file does not say.
        coils: number of receive coils.
        readout: samples along readout.
        phase: phase-encoding lines.
        acs_lines: number of fully sampled centre lines.
        true_acceleration: available lines over acquired lines.
        part: that of its data set in which the scan lies; empty where nothing says it.
    """

    subject: str
    named: bool
    population: Population
    anatomy: str | None
    coils: int
    readout: int
    phase: int
    acs_lines: int
    true_acceleration: float
    part: str = ""

    @classmethod
    def of(cls, scan: Scan, sampling: SamplingPattern | None) -> "ScanFacts":
        """The facts of a scan under a mask's pattern; None: as the scanner sampled it."""
        volume = scan.volume
        if sampling is None:
            acs_lines, true_acceleration = volume.num_acs, volume.true_acceleration
        else:
            mask = sampling(volume.phase, volume.mask_seed, volume.acquired)
            acs_lines, true_acceleration = mask.num_acs, mask.true_acceleration
        return cls(
            subject=volume.subject,
            named=scan.slices.reader.names_subject(volume),
            population=scan.population,
            anatomy=scan.anatomy,
            coils=volume.num_coils,
            readout=volume.readout,
            phase=volume.phase,
            acs_lines=acs_lines,
            true_acceleration=true_acceleration,
            part=scan.slices.reader.part_of(scan.path.absolute()),
        )


def choose_sampling(
    scan: Scan,
    usual: SamplingPattern,
    acceleration: float | None,
    center: Center | None,
    sampling: SamplingPattern | None,
) -> SamplingPattern | None:
    """The mask's pattern: the one given, else the usual one, at the acceleration and centre given.

    One that is given without an acceleration has the usual one's, not the default of its class.

    Returns:
        The pattern; None for undersampled scans.

    Raises:
        InputError: a mask is asked for on an undersampled scan, or values that the pattern cannot have.
    """
    if not scan.volume.fully_sampled:
        options = {"acceleration": acceleration, "center": center, "sampling": sampling}
        given = [f"--{name}" for name, value in options.items() if value is not None]
        if given:
            raise InputError(f"{scan.path} is undersampled already: leave out {', '.join(given)}")
        return None
    if acceleration is None and not isinstance(sampling, VariedSampling | None):
        acceleration = usual.acceleration
    return (sampling or usual).at(acceleration, center).drawn(scan.volume.phase, scan.volume.mask_seed)


def sampling_of_training(scan: Scan, checkpoint: Mapping[str, Any]) -> SamplingPattern:
    """The pattern of a network's training: of several data sets, of the first one of the scan's anatomy.

    Where there is none of it, the first one of all decides.

    Args:
        scan: the scan.
        checkpoint: the facts in ``checkpoint["fm_unroll"]``.

    Raises:
        InputError: the pattern is not known here.
    """
    parts = data_sets_of(checkpoint)
    trained = next((part for part in parts if part["anatomy"] == scan.anatomy), parts[0])
    return pattern_from_config(trained["sampling"])


def outside_training(scan: ScanFacts, checkpoint: Mapping[str, Any]) -> list[str]:
    """List what the checkpoint has not seen in training, and a subject that it has seen.

    Args:
        scan: the scan.
        checkpoint: the facts in ``checkpoint["fm_unroll"]``. Those of older checkpoints lack ``trained_on``:
            only anatomy and subject are compared then, and a line says so.

    Returns:
        One line per difference; none if the scan is like the training data in all that is compared. Of
        several data sets in training, it is compared with that which it differs least from, of those of its
        anatomy and of pictures, which stand for any.
    """
    parts = data_sets_of(checkpoint)
    anatomies = list(dict.fromkeys(part["anatomy"] for part in parts))
    trained = " and ".join(anatomies)
    lines = []
    if scan.anatomy is None:
        lines.append(f"the file does not say what it shows; the network was trained on {trained} scans")
    elif scan.anatomy not in anatomies:
        lines.append(f"this is a {scan.anatomy} scan, the network was trained on {trained} scans")
    networks = Seen.of(checkpoint, "the network")
    roles = [seen.role_of(scan.subject, scan.population) for seen in networks]
    if any(seen.may_hold(scan.part, scan.population) for seen in networks):
        lines.append("the network may have been trained on this scan: metrics may be better than for others")
    elif role := max(roles):  # training before selection
        used = "was trained on" if role == "training" else "was used for selection in training"
        lines.append(f"a subject called {scan.subject} {used}: metrics may be better than for others")
    elif not scan.named and not all(seen.population.synthetic for seen in networks):
        lines.append("the file does not say whose it is: the network may have been trained on this subject")
    alike = [part for part in parts if part["anatomy"] in (scan.anatomy, PICTURES)] or parts
    return lines + min((differences(scan, part) for part in alike), key=len)


def differences(scan: ScanFacts, trained: Mapping[str, Any]) -> list[str]:
    """One line for each size in which a scan is not within the range of one data set in training.

    Args:
        scan: the scan.
        trained: the facts about the data set.
    """
    seen = trained.get("trained_on")
    if seen is None:
        return ["the checkpoint does not say which coils, matrices and masks it was trained on"]
    lines = []
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
