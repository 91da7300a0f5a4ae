"""Reader of ISMRMRD raw data: the vendor-neutral file that scanners' converters write.

::

    <group>/xml     header: encoded and reconstructed matrix, field of view, encoding limits
    <group>/data    one entry per acquisition (readout): its header and complex samples of every coil

Source: Inati et al., "ISMRM Raw Data Format", Magn. Reson. Med. 77 (2017), https://doi.org/10.1002/mrm.26089;
https://ismrmrd.readthedocs.io. The package ``ismrmrd`` reads the header, h5py the acquisitions of one
slice at a time.

What is understood is two-dimensional Cartesian imaging. Everything else is refused: other trajectories, 3-D
encoding, reversed readouts (echo-planar), several encodings in one image, and sampling that changes from
slice to slice. Noise is not whitened.
"""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from fm_unroll.data.lines import require_same
from fm_unroll.data.readers.directions import geometry_of, is_verified
from fm_unroll.data.readers.geometry import Geometry
from fm_unroll.data.readers.hdf5 import MAX_COILS, open_file, require_dataset
from fm_unroll.data.readers.reader import Images, Reader
from fm_unroll.data.readers.registry import register_reader
from fm_unroll.data.volume import Volume, sampled_lines
from fm_unroll.errors import InputError
from fm_unroll.physics import crop_readout

FRAME_COUNTERS = ("contrast", "phase", "repetition", "set")
BODY_PARTS = {"heart": "cardiac", "cardiac": "cardiac", "knee": "knee", "head": "brain", "brain": "brain"}

Heads = NDArray[np.void]  # headers of acquisitions, a structured array


class RawFile:
    """An open file, with the place of every acquisition on the matrix.

    A frame is one combination of contrast, cardiac phase, repetition and set. Averages of a line are
    averaged. Lines lie where the encoding limits put them (partial Fourier), samples where ``center_sample``
    puts them (asymmetric echo); what was not sampled is zero. Readout oversampling is removed: by the
    header's fields of view, in image space.

    Attributes:
        volume: what the headers say.
        geometry: size and place of a voxel.
        vendor: the scanner's.
        anatomy: ``cardiac``, ``knee``, ``brain``, or None where the header does not say.
        left_out: calibration readouts that are not part of the image.
    """

    def __init__(self, path: Path) -> None:
        """Read headers, no samples.

        Raises:
            InputError: the package ``ismrmrd`` is not installed, or the file is not 2-D Cartesian imaging.
        """
        self.path = path
        self._file = open_file(path)
        try:
            self._group = require_group(self._file)
            header = parse_header(self._file, self._group)
            self._place(header, _heads(self._file, self._group))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, slice: int, frame: int) -> NDArray[np.complex64]:
        """The acquisitions of one slice of one frame on the matrix: complex64, ``(coil, readout, phase)``.

        Raises:
            InputError: one lies outside of the matrix.
        """
        rows = np.flatnonzero((self._slices == slice) & (self._frames == frame))
        samples = self._file[f"{self._group}/data"].fields("data")[self._rows[rows]]
        return self._grid(rows, samples)

    def _place(self, header: Any, heads: Heads) -> None:
        """Work out where every acquisition belongs."""
        ismrmrd = require_ismrmrd(self.path)
        self._rows, self.left_out = _imaging_rows(self.path, ismrmrd, header, heads)
        heads = heads[self._rows]
        encoding = header.encoding[int(heads["encoding_space_ref"][0])]
        self._check(ismrmrd, encoding, heads)
        matrix = encoding.encodedSpace.matrixSize
        first = matrix.y // 2 - encoding.encodingLimits.kspace_encoding_step_1.center
        self._lines = heads["idx"]["kspace_encode_step_1"].astype(int) + first
        if not 0 <= self._lines.min() <= self._lines.max() < matrix.y:
            raise InputError(
                f"{self.path}: the encoding limits put lines {self._lines.min()} to {self._lines.max()} "
                f"into a matrix of {matrix.y}"
            )
        self._encoded_readout = matrix.x
        self._starts = matrix.x // 2 - heads["center_sample"].astype(int)
        self._discarded = heads["discard_pre"].astype(int), heads["discard_post"].astype(int)
        self._slices = np.unique(heads["idx"]["slice"], return_inverse=True)[1]
        frames = np.stack([heads["idx"][counter] for counter in FRAME_COUNTERS], axis=1)
        self._frames = np.unique(frames, axis=0, return_inverse=True)[1].ravel()
        self.volume = self._describe(header, encoding, heads)
        study = header.studyInformation
        self.anatomy = BODY_PARTS.get((study.bodyPartExamined or "").lower()) if study else None
        first_of_slice = np.unique(self._slices, return_index=True)[1]
        system = header.acquisitionSystemInformation
        self.vendor = ((system and system.systemVendor) or "a vendor that the header does not name").strip()
        self.geometry = geometry_of(encoding.encodedSpace, self.volume, heads[first_of_slice], self.vendor)

    def _describe(self, header: Any, encoding: Any, heads: Heads) -> Volume:
        """The volume that the acquisitions make up."""
        encoded, recon = encoding.encodedSpace, encoding.reconSpace
        slices, frames = int(self._slices.max()) + 1, int(self._frames.max()) + 1
        phase, limits = encoded.matrixSize.y, encoding.encodingLimits.kspace_encoding_step_1
        lines = self._same_lines(slices, frames, phase)
        first, last = (limit - limits.center + phase // 2 for limit in (limits.minimum, limits.maximum))
        # the limits may be wrong, as where nobody has set them: no line that was acquired lies outside
        held = np.flatnonzero(lines).tolist()
        acquired = max(min(first, held[0]), 0), min(max(last, held[-1]) + 1, phase)
        full = bool(lines[slice(*acquired)].all())
        sampled, num_acs = sampled_lines(None if full else lines, self.path)
        readout = _cropped(encoded.matrixSize.x, recon.fieldOfView_mm.x, encoded.fieldOfView_mm.x)
        columns = _cropped(phase, recon.fieldOfView_mm.y, encoded.fieldOfView_mm.y)
        subject, measurement = header.subjectInformation, header.measurementInformation
        return Volume(
            path=self.path.name,
            name=self.path.stem,
            subject=(subject and subject.patientID) or self.path.stem,
            contrast=(measurement and measurement.protocolName) or "unknown",
            num_slices=slices,
            num_frames=frames,
            num_coils=int(heads["active_channels"][0]),
            readout=readout,
            phase=phase,
            crop=(readout, columns),
            acquired=acquired if full else (0, phase),
            sampled=sampled,
            num_acs=num_acs,
        )

    def _check(self, ismrmrd: Any, encoding: Any, heads: Heads) -> None:
        """Refuse all but two-dimensional Cartesian encodings with plausible sizes."""
        encoded, recon = encoding.encodedSpace, encoding.reconSpace
        if encoding.trajectory != ismrmrd.xsd.trajectoryType.CARTESIAN:
            raise InputError(
                f"{self.path}: the trajectory is {encoding.trajectory.value}; only cartesian is supported"
            )
        if encoded.matrixSize.z != 1:
            raise InputError(
                f"{self.path}: 3-D encoding ({encoded.matrixSize.z} partitions) is not supported; "
                "transform the partitions and give the slices one by one"
            )
        fields = [
            side for space in (encoded, recon) for side in (space.fieldOfView_mm.x, space.fieldOfView_mm.y)
        ]
        if min(encoded.matrixSize.x, encoded.matrixSize.y) < 1 or not min(fields) > 0:
            raise InputError(f"{self.path}: matrix or field of view in the header is not positive")
        if encoding.encodingLimits.kspace_encoding_step_1 is None:
            raise InputError(f"{self.path}: the header has no encodingLimits/kspace_encoding_step_1")
        coils = np.unique(heads["active_channels"])
        if len(coils) != 1 or not 1 <= coils[0] <= MAX_COILS:
            raise InputError(f"{self.path}: acquisitions have {coils.tolist()} channels, expected one number")

    def _same_lines(self, slices: int, frames: int, phase: int) -> NDArray[np.bool_]:
        """The lines that every slice of every frame has: bool, ``(phase,)``."""
        lines = np.zeros((slices, frames, phase), bool)
        lines[self._slices, self._frames, self._lines] = True
        places = np.ndindex(slices, frames)
        return require_same(((slice_, frame, lines[slice_, frame]) for slice_, frame in places), self.path)

    def _grid(self, rows: NDArray[np.intp], samples: Iterable[NDArray[np.float32]]) -> NDArray[np.complex64]:
        """Put acquisitions on the matrix: complex64, ``(coil, readout, phase)``."""
        volume, size = self.volume, self._encoded_readout
        kspace = np.zeros((volume.phase, volume.num_coils, size), np.complex64)
        averages = np.zeros(volume.phase)
        for row, values in zip(rows, samples, strict=True):
            readout = values.view(np.complex64).reshape(volume.num_coils, -1)
            before, after = self._discarded[0][row], self._discarded[1][row]
            kept = readout[:, before : readout.shape[1] - after]
            start = self._starts[row] + before
            if start < 0 or start + kept.shape[1] > size or not kept.shape[1]:
                raise InputError(
                    f"{self.path}: acquisition {self._rows[row]} puts samples {start} to "
                    f"{start + kept.shape[1] - 1} into a matrix of {size} (center_sample)"
                )
            kspace[self._lines[row], :, start : start + kept.shape[1]] += kept
            averages[self._lines[row]] += 1
        kspace /= np.maximum(averages, 1).astype(np.float32)[:, None, None]
        gridded = torch.from_numpy(kspace).permute(1, 2, 0)
        cropped: NDArray[np.complex64] = crop_readout(gridded, volume.readout).contiguous().numpy()
        return cropped


@register_reader
@dataclass(frozen=True)
class ISMRMRDReader(Reader[RawFile]):
    """Raw files, which are read one by one and not as a data set."""

    name: ClassVar[str] = "ISMRMRD"
    keys: ClassVar[str] = "dataset/xml, dataset/data"

    def recognises(self, file: h5py.File) -> bool:
        """Whether a group of the file holds a header and acquisitions."""
        return bool(list_groups(file))

    def open(self, path: Path) -> RawFile:
        """Read the headers."""
        return RawFile(path)

    def parse(self, file: RawFile, path: Path) -> Volume:
        """What the headers say."""
        return file.volume

    def read(self, file: RawFile, volume: Volume, slice: int, frame: int) -> Images:
        """One slice of one frame. No reconstruction is stored."""
        return file.read(slice, frame), None

    def anatomy(self, file: RawFile, volume: Volume) -> str | None:
        """The anatomy of the body part that the header names."""
        return file.anatomy

    def geometry(self, file: RawFile) -> Geometry:
        """Size and place of a voxel, from the headers of the acquisitions."""
        return file.geometry

    def notes(self, file: RawFile) -> tuple[str, ...]:
        """Calibration readouts that were left out, and directions that were."""
        lines = []
        if file.left_out:
            lines.append(f"{file.left_out} readouts of a separate calibration scan are left out")
        if not is_verified(file.vendor):
            lines.append(f"orientation unknown: how {file.vendor} means the directions is not verified")
        return tuple(lines)


def list_groups(file: h5py.File) -> list[str]:
    """The groups that hold ``xml`` and ``data``; there is usually one, ``dataset``."""
    return [
        name
        for name in file
        if isinstance(file.get(name, getlink=True), h5py.HardLink)
        and isinstance(file[name], h5py.Group)
        and {"xml", "data"} <= set(file[name])
    ]


def require_group(file: h5py.File) -> str:
    """The one group that holds ``xml`` and ``data``.

    Raises:
        InputError: there is none, or there are several.
    """
    groups = list_groups(file)
    if len(groups) != 1:
        several = f"several ISMRMRD groups ({', '.join(groups)}); keep one"
        raise InputError(f"{file.filename}: holds {several if groups else 'no ISMRMRD group'}")
    return groups[0]


def parse_header(file: h5py.File, group: str) -> Any:
    """The header of a file, as the package ``ismrmrd`` models it.

    Raises:
        InputError: it is no header; ``ismrmrd`` is not installed.
    """
    ismrmrd = require_ismrmrd(file.filename)
    dataset = require_dataset(file, f"{group}/xml")
    where = f"{file.filename}: {group}/xml"
    if dataset.size != 1 or h5py.check_string_dtype(dataset.dtype) is None:
        raise InputError(f"{where} is {dataset.dtype} {dataset.shape}, expected one text")
    text = dataset.asstr(errors="replace")[()]
    text = text if isinstance(text, str) else str(text.ravel()[0])
    if "<!DOCTYPE" in text:
        raise InputError(f"{where} has a document type declaration, which may define entities: refused")
    try:
        return ismrmrd.xsd.CreateFromDocument(text.encode())
    except Exception as error:  # the XML libraries that it uses raise errors of many classes
        raise InputError(f"{where} is no valid header ({' '.join(str(error).split())})") from error


def require_ismrmrd(path: Path | str) -> Any:
    """The package ``ismrmrd``.

    Raises:
        InputError: it is not installed.
    """
    if importlib.util.find_spec("ismrmrd") is None:
        raise InputError(f"{path} is an ISMRMRD file: pip install 'fm_unroll[files]' to read it")
    import ismrmrd
    import ismrmrd.xsd

    return ismrmrd


def _heads(file: h5py.File, group: str) -> Heads:
    """The headers of all acquisitions, without their samples."""
    dataset = require_dataset(file, f"{group}/data")
    where = f"{file.filename}: {group}/data"
    if dataset.ndim != 1 or not {"head", "data"} <= set(dataset.dtype.names or ()):
        raise InputError(f"{where} is {dataset.dtype} {dataset.shape}, expected a list of acquisitions")
    if not dataset.size:
        raise InputError(f"{where} holds no acquisition")
    heads: Heads = dataset.fields("head")[()]
    return heads


def _imaging_rows(path: Path, ismrmrd: Any, header: Any, heads: Heads) -> tuple[NDArray[np.intp], int]:
    """Indices of the acquisitions that make up the image, and how many calibration readouts do not.

    Calibration lines count where the header says that they are embedded in the scan; a separate reference
    scan may have another contrast.
    """
    not_images = [
        ismrmrd.ACQ_IS_NOISE_MEASUREMENT,
        ismrmrd.ACQ_IS_NAVIGATION_DATA,
        ismrmrd.ACQ_IS_PHASECORR_DATA,
        ismrmrd.ACQ_IS_HPFEEDBACK_DATA,
        ismrmrd.ACQ_IS_DUMMYSCAN_DATA,
        ismrmrd.ACQ_IS_RTFEEDBACK_DATA,
        ismrmrd.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA,
        ismrmrd.ACQ_IS_PHASE_STABILIZATION_REFERENCE,
        ismrmrd.ACQ_IS_PHASE_STABILIZATION,
    ]
    image = ~_flagged(heads, not_images)
    if heads["encoding_space_ref"][image].max(initial=0) >= len(header.encoding):
        raise InputError(f"{path}: acquisitions refer to an encoding that the header does not have")
    embedded = [
        encoding.parallelImaging is not None
        and encoding.parallelImaging.calibrationMode == ismrmrd.xsd.calibrationModeType.EMBEDDED
        for encoding in header.encoding
    ]
    calibration = _flagged(heads, [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]) & ~_flagged(
        heads, [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING]
    )
    separate = image & calibration
    separate[image] &= ~np.array(embedded)[heads["encoding_space_ref"][image]]
    rows = np.flatnonzero(image & ~separate)
    if not len(rows):
        raise InputError(f"{path}: holds no imaging acquisition")
    if _flagged(heads[rows], [ismrmrd.ACQ_IS_REVERSE]).any():
        raise InputError(f"{path}: has reversed (echo-planar) readouts, which are not supported")
    encodings = np.unique(heads["encoding_space_ref"][rows])
    if len(encodings) > 1:
        raise InputError(f"{path}: the image has {len(encodings)} encodings; only one is supported")
    return rows, int(separate.sum())


def _flagged(heads: Heads, flags: Iterable[int]) -> NDArray[np.bool_]:
    """Which acquisitions bear one of some flags (ISMRMRD counts bits from 1)."""
    bits = sum(1 << (flag - 1) for flag in flags)
    return np.asarray((heads["flags"] & np.uint64(bits)) != 0)


def _cropped(size: int, wanted_mm: float, encoded_mm: float) -> int:
    """Samples of the encoded field of view that lie in the wanted one, all of them at most."""
    return max(1, min(size, round(size * wanted_mm / encoded_mm)))
