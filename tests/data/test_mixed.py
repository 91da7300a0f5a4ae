"""Several data sets in one training: shares, order, masks, and who was seen."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fm_unroll.data import CMRxReconData, FastMRIKneeData, KSpaceBatch, MixedData
from fm_unroll.data.sampler import EqualShapeBatchSampler, WeightedBatchSampler
from fm_unroll.errors import InputError
from fm_unroll.physics import RandomSampling, UniformSampling, VariedSampling
from fm_unroll.subjects.population import Seen

SPLIT = (0.5, 0.25, 0.25)
KEYS = [(0, "wide")] * 9 + [(0, "narrow")] * 4 + [(1, "wide")] * 31


def mixed(root: Path, weights: list[float] | None = None, **options) -> MixedData:
    """Hearts and knees, each with masks of its own."""
    parts = [
        CMRxReconData(root, split=SPLIT, sampling=UniformSampling(4, 8)),
        FastMRIKneeData(root / "knee", split=(0.5, 0.5, 0), sampling=RandomSampling(2, 0.2)),
    ]
    data = MixedData(parts, weights, **({"num_workers": 0, "batch_size": 2} | options))
    data.prepare_data()
    data.setup()
    return data


def epochs(number: int, **options) -> list[list[list[int]]]:
    sampler = WeightedBatchSampler(KEYS, **({"weights": [1, 2], "batch_size": 2, "seed": 3} | options))
    found = []
    for epoch in range(number):
        sampler.set_epoch(epoch)
        found.append(list(sampler))
        assert len(found[-1]) == len(sampler)
    return found


def set_of(batch: list[int]) -> int:
    (key,) = {KEYS[item] for item in batch}  # one data set and one shape
    return key[0]


@pytest.mark.parametrize("weights, shares", [([1, 2], (8, 15)), ([1, 1], (12, 11)), ([7, 0.5], (21, 2))])
def test_every_epoch_shares_its_batches_out_by_the_weights(weights, shares):
    batches = -(-9 // 2) + 4 // 2 + -(-31 // 2)
    for epoch in epochs(4, weights=weights):
        counts = Counter(map(set_of, epoch))
        assert (counts[0], counts[1]) == shares and len(epoch) == sum(shares) == batches
        exact = batches * weights[0] / sum(weights)
        assert abs(counts[0] - exact) < 1


@pytest.mark.parametrize("weights", [[1, 2], [7, 0.5]])
def test_no_slice_is_given_again_before_all_others_of_its_data_set(weights):
    given = [batch for epoch in epochs(9, weights=weights) for batch in epoch]
    for number in (0, 1):
        items = Counter(item for batch in given if set_of(batch) == number for item in batch)
        all_items = {item for item, key in enumerate(KEYS) if key[0] == number}
        counts = [items[item] for item in all_items]
        assert max(counts) - min(counts) <= 1 and max(counts) >= 1


def test_the_order_is_a_function_of_seed_and_epoch():
    first = epochs(3)
    assert first == epochs(3) and first != epochs(3, seed=4)
    assert first[0] != first[1] != first[2]
    places = [n for n, batch in enumerate(first[0]) if set_of(batch) == 0]
    assert places != list(range(len(places))), "the data sets take turns"
    later = WeightedBatchSampler(KEYS, [1, 2], 2, 3)
    later.set_epoch(2)
    assert list(later) == first[2], "whatever was given before"


@pytest.mark.parametrize("num_replicas", [1, 3])
def test_processes_share_the_epoch_and_go_on_within_it(num_replicas):
    (whole,) = epochs(1)
    samplers = [
        WeightedBatchSampler(KEYS, [1, 2], 2, 3, num_replicas=num_replicas, rank=rank)
        for rank in range(num_replicas)
    ]
    given = [list(sampler) for sampler in samplers]
    assert len({len(each) for each in given}) == 1
    for rank, each in enumerate(given):
        expected = whole[rank::num_replicas]
        assert each[: len(expected)] == expected
    for rank, sampler in enumerate(samplers):
        sampler.resume(0, 2 * num_replicas)
        assert list(sampler) == given[rank][2:]


@pytest.mark.parametrize("weights", [[1, 1000], [1000, 1]])
def test_a_data_set_of_which_an_epoch_would_have_nothing_is_named(weights):
    number = 1 + weights.index(1)
    with pytest.raises(InputError, match=f"an epoch of 23 batches would have none of data set {number}"):
        epochs(1, weights=weights)


def test_without_weights_every_slice_is_given_once(synthetic):
    data = mixed(synthetic)
    loader = data.loader("train", shuffle=True)
    assert type(loader.batch_sampler) is EqualShapeBatchSampler
    items = [item for batch in loader.batch_sampler for item in batch]
    assert (
        sorted(items)
        == list(range(len(loader.dataset)))
        == list(range(sum(v.num_images for v in data.volumes("train"))))
    )
    assert isinstance(
        mixed(synthetic, [1, 1]).loader("train", shuffle=True).batch_sampler, WeightedBatchSampler
    )


def test_validation_is_over_the_slices_of_all_data_sets_with_the_masks_of_each(synthetic):
    data = mixed(synthetic, [1, 5])
    alone = {}
    for number, part in enumerate(data.parts, start=1):
        for full in part.val_dataloader():
            batch = part.on_after_batch_transfer(full, 0)
            for row, key in enumerate(zip(batch.volume, batch.slice, batch.frame, strict=True)):
                alone[(f"{number}/{key[0]}", *key[1:])] = batch[row]
    together = []
    for full in data.val_dataloader():
        batch = data.on_after_batch_transfer(full, 0)
        for row, key in enumerate(zip(batch.volume, batch.slice, batch.frame, strict=True)):
            together.append(key)
            one, other = batch[row], alone[key]
            assert one.kspace.equal(other.kspace) and one.mask.equal(other.mask)
            assert one.target.equal(other.target) and one.data_range.equal(other.data_range)
            assert (one.num_acs, one.acceleration) == (other.num_acs, other.acceleration)
            assert one.subject[0] == f"{key[0][0]}/{other.subject[0]}"
    assert sorted(together) == sorted(alone) and {key[0][0] for key in together} == {"1", "2"}


def test_training_masks_are_those_of_the_data_set_and_change_with_the_epoch(synthetic):
    data = mixed(synthetic, [1, 1])
    lines = []
    for epoch in (0, 1):
        data.trainer = SimpleNamespace(training=True, current_epoch=epoch)
        batches = [data.on_after_batch_transfer(full, 0) for full in data.loader("train")]
        assert {each for batch in batches for each in batch.acceleration} == {4, 2}
        assert all(len({name[0] for name in batch.volume}) == 1 for batch in batches)
        for batch in batches:
            assert set(batch.acceleration) == ({4} if batch.volume[0].startswith("1/") else {2})
        lines.append([batch.mask for batch in batches if batch.volume[0].startswith("2/")])
    assert not all(a.equal(b) for a, b in zip(*lines, strict=True))


def test_settings_of_loaders_stand_in_one_place(synthetic):
    data = mixed(synthetic, batch_size=3, seed=7)
    assert {(part.batch_size, part.num_workers, part.seed) for part in data.parts} == {(3, 0, 7)}
    for name, value in (("batch_size", 4), ("num_workers", 9), ("seed", 5)):
        with pytest.raises(InputError, match=f"data set 1 has its own {name}: give it beside"):
            MixedData([CMRxReconData(synthetic, **{name: value})])
        MixedData([CMRxReconData(synthetic, **{name: value})], **{name: value})  # said twice


@pytest.mark.parametrize("needed", [False, True])
def test_targets_are_needed_of_every_data_set_or_of_none(needed):
    parts = [CMRxReconData("here"), FastMRIKneeData("there")]
    data = MixedData(parts)
    data.needs_targets = needed
    data.serve("fit", [])
    assert [part.needs_targets for part in parts] == [needed, needed]


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")]])
def test_weights_that_cannot_be_are_refused(weights):
    parts = [CMRxReconData("here"), FastMRIKneeData("there")]
    with pytest.raises(InputError, match="give a number above 0 for each of the 2 parts"):
        MixedData(parts, weights)
    with pytest.raises(InputError, match="parts is empty"):
        MixedData([])


def test_a_checkpoint_s_facts_are_those_of_every_data_set(synthetic):
    data = mixed(synthetic, [1, 2])
    facts = data.facts()
    assert [fact.pop("weight") for fact in facts["parts"]] == [1, 2]
    assert facts["parts"] == [part.facts() for part in data.parts]
    assert [fact["anatomy"] for fact in facts["parts"]] == ["cardiac", "knee"]
    assert data.accelerations == (2, 4) and data.readout_crops == [1, 1]
    hearts, knees = Seen.of(facts, "best.ckpt")
    assert hearts.name == "best.ckpt (data set 1)" and knees.population.data_set == "fastMRI"
    for seen, part in ((hearts, data.parts[0]), (knees, data.parts[1])):
        trained_on = part.subjects["train"]
        assert seen.among(trained_on, part.population) == dict.fromkeys(trained_on, "training")
    assert not knees.among(hearts.split.train, data.parts[0].population)
    assert data.splits == {"split_1.json": hearts.split, "split_2.json": knees.split}
    assert data.subjects["val"] == tuple(f"1/{s}" for s in hearts.split.val) + tuple(
        f"2/{s}" for s in knees.split.val
    )


def test_who_is_in_two_data_sets_is_in_the_same_part_of_both(synthetic):
    def both(**other) -> MixedData:
        one = CMRxReconData(synthetic, contrasts=["cine_sax"], split=SPLIT)
        data = MixedData([one, CMRxReconData(synthetic, contrasts=["T1map"], **other)], num_workers=0)
        data.setup()
        return data

    assert both(split=SPLIT).parts[0].subjects == both(split=SPLIT).parts[1].subjects
    with pytest.raises(
        InputError, match=r"is among the \w+ subjects of data set 1 and among others of 2: give both"
    ):
        both(split=SPLIT, split_seed=1)
    both(split=SPLIT, split_seed=1, release="2024")  # other people of the same names


def test_nobody_is_scored_who_was_trained_on_in_any_data_set(synthetic):
    facts = mixed(synthetic).facts()
    for kind, root, trained in ((CMRxReconData, synthetic, 0), (FastMRIKneeData, synthetic / "knee", 1)):
        data = kind(root, num_workers=0)
        data.serve("cross-domain", [Seen.of(facts, "best.ckpt")])
        if trained:
            with pytest.raises(InputError, match="has no test subjects"):
                data.setup()
            continue
        data.setup()
        assert list(data.subjects["test"]) == facts["parts"][trained]["subjects"]["test"]
        asked = kind(root, split=(0, 0, 1), num_workers=0)
        asked.serve("test", [Seen.of(facts, "best.ckpt")])
        with pytest.raises(InputError, match=r"were in 'train' when best\.ckpt .data set 1. was trained"):
            asked.setup()


def test_a_run_goes_on_with_the_splits_of_its_data_sets(synthetic):
    facts = mixed(synthetic).facts()
    parts = [CMRxReconData(synthetic), FastMRIKneeData(synthetic / "knee")]
    again = MixedData(parts, num_workers=0)
    again.serve("fit", [Seen.of(facts, "last.ckpt")])
    again.setup()
    assert again.splits == mixed(synthetic).splits
    with pytest.raises(InputError, match=r"last.ckpt .* was trained on 2 data sets: give the same"):
        MixedData(parts[:1], num_workers=0).serve("fit", [Seen.of(facts, "last.ckpt")])
    for verb in ("predict", "cross-domain"):
        with pytest.raises(InputError, match=f"`{verb}` takes one data set"):
            again.serve(verb, [])


def test_slices_of_a_batch_have_one_centre_also_where_it_is_drawn(synthetic):
    varied = VariedSampling((2, 6), (3, 12))
    data = CMRxReconData(synthetic, sampling=varied, split=(0, 1, 0), batch_size=8, num_workers=0)
    data.setup()
    centres = set()
    for full in data.val_dataloader():
        batch = data.on_after_batch_transfer(full, 0)
        for row, name in enumerate(batch.mask_seed):
            alone = varied(batch.mask.shape[-1], name)
            assert batch.mask[row].flatten().equal(alone.lines) and batch.num_acs == alone.num_acs
            assert batch.acceleration[row] == alone.acceleration
        centres.add(batch.num_acs)
    assert len(centres) > 2
    data.trainer = SimpleNamespace(training=True, current_epoch=0)
    batch = data.on_after_batch_transfer(
        KSpaceBatch.collate([data.loader("val").dataset[n] for n in (0, 1, 2, 3)]), 0
    )
    assert len(set(batch.acceleration)) > 1
    facts = data.facts() if data.volumes("train") else replace_split(data).facts()
    assert facts["acceleration"] == [2, 6]
    low, high = facts["trained_on"]["true_acceleration"]
    assert low < 2 and high > 5 and facts["trained_on"]["acs_lines"] == [3, 12]
    assert torch.isfinite(batch.kspace).all()


def replace_split(data: CMRxReconData) -> CMRxReconData:
    data.division = replace(data.division, train=data.division.val)
    return data
