"""ISMRMRD files of known k-space, written with the package that defines the format."""

from collections.abc import Callable
from pathlib import Path

import ismrmrd
import numpy as np
from ismrmrd import xsd


def write_ismrmrd(
    path: Path,
    kspace: np.ndarray,
    encoded_mm: tuple[float, float, float] = (240.0, 180.0, 5.0),
    recon_mm: tuple[float, float, float] | None = None,
    lines: np.ndarray | None = None,
    padding: int = 0,
    first_sample: int = 0,
    averages: int = 1,
    counter: str = "repetition",
    on_header: Callable[[xsd.ismrmrdHeader], None] = lambda header: None,
    on_acquisition: Callable[[ismrmrd.Acquisition], None] = lambda acquisition: None,
) -> Path:
    """Write a raw file with a noise scan in front and its lines in random order.

    Args:
        path: the file.
        kspace: complex64, (frame, slice, coil, readout, phase).
        encoded_mm: encoded field of view.
        recon_mm: reconstructed field of view, if another.
        lines: which lines are written, bool (phase,).
        padding: lines at the start that the scanner does not count.
        first_sample: samples that an asymmetric echo leaves out.
        averages: how often every line is measured, with noise that averages out.
        counter: what a frame is counted by.
        on_header: changes the header.
        on_acquisition: changes an acquisition.
    """
    frames, slices, coils, readout, phase = kspace.shape
    random = np.random.default_rng(0)
    wanted = np.flatnonzero(np.ones(phase, bool) if lines is None else lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = make_header(readout, phase, encoded_mm, recon_mm or encoded_mm, padding)
    on_header(header)
    with ismrmrd.Dataset(str(path), mode="w") as dataset:
        dataset.write_xml_header(xsd.ToXML(header))
        noise = ismrmrd.Acquisition.from_array(1e6 * np.ones((coils, readout), np.complex64))
        noise.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        dataset.append_acquisition(noise)
        for frame, slice_, average, line in random.permutation(
            [
                (f, s, a, n)
                for f in range(frames)
                for s in range(slices)
                for a in range(averages)
                for n in wanted
            ]
        ).tolist():
            disturbance = 0 if averages == 1 else (average - (averages - 1) / 2) * 0.1
            samples = kspace[frame, slice_, :, first_sample:, line] + np.complex64(disturbance)
            acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples))
            acquisition.center_sample = readout // 2 - first_sample
            acquisition.idx.kspace_encode_step_1 = line - padding
            acquisition.idx.slice, acquisition.idx.average = slice_, average
            setattr(acquisition.idx, counter, frame)
            acquisition.read_dir[:], acquisition.phase_dir[:] = (0, 1, 0), (1, 0, 0)
            acquisition.slice_dir[:] = (0, 0, 1)
            acquisition.position[:] = (10, -20, 30 + 6 * slice_)
            on_acquisition(acquisition)
            dataset.append_acquisition(acquisition)
    return path


def make_header(readout, phase, encoded_mm, recon_mm, padding) -> xsd.ismrmrdHeader:
    def space(sides: tuple[float, float, float]) -> xsd.encodingSpaceType:
        x, y = (
            round(size * side / whole)
            for size, side, whole in zip((readout, phase), sides[:2], encoded_mm[:2], strict=True)
        )
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=x, y=y, z=1),
            fieldOfView_mm=xsd.fieldOfViewMm(x=sides[0], y=sides[1], z=sides[2]),
        )

    limit = xsd.limitType(minimum=0, maximum=phase - padding - 1, center=phase // 2 - padding)
    limits = xsd.encodingLimitsType(kspace_encoding_step_1=limit)
    encoding = xsd.encodingType(
        encodedSpace=space(encoded_mm),
        reconSpace=space(recon_mm),
        encodingLimits=limits,
        trajectory=xsd.trajectoryType.CARTESIAN,
    )
    return xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123200000),
        studyInformation=xsd.studyInformationType(bodyPartExamined="KNEE"),
        encoding=[encoding],
    )
