"""Who a subject is: by data set, edition, subset and id, wherever the files lie."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fm_unroll.data import CMRxReconData, FastMRIKneeData, open_scan
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.errors import InputError
from fm_unroll.subjects.population import Population, Seen
from fm_unroll.subjects.split import Split
from simulate import random_kspace, write_fastmri, write_matlab

TRAINING = Population("CMRxRecon", "2023", "TrainingSet")


def write_heart(path: Path, synthetic: bool = False) -> Path:
    write_matlab(path, kspace_full=random_kspace(16, 12, 2, 1, 1))
    with h5py.File(path, "r+") as file:
        file.attrs["synthetic"] = synthetic
    return path


@pytest.mark.parametrize(
    "other, may_be",
    [
        (TRAINING, True),
        (Population("CMRxRecon", "", "TrainingSet"), True),
        (Population("CMRxRecon"), True),
        (Population("CMRxRecon", "2023", "TrainingSet", synthetic=None), True),
        (Population("CMRxRecon", "2023", "ValidationSet"), False),
        (Population("CMRxRecon", "2024", "TrainingSet"), False),
        (Population("CMRxRecon", "2023", "TrainingSet", synthetic=True), False),
        (Population("fastMRI", "knee"), False),
    ],
)
def test_one_id_is_one_person_unless_something_known_tells_them_apart(other, may_be):
    assert TRAINING.may_be(other) is other.may_be(TRAINING) is may_be


def test_what_a_user_states_settles_it():
    stated = Population("CMRxRecon", "2024", "TrainingSet", stated=True)
    assert not Population("CMRxRecon", "", "TrainingSet").may_be(stated)
    assert Population("CMRxRecon", "2024", "TrainingSet").may_be(stated)
    # what was said when a network was trained does not tell what other data are
    assert stated.may_be(Population("CMRxRecon", "", "TrainingSet"))
    assert not stated.may_be(TRAINING)
    # but phantoms are nobody
    drawn = Population("CMRxRecon", "general", "TrainingSet", synthetic=True, stated=True)
    assert not drawn.may_be(replace(drawn, edition="", stated=False))
    assert drawn.may_be(replace(drawn, stated=False))
    assert replace(drawn, stated=False).may_be(replace(drawn, edition="", stated=False))


def test_what_differs_within_a_data_set_is_not_known_of_it():
    knees, brains = Population("fastMRI", "knee"), Population("fastMRI", "brain", synthetic=True)
    assert Population.common([knees, knees]) == knees
    assert Population.common([knees, brains]) == Population("fastMRI", "", synthetic=None)


def test_what_a_subject_was_to_a_network():
    seen = Seen("best.ckpt", TRAINING, Split(("P001",), ("P002",), ("P003",)))
    assert [seen.role_of(f"P00{n}", TRAINING) for n in range(1, 5)] == ["training", "selection", "", ""]
    assert seen.role_of("P001", Population("CMRxRecon", "2023", "TestSet")) == ""


@pytest.mark.parametrize(
    "subjects, binds",
    [(["P001"], True), (["P009", "P002"], True), ({"P003"}, True), ({"P004", "P005"}, False), ([], False)],
    ids=["training", "validation among others", "test", "others", "nobody"],
)
def test_a_network_s_split_binds_where_one_of_its_subjects_is(subjects, binds):
    seen = Seen("best.ckpt", TRAINING, Split(("P001",), ("P002",), ("P003",)))
    assert seen.binds(subjects, TRAINING) is binds
    assert not seen.binds(subjects, Population("CMRxRecon", "2023", "TestSet"))


@pytest.mark.parametrize(
    "folder, beside, expected",
    [
        ("Cine/TrainingSet/FullSample", None, ("", "TrainingSet")),
        ("Cine/ValidationSet/FullSample", None, ("", "ValidationSet")),
        ("Cine/TrainingSet/FullSample", "Cine/ValidationSet/AccFactor04", ("2023", "TrainingSet")),
        ("Cine/TrainingSet/FullSample", "Cine/ValidationSet/UnderSample_Task1", ("2024", "TrainingSet")),
        ("Cine/TrainingSet/FullSample", "Aorta", ("2024", "TrainingSet")),
        ("somewhere", None, ("", "")),
    ],
)
@pytest.mark.parametrize("root", ["data/MultiCoil", "renamed"])
def test_a_heart_s_population_is_told_by_the_folders_of_its_layout(root, folder, beside, expected, tmp_path):
    if beside:
        (tmp_path / root / beside).mkdir(parents=True)
    path = write_heart(tmp_path / root / folder / "P001" / "cine_sax.mat")
    assert open_scan(path).population == Population("CMRxRecon", *expected)


def test_patients_of_fastmri_are_the_same_in_all_folders(tmp_path):
    for folder, contrast, edition in (
        ("multicoil_train", "CORPD_FBK", "knee"),
        ("multicoil_val", "AXT2", "brain"),
        ("elsewhere", "unheard of", ""),
    ):
        path = write_fastmri(tmp_path / folder / "a.h5", attributes={"acquisition": contrast})
        assert open_scan(path).population == Population("fastMRI", edition)


def test_phantoms_say_that_they_are(tmp_path):
    heart = write_heart(tmp_path / "MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat", synthetic=True)
    head = write_fastmri(tmp_path / "multicoil_val" / "a.h5", attributes={"synthetic": True})
    for path in (heart, head):
        assert open_scan(path).population.synthetic is True


def test_of_phantoms_among_patients_and_unknown_scans_among_knees_is_known_what_they_share(tmp_path):
    for number, synthetic in (1, True), (2, False), (3, True):
        folder = tmp_path / f"MultiCoil/Cine/TrainingSet/FullSample/P00{number}"
        write_heart(folder / "cine_sax.mat", synthetic)
    assert divided(tmp_path).population == Population("CMRxRecon", "", "TrainingSet", synthetic=None)
    for number, contrast in enumerate(["CORPD_FBK", "mine", "CORPD_FBK"]):
        write_fastmri(tmp_path / f"{number}.h5", attributes={"acquisition": contrast})
    data = FastMRIKneeData(tmp_path, num_workers=0)
    data.setup()
    assert data.population == Population("fastMRI", "")


def test_the_split_is_of_all_subjects_whatever_contrasts_are_read(tmp_path):
    top = tmp_path / "MultiCoil"
    for number in range(1, 11):
        write_heart(top / f"Cine/TrainingSet/FullSample/P{number:03}/cine_sax.mat")
    for number in (1, 2, 11, 12):
        write_heart(top / f"Mapping/TrainingSet/FullSample/P{number:03}/T1map.mat")
    (top / "Cine/TrainingSet/FullSample/P099").mkdir()
    write_heart(top / "Cine/ValidationSet/FullSample/P050/cine_sax.mat")
    splits = []
    for contrasts in (["cine_sax"], ["T1map"], ["cine_sax", "T1map"]):
        data = CMRxReconData(tmp_path, 2, 4, contrasts=contrasts, num_workers=0)
        data.setup()
        splits.append(data.subjects)
    assert splits[0] == splits[1] == splits[2]
    assert sorted(sum(splits[0].values(), ())) == [f"P{number:03}" for number in range(1, 13)]


def test_all_subjects_of_a_part_are_counted_below_either_root(tmp_path):
    write_heart(tmp_path / "MultiCoil/Mapping/TrainingSet/FullSample/P002/T1map.mat")
    for root in (tmp_path, tmp_path / "MultiCoil"):
        assert CMRxReconReader().subjects(root, []) == {"P002"}
        assert CMRxReconReader(subset="TestSet").subjects(root, []) == set()


def write_undersampled_heart(root: Path, subject: str) -> Path:
    kspace = random_kspace(16, 12, 2, 1, 1)
    kspace[:, 1:4] = 0
    path = root / f"MultiCoil/Cine/TrainingSet/AccFactor04/{subject}/cine_sax.mat"
    return write_matlab(path, kspace_sub04=kspace)


def hearts(root: Path, numbers: range, subset: str = "TrainingSet") -> Path:
    for number in numbers:
        write_heart(root / f"MultiCoil/Cine/{subset}/FullSample/P{number:03}/cine_sax.mat")
    return root


def divided(root: Path, seen: Seen | None = None, verb: str | None = None, **options) -> CMRxReconData:
    options = {"contrasts": ["cine_sax"], "num_workers": 0} | options
    data = CMRxReconData(root, 2, 4, **options)
    data.networks, data.verb = [seen] if seen else [], verb
    data.setup()
    return data


def test_a_network_s_own_split_is_taken_wherever_its_subjects_lie_now(tmp_path):
    first = divided(hearts(tmp_path / "a", range(1, 11)), split=(0.5, 0.2, 0.3), split_seed=7)
    seen = Seen("best.ckpt", first.population, first.division)
    (tmp_path / "a").rename(tmp_path / "moved")
    assert divided(tmp_path / "moved", seen, "test").subjects == first.subjects
    hearts(tmp_path / "moved", range(11, 13))
    with pytest.raises(InputError, match="P011 and P012 came to the data"):
        divided(tmp_path / "moved", seen, "test")
    with pytest.raises(InputError, match="P011 and P012 came to the data"):
        divided(tmp_path / "moved", seen, "fit")


def test_another_subset_or_stated_release_is_not_bound_by_a_network_s_split(tmp_path):
    seen = Seen("best.ckpt", TRAINING, Split(("P001", "P002"), ("P003",), ("P004",)))
    hearts(tmp_path, range(1, 7))
    hearts(tmp_path, range(1, 7), "ValidationSet")
    assert len(divided(tmp_path, seen, "test", subset="ValidationSet").subjects["test"]) == 6
    with pytest.raises(InputError, match="P005 and P006 came to the data"):
        divided(tmp_path, seen, "test")
    assert divided(tmp_path, seen, "test", release="our hospital").subjects["test"]
    of_any_year = Seen("old.ckpt", Population("CMRxRecon", "", "TrainingSet"), seen.split)
    with pytest.raises(InputError, match="P005 and P006 came to the data"):
        divided(tmp_path, of_any_year, "test")
    every = divided(tmp_path, of_any_year, "test", release="2024", split=(0, 0, 1))
    assert len(every.subjects["test"]) == 6
    with pytest.raises(InputError, match="a run goes on with its own data only"):
        divided(tmp_path, seen, "fit", subset="ValidationSet", split=(0.6, 0.2, 0.2))


def test_a_release_that_was_stated_in_training_frees_nobody_afterwards(tmp_path):
    first = divided(hearts(tmp_path, range(1, 7)), release="ours", split=(0.5, 0.2, 0.3))
    seen = Seen("best.ckpt", first.population, first.division)
    assert divided(tmp_path, seen, "test").subjects == first.subjects
    with pytest.raises(InputError, match="now in the part 'test' of the split, were in 'train'"):
        divided(tmp_path, seen, "test", split=(0, 0, 1))
    assert len(divided(tmp_path, seen, "test", release="theirs", split=(0, 0, 1)).subjects["test"]) == 6


@pytest.mark.parametrize("verb", ["validate", "test", "cross-domain"])
def test_files_that_do_not_say_whose_they_are_may_be_of_training_subjects(verb, tmp_path):
    named, nameless = tmp_path / "named", tmp_path / "nameless"
    for number in range(4):
        attributes = {"patient_id": str(number), "acquisition": "CORPD_FBK"}
        write_fastmri(named / f"file{number}.h5", attributes=attributes)
        path = write_fastmri(nameless / f"file{number}.h5", attributes=attributes)
        with h5py.File(path, "r+") as file:
            del file.attrs["patient_id"]

    def checked(root: Path, seen: Seen, **options) -> FastMRIKneeData:
        data = FastMRIKneeData(root, num_workers=0, **options)
        data.networks, data.verb = [seen], verb
        data.setup()
        return data

    split = Split(("1",), ("2",), ("0", "3"))
    of_patients = Seen("best.ckpt", Population("fastMRI", "knee"), split)
    part = {"validate": "val"}.get(verb, "test")
    assert checked(named, of_patients).subjects[part] == getattr(split, part)
    every = {"split": (0, 1, 0) if verb == "validate" else (0, 0, 1)}
    with pytest.raises(InputError, match=r"file0\.h5 does not say whose it is, .* best\.ckpt .*release"):
        checked(nameless, of_patients, **every)
    assert len(checked(nameless, of_patients, release="our hospital", **every).subjects[part]) == 4
    # a network that was trained on these files knows them by their names
    own = Seen("best.ckpt", Population("fastMRI", "knee"), Split(("file1",), ("file2",), ("file0", "file3")))
    assert checked(nameless, own).subjects[part] == getattr(own.split, part)
    brains = Seen("best.ckpt", Population("fastMRI", "brain"), split)
    assert len(checked(nameless, brains, **every).subjects[part]) == 4


def test_an_undersampled_file_among_others_frees_nobody(tmp_path):
    mask = np.arange(12) % 2 == 0
    mask[4:8] = True
    for number in range(4):
        attributes = {"patient_id": str(number), "acquisition": "CORPD_FBK"}
        write_fastmri(
            tmp_path / f"file{number}.h5", mask=mask if number == 0 else None, attributes=attributes
        )
    data = FastMRIKneeData(tmp_path, num_workers=0)
    data.networks = [Seen("best.ckpt", Population("fastMRI", "knee"), Split(("1",), ("2",), ("0", "3")))]
    data.setup()
    assert data.subjects["test"] == ("0", "3")
    asked = FastMRIKneeData(tmp_path, split=(0, 0, 1), num_workers=0)
    asked.networks = data.networks
    with pytest.raises(InputError, match="subject 1, now in the part 'test'"):
        asked.setup()
    # predictions are not scored: all files of such a folder are wanted, whether or not a split is asked for
    asked.verb = data.verb = "predict"
    for predicted in (asked, data):
        predicted.divide(data.index)
        assert len(predicted.subjects["test"]) == 4


def test_predictions_may_be_asked_for_by_any_split(tmp_path):
    seen = Seen("best.ckpt", TRAINING, Split(("P001", "P004"), ("P003",), ("P002",)))
    hearts(tmp_path, range(1, 5))
    assert divided(tmp_path, verb="predict").subjects["test"] == ("P004",)
    assert divided(tmp_path, seen, "predict").subjects["test"] == ("P002",)
    assert len(divided(tmp_path, seen, "predict", split=(0, 0, 1)).subjects["test"]) == 4
    with pytest.raises(InputError, match="P001 and P004, now in the part 'test'"):
        divided(tmp_path, seen, "test", split=(0, 0, 1))


def test_of_undersampled_files_all_are_predicted(tmp_path):
    """Those of training subjects, too: they are not scored."""
    seen = Seen("best.ckpt", TRAINING, Split(("P001", "P002"), ("P003",), ("P004",)))
    for number in range(1, 5):
        write_undersampled_heart(tmp_path, f"P{number:03}")
    data = divided(tmp_path, seen, "predict", acquisition="AccFactor04")
    assert seen.binds(data.division.subjects, data.population)
    assert data.subjects["test"] == ("P001", "P002", "P003", "P004")


@pytest.mark.parametrize(
    "verb, split, words",
    [
        ("fit", (0, 0.2, 0.8), "`fit` has no training subjects"),
        ("fit", (0.8, 0, 0.2), "`fit` has no validation subjects"),
        ("validate", (0.8, 0, 0.2), "`validate` has no validation subjects"),
        ("test", (0.8, 0.2, 0), "`test` has no test subjects"),
        ("cross-domain", (0.8, 0.2, 0), "`cross-domain` has no test subjects"),
    ],
)
def test_an_empty_part_is_refused_with_a_remedy(verb, split, words, tmp_path):
    with pytest.raises(InputError, match=rf"{words}.* such as .*split:? \["):
        divided(hearts(tmp_path, range(1, 7)), verb=verb, split=split)


def test_a_subject_whose_files_are_all_another_s_is_nobody(tmp_path):
    hearts(tmp_path, range(1, 6))
    folder = tmp_path / "MultiCoil/Cine/TrainingSet/FullSample"
    for link, own in ("P000", "P002"), ("P009", "P001"):
        (folder / link).symlink_to(folder / own)
    data = CMRxReconData(tmp_path, 2, 4, contrasts=["cine_sax"], num_workers=0)
    with pytest.warns(UserWarning, match=r"left out: .*P000.* the same file as .*P002.*and 1 more") as said:
        data.prepare_data()
        data.setup()
    assert len(said) == 1
    assert sorted(data.division.subjects) == ["P001", "P002", "P003", "P004", "P005"]


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "cross-domain"])
def test_undersampled_files_are_for_predictions_only(verb, tmp_path):
    write_undersampled_heart(tmp_path, "P001")
    options = {"acquisition": "AccFactor04", "split": (0, 0, 1)}
    with pytest.raises(InputError, match=f"`{verb}` needs fully sampled files, and P001/cine_sax in"):
        divided(tmp_path, verb=verb, **options)
    assert divided(tmp_path, verb="predict", **options).subjects["test"] == ("P001",)


def test_a_part_without_a_file_of_the_contrast_is_refused(tmp_path):
    hearts(tmp_path, range(1, 7))
    write_heart(tmp_path / "MultiCoil/Mapping/TrainingSet/FullSample/P001/T1map.mat")
    with pytest.raises(InputError, match="no file of the chosen contrasts"):
        divided(tmp_path, verb="fit", contrasts=["T1map"])


def test_fastmri_without_a_split_has_nothing_to_train_on(tmp_path):
    for number in range(3):
        write_fastmri(tmp_path / f"file{number}.h5", attributes={"patient_id": str(number)})
    data = FastMRIKneeData(tmp_path, num_workers=0)
    data.verb = "fit"
    with pytest.raises(InputError, match=r"`fit` has no training subjects.*\[0.0, 0.0, 1.0\].*--data.split"):
        data.prepare_data()
