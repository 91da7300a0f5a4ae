from dataclasses import replace

import numpy as np
import pytest

from fm_unroll.commands.reconstruct import usual
from fm_unroll.data.scan import open_scan
from fm_unroll.physics import EquispacedSampling, RandomSampling, UniformSampling, VariedSampling
from fm_unroll.reconstruction.domain import ScanFacts, choose_sampling, outside_training
from fm_unroll.subjects.population import Population
from simulate import random_kspace

CHECKPOINT = {
    "anatomy": "cardiac",
    "population": {"data_set": "CMRxRecon", "edition": "2023", "subset": "TrainingSet", "synthetic": False},
    "subjects": {"train": ["P001", "P002"], "val": ["P003"], "test": ["P004"]},
    "trained_on": {
        "coils": [10, 10],
        "readout": [384, 512],
        "phase": [116, 246],
        "acs_lines": [24, 24],
        "true_acceleration": [3.47, 4.6],
    },
}
HEARTS = Population("CMRxRecon", "2023", "TrainingSet")
SEEN = ScanFacts(
    "P004", True, HEARTS, "cardiac", coils=10, readout=512, phase=204, acs_lines=24, true_acceleration=4.34
)


def test_a_scan_like_the_training_data_is_not_warned_of():
    assert outside_training(SEEN, CHECKPOINT) == []


@pytest.mark.parametrize(
    "change, words",
    [
        ({"anatomy": "knee"}, "this is a knee scan, the network was trained on cardiac scans"),
        ({"subject": "P002"}, "a subject called P002 was trained on"),
        ({"subject": "P003"}, "a subject called P003 was used for selection"),
        ({"subject": "P002", "population": Population("CMRxRecon")}, "a subject called P002 was trained on"),
        ({"anatomy": None}, "does not say what it shows"),
        ({"subject": "elsewhere", "named": False}, "does not say whose it is: the network may have been"),
        ({"coils": 16}, "16 coils, trained on 10"),
        ({"readout": 640}, "640 readout samples, trained on 384 to 512"),
        ({"phase": 100}, "100 phase lines, trained on 116 to 246"),
        ({"true_acceleration": 6.0}, "true acceleration 6, trained on 3.47 to 4.6"),
        ({"true_acceleration": 2.0}, "true acceleration 2, trained on 3.47 to 4.6"),
        ({"acs_lines": 16}, "16 ACS lines for the sensitivity maps, trained on 24"),
    ],
)
def test_each_difference_is_one_line(change, words):
    (line,) = outside_training(replace(SEEN, **change), CHECKPOINT)
    assert words in line


@pytest.mark.parametrize(
    "population",
    [
        replace(HEARTS, subset="ValidationSet"),
        replace(HEARTS, edition="2024"),
        replace(HEARTS, synthetic=True),
        Population("fastMRI", "knee"),
    ],
)
def test_subjects_of_another_population_may_have_the_same_name(population):
    assert outside_training(replace(SEEN, subject="P001", population=population), CHECKPOINT) == []


def test_nobody_was_scanned_for_drawings():
    """Whoever a nameless file is of, a network that was trained on drawings alone has not seen them."""
    nameless = replace(SEEN, subject="scan", named=False, population=Population("NumPy", synthetic=None))
    drawn = {**CHECKPOINT, "population": {**CHECKPOINT["population"], "synthetic": True}}
    assert outside_training(nameless, drawn) == outside_training(nameless, {"parts": [drawn, drawn]}) == []
    (line,) = outside_training(nameless, {"parts": [drawn, CHECKPOINT]})
    assert "whose it is" in line


@pytest.fixture
def scan(tmp_path):
    np.save(tmp_path / "scan.npy", random_kspace(2, 16, 100))
    return open_scan(tmp_path / "scan.npy", "coil,readout,phase")


def test_another_pattern_keeps_the_acceleration(scan):
    for before in (EquispacedSampling(4, 0.08), UniformSampling(6, 24)):
        assert choose_sampling(scan, before, None, None, RandomSampling()) == RandomSampling(
            before.acceleration
        )
        assert choose_sampling(scan, before, 8, None, RandomSampling()) == RandomSampling(8)
        assert choose_sampling(scan, before, None, None, None) == before
    drawn = choose_sampling(scan, before, None, None, VariedSampling((2, 3)))
    assert drawn == VariedSampling((2, 3)).drawn(100, "scan")


def test_a_network_for_a_range_of_masks_gets_the_default(scan):
    facts = {"anatomy": "knee", "sampling": VariedSampling((2, 10)).to_config()}
    assert usual(scan, facts) == usual(scan, {}) == EquispacedSampling(4, 0.08)
    assert usual(scan, facts | {"sampling": UniformSampling(6, 20).to_config()}) == UniformSampling(6, 20)


def test_more_acs_lines_than_in_training_are_no_problem():
    assert outside_training(replace(SEEN, acs_lines=32), CHECKPOINT) == []


def test_older_checkpoints_say_that_they_do_not_know():
    older = {name: value for name, value in CHECKPOINT.items() if name != "trained_on"}
    (line,) = outside_training(replace(SEEN, coils=99), older)
    assert "does not say which coils" in line


KNEES = {
    "anatomy": "knee",
    "population": {"data_set": "fastMRI", "edition": "knee", "subset": "", "synthetic": False},
    "subjects": {"train": ["k1"], "val": [], "test": []},
    "trained_on": {
        "coils": [15, 15],
        "readout": [640, 640],
        "phase": [320, 400],
        "acs_lines": [13, 32],
        "true_acceleration": [2, 10],
    },
}
BOTH = {"parts": [CHECKPOINT, KNEES]}


@pytest.mark.parametrize(
    "change, words",
    [
        ({}, None),
        ({"anatomy": "brain"}, "this is a brain scan, the network was trained on cardiac and knee scans"),
        ({"anatomy": None}, "the network was trained on cardiac and knee scans"),
        # between the two data sets is in neither
        ({"coils": 12}, "12 coils, trained on 10"),
        ({"true_acceleration": 8.0}, "true acceleration 8, trained on 3.47 to 4.6"),
        ({"subject": "k1"}, None),
        (
            {"subject": "k1", "population": Population("fastMRI", "knee")},
            "a subject called k1 was trained on",
        ),
        ({"subject": "P003"}, "a subject called P003 was used for selection"),
    ],
)
def test_of_several_data_sets_the_most_alike_is_compared(change, words):
    lines = outside_training(replace(SEEN, **change), BOTH)
    assert len(lines) == (words is not None) and all(words in line for line in lines)


def test_pictures_stand_for_any_anatomy():
    pictures = {**KNEES, "anatomy": "pictures", "trained_on": {**KNEES["trained_on"], "coils": [1, 12]}}
    scan = replace(SEEN, coils=13, true_acceleration=4.0)
    assert outside_training(scan, {"parts": [CHECKPOINT, pictures]}) == ["13 coils, trained on 10"]
    pictures["trained_on"] |= {"readout": [96, 640], "phase": [96, 640], "acs_lines": [4, 30]}
    assert outside_training(replace(scan, coils=12), {"parts": [CHECKPOINT, pictures]}) == []


def test_a_knee_is_compared_with_knees():
    knee = ScanFacts("k9", True, Population("fastMRI", "knee"), "knee", 15, 640, 368, 16, 8.0)
    assert outside_training(knee, BOTH) == outside_training(knee, {"parts": [KNEES, CHECKPOINT]}) == []
    assert "this is a knee scan" in outside_training(knee, CHECKPOINT)[0]
