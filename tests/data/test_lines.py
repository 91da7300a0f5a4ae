"""Which lines were sampled: found in the data, compared with masks, and never guessed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fm_unroll.data.lines import (
    describe_gaps,
    find_lines,
    lines_of_mask,
    lines_with_data,
    quick_lines,
    require_lines,
    require_same,
)
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from simulate import random_kspace, uniform_lines

COILS, READOUT, PHASE = 3, 48, 40
FILE = Path("scan.h5")
UNIFORM = uniform_lines(PHASE, 4, 8)


def kspace(seed: int = 0) -> np.ndarray:
    return random_kspace(COILS, READOUT, PHASE, seed=seed)


def spokes(turn: float = 0, number: int = 10) -> np.ndarray:
    """A pseudo-radial mask of points, bool ``(readout, phase)``, with a full square in its centre."""
    mask = np.zeros((READOUT, PHASE), bool)
    along = np.linspace(-1, 1, 201)
    for angle in np.pi * (np.arange(number) + turn) / number:
        rows = (READOUT / 2 + along * READOUT / 2 * np.cos(angle)).clip(0, READOUT - 1).astype(int)
        columns = (PHASE / 2 + along * PHASE / 2 * np.sin(angle)).clip(0, PHASE - 1).astype(int)
        mask[rows, columns] = True
    mask[20:28, 16:24] = True
    return mask


def volume(lines: np.ndarray | None = None) -> Volume:
    return Volume.of_array(FILE, (1, 1, COILS, READOUT, PHASE), lines)


# ---- what is found in the data


@pytest.mark.parametrize(
    "lines", [np.ones(PHASE, bool), UNIFORM, np.arange(PHASE) > 12, np.arange(PHASE) == 20]
)
@pytest.mark.parametrize("rows", [slice(None), slice(14, None), slice(0, 1)], ids=["whole", "echo", "one"])
def test_lines_are_found_over_the_samples_that_hold_data(lines: np.ndarray, rows: slice):
    """Also of an asymmetric echo, whose first samples are zero in all lines."""
    values = kspace() * lines
    kept = np.zeros_like(values)
    kept[:, rows] = values[:, rows]
    np.testing.assert_array_equal(lines_with_data(kept), lines)
    np.testing.assert_array_equal(quick_lines(kept), lines)


@pytest.mark.parametrize(
    "mask",
    [
        spokes(),
        np.random.default_rng(0).random((READOUT, PHASE)) < 0.8,
        np.arange(READOUT)[:, None] >= 12 * (np.arange(PHASE) == 7),  # one partial echo among whole ones
        UNIFORM & ((np.arange(READOUT) < 24)[:, None] | (np.arange(PHASE) != 20)),  # half of one line
        (np.arange(READOUT) < 30)[:, None] | (np.arange(PHASE) != 7),  # with its centre
    ],
    ids=["pseudo-radial", "random points", "one partial echo", "half a line", "a line without its end"],
)
def test_what_is_not_made_of_whole_lines_is_refused(mask: np.ndarray):
    for find in (lines_with_data, quick_lines):
        with pytest.raises(
            InputError, match=r"line \d+ holds data at \d+% of the readout samples: only whole"
        ):
            find(kspace() * mask)


def test_the_first_look_at_a_scan_sees_what_lies_between_the_samples_of_later_ones():
    values = kspace()
    values[:, 1:9, 30] = 0
    assert quick_lines(values).all()
    with pytest.raises(InputError, match="line 30 holds data at 83% of the readout samples"):
        describe_gaps(values, volume())
    with pytest.raises(InputError, match="line 30 holds data at 83% of the readout samples"):
        find_lines([(0, 0, values)], FILE)


@pytest.mark.parametrize("peak", [1e-9, 1.0, 1e6])
def test_rounding_in_empty_lines_is_no_data(peak: float):
    """Masked data that went through Fourier transforms in single precision and back."""
    masked = (peak * kspace() * UNIFORM).astype("c8")
    masked[:, 24, 20] *= 300  # as the centre of a scan stands out
    through = np.fft.fft2(np.fft.ifft2(masked).astype("c8")).astype("c8")
    assert through.all()
    np.testing.assert_array_equal(lines_with_data(through), UNIFORM)
    np.testing.assert_array_equal(quick_lines(through), UNIFORM)
    with pytest.raises(InputError, match="acquired lines are empty: undersampled, and no mask says so"):
        require_lines(through, volume())
    require_lines(through, volume(UNIFORM))


def test_a_residue_that_no_scanner_measures_is_no_line():
    values = kspace() * UNIFORM
    values[:, 24, 20] = 1000
    values[..., ~UNIFORM] = 3e-4
    np.testing.assert_array_equal(lines_with_data(values), UNIFORM)
    np.testing.assert_array_equal(quick_lines(values), UNIFORM)
    values[..., ~UNIFORM] = 3e-3
    assert lines_with_data(values).all()


@pytest.mark.parametrize("every", [2, 4])
def test_readout_samples_may_be_missing_at_the_ends_only(every: int):
    rows = (np.arange(READOUT) % every == 0)[:, None]
    with pytest.raises(InputError, match="only whole lines are supported"):
        find_lines([(0, 0, kspace() * rows)], FILE)


@pytest.mark.parametrize("centre", [50, 5000])
def test_a_centre_that_lies_elsewhere_is_remarked_on(centre: float):
    """It stands out of other magnitudes, which are about 1. Two samples off the middle is no elsewhere."""
    values = kspace()
    values[:, 24, 20] = centre
    assert describe_gaps(values, volume()) == []
    (line,) = describe_gaps(np.fft.ifftshift(values, axes=(1, 2)), volume())
    assert "largest at readout sample 0, line 0, far from the centre (24, 20)" in line
    assert describe_gaps(np.roll(values, (2, -2), axis=(1, 2)), volume()) == []


def test_every_coil_must_have_a_line():
    values = kspace()
    for rows, share in (slice(17, None), "35%"), (slice(None), "0%"):
        values[1, rows, 7] = 0
        words = f"coil 1 holds data at {share} of the readout samples of line 7"
        for find in (lines_with_data, quick_lines):
            with pytest.raises(InputError, match=words):
                find(values)
    values = kspace() * UNIFORM
    values[2] = kspace()[2] * np.roll(UNIFORM, 1)
    with pytest.raises(InputError, match="a line counts as sampled when every coil has it"):
        lines_with_data(values)


def test_the_coil_is_named_by_its_number_in_the_file():
    values = kspace()
    values[0] = values[2, :, 7] = 0
    with pytest.raises(InputError, match="coil 2 holds data at 0%"):
        lines_with_data(values)


def test_a_silent_coil_says_nothing_about_lines():
    values = kspace() * UNIFORM
    values[1] = 0
    np.testing.assert_array_equal(lines_with_data(values), UNIFORM)
    np.testing.assert_array_equal(quick_lines(values), UNIFORM)


def test_whole_numbers_may_be_zero_by_chance():
    """Of raw data near the noise, every seventh value is zero: they are no mask."""
    values = np.round(kspace()) * UNIFORM
    assert 0.1 < (values[..., UNIFORM] == 0).mean() < 0.2
    np.testing.assert_array_equal(lines_with_data(values.astype("c8")), UNIFORM)


def test_nothing_has_no_lines():
    with pytest.raises(InputError, match="k-space is zero everywhere"):
        lines_with_data(0 * kspace())


# ---- several slices and frames


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((0, 1), "slice 0, frame 1 .* changes from frame to frame: k-t sampling is not supported"),
        ((1, 0), "slice 1, frame 0 .* sampling that changes from slice to slice is not supported"),
    ],
)
def test_lines_that_change_are_refused(place: tuple[int, int], words: str):
    images = [(0, 0, kspace() * UNIFORM), (*place, kspace() * np.roll(UNIFORM, 1))]
    with pytest.raises(InputError, match=f"scan.h5: {words}"):
        find_lines(images, FILE)
    assert (find_lines([images[0], (*place, images[0][2])], FILE) == UNIFORM).all()
    with pytest.raises(InputError, match=words):
        require_same([(0, 0, UNIFORM), (*place, ~UNIFORM)], FILE)


def test_the_slice_that_has_no_lines_is_named():
    with pytest.raises(InputError, match=r"scan.h5: slice 3, frame 2: line"):
        find_lines([(0, 0, kspace()), (3, 2, kspace() * spokes())], FILE)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.stack([spokes(0), spokes(0.3)]), "mask changes from frame to frame: k-t sampling"),
        (np.broadcast_to(spokes(), (3, READOUT, PHASE)), "mask varies along kx"),
    ],
)
def test_published_masks_are_whole_lines_in_all_frames(mask: np.ndarray, words: str):
    with pytest.raises(InputError, match=words):
        lines_of_mask(mask, "mask")
    np.testing.assert_array_equal(
        lines_of_mask(np.broadcast_to(UNIFORM, (3, READOUT, PHASE)), "mask"), UNIFORM
    )


# ---- a slice against what its volume says


def test_a_fully_sampled_scan_has_no_empty_line_between_others():
    require_lines(kspace(), volume())
    require_lines(kspace() * (np.arange(PHASE) > 12), volume())  # partial Fourier
    empty = int((~UNIFORM).sum())
    with pytest.raises(
        InputError, match=f"{empty} of 40 acquired lines are empty: undersampled, and no mask"
    ):
        require_lines(kspace() * UNIFORM, volume())
    with pytest.raises(InputError, match="1 of 40 acquired lines are empty"):
        require_lines(kspace() * (np.arange(PHASE) != 30), volume())


@pytest.mark.parametrize("acquired", [(16, 24), (0, 1), (20, 21), (36, 40)])
def test_a_header_that_calls_few_lines_acquired_hides_no_hole(acquired: tuple[int, int]):
    claimed = replace(volume(), acquired=acquired)
    size = 40 if acquired[1] == 40 else int(np.flatnonzero(UNIFORM)[-1]) + 1
    empty = size - int(UNIFORM.sum())
    with pytest.raises(InputError, match=f"{empty} of {size} acquired lines are empty: undersampled, and no"):
        require_lines(kspace() * UNIFORM, claimed)


def test_data_beside_the_acquired_lines_are_no_hole():
    lines = (np.arange(PHASE) >= 2) & (np.arange(PHASE) < 36)
    claimed = replace(volume(), acquired=(8, 32))
    require_lines(kspace() * lines, claimed)
    (remark,) = describe_gaps(kspace() * lines, claimed)
    assert remark == "10 lines hold data outside of those that the header calls acquired"
    with pytest.raises(InputError, match="2 of 37 acquired lines are empty"):
        require_lines(kspace() * (lines | (np.arange(PHASE) == 0)), replace(claimed, acquired=(8, 37)))
    with pytest.raises(InputError, match="undersampled, and no mask says so"):  # all of them elsewhere
        require_lines(kspace() * lines, replace(claimed, acquired=(36, 40)))


def test_a_centre_alone_is_no_fully_sampled_scan():
    with pytest.raises(InputError, match="24 of 40 acquired lines are empty"):
        require_lines(kspace() * ((np.arange(PHASE) >= 12) & (np.arange(PHASE) < 28)), volume())


def test_the_data_of_an_undersampled_scan_are_those_that_its_mask_claims():
    require_lines(kspace() * UNIFORM, volume(UNIFORM))
    with pytest.raises(InputError, match=r"holds data in 1 line that the sampling mask leaves out$"):
        require_lines(kspace() * (UNIFORM | (np.arange(PHASE) == 1)), volume(UNIFORM))
    with pytest.raises(InputError, match=r"k-space holds none in 2 lines that the sampling mask claims$"):
        require_lines(kspace() * UNIFORM, volume(UNIFORM | (np.arange(PHASE) < 3)))
    with pytest.raises(InputError, match="k-t sampling is not supported"):
        require_lines(kspace() * np.roll(UNIFORM, 1), volume(UNIFORM), frame=2)


def test_a_single_value_outside_of_the_mask_is_found():
    values = kspace() * UNIFORM
    values[1, 3, 1] = 1
    with pytest.raises(InputError, match="holds data in 1 line that the sampling mask"):
        require_lines(values, volume(UNIFORM))


def test_what_is_unusual_is_described():
    assert describe_gaps(kspace(), volume()) == []
    values = kspace() * (np.arange(PHASE) > 12)
    values[1] = 0
    padding, silent = describe_gaps(values, volume())
    assert padding.startswith("of 40 lines, 13 at the start and 0 at the end are empty")
    assert silent == "1 coil of 3 hold nothing but zeros (1)"
    assert describe_gaps(values * UNIFORM, volume(UNIFORM & (np.arange(PHASE) > 12))) == [silent]
