"""The two file layouts: CMRxRecon's MATLAB v7.3 and fastMRI's HDF5."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from fm_unroll.data.readers.hdf5 import COMPLEX_SINGLE
from fm_unroll.files import whole_file
from fm_unroll.phantoms.shapes import Array
from fm_unroll.phantoms.simulate import Acquisition, root_sum_of_squares

Attributes = Mapping[str, str | int | float]

_USERBLOCK = 512


def write_cmrxrecon(
    path: Path, variable: str, shape: tuple[int, ...], slices: Iterable[Array], attributes: Attributes
) -> None:
    """Write multi-coil k-space as MATLAB v7.3 does.

    Args:
        path: e.g. ``MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat``.
        variable: e.g. ``kspace_full``.
        shape: ``(t, z, coil, readout, phase)``.
        slices: for z = 0, 1, ... the k-space, complex64 ``(t, coil, readout, phase)``.
        attributes: put on the file's root, where MATLAB ignores them.
    """
    frames, num_slices, coils, readout, phase = shape
    with _matlab_file(path, attributes) as file:
        dataset = _create_kspace(file, variable, (frames, num_slices, coils, phase, readout))
        for z, kspace in enumerate(slices):
            for t, frame in enumerate(kspace):
                dataset[t, z] = np.ascontiguousarray(frame.swapaxes(-2, -1)).view(COMPLEX_SINGLE)


def write_cmrxrecon_undersampled(path: Path, full: Path, acceleration: int, acs_lines: int = 24) -> None:
    """Write what the challenge hands out of a fully sampled file: every R-th line, plus the centre lines.

    The mask is written beside ``path``, and before it, so that a file that is there has its mask.

    Args:
        path: e.g. ``MultiCoil/Cine/TrainingSet/AccFactor04/P001/cine_sax.mat``.
        full: the fully sampled file.
        acceleration: R.
        acs_lines: number of centre lines.
    """
    with h5py.File(full, locking=False) as source:  # a reader may have it open
        kspace, attributes = source["kspace_full"], dict(source.attrs)
        *_, phase, readout = kspace.shape
        lines = np.arange(phase) % acceleration == 0
        start = (phase - acs_lines + 1) // 2
        lines[start : start + acs_lines] = True
        with _matlab_file(path.with_name(f"{path.stem}_mask.mat"), attributes) as file:
            mask = np.repeat(lines[:, None], readout, axis=1).astype(np.float64)
            file.create_dataset(f"mask{acceleration:02}", data=mask).attrs["MATLAB_class"] = np.bytes_(
                "double"
            )
        with _matlab_file(path, attributes) as file:
            dataset = _create_kspace(file, f"kspace_sub{acceleration:02}", kspace.shape)
            for t, z in np.ndindex(kspace.shape[:2]):
                dataset[t, z] = np.where(lines[:, None], kspace[t, z], np.zeros((), COMPLEX_SINGLE))


def write_fastmri(
    path: Path,
    kspace: Array,
    acquisition: Acquisition,
    reconstruction: tuple[int, int],
    attributes: Attributes,
) -> None:
    """Write a multi-coil volume in fastMRI's layout.

    Args:
        path: e.g. ``knee/multicoil_val/file0000001.h5``.
        kspace: complex64 ``(slice, coil, readout, phase)``.
        acquisition: its encoding.
        reconstruction: matrix ``(readout, phase)`` of ``reconstruction_rss``.
        attributes: must hold ``acquisition`` and ``patient_id``; ``max`` and ``norm`` are added.
    """
    images = root_sum_of_squares(kspace)
    top, left = ((have - want) // 2 for have, want in zip(images.shape[1:], reconstruction, strict=True))
    images = images[:, top : top + reconstruction[0], left : left + reconstruction[1]]
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("kspace", data=kspace)
        file.create_dataset("reconstruction_rss", data=images)
        file.create_dataset(
            "ismrmrd_header", data=_ismrmrd_header(kspace.shape[1], acquisition, reconstruction)
        )
        file.attrs.update({**attributes, "max": float(images.max()), "norm": float(np.linalg.norm(images))})


def _create_kspace(file: h5py.File, variable: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """Create an empty MATLAB array [t, z, coil, ky, kx] of complex singles, compressed slice by slice."""
    dataset = file.create_dataset(
        variable,
        shape,
        COMPLEX_SINGLE,
        chunks=(1, 1, *shape[2:]),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    dataset.attrs["MATLAB_class"] = np.bytes_("single")
    return dataset


def _ismrmrd_header(coils: int, acquisition: Acquisition, reconstruction: tuple[int, int]) -> str:
    """Write the XML that tells what was encoded, what is reconstructed, and which lines were acquired."""
    (readout, phase), (readout_mm, phase_mm) = acquisition.matrix, acquisition.field_mm
    first, stop = acquisition.acquired.start, acquisition.acquired.stop

    def space(name: str, matrix: tuple[int, int]) -> str:
        x_mm, y_mm = readout_mm * matrix[0] / readout, phase_mm * matrix[1] / phase
        return (
            f"<{name}><matrixSize><x>{matrix[0]}</x><y>{matrix[1]}</y><z>1</z></matrixSize>"
            f"<fieldOfView_mm><x>{x_mm:g}</x><y>{y_mm:g}</y><z>5</z></fieldOfView_mm></{name}>"
        )

    return f"""<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <acquisitionSystemInformation><receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>123200000</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  {space("encodedSpace", (readout, phase))}
  {space("reconSpace", reconstruction)}
  <encodingLimits>
   <kspace_encoding_step_1>
    <minimum>0</minimum><maximum>{stop - first - 1}</maximum><center>{phase // 2 - first}</center>
   </kspace_encoding_step_1>
  </encodingLimits>
  <trajectory>cartesian</trajectory>
 </encoding>
</ismrmrdHeader>
"""


@contextmanager
def _matlab_file(path: Path, attributes: Attributes) -> Iterator[h5py.File]:
    """Open an HDF5 file that gets the header of 128 bytes by which MATLAB knows its own."""
    with whole_file(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=_USERBLOCK) as file:
            file.attrs.update(attributes)
            yield file
        description = b"MATLAB 7.3 MAT-file, Platform: synthetic, written by fm_unroll HDF5 schema 1.00 ."
        with temporary.open("r+b") as raw:
            raw.write(description.ljust(116) + bytes(8) + b"\x00\x02IM")
