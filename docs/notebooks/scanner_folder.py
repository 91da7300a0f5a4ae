# %% [markdown]
# # I have a folder from the scanner
#
# Raw data leave most scanners in a format of their own, which free converters (`siemens_to_ismrmrd`,
# `philips_to_ismrmrd`, `ge_to_ismrmrd`) turn into ISMRMRD files. Here two such files are written with the
# package that defines the format: a drawn knee, of which the scanner left out every other line, and one of
# which it measured all. Put the path of your own folder in their place.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import ismrmrd
import numpy as np
from ismrmrd import xsd

import fm_unroll as fm
from fm_unroll.commands.synthesize import synthesize


def write_raw(path: Path, kspace: np.ndarray, lines: np.ndarray) -> None:
    """Write some lines of complex64 k-space `(slice, coil, readout, phase)`, as a scanner would send them."""
    slices, _, readout, phase = kspace.shape
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=readout, y=phase, z=1),
        fieldOfView_mm=xsd.fieldOfViewMm(x=readout, y=phase, z=4),
    )
    limit = xsd.limitType(minimum=0, maximum=phase - 1, center=phase // 2)
    encoding = xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        encodingLimits=xsd.encodingLimitsType(kspace_encoding_step_1=limit),
        trajectory=xsd.trajectoryType.CARTESIAN,
    )
    header = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123200000),
        encoding=[encoding],
    )
    with ismrmrd.Dataset(str(path), mode="w") as dataset:
        dataset.write_xml_header(xsd.ToXML(header))
        for slice, line in np.ndindex(slices, phase):
            if lines[line]:
                acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(kspace[slice, :, :, line]))
                acquisition.center_sample = readout // 2
                acquisition.idx.slice, acquisition.idx.kspace_encode_step_1 = slice, line
                acquisition.read_dir[:], acquisition.phase_dir[:] = (0, 1, 0), (1, 0, 0)
                acquisition.slice_dir[:], acquisition.position[:] = (0, 0, 1), (0, 0, 5 * slice)
                dataset.append_acquisition(acquisition)


temporary = TemporaryDirectory()
folder = Path(temporary.name, "scanner")
folder.mkdir()
synthesize(Path(temporary.name, "drawn"), size="tiny", hearts=0, knees=1, heads=0)
knee = fm.open_scan(next(Path(temporary.name, "drawn").rglob("*.h5")))
kspace = knee.batch().kspace.numpy()
mask = fm.EquispacedSampling(2, 0.25)(num_lines=kspace.shape[-1])
write_raw(folder / "knee_accelerated.h5", kspace, mask.lines.numpy())
write_raw(folder / "knee_all_lines.h5", kspace, np.ones_like(mask.lines.numpy()))

# %% [markdown]
# First see what the folder holds: sizes, coils, sampling. Opening a file compares what its header says with
# its lines, and says what the reader left out, such as noise scans.

# %%
paths = sorted(folder.glob("*.h5"))
for path in paths:
    scan = fm.open_scan(path)
    print(scan, *scan.notes, sep="\n  ")

# %% [markdown]
# Reconstruct each scan. What the scanner left out is read from its lines. A NIfTI file has voxels in mm,
# and an orientation only where the vendor's convention is known. Whatever the network was not trained on,
# such as the tiny matrices here, is warned of.

# %%
from fm_unroll.cli import main

for path in paths:
    main(["reconstruct", str(path), "--output", "images", "--formats", "[nii,png]"])

# %% [markdown]
# The fully sampled scan was masked first, and its metrics are printed. The other one has no target; what
# can be said of it is how far to trust it: `reconstruct --trust` draws where the image would change if
# other lines had been measured.
#
# To train on such scans, put them into a data set of fastMRI's layout with one file each, or write a reader
# for your own: docs/extending.md.

# %%
written = sorted(path.name for path in Path("images").iterdir())
print(written)
