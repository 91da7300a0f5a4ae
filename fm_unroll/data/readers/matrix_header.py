"""What the ISMRMRD header inside a fastMRI file says about the matrix."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

import h5py
import numpy as np

from fm_unroll.data.readers.hdf5 import get_document
from fm_unroll.errors import InputError


@dataclass(frozen=True)
class MatrixHeader:
    """What the ISMRMRD header says about the matrix.

    Attributes:
        file: the file's name, for messages.
        encoded_lines: phase-encoding lines of the encoded matrix.
        recon_size: rows and columns of the reconstructed matrix.
        center: index of the central line among the acquired ones.
        last: index of the last acquired line.
        voxel_mm: size of a row, a column and a slice in mm; None where the header does not give it.
    """

    file: str
    encoded_lines: int
    recon_size: tuple[int, int]
    center: int
    last: int
    voxel_mm: tuple[float, float, float] | None

    @classmethod
    def parse(cls, file: h5py.File) -> "MatrixHeader":
        """Read the header of a file.

        A document type declaration is refused. Headers have none, and only it can define entities, which a
        parser would expand or fetch.

        Raises:
            InputError: there is no header, it is no XML, or it lacks a number.
        """
        text = get_document(file, "ismrmrd_header")
        where = f"{file.filename}: ismrmrd_header"
        if text is None:
            raise InputError(f"{where} is missing; the file's keys are {', '.join(list(file)[:10])}")
        if "<!DOCTYPE" in text:
            raise InputError(f"{where} has a document type declaration, which may define entities: refused")
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise InputError(f"{where} is no valid XML ({error})") from error

        def number(*tags: str, least: int) -> int:
            text = root.findtext("/".join(f"{{*}}{tag}" for tag in ("encoding", *tags)), default="").strip()
            if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
                raise InputError(f"{where}: {'/'.join(tags)} is {text!r}, expected a whole number >= {least}")
            return int(text)

        def voxel(axis: str) -> float:
            space = "{*}encoding/{*}encodedSpace"
            field = root.findtext(f"{space}/{{*}}fieldOfView_mm/{{*}}{axis}", default="")
            matrix = root.findtext(f"{space}/{{*}}matrixSize/{{*}}{axis}", default="")
            try:
                return float(field) / int(matrix)
            except (ValueError, ZeroDivisionError):
                return 0.0

        voxel_mm = (voxel("x"), voxel("y"), voxel("z"))
        return cls(
            file=file.filename,
            encoded_lines=number("encodedSpace", "matrixSize", "y", least=1),
            recon_size=(
                number("reconSpace", "matrixSize", "x", least=1),
                number("reconSpace", "matrixSize", "y", least=1),
            ),
            center=number("encodingLimits", "kspace_encoding_step_1", "center", least=0),
            last=number("encodingLimits", "kspace_encoding_step_1", "maximum", least=0),
            voxel_mm=voxel_mm if min(voxel_mm) > 0 and np.isfinite(voxel_mm).all() else None,
        )

    def acquired(self, phase: int) -> tuple[int, int]:
        """First and one-past-last acquired line of ``phase``, by fastMRI's rule.

        Raises:
            InputError: they lie outside of the matrix.
        """
        first = self.encoded_lines // 2 - self.center
        if not 0 <= first < phase:
            raise InputError(
                f"{self.file}: ismrmrd_header puts the first acquired line at {first}, k-space has {phase}"
            )
        return first, min(first + self.last + 1, phase)

    def crop(self, readout: int, phase: int) -> tuple[int, int]:
        """Rows and columns of the image that count, by fastMRI's rule.

        The header's reconstruction size; where the matrix is narrower than that (203 lines in some FLAIR
        scans), a square as wide as the matrix.
        """
        rows, columns = self.recon_size
        if phase < columns:
            rows = columns = phase
        return min(rows, readout), columns
