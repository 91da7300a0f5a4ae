"""One subject of each anatomy: draw it, scan it, write its files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fm_unroll.phantoms.anatomy_head import Head
from fm_unroll.phantoms.anatomy_heart import LONG_AXIS_VIEWS, Heart
from fm_unroll.phantoms.anatomy_knee import Knee
from fm_unroll.phantoms.coils import CoilArray
from fm_unroll.phantoms.shapes import Array, Noise, Plane
from fm_unroll.phantoms.simulate import Acquisition, Scanner
from fm_unroll.phantoms.sizes import HeartSize, VolumeSize
from fm_unroll.phantoms.tissue import Signal, balanced_steady_state, spin_echo
from fm_unroll.phantoms.write import (
    Attributes,
    write_cmrxrecon,
    write_cmrxrecon_undersampled,
    write_fastmri,
)

#: The images (frames or contrasts) of one slice, drawn on a plane.
Draw = Callable[[Plane], Sequence[Array]]
#: A file below the root, and the function that writes it, given its whole path.
Job = tuple[Path, Callable[[Path], None]]

_HEART, _KNEE, _HEAD = range(3)
_CINE_FILES, _MAPPING_FILES = ("cine_sax", "cine_lax"), ("T1map", "T2map")
_INVERSION_MS = (100, 180, 260, 900, 1000, 1100, 1900, 2000, 2900)
_T2_PREPARATION_MS = (0, 35, 55)
_KNEE_CONTRASTS = ("CORPD_FBK", "CORPDFS_FBK")
_HEAD_CONTRASTS = ("AXT1", "AXT2", "AXFLAIR")

#: Brightest percent of the image over the noise of one coil; every file has one of these.
_SIGNAL_TO_NOISE = (25.0, 50.0, 100.0)


def heart_jobs(
    root: Path, size: HeartSize, seed: int, subject: int, accelerations: Iterable[int], attributes: Attributes
) -> Iterator[Job]:
    """List the files of heart ``subject`` (from 0) in CMRxRecon's layout.

    Args:
        root: folder of the data set.
        size: matrix sizes, coils, slices and frames.
        seed: seed of the data set; with the number of the subject it decides everything else.
        subject: number of the subject.
        accelerations: for which to write ``AccFactorXX`` beside ``FullSample``.
        attributes: what every file says about its origin.
    """
    for family, names in (("Cine", _CINE_FILES), ("Mapping", _MAPPING_FILES)):
        for name in names:
            folder, file = Path("MultiCoil", family, "TrainingSet"), Path(f"P{subject + 1:03}", f"{name}.mat")
            full = folder / "FullSample" / file
            yield (
                full,
                partial(
                    _write_heart, name=name, size=size, seed=seed, subject=subject, attributes=attributes
                ),
            )
            for acceleration in accelerations:
                undersample = partial(
                    write_cmrxrecon_undersampled, full=root / full, acceleration=acceleration
                )
                yield folder / f"AccFactor{acceleration:02}" / file, undersample


def knee_job(size: VolumeSize, seed: int, subject: int, attributes: Attributes) -> Job:
    """Name the volume of knee ``subject`` (from 0) in fastMRI's layout, fat suppressed every second time."""
    path = Path("knee", "multicoil_val", f"file{1000001 + subject}.h5")
    return path, partial(_write_knee, size=size, seed=seed, subject=subject, attributes=attributes)


def head_job(size: VolumeSize, seed: int, subject: int, attributes: Attributes) -> Job:
    """Name the volume of head ``subject`` (from 0) in fastMRI's layout; T1, T2 and FLAIR by turns."""
    contrast = _HEAD_CONTRASTS[subject % len(_HEAD_CONTRASTS)]
    path = Path("brain", "multicoil_val", f"file_brain_{contrast}_{2000001 + subject}.h5")
    return path, partial(_write_head, size=size, seed=seed, subject=subject, attributes=attributes)


def _write_heart(
    path: Path, name: str, size: HeartSize, seed: int, subject: int, attributes: Attributes
) -> None:
    rng = np.random.default_rng([seed, _HEART, subject])
    heart = Heart(rng)
    flip = rng.uniform(40, 60)
    coils = CoilArray.around(rng, size.coils, (200, 160), 100, tuple(rng.normal((0.35, 0.35, 0.85), 0.1)))
    cine = size.cine[subject % len(size.cine)]
    acquisition, num_slices, num_images = {
        "cine_sax": (cine, *size.short_axis),
        "cine_lax": (cine, len(LONG_AXIS_VIEWS), size.long_axis_frames),
        "T1map": (size.t1, size.mapping_slices, len(_INVERSION_MS)),
        "T2map": (size.t2, size.mapping_slices, len(_T2_PREPARATION_MS)),
    }[name]
    levels = 0.08 + 0.8 * (np.arange(num_slices) + 0.5) / num_slices  # base to apex
    # One beat; the heart contracts faster than it relaxes.
    contractions = np.sin(np.pi * (np.arange(num_images) / num_images) ** 0.8) ** 2
    signals = {
        "T1map": [balanced_steady_state(2.7, 35, inversion=time) for time in _INVERSION_MS],
        "T2map": [balanced_steady_state(3.0, 35, t2_preparation=time) for time in _T2_PREPARATION_MS],
    }

    def draw(plane: Plane, z: int) -> list[Array]:
        if name in signals:
            (canvas,) = heart.draw_short_axis(plane, levels[z], [0.0])
            return [canvas.image(signal) for signal in signals[name]]
        if name == "cine_sax":
            beat = heart.draw_short_axis(plane, levels[z], contractions)
        else:
            beat = heart.draw_long_axis(plane, LONG_AXIS_VIEWS[z], contractions)
        return [canvas.image(balanced_steady_state(3.2, flip)) for canvas in beat]

    file_rng = np.random.default_rng([seed, _HEART, subject, 1 + (*_CINE_FILES, *_MAPPING_FILES).index(name)])
    draws = [partial(draw, z=z) for z in range(num_slices)]
    scanner, kspace = _scan(draws, 60 * (levels - 0.5), acquisition, coils, file_rng)
    shape = (num_images, num_slices, size.coils, *acquisition.matrix)
    write_cmrxrecon(path, "kspace_full", shape, kspace, {**attributes, "noise_std": scanner.noise_std})


def _write_knee(path: Path, size: VolumeSize, seed: int, subject: int, attributes: Attributes) -> None:
    rng = np.random.default_rng([seed, _KNEE, subject])
    knee = Knee(rng)
    contrast = _KNEE_CONTRASTS[subject % len(_KNEE_CONTRASTS)]
    suppression = rng.uniform(0.88, 0.97) if contrast == "CORPDFS_FBK" else 0.0
    signal = spin_echo(rng.uniform(2200, 3200), rng.uniform(27, 34), fat_suppression=suppression)
    coils = CoilArray.around(rng, size.coils, (95, 90), 60, main_field=(0, 1, 0), axis="y")
    attributes = {**attributes, "acquisition": contrast, "patient_id": f"synthetic-knee-{subject + 1:04}"}
    _write_volume(path, knee, signal, (-16, 16), size, coils, subject, attributes, rng)


def _write_head(path: Path, size: VolumeSize, seed: int, subject: int, attributes: Attributes) -> None:
    rng = np.random.default_rng([seed, _HEAD, subject])
    head = Head(rng)
    contrast = _HEAD_CONTRASTS[subject % len(_HEAD_CONTRASTS)]
    signal = {
        "AXT1": spin_echo(rng.uniform(400, 600), 10),
        "AXT2": spin_echo(rng.uniform(4000, 6500), rng.uniform(90, 110)),
        "AXFLAIR": spin_echo(9000, rng.uniform(105, 130), ti=2500),
    }[contrast]
    coils = CoilArray.around(rng, size.coils, (125, 140), 80, main_field=(0, 0, 1))
    attributes = {**attributes, "acquisition": contrast, "patient_id": f"synthetic-head-{subject + 1:04}"}
    _write_volume(path, head, signal, (0, 40), size, coils, subject, attributes, rng)


def _write_volume(
    path: Path,
    body: Knee | Head,
    signal: Signal,
    extent_mm: tuple[float, float],
    size: VolumeSize,
    coils: CoilArray,
    subject: int,
    attributes: Attributes,
    rng: np.random.Generator,
) -> None:
    """Scan slices evenly spread over the extent, from a random start, and write them as one fastMRI file."""
    acquisition = size.encodings[subject % len(size.encodings)]
    thickness = (extent_mm[1] - extent_mm[0]) / size.slices
    depths = extent_mm[0] + thickness * (np.arange(size.slices) + rng.uniform(0.1, 0.9))

    def draw(plane: Plane) -> list[Array]:
        return [body.draw(plane).image(signal)]

    scanner, kspace = _scan([draw] * size.slices, depths, acquisition, coils, rng)
    attributes = {**attributes, "noise_std": scanner.noise_std}
    write_fastmri(path, np.concatenate(list(kspace)), acquisition, size.reconstruction, attributes)


def _scan(
    draws: Sequence[Draw], depths: Array, acquisition: Acquisition, coils: CoilArray, rng: np.random.Generator
) -> tuple[Scanner, Iterator[Array]]:
    """Set the gain from the middle slice, choose phase and noise; k-space follows slice by slice."""
    planes = [acquisition.plane(depth) for depth in depths]
    middle = len(draws) // 2
    reference = draws[middle](planes[middle])
    brightness = 3e-4 * np.exp(0.3 * rng.normal())  # the order of magnitude of the real files
    scanner = Scanner(
        acquisition,
        coils,
        phase=Noise(rng, rng.uniform(180, 320)),
        phase_radians=rng.uniform(0.3, 1.2),
        scale=brightness / float(np.percentile(np.abs(reference), 99)),
        noise_std=brightness / rng.choice(_SIGNAL_TO_NOISE),
    )

    def slices() -> Iterator[Array]:
        for index, (draw, plane) in enumerate(zip(draws, planes, strict=True)):
            images = reference if index == middle else draw(plane)
            yield scanner.acquire(images, plane, rng)

    return scanner, slices()
