"""What ``import fm_unroll as fm`` gives: the three lines of the README, and no import before it is needed."""

import subprocess
import sys
from pathlib import Path

import fastmri
import h5py
import numpy as np
import pytest
import torch

import fm_unroll as fm

OLD_RUN = Path(__file__).parent / "fixtures" / "version_0_1"


@pytest.fixture
def heart(synthetic: Path) -> Path:
    return synthetic / "MultiCoil" / "Cine" / "TrainingSet" / "FullSample" / "P001" / "cine_sax.mat"


def test_importing_the_package_imports_nothing_else():
    program = "import sys, fm_unroll; print([name for name in sys.modules if name.startswith('fm_unroll')])"
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['fm_unroll']"


@pytest.mark.parametrize("name", fm.__all__)
def test_every_public_name_is_there(name: str):
    assert callable(getattr(fm, name)) and name in dir(fm)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="open_scna"):
        fm.open_scna  # noqa: B018
    with pytest.raises(AttributeError, match=r"fm_unroll has no opn_scan, did you mean open_scan\?"):
        fm.opn_scan  # noqa: B018
    with pytest.raises(AttributeError, match="nothing_like_it"):
        fm.nothing_like_it  # noqa: B018
    assert not hasattr(fm, "openscan")


def test_from_a_file_to_an_image_in_three_lines(heart: Path):
    scan = fm.open_scan(heart)
    batch = scan.undersample(fm.UniformSampling(4, acs_lines=8))[0]
    image = fm.load(OLD_RUN / "varnet.ckpt")(batch)
    assert image.dtype == torch.float32 and image.shape == (1, *batch.crop) and image.isfinite().all()
    # the measured lines are those of the file, in the order of axes that the conventions state
    with h5py.File(heart, locking=False) as file:
        stored = file["kspace_full"][0, 0]
    kspace = (stored["real"] + 1j * stored["imag"]).swapaxes(-1, -2)
    lines = batch.mask[0, 0, 0].numpy()
    assert np.array_equal(batch.kspace[0].numpy()[..., lines], kspace[..., lines])
    assert not batch.kspace[0].numpy()[..., ~lines].any()
    # and a network that is built by hand takes the batch as it is
    network = fm.build_model("varnet", num_cascades=1, chans=2, pools=2, sens_chans=2, sens_pools=2)
    assert network(batch.kspace, batch.mask, batch.num_acs).shape == (1, *batch.kspace.shape[-2:])


def test_the_target_is_the_image_of_all_lines(heart: Path):
    scan = fm.open_scan(heart)
    batch = scan.undersample(fm.UniformSampling(4, acs_lines=8))
    assert len(batch) == len(scan)
    kspace = torch.view_as_real(scan[3].kspace)
    image = fastmri.rss(fastmri.complex_abs(fastmri.ifft2c(kspace)))
    torch.testing.assert_close(batch[3].target[0], image)


def test_reprs_are_one_line_of_shapes(heart: Path):
    scan = fm.open_scan(heart)
    pattern = fm.UniformSampling(4, acs_lines=8)
    batch = scan.undersample(pattern)
    for thing in (scan, scan[0], batch, pattern, pattern(36)):
        assert "\n" not in repr(thing) and "tensor" not in repr(thing) and len(repr(thing)) < 250, repr(thing)
    coils, readout, phase = scan[0].kspace.shape
    assert f"{coils}" in repr(scan[0]) and f"{readout}" in repr(scan[0]) and f"{phase}" in repr(scan[0])


def test_one_scan_is_read_and_reconstructed_without_what_takes_long_to_import():
    program = (
        "import sys, fm_unroll as fm; fm.open_scan, fm.load; import fm_unroll.commands.reconstruct; "
        "slow = {'lightning', 'torchmetrics', 'torchvision', 'timm', 'matplotlib', 'scipy.stats'}; "
        "print(slow & sys.modules.keys())"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "set()"
