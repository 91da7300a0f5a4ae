"""What takes part in an evaluation, from files that hold facts and no tensors."""

import hashlib
import math
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fm_unroll.errors import InputError
from fm_unroll.evaluation import entrants
from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.protocol import Protocol, applies, outside_of_general, why_nothing
from fm_unroll.evaluation.scoring import Condition
from fm_unroll.models.classical import ZeroFilled
from fm_unroll.physics import Center, EquispacedSampling
from fm_unroll.provenance import source_sha256
from fm_unroll.subjects.population import Population

SAMPLING = {"class_path": "UniformSampling", "init_args": {"acceleration": 4, "acs_lines": 24}}
AT_EIGHT = {"acceleration": 8, "acs_lines": 24}
CONTENT = {
    "epoch": 4,
    "hyper_parameters": {"method": "clip", "weights": "/here/clip.pt", "learning_rate": 1e-3},
    "state_dict": {},
    "fm_unroll": {
        "encoder": {"name": "clip", "sha256": "0123", "weights": "file:clip.pt"},
        "anatomy": "cardiac",
        "synthetic": True,
        "acceleration": 4.0,
        "sampling": SAMPLING,
        "subjects": {"train": ["P001", "P002"], "val": ["P003"], "test": ["P004"]},
        "seed": 0,
    },
}


def checkpoint(path: Path, part: str = "fm_unroll", **changed: object) -> Path:
    """A checkpoint in which some entries of one part are replaced."""
    content = deepcopy(CONTENT)
    content[part].update(changed)
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("part", "changed", "same"),
    [
        ("hyper_parameters", {"weights": "/there/clip.pt"}, True),
        ("fm_unroll", {"seed": 1}, True),
        ("fm_unroll", {"subjects": {"train": ["P002", "P001"], "val": ["P003"], "test": []}}, True),
        ("hyper_parameters", {"compile": True, "checkpoint_cascades": "all"}, True),
        (
            "fm_unroll",
            {"acceleration": 8.0, "sampling": SAMPLING | {"init_args": {"acceleration": 8, "acs_lines": 24}}},
            True,
        ),
        ("hyper_parameters", {"physics": "paper"}, True),
        ("hyper_parameters", {"unet_from": None}, True),
        ("hyper_parameters", {"unet_from": "seed0/best.ckpt"}, False),
        ("hyper_parameters", {"learning_rate": 1e-4}, False),
        ("fm_unroll", {"recipe": {"max_epochs": 5}}, False),
        ("fm_unroll", {"contrasts": ["cine_sax"]}, False),
        ("fm_unroll", {"readout_crop": 1.0}, True),
        ("fm_unroll", {"readout_crop": 0.5}, False),
        ("fm_unroll", {"subjects": {"train": ["P001"], "val": ["P003"], "test": ["P004"]}}, False),
        ("fm_unroll", {"subjects": {"train": ["P001", "P002"], "val": ["P004"], "test": []}}, False),
        ("fm_unroll", {"population": vars(Population("CMRxRecon", "2024", "TrainingSet"))}, False),
        (
            "fm_unroll",
            {"sampling": {"class_path": "UniformSampling", "init_args": {"acceleration": 4, "acs_lines": 8}}},
            False,
        ),
    ],
)
def test_what_makes_another_training(tmp_path, part, changed, same):
    first = entrants.trained(checkpoint(tmp_path / "first.ckpt"))
    other = entrants.trained(checkpoint(tmp_path / "other.ckpt", part, **changed))
    assert other.arm == first.arm
    alike = (other.training_data == first.training_data, other.hyper_parameters == first.hyper_parameters)
    assert alike.count(False) == (not same)
    assert same or alike[0] is (part == "hyper_parameters" or "recipe" in changed)


def test_another_physics_is_another_arm_and_the_rest_may_be_the_same(tmp_path):
    paper = entrants.trained(checkpoint(tmp_path / "paper.ckpt", "hyper_parameters", physics="paper"))
    silent = entrants.trained(checkpoint(tmp_path / "silent.ckpt"))
    solver = {"physics": "anchored", "start": "cg_sense", "solver_steps": 3}
    anchored, other_loss = (
        entrants.trained(checkpoint(tmp_path / f"{number}.ckpt", "hyper_parameters", **solver, **more))
        for number, more in enumerate(({}, {"loss": "ssim_l1"}))
    )
    assert paper.arm == silent.arm and paper.arm.physics == "paper"
    assert anchored.arm == replace(paper.arm, physics="anchored")
    assert silent.hyper_parameters == paper.hyper_parameters != anchored.hyper_parameters
    assert silent.besides_physics == paper.besides_physics == anchored.besides_physics
    assert other_loss.besides_physics != anchored.besides_physics


def test_two_checkpoints_of_one_training_are_no_two_seeds(tmp_path):
    best, last, other, eight, data = (
        entrants.trained(checkpoint(tmp_path / name, **changed))
        for name, changed in (
            ("best.ckpt", {}),
            ("last.ckpt", {"train_loss": [1.0, 2]}),
            ("other_seed.ckpt", {"seed": 1}),
            ("eight.ckpt", {"acceleration": 8.0}),
            ("other_data.ckpt", {"contrasts": ["cine_sax"]}),
        )
    )
    classical = entrants.baseline("zero_filled")
    entrants.refuse_twins([best, other, eight, data, best, classical, classical])
    with pytest.raises(InputError, match=r"best\.ckpt and .*last\.ckpt are both CLIP .* with seed 0"):
        entrants.refuse_twins([best, other, last])


def test_the_hash_of_training_data_of_the_time_before_readouts_were_cropped_stays(tmp_path):
    """Results of that time are found by it."""
    population = {"data_set": "CMRxRecon", "edition": "2024", "subset": "TrainingSet", "synthetic": False}
    path = checkpoint(tmp_path / "best.ckpt", population=population, contrasts=["cine_sax"])
    text = (
        '[["P001", "P002"], ["P003"], {"data_set": "CMRxRecon", "edition": "2024", "subset": "TrainingSet", '
        '"synthetic": false}, ["cine_sax"], "UniformSampling", {"acs_lines": 24}]'
    )
    assert entrants.trained(path).training_data == hashlib.sha256(text.encode()).hexdigest()[:12]


def saved(path: Path, epoch: int, **recipe: object) -> Path:
    """A checkpoint of a run's folder, written after so many epochs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = deepcopy(CONTENT) | {"epoch": epoch - 1}
    content["fm_unroll"]["recipe"] = {"max_epochs": 5, "max_steps": -1, "learning_rate": 1e-3} | recipe
    content["hyper_parameters"]["weights"] = None  # no file that would have to be there
    torch.save(content, path)
    return path


def test_a_saved_epoch_is_of_the_same_training_however_long_the_run_is(tmp_path):
    first, longer, other = (
        entrants.saved_epoch(saved(tmp_path / f"run{number}/epochs/a.ckpt", 2, **recipe))
        for number, recipe in enumerate(({}, {"max_epochs": 9, "max_steps": 70}, {"learning_rate": 1e-4}))
    )
    assert first.hyper_parameters == longer.hyper_parameters != other.hyper_parameters
    whole = [entrants.trained(tmp_path / f"run{number}/epochs/a.ckpt") for number in (0, 1)]
    assert whole[0].hyper_parameters != whole[1].hyper_parameters


def test_a_saved_epoch_knows_the_epoch_that_its_run_chose(tmp_path):
    path = saved(tmp_path / "run/epochs/epoch_001.ckpt", 2)
    saved(tmp_path / "run/epochs/best.ckpt", 9)
    saved(tmp_path / "run/checkpoints/last.ckpt", 8)
    assert math.isnan(entrants.saved_epoch(path).chosen_epoch)
    saved(tmp_path / "run/checkpoints/best.ckpt", 3)
    found = entrants.saved_epoch(path)
    assert (found.epoch, found.chosen_epoch) == (2, 3)
    assert math.isnan(entrants.trained(path).chosen_epoch)


def test_one_training_takes_part_once_or_once_for_each_epoch(tmp_path):
    second, third = (saved(tmp_path / f"epochs/{epoch}.ckpt", epoch) for epoch in (2, 3))
    again = saved(tmp_path / "other/2.ckpt", 2, max_epochs=9)
    once, each = (Protocol([], baselines=(), along_training=way) for way in (False, True))
    with pytest.raises(InputError, match=r"2\.ckpt and .*3\.ckpt are both CLIP .* with seed 0"):
        once.entrants([second, third])
    assert [entrant.epoch for entrant in each.entrants([second, third])] == [2, 3]
    with pytest.raises(InputError, match=r"2\.ckpt and .*2\.ckpt are both CLIP .* with seed 0"):
        each.entrants([second, third, again])


def test_two_checkpoints_of_one_method_have_two_folders(tmp_path):
    pair = [entrants.trained(checkpoint(tmp_path / f"{seed}.ckpt", seed=seed)) for seed in (0, 1)]
    assert pair[0].arm == pair[1].arm
    assert len({entrant.folder for entrant in pair}) == 2
    assert all(entrant.folder.startswith("clip-") for entrant in pair)


def test_u_nets_to_start_from_differ_from_seed_to_seed(tmp_path):
    paths = [
        checkpoint(tmp_path / f"{seed}.ckpt", "hyper_parameters", unet_from=f"seed{seed}/best.ckpt")
        for seed in (0, 1)
    ]
    first, second = map(entrants.trained, paths)
    assert first.hyper_parameters == second.hyper_parameters


def test_an_entrant_of_several_encoders_names_them_all(tmp_path):
    encoders = [
        {"name": "clip", "sha256": "0123", "weights": "pretrained"},
        {"name": "random", "sha256": "4567", "weights": "random"},
    ]
    path = checkpoint(tmp_path / "best.ckpt", encoders=encoders)
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"] |= {"method": "varnet x 2, clip x 1, random x 1", "weights": None}
    del content["fm_unroll"]["encoder"]
    torch.save(content, path)
    entrant = entrants.trained(path)
    assert entrant.arm == Arm("varnet x 2, clip x 1, random x 1", "clip + random", "pretrained + random")
    assert entrant.encoder_sha256 == "0123 + 4567"
    assert entrant.folder.startswith("varnet-x-2-clip-x-1-random-x-1-")


def test_what_several_denoisers_are_made_of_decides_their_images():
    def of(*names: str) -> str:
        return source_sha256(*(f"fm_unroll.models.denoisers.{name}" for name in names))

    assert entrants.settings_hash("mixed", trained=True) == of("mixed", "unet", "foundation")
    assert entrants.settings_hash("varnet x 1, clip x 1", trained=True) == of("unet", "foundation")
    assert entrants.settings_hash("varnet", trained=True) == of("unet")


def test_subjects_of_training_and_of_early_stopping_have_been_seen(tmp_path):
    entrant = entrants.trained(checkpoint(tmp_path / "last.ckpt"))
    roles = {"P001": "training", "P002": "training", "P003": "selection"}
    phantoms = Population("CMRxRecon", "", "TrainingSet", synthetic=True)
    (seen,) = entrant.seen
    assert seen.among(["P001", "P002", "P003", "P004", "P005"], phantoms) == roles
    assert seen.among(["P001"], replace(phantoms, synthetic=False)) == {}


def test_a_checkpoint_that_does_not_say_what_it_was_trained_on_is_refused(tmp_path):
    path = checkpoint(tmp_path / "early.ckpt")
    content = torch.load(path, weights_only=True)
    del content["fm_unroll"]["synthetic"]
    torch.save(content, path)
    with pytest.raises(InputError, match=r"early\.ckpt is of an earlier version.*train again"):
        entrants.trained(path)


def test_a_classical_method_has_a_name_of_its_own(monkeypatch):
    monkeypatch.setattr(entrants, "CLASSICAL", dict(entrants.CLASSICAL))
    entrants.register_classical("mine", ZeroFilled)
    assert isinstance(entrants.baseline("mine").load(), ZeroFilled)
    for name in ("mine", "cg_sense"):
        with pytest.raises(InputError, match=f"'{name}' is registered already"):
            entrants.register_classical(name, ZeroFilled)


VARIED = {
    "class_path": "fm_unroll.physics.varied.VariedSampling",
    "init_args": {"accelerations": [2, 10], "centers": [0.04, 0.1], "patterns": ["UniformSampling"]},
}


def test_a_network_for_a_range_counts_at_every_acceleration_in_it(tmp_path):
    one = entrants.trained(checkpoint(tmp_path / "one.ckpt"))
    whole = entrants.trained(checkpoint(tmp_path / "all.ckpt", acceleration=[2.0, 10.0], sampling=VARIED))
    assert [one.train_acceleration(each) for each in (2, 4, 8)] == [4, 4, 4]
    assert [whole.train_acceleration(each) for each in (1, 2, 5, 10, 16)] == [2, 2, 5, 10, 10]
    assert math.isnan(entrants.baseline("zero_filled").train_acceleration(4))
    assert one.training_data != whole.training_data
    other = VARIED | {"init_args": VARIED["init_args"] | {"accelerations": [2, 8]}}
    narrow = entrants.trained(checkpoint(tmp_path / "narrow.ckpt", acceleration=[2.0, 8.0], sampling=other))
    assert narrow.training_data != whole.training_data
    seeds = [
        entrants.trained(
            checkpoint(tmp_path / f"{n}.ckpt", acceleration=[2.0, 10.0], sampling=VARIED, seed=n)
        )
        for n in (1, 2)
    ]
    assert seeds[0].training_data == whole.training_data
    entrants.refuse_twins([whole, *seeds])


def test_a_network_of_several_data_sets_has_seen_the_subjects_of_each(tmp_path):
    hearts = {**CONTENT["fm_unroll"], "weight": 1, "population": vars(Population("CMRxRecon", "2023"))}
    knees = {
        **hearts,
        "anatomy": "knee",
        "synthetic": False,
        "acceleration": [6.0, 12.0],
        "population": vars(Population("fastMRI", "knee")),
        "subjects": {"train": ["k1"], "val": ["k2"], "test": []},
    }
    rest = {name: CONTENT["fm_unroll"][name] for name in ("encoder", "seed")}

    def of(name: str, *parts: dict) -> entrants.Entrant:
        content = deepcopy(CONTENT) | {"fm_unroll": rest | {"parts": list(parts)}}
        torch.save(content, tmp_path / name)
        return entrants.trained(tmp_path / name)

    both = of("both.ckpt", hearts, knees)
    assert both.train_anatomy == "cardiac+knee" and both.train_accelerations == (4, 12)
    assert not both.trained_on_synthetic
    roles = [
        [seen.role_of(subject, place) for seen in both.seen]
        for subject, place in (
            ("P001", Population("CMRxRecon", "2023")),
            ("k1", Population("fastMRI", "knee")),
            ("k2", Population("fastMRI", "knee")),
            ("k1", Population("CMRxRecon", "2023")),
        )
    ]
    assert roles == [["training", ""], ["", "training"], ["", "selection"], ["", ""]]
    assert of(
        "drawn.ckpt", hearts, knees | {"population": vars(Population("fastMRI", "knee", "", True))}
    ).trained_on_synthetic
    weighted = of("weighted.ckpt", hearts, knees | {"weight": 5})
    assert len({both.training_data, weighted.training_data, of("one.ckpt", hearts).training_data}) == 3


def test_what_is_augmented_is_another_training(tmp_path):
    plain, none, flipped = (
        entrants.trained(checkpoint(tmp_path / f"{n}.ckpt", **changed))
        for n, changed in enumerate(({}, {"augmentation": {}}, {"augmentation": {"flips": True}}))
    )
    assert plain.training_data == none.training_data != flipped.training_data


@pytest.mark.parametrize(
    "name, twice, word",
    [
        ("baselines", ("zero_filled", "wavelet", "zero_filled"), "zero_filled"),
        ("accelerations", (4, 8, 4.0), "4"),
        ("only", ("heart", "heart"), "heart"),
        ("centers", (Center(fraction=0.1), Center(fraction=0.1)), "0.1"),
    ],
)
def test_what_is_named_twice_is_refused_before_anything_is_read(name, twice, word):
    with pytest.raises(InputError, match=rf"^--{name}: {word}(\.0)? is given twice"):
        Protocol([], **{name: twice})


def test_a_copy_of_a_checkpoint_is_no_second_one(tmp_path):
    path = checkpoint(tmp_path / "best.ckpt")
    copy = Path(shutil.copy(path, tmp_path / "copy.ckpt"))
    with pytest.raises(InputError, match=r"best\.ckpt and .*copy\.ckpt are both CLIP .* trained alike"):
        entrants.refuse_twins([entrants.trained(path), entrants.trained(copy)])


def test_the_general_network_says_what_it_is_made_for():
    general = [entrants.baseline("general")]
    (line,) = outside_of_general(general, Protocol([], accelerations=(2, 4, 10, 12, 16)))
    assert line == "general is made for x2 to x10: left out at x12, x16"
    assert not list(outside_of_general(general, Protocol([], accelerations=(2, 10))))
    somewhere = [Condition(None, EquispacedSampling(12, 0.04))]  # test sets make no difference
    assert not applies(general[0], somewhere[0], matched=True)
    assert why_nothing(general, somewhere) == (
        "general is made for x2 to x10; give such --accelerations, or --matched false"
    )
    assert why_nothing([], somewhere) == "give --baselines or --checkpoints"
    assert why_nothing(general, []) == "no test set has these --centers and --accelerations; give others"
