# %% [markdown]
# # A new data set is one reader
#
# A laboratory keeps one HDF5 file per subject: `raw`, complex `(slice, coil, phase, readout)`, and an
# attribute `protocol`. The class below is all that the package has to know.

# %%
# --8<-- [start:reader]
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np

from fm_unroll.data.readers.hdf5 import get_kspace, get_text, to_complex64
from fm_unroll.data.readers.reader import HDF5Reader, Images
from fm_unroll.data.readers.registry import register_reader
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.files import visible

AXES = {4: "slice, coil, phase, readout"}


@register_reader
@dataclass(frozen=True)
class LabReader(HDF5Reader):
    """A folder of the laboratory's files."""

    name: ClassVar[str] = "Lab"
    keys: ClassVar[str] = "raw"
    suffixes: ClassVar[tuple[str, ...]] = (".h5",)
    misplaced: ClassVar[str] = "but not where its reader looks; expected SUBJECT.h5"

    def recognises(self, file: h5py.File) -> bool:
        """Recognise a file by the name of its k-space."""
        return "raw" in file

    def parse(self, file: h5py.File, path: Path) -> Volume:
        """Describe a file: the only scan of one subject, fully sampled."""
        slices, coils, phase, readout = get_kspace(file, ["raw"], AXES).shape
        contrast = get_text(file, "protocol", default="unknown")
        return Volume.of_array(path, (1, slices, coils, readout, phase), contrast=contrast)

    def read(self, file: h5py.File, volume: Volume, slice: int, frame: int) -> Images:
        """Read one slice with its axes in order; the files hold no reconstructions."""
        kspace = to_complex64(get_kspace(file, ["raw"], AXES)[slice])
        return np.ascontiguousarray(kspace.swapaxes(-1, -2)), None

    def find(self, root: Path) -> tuple[list[Path], list[str]]:
        """List the files of a folder; none is missing, because no list says which there should be."""
        files = visible(root, ".h5")
        if not files:
            raise InputError(f"{root}: no files of the laboratory; expected {root / 'SUBJECT.h5'}")
        return files, []

    def parts(self, scans: Sequence[Path]) -> Iterator[tuple[Path, "LabReader"]]:
        """Take every folder that holds scans for a data set."""
        return ((folder, self) for folder in sorted({path.parent for path in scans}))

    def anatomy(self, file: h5py.File, volume: Volume) -> str:
        """Name the anatomy: the laboratory scans knees."""
        return "knee"


# --8<-- [end:reader]

# %% [markdown]
# To train on it, a data module says which pattern its scans are masked with:

# %%
# --8<-- [start:module]
from fm_unroll.data.modules import KSpaceData
from fm_unroll.physics import EquispacedSampling, SamplingPattern


class LabData(KSpaceData):
    """The laboratory's knees."""

    anatomy = "knee"
    default_split = (0.6, 0.2, 0.2)

    def __init__(
        self,
        root: Path,
        sampling: SamplingPattern | None = None,
        split: tuple[float, float, float] | None = None,
        split_seed: int = 0,
        batch_size: int = 1,
        num_workers: int = 2,
    ) -> None:
        """Describe the data set.

        Args:
            root: folder of the files.
            sampling: pattern of the masks; None: every fourth line, 8 % of them in the centre.
            split: fractions of subjects for training, validation and test; None: the data set's own.
            split_seed: seed of the split.
            batch_size: slices per batch.
            num_workers: reading processes.
        """
        pattern = sampling or EquispacedSampling(4, 0.08)
        super().__init__(root, LabReader(), pattern, split, split_seed, batch_size, num_workers)


# --8<-- [end:module]

# %% [markdown]
# Its test writes a few small files and reads them back:


# %%
def write_lab(path: Path, shape: tuple[int, int, int, int] = (3, 2, 12, 16), seed: int = 0) -> np.ndarray:
    """Write noise of this `(slice, coil, phase, readout)`, and return it."""
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape), dtype=np.float32)
    with h5py.File(path, "w") as file:
        file["raw"] = real + 1j * imag
        file.attrs["protocol"] = "PD"
    return real + 1j * imag


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    from fm_unroll.data.scan import open_scan

    with TemporaryDirectory() as folder:
        written = write_lab(Path(folder, "anna.h5"))
        scan = open_scan(Path(folder, "anna.h5"))
        print(scan)
        np.testing.assert_array_equal(scan[1].kspace, written[1].swapaxes(-1, -2))
