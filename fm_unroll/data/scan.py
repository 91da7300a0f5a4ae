"""One file of any kind that is understood, recognised by what is in it."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from fm_unroll.data.dataset import SliceDataset
from fm_unroll.data.examination import Claims, compare_maximum, examine, middle
from fm_unroll.data.readers.geometry import Geometry
from fm_unroll.data.readers.hdf5 import reading
from fm_unroll.data.readers.registry import recognise
from fm_unroll.data.sample import KSpaceBatch, KSpaceSample
from fm_unroll.data.undersampling import undersample
from fm_unroll.data.volume import Volume
from fm_unroll.errors import InputError
from fm_unroll.files import at_home
from fm_unroll.physics import SamplingPattern
from fm_unroll.subjects.population import Population


@dataclass(frozen=True)
class Scan:
    """One file, ready to be read slice by slice, frames outermost.

    ``len(scan)`` is the number of slices of all frames, ``scan[i]`` reads one of them.

    Attributes:
        path: the file.
        kind: name of its layout: ``CMRxRecon``, ``fastMRI``, ``ISMRMRD``, ``NumPy``, ...
        volume: what its headers say.
        population: where its subject comes from.
        anatomy: ``cardiac``, ``knee``, ``brain``, ...; None where the file does not say.
        geometry: size and place of a voxel; None where the file does not say.
        notes: what the reader left out, one line for each.
        slices: the data set that reads the slices.
    """

    path: Path
    kind: str
    volume: Volume
    population: Population
    anatomy: str | None
    geometry: Geometry | None
    notes: tuple[str, ...]
    slices: SliceDataset

    def __repr__(self) -> str:
        """One line: file, layout, anatomy, sizes."""
        kind = self.kind if self.anatomy is None else f"{self.kind} {self.anatomy}"
        return f"Scan({self.path.name}: {kind}, {self.volume})"

    def __len__(self) -> int:
        """Slices of all frames."""
        return len(self.slices)

    def __getitem__(self, item: int) -> KSpaceSample:
        """Read one slice of one frame.

        Raises:
            IndexError: there is no such slice.
            InputError: it cannot be used.
        """
        return self.slices[item]

    def __iter__(self) -> Iterator[KSpaceSample]:
        """Read one slice after the other."""
        return (self[item] for item in range(len(self)))

    def contradicted_maximum(self, measured: float) -> list[str]:
        """One line where the file states another maximum than that of its target, which is known by now.

        Args:
            measured: the maximum over all slices.
        """
        _, file = self.slices.open(0)
        return compare_maximum(Claims(self.slices.reader.stated_maximum(file)), measured)

    def batch(self) -> KSpaceBatch:
        """Read all slices as they were acquired.

        Returns:
            All slices. Of an undersampled scan a network takes them as they are:
            ``network(batch.kspace, batch.mask, batch.num_acs)``. ``batch[0]`` is the first one alone.

        Raises:
            InputError: a slice cannot be used.
        """
        return KSpaceBatch.collate(list(self))

    def undersample(self, pattern: SamplingPattern) -> KSpaceBatch:
        """Read all slices of a fully sampled scan and mask them as an evaluation does.

        Args:
            pattern: the sampling pattern.

        Returns:
            All slices, which a network takes as they are, as those of :meth:`batch`. ``data_range`` is the
            maximum of the whole volume's target.

        Raises:
            InputError: the scan is undersampled already, or a slice cannot be used.
        """
        if not self.volume.fully_sampled:
            raise InputError(
                f"{self.path} is undersampled already and has its own mask: "
                "scan.batch() gives its slices as they are"
            )
        batch = undersample(self.batch(), pattern)
        if self.volume.maximum is None and batch.target is not None:
            return replace(batch, data_range=batch.target.max().expand(len(batch)))
        return batch


def open_scan(path: Path | str, axes: str | Sequence[str] = (), readout_crop: float = 1.0) -> Scan:
    """Recognise a file by its content, describe it, and compare what it says with some of its data.

    Args:
        path: the file.
        axes: order of a NumPy array's axes, ``"slice,coil,readout,phase"`` or a list of these names, see
            :class:`~fm_unroll.data.readers.numpy.NumPyReader`.
        readout_crop: share of the field of view along the readout that is read, of a CMRxRecon file.

    Raises:
        InputError: no such file, of no known kind, or not usable; axes are given for a file that states its
            own order; the data are not sampled as the file says.
    """
    path = at_home(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    reader = recognise(path).with_readout_crop(readout_crop)
    names = axes.split(",") if isinstance(axes, str) else axes
    names = [name.strip() for name in names if name.strip()]
    if names:
        try:
            reader = reader.with_axes(names)
        except InputError as error:
            raise InputError(f"{path} {error}") from None
    where = path.absolute()  # a layout may name volumes by their folder, which a relative path can lack
    with reading(path), closing(reader.open(where)) as file:
        volume = reader.parse(file, where)
        if path.is_symlink() and not reader.names_subject(volume):
            linked = reader.parse(file, where.resolve())
            if reader.names_subject(linked):
                where, volume = where.resolve(), linked
        anatomy, geometry = reader.anatomy(file, volume), reader.geometry(file)
        notes = reader.notes(file)
    volume = examine_ends(SliceDataset(where.parent, reader, [volume]))
    slices = SliceDataset(where.parent, reader, [volume])
    population = reader.population(where, volume)
    return Scan(path, reader.name, volume, population, anatomy, geometry, notes, slices)


def examine_ends(slices: SliceDataset) -> Volume:
    """The volume of a scan, after its first, middle and last slice are compared with what its file says.

    The others are compared when they are read.

    Raises:
        InputError: a slice cannot be used, such as one whose sampling is not what the file says.
    """
    (volume,) = slices.volumes
    return examine(slices, sorted({0, middle(volume), len(slices) - 1}))
