"""The CMRxRecon reader against files in the published formats, a real file, and damaged ones."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from fm_unroll.curation.survey import survey
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import build_index
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from fm_unroll.data.readers.cmrxrecon_tree import edition
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.scan import open_scan
from fm_unroll.errors import InputError, UnsupportedError
from fm_unroll.physics import ifft2c, rss
from simulate import random_kspace, uniform_lines, write_cmrxrecon, write_matlab

READER = CMRxReconReader()


def read(path: Path, slice: int = 0, frame: int = 0, reader: CMRxReconReader = READER) -> KSpaceSample:
    """Describe a file and read one slice of it."""
    volume = reader.describe(path, path.parent)
    return SliceDataset(path.parent, reader, [volume])[frame * volume.num_slices + slice]


@pytest.mark.parametrize(
    "shape", [(16, 12, 2, 3, 4), (16, 13, 2, 3, 1), (17, 12, 3, 1, 1), (16, 12, 1, 1, 4), (3, 2, 5, 1, 1)]
)
def test_every_slice_comes_in_the_order_coil_readout_phase(tmp_path: Path, shape: tuple[int, ...]):
    path = write_cmrxrecon(tmp_path, "P007", "T1map", shape)
    kspace = random_kspace(*shape)  # (kx, ky, coil, z, t)

    volume = READER.describe(path, tmp_path)

    assert volume.path == "MultiCoil/Mapping/TrainingSet/FullSample/P007/T1map.mat"
    assert (volume.name, volume.subject, volume.contrast) == ("P007/T1map", "P007", "T1map")
    sizes = (volume.readout, volume.phase, volume.num_coils, volume.num_slices, volume.num_frames)
    assert sizes == shape
    assert volume.crop == shape[:2] and volume.acquired == (0, shape[1])
    assert volume.fully_sampled and volume.num_acs == 0 and volume.maximum is None and not volume.synthetic
    for slice_, frame in np.ndindex(*shape[3:]):
        sample = read(path, slice_, frame)
        np.testing.assert_array_equal(sample.kspace, np.moveaxis(kspace[..., slice_, frame], 2, 0))
        assert (sample.slice, sample.frame) == (slice_, frame) and sample.target is None
        assert sample.kspace.is_contiguous() and KSpaceBatch.collate([sample]).mask.all()


@pytest.mark.parametrize(("share", "rows"), [(0.5, (4, 12)), (0.75, (2, 14)), (0.3, (6, 11)), (1.0, (0, 16))])
def test_a_cropped_readout_holds_the_middle_rows_of_the_same_image(tmp_path: Path, share: float, rows: tuple):
    write_cmrxrecon(tmp_path, "P007", "T1map", (16, 12, 2, 3, 4))
    whole, cropped = (
        SliceDataset(index.root, reader, index.volumes)
        for reader in (CMRxReconReader(("T1map",)), CMRxReconReader(("T1map",), readout_crop=share))
        # the second one must not find the first one's sizes in the cache, nor the other way round
        for index in (build_index(tmp_path, reader),)
    )
    assert cropped.volumes[0].crop == (rows[1] - rows[0], 12) and whole.volumes[0].crop == (16, 12)
    image = ifft2c(whole[5].kspace)[:, rows[0] : rows[1]]
    torch.testing.assert_close(ifft2c(cropped[5].kspace), image, atol=1e-5, rtol=0)


def test_a_cropped_readout_keeps_the_lines_that_were_sampled(tmp_path: Path):
    lines = uniform_lines(64, 8, 24)
    kspace = random_kspace(16, 64, 2, 1, 1) * lines[None, :, None, None, None]
    folder = tmp_path / "MultiCoil" / "Cine" / "ValidationSet" / "AccFactor08" / "P003"
    path = write_matlab(folder / "cine_lax.mat", kspace_sub08=kspace)
    sample = read(path, reader=CMRxReconReader(("cine_lax",), "ValidationSet", "AccFactor08", 0.5))
    assert sample.kspace.shape == (2, 8, 64)
    np.testing.assert_array_equal(sample.kspace.abs().sum((0, 1)) > 0, lines)
    np.testing.assert_array_equal(KSpaceBatch.collate([sample]).mask[0, 0, 0], lines)


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_no_more_is_kept_of_the_readout_than_there_is(share: float):
    with pytest.raises(InputError, match=f"readout_crop is {share:g}: give the share"):
        CMRxReconReader(readout_crop=share)


def test_double_precision_becomes_complex64(tmp_path: Path):
    kspace = random_kspace(8, 6, 2, 2, 2).astype(np.complex128) / 3
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_full=kspace)
    expected = np.moveaxis(kspace[..., 1, 1], 2, 0).astype(np.complex64)
    np.testing.assert_array_equal(read(path, 1, 1).kspace, expected)


@pytest.mark.parametrize("masked", [True, False], ids=["mask file", "no mask file"])
def test_undersampled_files_of_2023(tmp_path: Path, masked: bool):
    lines = uniform_lines(64, 8, 24)
    folder = tmp_path / "MultiCoil" / "Cine" / "ValidationSet" / "AccFactor08" / "P003"
    kspace = random_kspace(8, 64, 2, 2, 3) * lines[None, :, None, None, None]
    path = write_matlab(folder / "cine_lax.mat", kspace_sub08=kspace)
    if masked:
        write_matlab(folder / "cine_lax_mask.mat", mask08=np.broadcast_to(lines, (8, 64)).astype(float))
    reader = CMRxReconReader(("cine_lax",), "ValidationSet", "AccFactor08")

    assert reader.find(tmp_path) == ([path], [])
    sample = read(path, 1, 2, reader)

    batch = KSpaceBatch.collate([sample])
    np.testing.assert_array_equal(batch.mask[0, 0, 0], lines)
    np.testing.assert_array_equal(sample.kspace, np.moveaxis(kspace[..., 1, 2], 2, 0))
    assert not batch.fully_sampled and batch.num_acs == 24
    assert batch.data_range.isnan()


def test_undersampled_files_of_2024(tmp_path: Path):
    lines = uniform_lines(50, 4, 16)
    subset = tmp_path / "MultiCoil" / "Mapping" / "ValidationSet"
    kspace = random_kspace(8, 50, 2, 2, 3) * lines[None, :, None, None, None]
    path = write_matlab(subset / "UnderSample_Task1" / "P002" / "T2map_kus_Uniform4.mat", kus=kspace)
    mask = write_matlab(
        subset / "Mask_Task1" / "P002" / "T2map_mask_Uniform4.mat",
        mask=np.broadcast_to(lines, (8, 50)).astype(np.uint8),
    )
    reader = CMRxReconReader(("T1map", "T2map"), "ValidationSet", "Uniform4")

    assert reader.find(tmp_path) == ([path], ["P002/T1map"])
    assert reader.companions(path) == [mask]
    volume = reader.describe(path, tmp_path)
    assert (volume.name, volume.contrast) == ("P002/T2map", "T2map")
    assert volume.sampled == tuple(np.flatnonzero(lines)) and volume.num_acs == 16


def test_further_contrasts_of_2024(tmp_path: Path):
    kspace = random_kspace(8, 6, 2, 1, 3)
    places = ["Cine/cine_lvot", "Aorta/aorta_sag", "Aorta/aorta_tra", "Tagging/tagging", "Mapping/T1map"]
    for place in places:
        category, contrast = place.split("/")
        folder = tmp_path / "MultiCoil" / category / "TrainingSet" / "FullSample" / "P002"
        write_matlab(folder / f"{contrast}.mat", kspace_full=kspace)
        mask = folder.parents[1] / "Mask_Task1" / "P002" / f"{contrast}_mask_Uniform4.mat"
        write_matlab(mask, mask=np.ones((8, 6)))
    every = CMRxReconReader(())
    files, missing = every.find(tmp_path)
    assert {every.describe(path, tmp_path).name for path in files} == {
        *("P002/cine_lvot", "P002/aorta_sag", "P002/aorta_tra", "P002/tagging", "P002/T1map")
    }
    assert missing == ["P002/cine_sax", "P002/cine_lax", "P002/T2map"]
    aorta = CMRxReconReader(("aorta_sag", "tagging"))
    assert [path.stem for path in aorta.find(tmp_path)[0]] == ["aorta_sag", "tagging"]
    with pytest.raises(
        InputError, match=r"no subject has aorta_sagg in TrainingSet/FullSample; found are T1map"
    ):
        CMRxReconReader(("T1map", "aorta_sagg")).find(tmp_path)


SCANNER = Path("Center005", "Siemens_30T_Vida")


def test_fully_sampled_files_of_2025(tmp_path: Path):
    shape = (8, 6, 2, 1, 3)
    cine = tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample"
    for scanner, seed in ((SCANNER, 1), (SCANNER.parent / "UIH_30T_umr780", 2)):
        kspace = random_kspace(*shape, seed=seed)
        write_matlab(cine / scanner / "P003" / "cine_lax_3ch.mat", kspace=kspace)
    (cine / SCANNER.parent / "readme.txt").write_text("text")
    files, missing = CMRxReconReader(()).find(tmp_path)
    volumes = [READER.describe(path, tmp_path) for path in files]
    # P003 of two scanners are two people
    assert [volume.subject for volume in volumes] == [
        *("Center005/Siemens_30T_Vida/P003", "Center005/UIH_30T_umr780/P003")
    ]
    assert volumes[0].name == "Center005/Siemens_30T_Vida/P003/cine_lax_3ch" and missing == []
    sizes = (volumes[0].readout, volumes[0].phase, volumes[0].num_coils, volumes[0].num_slices)
    assert sizes == shape[:4] and volumes[0].fully_sampled
    sample = read(files[0], 0, 2)
    np.testing.assert_array_equal(sample.kspace, np.moveaxis(random_kspace(*shape, seed=1)[..., 0, 2], 2, 0))
    scan = open_scan(files[0])
    assert (scan.kind, scan.anatomy, scan.volume.subject) == ("CMRxRecon", "cardiac", volumes[0].subject)


def test_undersampled_files_of_2025(tmp_path: Path):
    """Their masks have a frame for each of the k-space; regular ones are the same in all."""
    lines = uniform_lines(50, 8, 20)
    subset = tmp_path / "MultiCoil" / "LGE" / "ValidationSet"
    kspace = random_kspace(8, 50, 2, 2, 3) * lines[None, :, None, None, None]
    path = write_matlab(
        subset / "UnderSample_TaskR1" / SCANNER / "P002" / "lge_sax_kus_Uniform8.mat", kus=kspace
    )
    mask = np.broadcast_to(lines[None, :, None], (8, 50, 3)).astype(np.uint8).copy()
    where = subset / "Mask_TaskR1" / SCANNER / "P002" / "lge_sax_mask_Uniform8.mat"
    write_matlab(where, mask=mask)
    reader = CMRxReconReader((), "ValidationSet", "Uniform8")
    assert reader.find(tmp_path) == ([path], []) and reader.companions(path) == [where]
    volume = reader.describe(path, tmp_path)
    assert volume.sampled == tuple(np.flatnonzero(lines)) and volume.num_acs == 20
    mask[:, 1, 1] = 1 - mask[:, 1, 1]
    write_matlab(where, mask=mask)
    with pytest.raises(UnsupportedError, match=f"{where}: mask changes from frame to frame: k-t sampling"):
        reader.describe(path, tmp_path)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("ktRadial", "pseudo-radial k-t sampling, which is not supported"),
        ("ktGaussian", "k-t sampling of random lines, which is not supported"),
        ("ktUniform", "k-t sampling of regular lines, which is not supported"),
    ],
)
def test_kt_sampling_is_named_and_its_files_are_not_called_unusable(tmp_path: Path, pattern: str, words: str):
    folder = tmp_path / "MultiCoil" / "Cine" / "ValidationSet" / "UnderSample_Task2"
    for subject in ("P001", "P002"):
        path = write_matlab(
            folder / subject / f"cine_sax_kus_{pattern}8.mat", kus=random_kspace(8, 16, 2, 1, 4)
        )
    with pytest.raises(InputError, match=f"^{path}: {words}$"):
        open_scan(path)
    found = survey(tmp_path)
    assert found.problems == [] and found.ignored == []
    assert [line.split(": ")[1] for line in found.left_out] == [words, words]
    reader = CMRxReconReader(("cine_sax",), "ValidationSet", f"{pattern}8")
    with pytest.raises(InputError, match=rf"{words} \(and 1 more"):
        build_index(tmp_path, reader)


def test_the_single_coil_files_of_2023_are_left_out(tmp_path: Path):
    folder = tmp_path / "SingleCoil" / "Cine" / "TrainingSet" / "FullSample" / "P001"
    path = write_matlab(folder / "cine_sax.mat", kspace_single_full=random_kspace(8, 16, 2, 4))
    write_cmrxrecon(tmp_path)
    found = survey(tmp_path)
    assert found.problems == [] and len(found.data_sets[0].index.volumes) == 1
    assert found.left_out == [f"{path}: single-coil k-space, which is not supported"]
    with pytest.raises(InputError, match=f"^{path}: single-coil k-space, which is not supported$"):
        build_index(tmp_path / "SingleCoil", READER)


@pytest.mark.parametrize("pattern", ["ktGaussian", "ktUniform"])
def test_a_single_frame_of_whole_lines_is_read_whatever_its_name(tmp_path: Path, pattern: str):
    lines = uniform_lines(32, 4, 8)
    folder = tmp_path / "MultiCoil" / "T1w" / "ValidationSet" / "UnderSample_TaskR2" / SCANNER / "P001"
    kspace = random_kspace(8, 32, 2, 3, 1) * lines[None, :, None, None, None]
    path = write_matlab(folder / f"T1w_kus_{pattern}8.mat", kus=kspace)
    assert open_scan(path).volume.sampled == tuple(np.flatnonzero(lines))


def test_data_check_finds_all_of_2024_and_2025(tmp_path: Path):
    lines = uniform_lines(32, 4, 16)[None, :, None, None, None]
    older = tmp_path / "2024" / "MultiCoil"
    for acceleration in (4, 8, 10):
        for subset in ("ValidationSet", "TestSet"):
            folder = older / "Flow2d" / subset
            name = f"Uniform{acceleration}.mat"
            kspace = random_kspace(8, 32, 2, 1, 2) * lines
            write_matlab(folder / "UnderSample_Task1" / "P001" / f"flow2d_kus_{name}", kus=kspace)
            write_matlab(
                folder / "Mask_Task1" / "P001" / f"flow2d_mask_{name}",
                mask=np.ones((8, 1)) * lines[0, :, 0, 0].T,
            )
    newer = tmp_path / "2025" / "MultiCoil"
    for category, contrast in (("Perfusion", "perfusion"), ("T1rho", "T1rho"), ("Mapping", "T2smap")):
        folder = newer / category / "TestSet" / "FullSample_TaskR1" / SCANNER / "P001"
        write_matlab(folder / f"{contrast}.mat", kspace=random_kspace(8, 12, 2, 1, 2))
    found = survey(tmp_path)
    assert found.problems == [] and found.ignored == []
    assert [(data_set.name, len(data_set.index.volumes)) for data_set in found.data_sets] == [
        ("CMRxRecon ValidationSet/Uniform4", 1),
        ("CMRxRecon ValidationSet/Uniform8", 1),
        ("CMRxRecon ValidationSet/Uniform10", 1),
        ("CMRxRecon TestSet/Uniform4", 1),
        ("CMRxRecon TestSet/Uniform8", 1),
        ("CMRxRecon TestSet/Uniform10", 1),
        ("CMRxRecon TestSet/FullSample", 3),
    ]


@pytest.mark.parametrize(
    ("files", "year"),
    [
        (["Cine/TrainingSet/FullSample/P001/cine_sax.mat"], ""),
        (["Cine/TrainingSet/AccFactor04/P001/cine_sax.mat"], "2023"),
        (["Cine/TrainingSet/FullSample/P001/cine_lvot.mat"], "2024"),
        (["Aorta/TrainingSet/FullSample/P001/aorta_sag.mat"], "2024"),
        (["Cine/ValidationSet/UnderSample_Task1/P001/cine_sax_kus_Uniform4.mat"], "2024"),
        (["Cine/TrainingSet/FullSample/Center001/UIH_30T_umr780/P001/cine_lvot.mat"], "2025"),
        (["Cine/TrainingSet/AccFactor04/P001/a.mat", "Cine/TrainingSet/Mask_Task1/P001/a.mat"], ""),
    ],
)
def test_the_year_is_told_by_what_that_year_alone_has(tmp_path: Path, files: list[str], year: str):
    for file in files:
        path = tmp_path / "MultiCoil" / file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    assert edition(tmp_path) == edition(tmp_path / "MultiCoil") == year


def test_find_names_missing_contrasts_and_accepts_multicoil_as_root(tmp_path: Path):
    write_cmrxrecon(tmp_path, "P001", "cine_sax")
    write_cmrxrecon(tmp_path, "P001", "T1map")
    write_cmrxrecon(tmp_path, "P002", "T2map")
    (tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / "P003").mkdir()
    missing = [
        *("P001/cine_lax", "P001/T2map", "P002/cine_sax", "P002/cine_lax", "P002/T1map"),
        *("P003/cine_sax", "P003/cine_lax", "P003/T1map", "P003/T2map"),
    ]
    for root in (tmp_path, tmp_path / "MultiCoil"):
        files, absent = READER.find(root)
        assert [f"{file.parent.name}/{file.stem}" for file in files] == [
            "P001/cine_sax",
            "P001/T1map",
            "P002/T2map",
        ]
        assert absent == missing


def test_a_missing_or_empty_root_shows_the_expected_tree(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        READER.find(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"expected .*Cine/TrainingSet/FullSample/P001/cine_sax\.mat"):
        READER.find(tmp_path)


@pytest.mark.parametrize(
    "setting", [{"contrasts": ("cine",)}, {"subset": "Training"}, {"sampling": "AccFactor4"}]
)
def test_unknown_parts_of_the_tree_are_refused(setting: dict):
    with pytest.raises(InputError, match="choose from"):
        CMRxReconReader(**setting)


def test_an_odd_mask_is_refused(tmp_path: Path):
    lines = uniform_lines(32, 4, 8)
    kspace = random_kspace(8, 32, 2, 1, 1) * lines[None, :, None, None, None]
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_sub04=kspace)
    along_readout = np.broadcast_to(np.arange(8)[:, None] % 2 == 0, (8, 32)).astype(float)
    mask = write_matlab(tmp_path / "P001" / "cine_sax_mask.mat", mask04=along_readout)
    with pytest.raises(InputError, match=f"{mask}: mask04 varies along kx"):
        read(path)
    write_matlab(mask, mask04=np.ones((32, 8)))
    with pytest.raises(InputError, match=rf"{mask}: mask04 .* expected numbers \(ky, kx\) = \(32, 8\)"):
        read(path)
    too_few = np.broadcast_to(uniform_lines(32, 8, 8), (8, 32)).astype(float)
    write_matlab(mask, mask04=too_few)
    with pytest.raises(InputError, match=f"{path}: slice 0, frame 0: .* leaves out"):
        read(path)
    write_matlab(mask, mask04=np.zeros((8, 32)))
    with pytest.raises(InputError, match=f"{path}: the centre of k-space is not sampled"):
        read(path)
    write_matlab(mask, mask04=np.broadcast_to(uniform_lines(32, 2, 8), (8, 32)).astype(float))
    with pytest.raises(InputError, match="k-space holds none in 6 lines that the sampling mask claims"):
        read(path)


def kt_masks(frames: int = 4, ky: int = 32) -> np.ndarray:
    """Every fourth line, from another first one in every frame, and the centre: bool, (kx, ky, t)."""
    lines = np.stack([np.roll(uniform_lines(ky, 4, 0), frame) for frame in range(frames)], axis=-1)
    lines[12:20] = True
    return np.broadcast_to(lines, (8, ky, frames))


@pytest.mark.parametrize("published", [True, False], ids=["mask file", "no mask file"])
def test_task_2_of_2024_is_named(tmp_path: Path, published: bool):
    subset, masks = tmp_path / "MultiCoil" / "Cine" / "ValidationSet", kt_masks()
    kspace = random_kspace(8, 32, 2, 2, 4) * masks[:, :, None, None]
    path = write_matlab(subset / "UnderSample_Task2" / "P001" / "cine_sax_kus_ktUniform4.mat", kus=kspace)
    if published:
        mask = subset / "Mask_Task2" / "P001" / "cine_sax_mask_ktUniform4.mat"
        write_matlab(mask, mask=masks.astype("u1"))
        assert READER.companions(path) == [mask]
    with pytest.raises(UnsupportedError, match=f"{path}: k-t sampling of regular lines, which is not"):
        open_scan(path)


def test_lines_that_change_in_any_frame_are_refused(tmp_path: Path):
    """Also where the first and the last frame agree, as those of a pattern that comes back."""
    for frames in (4, 5, 9):
        masks = kt_masks(frames)
        kspace = random_kspace(8, 32, 2, 1, frames) * masks[:, :, None, None]
        path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_sub04=kspace)
        with pytest.raises(InputError, match=f"{path}: slice 0, frame 1 has other lines .* k-t sampling"):
            open_scan(path)
    last = random_kspace(8, 32, 2, 1, 9) * uniform_lines(32, 4, 8)[:, None, None, None]
    last[:, 1, ..., 8] = 1
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_sub04=last)
    with pytest.raises(InputError, match=f"{path}: slice 0, frame 8 has other lines .* k-t sampling"):
        READER.describe(path, tmp_path)
    late = random_kspace(8, 32, 2, 1, 9) * uniform_lines(32, 4, 8)[:, None, None, None]
    late[..., 5] *= np.roll(uniform_lines(32, 4, 8), 1)[:, None, None]
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_sub04=late)
    with pytest.raises(InputError, match=f"{path}: slice 0, frame 5: .* k-t sampling is not supported"):
        open_scan(path).batch()


def test_lines_that_change_from_slice_to_slice_are_refused(tmp_path: Path):
    kspace = random_kspace(8, 32, 2, 3, 2) * uniform_lines(32, 4, 8)[:, None, None, None]
    kspace[:, 1, :, 2] = 1
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_sub04=kspace)
    with pytest.raises(InputError, match=f"{path}: slice 2, frame 0 has other lines .* slice to slice"):
        open_scan(path)


def test_a_mask_beside_a_file_is_used_or_refused(tmp_path: Path):
    lines = uniform_lines(32, 4, 8)
    masked = random_kspace(8, 32, 2, 1, 1) * lines[:, None, None, None]
    mask = np.broadcast_to(lines, (8, 32)).astype(float)
    folder = tmp_path / "P001"
    for name, mask_name, variable in [
        ("cine_sax.mat", "cine_sax_mask.mat", "kspace_full"),
        ("cine_lax_kus_Uniform4.mat", "cine_lax_mask_Uniform4.mat", "kus"),
    ]:
        path = write_matlab(folder / name, **{variable: masked})
        write_matlab(folder / mask_name, mask=mask)
        assert READER.companions(path) == [folder / mask_name]
        assert open_scan(path).volume.sampled == tuple(np.flatnonzero(lines))
    other = write_matlab(
        tmp_path / "Mask_Task1" / "P001" / "cine_lax_mask_Uniform4.mat", mask=np.ones((8, 32))
    )
    path = write_matlab(
        tmp_path / "UnderSample_Task1" / "P001" / "cine_lax_kus_Uniform4.mat", kus=masked, mask=mask
    )
    with pytest.raises(InputError, match=f"{other}: mask: not the mask that {path}: mask holds"):
        open_scan(path)
    # of a tree of 2024 whose masks someone has put beside the scans
    path = write_matlab(path.with_name("cine_sax_kus_Uniform4.mat"), kus=masked)
    beside = write_matlab(path.with_name("cine_sax_mask_Uniform4.mat"), mask=np.ones((8, 32)))
    assert READER.companions(path) == [beside]
    with pytest.raises(InputError, match="k-space holds none in 18 lines that the sampling mask claims"):
        open_scan(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("P001/cine_sax_Mask.mat", "mask04"),
        ("P001/CINE_SAX_MASK.MAT", "Mask"),
        ("P001/mask.mat", "mask"),
        ("P001/cine_sax_mask_R4.mat", "sampling_mask"),
    ],
)
def test_a_mask_is_known_by_any_name_and_never_skipped(tmp_path: Path, name: str, content: str):
    """The data of this scan are not those that its mask claims, and neither is a scan of its own."""
    place = tmp_path / "MultiCoil" / "Cine" / "TrainingSet" / "AccFactor04"
    path = write_matlab(place / "P001" / "cine_sax.mat", kspace_sub04=random_kspace(8, 32, 2, 1, 1))
    lines = np.broadcast_to(uniform_lines(32, 4, 8), (8, 32)).astype(float)
    mask = write_matlab(place / name, **{content: lines})
    write_matlab(place / "P001" / "cine_lax_mask.mat", mask04=np.ones((8, 32)))  # of another scan
    assert READER.companions(path) == [mask]
    with pytest.raises(InputError, match="leaves out"):
        open_scan(path)
    reader = CMRxReconReader((), sampling="AccFactor04")
    assert reader.find(tmp_path)[0] == [path]
    assert build_index(tmp_path, reader).volumes[0].num_acs == 9
    write_matlab(mask, **{content: np.where(lines, 1, np.nan)})
    with pytest.raises(InputError, match=f"{mask}: {content} holds NaN"):
        open_scan(path)
    write_matlab(mask, diary=np.ones((3, 3)))
    with pytest.raises(InputError, match=f"{mask}: holds no mask04, mask08, mask10 or mask"):
        open_scan(path)


@pytest.mark.parametrize("folder", ["Mask_Task1", "Mask_TaskAll", "Mask"])
def test_masks_for_one_task_or_for_all_are_used(tmp_path: Path, folder: str):
    lines = uniform_lines(32, 4, 8)
    subset = tmp_path / "MultiCoil" / "Cine" / "ValidationSet"
    kspace = random_kspace(8, 32, 2, 1, 2) * lines[None, :, None, None, None]
    path = write_matlab(subset / "UnderSample_Task1" / "P001" / "cine_sax_kus_Uniform4.mat", kus=kspace)
    mask = write_matlab(
        subset / folder / "P001" / "cine_sax_mask_Uniform4.mat", mask=np.broadcast_to(lines, (8, 32)) * 1.0
    )
    assert READER.companions(path) == [mask]
    assert open_scan(path).volume.sampled == tuple(np.flatnonzero(lines))
    write_matlab(mask, mask=np.broadcast_to(uniform_lines(32, 8, 8), (8, 32)) * 1.0)
    with pytest.raises(InputError, match=r"holds data in .* that the sampling mask leaves out"):
        open_scan(path)


def test_masks_within_a_file_must_agree(tmp_path: Path):
    lines = np.broadcast_to(uniform_lines(32, 4, 8), (8, 32)).astype(float)
    kspace = random_kspace(8, 32, 2, 1, 1) * lines[..., None, None, None]
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_sub04=kspace, mask04=lines, Mask=lines)
    assert open_scan(path).volume.num_acs == 9
    with h5py.File(path, "r+") as file:
        file["info/mask"] = np.ones((32, 8))
    with pytest.raises(InputError, match=f"{path}: .*not the mask that {path}: "):
        open_scan(path)


def test_what_is_called_undersampled_is_so_whatever_its_mask_and_its_key(tmp_path: Path):
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_sub04=random_kspace(8, 32, 2, 1, 1))
    write_matlab(path.with_name("cine_sax_mask.mat"), mask04=np.ones((8, 32)))
    volume = READER.describe(path, tmp_path)
    assert volume.sampled == tuple(range(32)) and not volume.fully_sampled
    lines = uniform_lines(32, 4, 8)
    masked = random_kspace(8, 32, 2, 1, 1) * lines[:, None, None, None]
    path = write_matlab(tmp_path / "P001" / "cine_lax_kus_Uniform4.mat", kspace=masked)
    assert READER.describe(path, tmp_path).sampled == tuple(np.flatnonzero(lines))


def test_a_full_scan_that_is_not_is_refused(tmp_path: Path):
    kspace = random_kspace(8, 32, 2, 2, 3)
    kspace[:, 1::2, :, 1, 2] = 0
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_full=kspace)
    words = "slice 1, frame 2: 16 of 32 acquired lines are empty: undersampled, and no mask says so"
    with pytest.raises(InputError, match=f"{path}: {words}"):
        open_scan(path)
    read(path, 0, 2)


def test_partial_fourier_is_remarked_on(tmp_path: Path):
    kspace = random_kspace(8, 32, 2, 2, 3)
    kspace[:, :9] = 0
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_full=kspace)
    volume = open_scan(path).volume
    assert volume.fully_sampled and volume.contradictions == ()
    assert volume.remarks == (
        "of 32 lines, 9 at the start and 0 at the end are empty, in targets, too: zero padding or partial "
        "Fourier",
    )


def stored(shape: tuple[int, ...] = (2, 2, 2, 6, 8), dtype: str = "c8") -> dict[str, np.ndarray]:
    """A data set's keywords: ones, as they lie in the file."""
    return {"data": np.ones(shape, dtype)}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"image": stored()}, "holds no kspace_full .*; its keys are image"),
        ({}, "its keys are none"),
        ({"kspace_full": stored(), "kus": stored()}, "holds both kspace_full and kus"),
        ({"kspace_full": stored((6, 8))}, "has 2 dimensions, expected"),
        ({"kspace_full": stored((1, 2, 2, 2, 6, 8))}, "has 6 dimensions, expected"),
        ({"kspace_full": stored(dtype="f4")}, "has type float32, expected complex"),
        ({"kspace_full": stored(dtype="i2,i2")}, "expected complex"),
        ({"kspace_full": stored((2, 2, 0, 6, 8))}, "has shape"),
        ({"kspace_full": stored((1, 1, 204, 10, 8))}, "has shape"),
        (
            {"kspace_full": {"shape": (12, 10, 10, 204, 512), "dtype": "c8", "chunks": (1, 1, 1, 204, 512)}},
            "declares 956 MiB, but 0 MiB are stored",
        ),
        ({"kspace_full": {"shape": None, "dtype": "c8"}}, "has 0 dimensions"),
    ],
)
def test_what_is_not_kspace_is_refused(tmp_path: Path, content: dict, reason: str):
    path = tmp_path / "cine_sax.mat"
    with h5py.File(path, "w") as file:
        for name, dataset in content.items():
            file.create_dataset(name, **dataset)
    with pytest.raises(InputError, match=f"{path}: .*{reason}") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_nothing_is_followed_out_of_the_file(tmp_path: Path):
    other = write_cmrxrecon(tmp_path)
    with h5py.File(other) as file:
        shape, dtype = file["kspace_full"].shape, file["kspace_full"].dtype
    path = tmp_path / "cine_sax.mat"
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(str(other), "kspace_full", shape)
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(int(np.prod(shape)) * 8))
    for number, make in enumerate(
        [
            lambda file: file.__setitem__("kspace_full", h5py.ExternalLink(str(other), "kspace_full")),
            lambda file: file.__setitem__("kspace_full", h5py.SoftLink("/elsewhere")),
            lambda file: file.create_virtual_dataset("kspace_full", layout),
            lambda file: file.create_dataset("kspace_full", shape, dtype, external=str(raw)),
            lambda file: file.create_group("kspace_full"),
        ]
    ):
        path = tmp_path / f"{number}.mat"
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(InputError, match=f"{path}: kspace_full (is a|keeps its data in other files)"):
            read(path)


def test_files_that_cannot_be_opened_say_why(tmp_path: Path):
    good = write_cmrxrecon(tmp_path)
    path = tmp_path / "cine_sax.mat"
    with pytest.raises(InputError, match=f"{path}: No such file"):
        read(path)
    scipy.io.savemat(path, {"kspace_full": np.ones(3)})
    with pytest.raises(InputError, match=f"{path}: MATLAB file older than v7.3; save it again with -v7.3"):
        read(path)
    content = good.read_bytes()
    for length in [0, 1, 511, 512, 600, 1000, 2048, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=f"{path}: ") as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "NaN or Inf"), (np.inf, "NaN or Inf"), (1e300, "NaN or Inf"), (0, "zero")]
)
def test_values_that_no_scanner_measures_are_refused(tmp_path: Path, value: float, reason: str):
    kspace = random_kspace(8, 6, 2, 3, 4).astype(np.complex128)
    kspace[..., 1, 2] = value
    path = write_matlab(tmp_path / "P001" / "cine_sax.mat", kspace_full=kspace)
    with pytest.raises(InputError, match=f"{path}: slice 1, frame 2: .*{reason}"):
        read(path, 1, 2)
    read(path, 2, 1)


def test_the_real_file_shows_a_heart_in_the_middle(shared: Path):
    root = shared / "data" / "cmrxrecon"
    files, missing = READER.find(root)
    assert [file.name for file in files] == ["cine_sax.mat"] and len(missing) == 3
    sample = read(files[0])
    assert sample.kspace.shape == (1, 512, 246)
    energy = rss(ifft2c(sample.kspace)).square()
    assert energy[128:384].sum() > 0.95 * energy.sum()  # the readout is oversampled: its outer half is air
    assert energy[:, 61:185].sum() > 0.7 * energy.sum()
