"""Undersampled copies of scans for other programs: k-space under the masks of ``cross-domain``, no target.

They are files of the layouts that were published for reconstruction:

- fastMRI as its test set: ``kspace``, ``mask``, the header and the attributes, without ``reconstruction_rss``
  and without the attributes ``max`` and ``norm``, which are of the target;
- CMRxRecon as the challenge of 2023: ``AccFactor08/P001/cine_sax.mat`` with ``kspace_sub08``, and beside it
  ``cine_sax_mask.mat`` with ``mask08``.

Nothing else of a source is copied. Attributes of each file say how it was sampled and what it was made from.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fm_unroll.curation.pack import copy_attributes
from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.index import stamp
from fm_unroll.data.modules import CMRxReconData, FastMRIData
from fm_unroll.data.readers.hdf5 import COMPLEX_SINGLE, get_document, open_file, reading
from fm_unroll.data.readers.reader import Reader
from fm_unroll.data.undersampling import mask_of
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.files import whole_file
from fm_unroll.physics import SamplingPattern
from fm_unroll.physics.sampling import SamplingMask

VERSION = 1  # to be raised whenever files are written in another way
ATTRIBUTE = "undersampled_from"
OF_THE_TARGET = ("max", "norm")
PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}  # zeros take no space


@dataclass(frozen=True)
class Job:
    """One volume that is undersampled.

    Attributes:
        volume: the volume.
        root: the data set's folder.
        reader: its layout.
        place: the file's place below the folder that is written, as the layout of undersampled files has it.
        mask: the lines that are kept.
        attributes: what the written files say of themselves.
    """

    volume: Volume
    root: Path
    reader: Reader[Any]
    place: Path
    mask: SamplingMask
    attributes: dict[str, str | float]

    @classmethod
    def of(
        cls, volume: Volume, root: Path, reader: Reader[Any], place: Path, pattern: SamplingPattern
    ) -> "Job":
        """Plan a file.

        Args:
            volume: a fully sampled volume.
            root: the data set's folder.
            reader: its layout.
            place: the file's place below the folder that was asked for.
            pattern: the sampling pattern.

        Raises:
            InputError: the layout has no undersampled form, or none at this acceleration.
        """
        if reader.name not in LAYOUTS:
            raise InputError(
                f"{root / volume.path}: files of {reader.name} are not undersampled: give a folder of "
                f"{' or '.join(LAYOUTS)}"
            )
        mask = mask_of(volume, pattern)
        made_from = [VERSION, *stamp(root / volume.path, reader), pattern.to_config()]
        attributes: dict[str, str | float] = {
            "acceleration": mask.acceleration,  # as fastMRI's test files call these two
            "num_low_frequency": mask.num_acs,
            "true_acceleration": mask.true_acceleration,
            "sampling": repr(pattern),
            "sampling_seed": volume.mask_seed,
            ATTRIBUTE: json.dumps(made_from),
        }
        return cls(volume, root, reader, LAYOUTS[reader.name].place(place, mask), mask, attributes)

    @property
    def source(self) -> Path:
        """The fully sampled file."""
        return self.root / self.volume.path

    def slices(self) -> Iterator[tuple[int, int, NDArray[np.complex64]]]:
        """Frame, slice and masked k-space ``(coil, readout, phase)`` of every image."""
        lines = self.mask.lines.numpy()
        for sample in SliceDataset(self.root, self.reader, [self.volume]):
            # no negative zeros, as in fastMRI
            yield sample.frame, sample.slice, np.where(lines, sample.kspace.numpy(), 0) + np.complex64(0)


@dataclass(frozen=True)
class Layout:
    """How one layout holds undersampled files.

    Attributes:
        usual: the pattern of its data module.
        place: from the place of a fully sampled file, and its mask, to that of the undersampled one.
        write: writes the file and what belongs beside it, the file itself last.
    """

    usual: SamplingPattern
    place: Callable[[Path, SamplingMask], Path]
    write: Callable[[Job, Path], None]


def undersample_volume(job: Job, folder: Path) -> None:
    """Write the undersampled file of a volume, unless it is there and was made from the same state of it.

    Args:
        job: the volume and its mask.
        folder: where files of this pattern lie.

    Raises:
        InputError: the source cannot be used.
    """
    path = folder / job.place
    with suppress(InputError), reading(path), open_file(path) as file:
        if file.attrs.get(ATTRIBUTE) == job.attributes[ATTRIBUTE]:
            return
    LAYOUTS[job.reader.name].write(job, path)


def write_fastmri(job: Job, path: Path) -> None:
    """Write a file as those of fastMRI's test set."""
    volume = job.volume
    shape = (volume.num_slices, volume.num_coils, volume.readout, volume.phase)
    with closing(open_file(job.source)) as source, whole_file(path) as part, h5py.File(part, "w") as file:
        copy_attributes(source, file)
        for name in OF_THE_TARGET:
            file.attrs.pop(name, None)
        file.attrs.update(job.attributes)
        file["ismrmrd_header"] = get_document(source, "ismrmrd_header")
        file["mask"] = job.mask.lines.numpy()
        kspace = file.create_dataset("kspace", shape, np.complex64, chunks=(1, *shape[1:]), **PACKED)
        for _, slice_, masked in job.slices():
            kspace[slice_] = masked


def write_cmrxrecon(job: Job, path: Path) -> None:
    """Write a file as those of the challenge's ``AccFactorNN``, and its mask before it."""
    volume, number = job.volume, f"{int(job.mask.acceleration):02}"
    shape = (volume.num_frames, volume.num_slices, volume.num_coils, volume.phase, volume.readout)
    with _matlab_file(path.with_name(f"{path.stem}_mask.mat"), job) as file:
        lines = np.repeat(job.mask.lines.numpy()[:, None], volume.readout, axis=1)
        file[f"mask{number}"] = lines.astype(np.float64)
        file[f"mask{number}"].attrs["MATLAB_class"] = np.bytes_("double")
    with _matlab_file(path, job) as file:
        kspace = file.create_dataset(
            f"kspace_sub{number}", shape, COMPLEX_SINGLE, chunks=(1, 1, *shape[2:]), **PACKED
        )
        kspace.attrs["MATLAB_class"] = np.bytes_("single")
        for frame, slice_, masked in job.slices():
            kspace[frame, slice_] = np.ascontiguousarray(masked.swapaxes(-1, -2)).view(COMPLEX_SINGLE)


def factor_folder(place: Path, mask: SamplingMask) -> Path:
    """``.../FullSample/P001/cine_sax.mat`` -> ``.../AccFactor08/P001/cine_sax.mat``.

    Raises:
        InputError: the challenge's names have no place for the acceleration.
    """
    if mask.acceleration != int(mask.acceleration) or mask.acceleration > 99:
        raise InputError(
            f"{place}: folders of CMRxRecon are called AccFactor04, AccFactor08, ...: give a whole "
            f"acceleration below 100, not {mask.acceleration:g}"
        )
    factor = f"AccFactor{int(mask.acceleration):02}"
    return Path(*(factor if part.startswith("FullSample") else part for part in place.parts))


@contextmanager
def _matlab_file(path: Path, job: Job) -> Iterator[h5py.File]:
    """A new file with the user block of the source, by which MATLAB knows its own."""
    with closing(open_file(job.source)) as source:
        size = source.userblock_size
        with whole_file(path) as part:
            with h5py.File(part, "w", userblock_size=size) as file:
                copy_attributes(source, file)
                file.attrs.update(job.attributes)
                yield file
            with job.source.open("rb") as original, part.open("r+b") as written:
                written.write(original.read(size))


LAYOUTS = {
    "CMRxRecon": Layout(CMRxReconData.usual_sampling, factor_folder, write_cmrxrecon),
    "fastMRI": Layout(FastMRIData.usual_sampling, lambda place, _: place, write_fastmri),
}
