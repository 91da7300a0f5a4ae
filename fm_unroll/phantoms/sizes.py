"""Sizes of the data set: matrices, coils, slices, frames."""

from dataclasses import dataclass
from typing import Literal

from fm_unroll.phantoms.simulate import Acquisition


@dataclass(frozen=True)
class HeartSize:
    """The files of one heart.

    Attributes:
        cine: encodings of the cine files; subjects take turns.
        t1: encoding of ``T1map.mat``.
        t2: encoding of ``T2map.mat``.
        coils: number of receive coils.
        short_axis: slices and frames of ``cine_sax.mat``.
        long_axis_frames: frames of ``cine_lax.mat`` (its slices are the 3-, 2- and 4-chamber views).
        mapping_slices: slices of ``T1map.mat`` and ``T2map.mat``.
    """

    cine: tuple[Acquisition, ...]
    t1: Acquisition
    t2: Acquisition
    coils: int
    short_axis: tuple[int, int]
    long_axis_frames: int
    mapping_slices: int


@dataclass(frozen=True)
class VolumeSize:
    """The fastMRI files of one anatomy.

    Attributes:
        encodings: readout twice oversampled; subjects take turns.
        reconstruction: matrix ``(readout, phase)`` to which images are cropped.
        coils: number of receive coils.
        slices: slices per volume.
    """

    encodings: tuple[Acquisition, ...]
    reconstruction: tuple[int, int]
    coils: int
    slices: int


@dataclass(frozen=True)
class Size:
    """Size of the data of all three anatomies."""

    heart: HeartSize
    knee: VolumeSize
    head: VolumeSize


SizeName = Literal["tiny", "small", "demo", "standard", "full"]

SIZES: dict[SizeName, Size] = {
    "tiny": Size(
        HeartSize(
            (Acquisition((48, 36), (330, 290)), Acquisition((48, 40), (330, 300))),
            Acquisition((48, 36), (330, 290)),
            Acquisition((40, 32), (330, 290)),
            coils=3,
            short_axis=(2, 2),
            long_axis_frames=1,
            mapping_slices=1,
        ),
        VolumeSize((Acquisition((64, 36), (320, 180)),), (32, 32), coils=3, slices=2),
        VolumeSize(
            (Acquisition((64, 32), (440, 220)), Acquisition((64, 40), (440, 275), (5, 3))),
            (32, 32),
            coils=3,
            slices=2,
        ),
    ),
    "small": Size(
        HeartSize(
            # a field of view that few chests wrap around: coil sensitivities can be learned in minutes
            (Acquisition((128, 96), (360, 350)), Acquisition((128, 104), (360, 380))),
            Acquisition((128, 96), (360, 350)),
            Acquisition((128, 96), (360, 350)),
            coils=6,
            short_axis=(2, 3),
            long_axis_frames=2,
            mapping_slices=1,
        ),
        VolumeSize((Acquisition((224, 128), (320, 183)),), (112, 112), coils=5, slices=2),
        VolumeSize(
            (Acquisition((224, 112), (440, 220)), Acquisition((224, 128), (440, 251), (10, 10))),
            (112, 112),
            coils=5,
            slices=2,
        ),
    ),
    "demo": Size(
        HeartSize(
            # fields of view as in ``small``
            (Acquisition((160, 160), (360, 350)), Acquisition((160, 168), (360, 380))),
            Acquisition((160, 160), (360, 350)),
            Acquisition((160, 160), (360, 350)),
            coils=4,
            short_axis=(2, 2),
            long_axis_frames=1,
            mapping_slices=1,
        ),
        VolumeSize((Acquisition((320, 176), (320, 176)),), (160, 160), coils=4, slices=2),
        VolumeSize(
            (Acquisition((320, 160), (440, 220)), Acquisition((320, 176), (440, 242), (12, 12))),
            (160, 160),
            coils=4,
            slices=2,
        ),
    ),
    "standard": Size(
        HeartSize(
            (
                Acquisition((256, 128), (400, 270)),
                Acquisition((256, 144), (400, 300)),
                Acquisition((256, 160), (400, 330)),
            ),
            Acquisition((256, 128), (400, 280)),
            Acquisition((192, 112), (400, 280)),
            coils=8,
            short_axis=(5, 6),
            long_axis_frames=6,
            mapping_slices=2,
        ),
        VolumeSize((Acquisition((384, 224), (320, 187)),), (192, 192), coils=8, slices=6),
        VolumeSize(
            (Acquisition((384, 192), (440, 220)), Acquisition((384, 216), (440, 248), (16, 12))),
            (192, 192),
            coils=8,
            slices=6,
        ),
    ),
    "full": Size(
        HeartSize(
            (
                Acquisition((512, 204), (680, 330)),
                Acquisition((448, 168), (660, 300)),
                Acquisition((512, 246), (680, 340)),
                Acquisition((448, 132), (660, 280)),
            ),
            Acquisition((512, 144), (680, 300)),
            Acquisition((384, 116), (680, 290)),
            coils=10,
            short_axis=(10, 12),
            long_axis_frames=12,
            mapping_slices=5,
        ),
        VolumeSize(
            (Acquisition((640, 368), (320, 184)), Acquisition((640, 372), (320, 186))),
            (320, 320),
            coils=15,
            slices=24,
        ),
        VolumeSize(
            (
                Acquisition((640, 320), (440, 220)),
                Acquisition((640, 320), (440, 220), (26, 26)),
                Acquisition((768, 396), (528, 272), (39, 48)),
            ),
            (320, 320),
            coils=16,
            slices=16,
        ),
    ),
}
