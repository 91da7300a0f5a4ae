"""The sizes that a network saw in training, by which a scan is told that is unlike them."""

from collections.abc import Sequence

from fm_unroll.data.augmentation import Augmentation
from fm_unroll.data.volume import Volume
from fm_unroll.physics import SamplingPattern


def sizes_in_training(
    volumes: Sequence[Volume], sampling: SamplingPattern, augmentation: Augmentation
) -> dict[str, list[float]]:
    """The least and the greatest value of each size: ``coils``, ``readout``, ``phase``, ``acs_lines``, ...

    Args:
        volumes: those of the training; undersampled ones have masks of their own.
        sampling: masks the others.
        augmentation: what else is done to these.
    """
    full = [volume for volume in volumes if volume.fully_sampled]
    own = [volume for volume in volumes if not volume.fully_sampled]
    augmented = [
        size
        for matrix in {(volume.num_coils, volume.readout, volume.phase) for volume in full}
        for size in augmentation.sizes(*matrix)
    ]
    matrices = [(volume.num_coils, volume.readout, volume.phase) for volume in own]
    coils, readout, phase = zip(*augmented, *matrices, strict=True)
    acquired = {(volume.phase, volume.acquired) for volume in full}
    others = {lines for _, _, lines in augmented} - {lines for lines, _ in acquired}
    masks = [
        (mask.num_acs, mask.true_acceleration)
        for lines, extent in acquired | {(lines, None) for lines in others}
        for pattern in sampling.ends(lines)
        for mask in [pattern(lines, acquired=extent)]
    ]
    masks += [(volume.num_acs, volume.true_acceleration) for volume in own]
    acs_lines, true_acceleration = zip(*masks, strict=True)
    seen: dict[str, Sequence[float]] = {
        "coils": coils,
        "readout": readout,
        "phase": phase,
        "acs_lines": acs_lines,
        "true_acceleration": true_acceleration,
    }
    return {name: [min(values), max(values)] for name, values in seen.items()}
