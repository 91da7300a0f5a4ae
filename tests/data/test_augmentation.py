"""Augmented k-space is that of the augmented coil images, written out independently with NumPy."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fm_unroll.data import CMRxReconData, KSpaceBatch, KSpaceSample
from fm_unroll.data.augmentation import Augmentation, compress_coils
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.physics import EquispacedSampling, RandomSampling, VariedSampling

SEEDS = [f"0/3/P001/cine_sax/{number}/0" for number in range(8)]


def centred(transform, array):
    axes = (-2, -1)
    return np.fft.fftshift(transform(np.fft.ifftshift(array, axes), axes=axes, norm="ortho"), axes)


def images_of(batch: KSpaceBatch) -> np.ndarray:
    return centred(np.fft.ifft2, batch.kspace.numpy())


def batch_of(
    readout: int, phase: int, coils: int = 4, acquired: tuple[int, int] | None = None
) -> KSpaceBatch:
    """Slices of random k-space, of a volume whose maximum is twice that of the first slice."""
    random = np.random.default_rng(readout * phase)
    parts = random.standard_normal((2, len(SEEDS), coils, readout, phase)).astype(np.float32)
    kspace = parts[0] + 1j * parts[1]
    volume = Volume.of_array(Path("cine_sax.mat"), (1, len(SEEDS), coils, readout, phase))
    first, last = acquired or volume.acquired
    kspace[..., :first] = kspace[..., last:] = 0
    volume = replace(volume, acquired=(first, last), crop=(readout - 2, phase - 4))
    rss = np.sqrt((abs(centred(np.fft.ifft2, kspace[0])) ** 2).sum(0))[1:-1, 2:-2]
    volume = replace(volume, maximum=2 * float(rss.max()))
    return KSpaceBatch.collate(
        [KSpaceSample(torch.from_numpy(kspace[n]), None, volume, n, 0) for n in range(len(SEEDS))]
    )


def targets(images: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    rss = np.sqrt((abs(images) ** 2).sum(1))
    top, left = ((size - part) // 2 for size, part in zip(rss.shape[1:], crop, strict=True))
    return rss[:, top : top + crop[0], left : left + crop[1]]


@pytest.mark.parametrize("readout, phase", [(12, 16), (13, 17), (12, 17)])
def test_flipped_k_space_is_that_of_the_flipped_images(readout, phase):
    before = batch_of(readout, phase, acquired=(2, phase - 5))
    found = set()
    for epoch in ("", "1/"):
        after = Augmentation(flips=True)(before, [f"{epoch}{seed}" for seed in SEEDS])
        for n, (image, flipped) in enumerate(zip(images_of(before), images_of(after), strict=True)):
            ways = {(a, b): image[:, :: 1 - 2 * a, :: 1 - 2 * b] for a in (0, 1) for b in (0, 1)}
            (way,) = [way for way, expected in ways.items() if np.allclose(flipped, expected, atol=1e-5)]
            found.add(way)
            # no more is acquired than there is, and it lies where its mirror image does
            filled = (abs(after.kspace[n].numpy()) > 1e-4).any((0, 1))
            assert np.array_equal(after.mask[n, 0, 0].numpy(), filled) and filled.sum() == phase - 7
        assert torch.allclose(after.data_range, before.data_range)
    assert len(found) == 4


@pytest.mark.parametrize("readout, phase", [(12, 16), (13, 16)])
def test_axes_are_exchanged_for_a_whole_batch_or_not_at_all(readout, phase):
    before = batch_of(readout, phase)
    ways = [Augmentation(transposition=True)(before, SEEDS[n:] + SEEDS[:n]) for n in range(len(SEEDS))]
    exchanged = [way for way in ways if way.kspace.shape[-2:] == (phase, readout)]
    assert 0 < len(exchanged) < len(ways)
    after = exchanged[0]
    assert np.allclose(images_of(after), images_of(before).swapaxes(-1, -2), atol=1e-5)
    assert after.crop == (phase - 4, readout - 2) and after.mask.shape == (len(SEEDS), 1, 1, readout)
    assert after.mask.all() and after.target.shape[1:] == after.crop
    kept = next(way for way in ways if way.kspace.shape == before.kspace.shape)
    assert torch.allclose(kept.kspace, before.kspace, atol=1e-5) and kept.crop == before.crop


def test_a_crop_is_a_piece_of_the_images():
    before = batch_of(48, 60, coils=2, acquired=(6, 54))
    after = Augmentation(crop=(0.7, 0.9))(before, SEEDS)
    rows, columns = after.kspace.shape[-2:]
    assert 0.7 * 48 - 0.5 <= rows <= 0.9 * 48 + 0.5 and 0.7 * 60 - 0.5 <= columns <= 0.9 * 60 + 0.5
    whole, part = images_of(before), images_of(after)
    pieces = np.lib.stride_tricks.sliding_window_view(whole, (rows, columns), axis=(-2, -1))
    same = [
        (top, left)
        for top, left in np.ndindex(pieces.shape[2:4])
        if np.allclose(pieces[:, :, top, left], part, atol=1e-5)
    ]
    assert len(same) == 1 and same != [((48 - rows) // 2, (60 - columns) // 2)]
    assert after.crop == (min(46, rows), min(56, columns))
    # the acquired part of k-space is as wide as it was
    lines = after.mask[0, 0, 0].nonzero().flatten()
    reach = (np.array([lines[0], lines[-1]]) - columns // 2) / columns
    assert np.allclose(reach, [(6 - 30) / 60, (53 - 30) / 60], atol=1 / columns)


def test_the_first_line_of_a_crop_is_not_taken_for_the_last():
    """Of 41 lines 38 are kept, whose first lies half a line outside: -1, as floats round it."""
    after = Augmentation(crop=(38 / 41, 38 / 41))(batch_of(40, 41, coils=1, acquired=(0, 30)), SEEDS)
    lines = after.mask[0, 0, 0]
    assert len(lines) == 38 and lines[0] and not lines[-1]


def test_crops_leave_small_matrices_alone():
    after = Augmentation(crop=(0.1, 0.1))(batch_of(24, 40), SEEDS)
    assert after.kspace.shape[-2:] == (24, 32)


def test_a_subset_of_coils_is_drawn_for_each_slice():
    before = batch_of(12, 16, coils=6)
    after = Augmentation(coil_subset=(3, 3))(before, SEEDS)
    subsets = []
    for images, kept in zip(images_of(before), images_of(after), strict=True):
        places = [[c for c in range(6) if np.allclose(images[c], image, atol=1e-5)] for image in kept]
        assert all(len(place) == 1 for place in places)
        subsets.append(tuple(sorted(place[0] for place in places)))
    assert all(len(set(subset)) == 3 for subset in subsets) and len(set(subsets)) > 3
    numbers = {
        Augmentation(coil_subset=(2, 99))(before, SEEDS[n:] + SEEDS[:n]).kspace.shape[1]
        for n in range(len(SEEDS))
    }
    assert len(numbers) > 2 and min(numbers) >= 2 and max(numbers) <= 6
    assert Augmentation(coil_subset=(8, 9))(before, SEEDS).kspace.shape[1] == 6


def test_compressed_coils_hold_the_largest_singular_values():
    images = batch_of(12, 16, coils=6).kspace
    assert torch.allclose(
        compress_coils(images, 6).abs().square().sum(1), images.abs().square().sum(1), rtol=1e-4
    )
    for number in (1, 4):
        virtual = compress_coils(images, number)
        values = np.linalg.svd(images.flatten(2).numpy(), compute_uv=False)[:, :number]
        assert virtual.shape == (len(SEEDS), number, 12, 16) and virtual.dtype == torch.complex64
        energy = virtual.abs().square().sum((1, 2, 3)).numpy()
        assert np.allclose(energy, (values**2).sum(1), rtol=1e-5)
    after = Augmentation(virtual_coils=(2, 2))(batch_of(12, 16, coils=6), SEEDS)
    assert after.kspace.shape[1] == 2
    expected = compress_coils(torch.from_numpy(images_of(batch_of(12, 16, coils=6))), 2)
    assert np.allclose(targets(expected.numpy(), after.crop), after.target.numpy(), atol=1e-4)


def test_contrast_is_a_curve_that_all_coils_share():
    before = batch_of(12, 16)
    after = Augmentation(contrast=(0.25, 4))(before, SEEDS)
    factors = []
    for old, new in zip(images_of(before), images_of(after), strict=True):
        gain = new / old
        assert np.allclose(gain, gain[:1].real, atol=1e-3), "one positive map for all coils"
        old_rss, new_rss = (np.sqrt((abs(each) ** 2).sum(0)) for each in (old, new))
        m, bent = old_rss / old_rss.max(), new_rss / old_rss.max()
        assert bent.max() == pytest.approx(1, rel=1e-4)
        order = m.argsort(axis=None)
        assert (np.diff(bent.flatten()[order]) > -1e-5).all()
        # solved for b, every pixel below the maximum says the same
        darker = m < 0.9
        b = (bent * (1 - m))[darker] / (m * (1 - bent))[darker]
        factors.append(np.median(b))
        assert np.allclose(b, factors[-1], rtol=1e-3)
    assert 0.25 <= min(factors) < 0.8 and 1.25 < max(factors) <= 4


def test_noise_has_the_level_that_is_drawn_and_spares_padding():
    before = batch_of(64, 64, acquired=(8, 60))
    after = Augmentation(noise=(0.02, 0.02))(before, SEEDS)
    noise = (after.kspace - before.kspace).numpy()
    assert abs(noise[..., :8]).max() < 1e-5 and abs(noise[..., 60:]).max() < 1e-5
    largest = np.sqrt((abs(images_of(before)) ** 2).sum(1)).max((1, 2))
    for part in (noise.real, noise.imag):
        assert np.allclose(part[..., 8:60].std((1, 2, 3)) / largest, 0.02, rtol=0.02)
    assert abs(np.corrcoef(noise[0, 0, :, 8:60].real.ravel(), noise[1, 0, :, 8:60].real.ravel())[0, 1]) < 0.1
    levels = (Augmentation(noise=(0.001, 0.1))(before, SEEDS).kspace - before.kspace).numpy()
    levels = levels[..., 8:60].real.std((1, 2, 3)) / largest
    assert levels.max() / levels.min() > 3


def test_target_and_data_range_are_those_of_the_augmented_slices():
    everything = Augmentation((0.5, 2), (3, 4), (2, 3), True, True, (0.8, 1), (0.001, 0.02))
    before = batch_of(40, 48)
    stored = replace(before, target=torch.from_numpy(targets(images_of(before), before.crop)))
    for batch in (before, stored):
        after = everything(batch, SEEDS)
        expected = targets(images_of(after), after.crop)
        assert np.allclose(after.target.numpy(), expected, rtol=1e-4, atol=1e-4)
        old = targets(images_of(before), before.crop).max((1, 2))
        ratio = before.data_range.numpy() / old
        assert ratio[0] == pytest.approx(2, rel=1e-5)
        assert np.allclose(after.data_range.numpy(), ratio * expected.max((1, 2)), rtol=1e-4)


def test_the_same_seeds_draw_the_same_and_others_others():
    everything = Augmentation((0.5, 2), None, None, True, False, None, (0.001, 0.02))
    first, again = (everything(batch_of(12, 16), SEEDS).kspace for _ in range(2))
    other = everything(batch_of(12, 16), [f"1{seed}" for seed in SEEDS]).kspace
    assert first.equal(again) and not any(torch.allclose(a, b) for a, b in zip(first, other, strict=True))
    alone = everything(batch_of(12, 16)[2:3], SEEDS[2:3]).kspace
    assert torch.allclose(alone, first[2:3], atol=1e-5), "each slice is changed as it is alone"


def test_undersampled_slices_stay():
    batch = replace(batch_of(12, 16), fully_sampled=False)
    assert Augmentation(flips=True)(batch, SEEDS) is batch


def prepared(training: bool, augmentation: Augmentation | None = None, epoch: int = 0) -> KSpaceBatch:
    data = CMRxReconData("anywhere", sampling=RandomSampling(2, 0.2), augmentation=augmentation)
    data.trainer = SimpleNamespace(training=training, current_epoch=epoch)
    return data.on_after_batch_transfer(batch_of(12, 16), 0)


def test_slices_are_augmented_in_training_alone_and_anew_in_every_epoch():
    brighter = Augmentation(contrast=(0.25, 4))
    assert prepared(False, brighter).kspace.equal(prepared(False).kspace)
    first, second = (prepared(True, brighter, epoch) for epoch in (0, 1))
    assert not torch.allclose(first.target, second.target) and first.target.equal(
        prepared(True, brighter).target
    )
    plain = prepared(True)
    assert plain.mask.equal(first.mask) and not torch.allclose(plain.target, first.target)
    assert (first.kspace * ~first.mask == 0).all()


def test_sizes_enclose_what_is_drawn():
    augmentation = Augmentation(coil_subset=(2, 5), virtual_coils=(3, 9), transposition=True, crop=(0.6, 0.9))
    sizes = np.array(list(augmentation.sizes(6, 48, 60)))
    for n in range(len(SEEDS)):
        after = augmentation(batch_of(48, 60, coils=6), SEEDS[n:] + SEEDS[:n]).kspace.shape[1:]
        assert (sizes.min(0) <= after).all() and (after <= sizes.max(0)).all()
    assert list(Augmentation(flips=True).sizes(6, 48, 60)) == [(6, 48, 60)]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"contrast": (0, 2)}, r"augmentation.contrast \[0, 2\]: give the least and the greatest, above 0"),
        ({"noise": (0.1, 0.01)}, "augmentation.noise"),
        ({"noise": (0.1, float("inf"))}, "augmentation.noise"),
        ({"crop": (0.5, 1.5)}, "augmentation.crop .* at most 1"),
        ({"coil_subset": (0, 4)}, "augmentation.coil_subset"),
        ({"virtual_coils": (4,)}, "augmentation.virtual_coils"),
    ],
)
def test_ranges_that_cannot_be_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Augmentation(**options)


def test_masks_that_a_cropped_slice_could_not_have_are_refused_before_training(synthetic):
    crops = {"augmentation": Augmentation(crop=(0.5, 1)), "split": (0.5, 0.25, 0.25), "num_workers": 0}
    wide = CMRxReconData(synthetic, sampling=EquispacedSampling(8, 0.12), **crops)
    wide.serve("fit", [])
    with pytest.raises(InputError, match="leave no line for acceleration 8"):
        wide.setup()
    varied = CMRxReconData(synthetic, sampling=VariedSampling((2, 8), (0.12, 0.12)), **crops)
    varied.serve("fit", [])
    varied.setup()
    assert varied.facts()["augmentation"] == {"crop": (0.5, 1)}


def test_contrast_leaves_lines_empty_that_were_not_acquired():
    before = batch_of(32, 36, acquired=(4, 29))
    after = Augmentation(contrast=(0.25, 4))(before, SEEDS)
    empty = ~before.mask.expand_as(before.kspace)
    assert after.kspace[empty].abs().max() < 1e-5 and after.mask.equal(before.mask)
    assert not torch.allclose(after.kspace, before.kspace, atol=1e-2)
    assert np.allclose(after.target.numpy(), targets(images_of(after), after.crop), atol=1e-4)


@pytest.mark.parametrize("kept", [1, 3])
def test_silent_coils_are_kept_only_where_there_are_too_few_others(kept):
    before = batch_of(12, 16, coils=6)
    silent = replace(before, kspace=before.kspace.clone())
    silent.kspace[:, :4] = 0
    silent.kspace[:, 1] = 1e-8 * before.kspace[:, 1]  # what rounding leaves
    for n in range(len(SEEDS)):
        after = Augmentation(coil_subset=(kept, kept))(silent, SEEDS[n:] + SEEDS[:n])
        loud = (after.kspace.abs().amax((-2, -1)) > 1e-3).sum(1)
        assert after.kspace.shape[1] == kept and (loud == min(kept, 2)).all()
        assert after.target.isfinite().all() and after.data_range.isfinite().all()


def test_a_crop_is_never_air_alone():
    """An object in one corner, of which most pieces of this size show nothing."""
    images = np.zeros((len(SEEDS), 2, 96, 96), np.complex64)
    images[..., 10:26, 70:86] = 1
    kspace = torch.from_numpy(centred(np.fft.fft2, images).astype(np.complex64))
    before = replace(
        batch_of(96, 96, coils=2), kspace=kspace, crop=(96, 96), data_range=torch.full((8,), 1.0)
    )
    places = set()
    for n in range(40):
        after = Augmentation(crop=(0.34, 0.36))(before, [f"{n}/{seed}" for seed in SEEDS])
        size = after.kspace.shape[-2] * after.kspace.shape[-1]
        energy = after.target.square().sum((-2, -1)) / size
        assert (energy > 0.49 * before.kspace.abs().square().sum((1, 2, 3)) / 96**2).all()
        places.add(int(after.target[0].sum()))
    assert len(places) > 10, "at any such place"
    far = replace(before, crop=(4, 4))  # of the middle of each piece
    assert Augmentation(crop=(0.34, 0.36))(far, SEEDS).target.amax() > 0.9


def test_slices_whose_stored_target_is_zero_keep_a_range_that_is_a_number():
    before = batch_of(12, 16)
    stored = replace(before, target=torch.zeros(len(SEEDS), *before.crop))
    after = Augmentation(flips=True)(stored, SEEDS)
    assert torch.allclose(after.data_range, before.data_range) and after.target.amax((-2, -1)).min() > 0
