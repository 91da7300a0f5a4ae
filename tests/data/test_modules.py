"""Data modules: which pattern and which seed they undersample with."""

from pathlib import Path

import pytest

from fm_unroll.data import CMRxReconData, FastMRIBrainData, FastMRIKneeData
from fm_unroll.errors import InputError
from fm_unroll.physics import EquispacedSampling, RandomSampling, UniformSampling


@pytest.mark.parametrize(
    "kind, options, expected",
    [
        (CMRxReconData, {}, UniformSampling(8, 24)),
        (CMRxReconData, {"acceleration": 4, "acs_lines": 8}, UniformSampling(4, 8)),
        (CMRxReconData, {"sampling": RandomSampling(10, 0.08)}, RandomSampling(10, 0.08)),
        (CMRxReconData, {"sampling": RandomSampling(10, 0.08), "acceleration": 4}, RandomSampling(4, 0.08)),
        (FastMRIKneeData, {}, EquispacedSampling(8, 0.04)),
        (FastMRIBrainData, {"center_fraction": 0.08}, EquispacedSampling(8, 0.08)),
        (FastMRIKneeData, {"sampling": RandomSampling(4)}, RandomSampling(4, 0.08)),
        (FastMRIKneeData, {"sampling": RandomSampling(4), "center_fraction": 0.1}, RandomSampling(4, 0.1)),
    ],
)
def test_a_value_beside_a_pattern_replaces_that_value_of_it(kind, options, expected):
    assert kind("anywhere", **options).sampling == expected


def test_a_value_that_the_pattern_does_not_have_is_refused():
    with pytest.raises(InputError, match="24 ACS lines: RandomSampling needs a center fraction"):
        CMRxReconData("anywhere", sampling=RandomSampling(4, 0.08), acs_lines=24)


def test_a_given_pattern_makes_the_masks(synthetic: Path):
    pattern = RandomSampling(2, 0.2)
    data = CMRxReconData(synthetic, sampling=pattern, split=(0, 0, 1), batch_size=2, num_workers=0)
    data.setup()
    for full in data.test_dataloader():
        batch = data.on_after_batch_transfer(full, 0)
        mask = pattern(full.kspace.shape[-1], full.volume[0])
        assert batch.mask[0].flatten().equal(mask.lines) and batch.num_acs == mask.num_acs
        assert batch.acceleration == 2 and batch.true_acceleration[0] == mask.true_acceleration


def test_the_seed_is_given_and_not_found_in_the_environment(synthetic: Path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    orders = []
    for seed in (0, 3, 3):
        data = CMRxReconData(synthetic, seed=seed, split=(1, 0, 0), num_workers=0)
        data.setup()
        orders.append(list(data.train_dataloader().batch_sampler))
    assert CMRxReconData(synthetic).seed == 0
    assert orders[0] != orders[1] == orders[2]
