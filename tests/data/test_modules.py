"""Data modules: which pattern and which seed they undersample with."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest
import torch

from fm_unroll.data import CMRxReconData, FastMRIBrainData, FastMRIKneeData
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.physics import EquispacedSampling, RandomSampling, UniformSampling
from simulate import write_cmrxrecon


@pytest.mark.parametrize(
    "kind, options, expected",
    [
        (CMRxReconData, {}, UniformSampling(8, 24)),
        (CMRxReconData, {"acceleration": 4, "acs_lines": 8}, UniformSampling(4, 8)),
        (CMRxReconData, {"acs_lines": 0}, UniformSampling(8, 0)),
        (FastMRIKneeData, {"center_fraction": 0.0}, EquispacedSampling(8, 0.0)),
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
        assert batch.acceleration == [2] * len(batch)
        assert batch.true_acceleration[0] == mask.true_acceleration


def test_the_seed_is_given_and_not_found_in_the_environment(synthetic: Path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    orders = []
    for seed in (0, 3, 3):
        data = CMRxReconData(synthetic, seed=seed, split=(1, 0, 0), num_workers=0)
        data.setup()
        orders.append(list(data.train_dataloader().batch_sampler))
    assert CMRxReconData(synthetic).seed == 0
    assert orders[0] != orders[1] == orders[2]


def sample(name: str = "P001/cine_sax", slice_: int = 0, frame: int = 0) -> KSpaceSample:
    volume = replace(Volume.of_array(Path("cine_sax.mat"), (2, 2, 1, 4, 64)), name=name)
    return KSpaceSample(torch.ones(1, 4, 64, dtype=torch.complex64), None, volume, slice_, frame)


def drawn_masks(
    samples: list[KSpaceSample], seed: int = 0, epoch: int = 0, training: bool = True
) -> list[tuple[bool, ...]]:
    """The lines that each slice of a batch is masked with, at a step of a run."""
    data = CMRxReconData("anywhere", sampling=RandomSampling(4, 0.08), seed=seed)
    data.trainer = SimpleNamespace(training=training, current_epoch=epoch)
    masked = data.on_after_batch_transfer(KSpaceBatch.collate(samples), 0)
    return [tuple(lines) for lines in masked.mask.flatten(1).tolist()]


def drawn_mask(seed: int = 0, epoch: int = 0, training: bool = True, **place: object) -> tuple[bool, ...]:
    """The lines that a slice is masked with, alone in its batch."""
    (mask,) = drawn_masks([sample(**place)], seed, epoch, training)
    return mask


def test_in_training_seed_epoch_volume_slice_and_frame_each_draw_another_mask():
    steps = [{}, {"seed": 1}, {"epoch": 1}, {"name": "P002/cine_sax"}, {"slice_": 1}, {"frame": 1}]
    masks = [drawn_mask(**step) for step in steps]
    assert len(set(masks)) == len(steps)
    assert masks == [drawn_mask(**step) for step in steps]


def test_in_validation_the_name_of_the_volume_alone_draws_the_mask():
    steps = [{}, {"seed": 1}, {"epoch": 1}, {"slice_": 1}, {"frame": 1}]
    masks = {drawn_mask(**step, training=False) for step in steps}
    assert masks == {tuple(RandomSampling(4, 0.08)(64, "P001/cine_sax").lines.tolist())}
    assert drawn_mask(name="P002/cine_sax", training=False) not in masks


@pytest.mark.parametrize(
    "kind, folder, words",
    [
        (FastMRIBrainData, "knee", r"a knee scan \(CORPD.*: use FastMRIKneeData"),
        (FastMRIKneeData, "brain", r"a brain scan \(AX.*is for knee scans: use FastMRIBrain"),
    ],
)
def test_scans_of_another_anatomy_than_the_module_s_are_refused_by_name(kind, folder, words, synthetic):
    first = min((synthetic / folder / "multicoil_val").glob("*.h5"))
    with pytest.raises(InputError, match=f"^{first}: {words}"):
        kind(synthetic / folder, num_workers=0).prepare_data()


def test_a_file_that_does_not_say_its_anatomy_is_taken(synthetic, tmp_path):
    scan = shutil.copy(min((synthetic / "knee/multicoil_val").glob("*.h5")), tmp_path)
    with h5py.File(scan, "a") as file:
        file.attrs["acquisition"] = "mine"
    data = FastMRIBrainData(tmp_path, num_workers=0)
    data.setup()
    assert [volume.contrast for volume in data.index.volumes] == ["mine"]


@pytest.mark.parametrize("training, different", [(True, 4), (False, 2)])
def test_in_a_batch_each_slice_has_the_mask_that_it_has_alone(training, different):
    places = [{}, {"name": "P002/cine_sax"}, {"slice_": 1}, {"frame": 1}]
    masks = drawn_masks([sample(**place) for place in places], training=training)
    assert masks == [drawn_mask(**place, training=training) for place in places]
    assert len(set(masks)) == different


def test_hearts_are_split_as_the_paper_states():
    assert CMRxReconData("anywhere").splitting.default == CMRxReconData.default_split == (0.7, 0.1, 0.2)


def test_what_is_left_out_missing_or_not_asked_for_is_said_once(tmp_path: Path):
    for subject in ("P001", "P002"):
        for contrast in ("cine_sax", "cine_lax", "T2map"):
            write_cmrxrecon(tmp_path, subject, contrast)
    write_cmrxrecon(tmp_path, "P001", "T1map")
    write_cmrxrecon(tmp_path, "P001", "cine_lvot")
    write_cmrxrecon(tmp_path, "p003", "cine_sax")
    data = CMRxReconData(tmp_path, split=(0, 0, 1), num_workers=0)
    with pytest.warns(UserWarning) as caught:
        data.prepare_data()
        data.setup()
        data.setup()
    said = [str(warning.message) for warning in caught if str(tmp_path) in str(warning.message)]
    assert said[0] == f"{tmp_path}: not asked for: cine_lvot; add them to `contrasts`"
    path = tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / "p003" / "cine_sax.mat"
    assert said[1].startswith(f"left out: {path}: looks like a scan of CMRxRecon, but not ")
    assert [str(warning.message) for warning in caught if str(warning.message).startswith("missing")] == [
        "missing: P002/T1map"
    ]
    assert len(said) == 2


@pytest.mark.parametrize("share", [1, 0.5, 0.75])
def test_a_cropped_readout_is_less_oversampled(share, synthetic: Path):
    options = {} if share == 1 else {"readout_crop": share}
    whole, data = (CMRxReconData(synthetic, num_workers=0, **given) for given in ({}, options))
    whole.setup()
    data.setup()
    assert data.reader.readout_crop == share and data.readout_oversampling == 2 * share
    before = {volume.name: volume.readout for volume in whole.index.volumes}
    assert {v.name: v.readout for v in data.index.volumes} == {
        name: round(share * readout) for name, readout in before.items()
    }
    assert FastMRIKneeData(synthetic / "knee").readout_oversampling == 1


@pytest.mark.parametrize(
    "part", [{"subset": "ValidationSet"}, {"subset": "TestSet"}, {"acquisition": "AccFactor08"}]
)
def test_of_the_challenge_s_other_parts_all_are_test_subjects(part):
    assert CMRxReconData("anywhere", **part).splitting.default == (0, 0, 1)


def folders_of(root: Path, synthetic: Path) -> Path:
    """Knees of one scan in each of fastMRI's folders."""
    scan = min((synthetic / "knee" / "multicoil_val").glob("*.h5"))
    for number, folder in enumerate(("multicoil_train", "multicoil_val", "multicoil_test_full")):
        (root / folder).mkdir(exist_ok=True, parents=True)
        copy = shutil.copy(scan, root / folder / f"file{number}.h5")
        with h5py.File(copy, "a") as file:
            file.attrs["patient_id"] = f"patient{number}"
    return root


def test_the_folders_of_fastmri_are_its_own_split(synthetic, tmp_path):
    root = folders_of(tmp_path, synthetic)
    data = FastMRIKneeData(root, published_split=True, num_workers=0)
    data.setup()
    parts = {"train": ("patient0",), "val": ("patient1",), "test": ("patient2",)}
    assert data.subjects == parts
    assert [volume.path for volume in data.volumes("train")] == ["multicoil_train/file0.h5"]
    with pytest.raises(
        InputError, match=r"data\.published_split is the data set's own: leave out data\.split"
    ):
        FastMRIKneeData(root, published_split=True, split_seed=1, num_workers=0).setup()
    with pytest.raises(InputError, match=r"file0\.h5: published_split needs it in multicoil_train or"):
        FastMRIKneeData(root / "multicoil_train", published_split=True, num_workers=0).setup()
    part = FastMRIKneeData(folders_of(tmp_path / "part", synthetic), published_split=True, num_workers=0)
    shutil.rmtree(part.root / "multicoil_train")
    part.serve("fit", ())
    with pytest.raises(
        InputError, match=r"no training subjects .* published_split they are the files of multicoil_train"
    ):
        part.setup()
    shutil.copy(root / "multicoil_train/file0.h5", root / "multicoil_val/file9.h5")
    with pytest.raises(InputError, match="subject patient0 is in multicoil_train and in multicoil_val"):
        FastMRIKneeData(root, published_split=True, num_workers=0).setup()
