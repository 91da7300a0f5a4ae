"""Small files in the published formats, for the tests of the readers."""

from pathlib import Path

import h5py
import numpy as np

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <encoding>
  <encodedSpace><matrixSize><x>{readout}</x><y>{encoded}</y><z>1</z></matrixSize></encodedSpace>
  <reconSpace><matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize></reconSpace>
  <encodingLimits><kspace_encoding_step_1>
   <minimum>0</minimum><maximum>{last}</maximum><center>{center}</center>
  </kspace_encoding_step_1></encodingLimits>
  <trajectory>cartesian</trajectory>
 </encoding>
</ismrmrdHeader>"""


def random_kspace(*shape: int, seed: int = 0) -> np.ndarray:
    """Complex64 noise."""
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape), dtype=np.float32)
    return real + 1j * imag


def write_matlab(path: Path, **variables: np.ndarray) -> Path:
    """Write variables as MATLAB's ``save -v7.3`` does.

    Arrays come in MATLAB's order of axes. Trailing axes of size 1 are dropped, the order is reversed, complex
    numbers are a compound of real and imag, and a user block of 512 bytes names the version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in variables.items():
            while array.ndim > 2 and array.shape[-1] == 1:
                array = array[..., 0]
            stored = array.T
            if np.iscomplexobj(stored):
                pair = np.empty(stored.shape, [("real", stored.real.dtype), ("imag", stored.real.dtype)])
                pair["real"], pair["imag"] = stored.real, stored.imag
                stored = pair
            chunks = (1,) * (stored.ndim - 2) + stored.shape[-2:]
            file.create_dataset(name, data=stored, chunks=chunks, compression="gzip", compression_opts=3)
    with path.open("r+b") as file:
        text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan 01 2024 HDF5 schema 1.00 ."
        file.write(text.ljust(124) + b"\x00\x02IM")
    return path


def write_cmrxrecon(
    root: Path,
    subject: str = "P001",
    contrast: str = "cine_sax",
    shape: tuple[int, int, int, int, int] = (16, 12, 2, 3, 4),
    seed: int = 0,
) -> Path:
    """Write a fully sampled CMRxRecon 2023 file; ``shape`` is MATLAB's (kx, ky, coil, z, t)."""
    category = "Mapping" if contrast.endswith("map") else "Cine"
    folder = root / "MultiCoil" / category / "TrainingSet" / "FullSample" / subject
    return write_matlab(folder / f"{contrast}.mat", kspace_full=random_kspace(*shape, seed=seed))


def write_fastmri(
    path: Path,
    shape: tuple[int, int, int, int] = (3, 2, 16, 12),
    recon: tuple[int, int] = (8, 8),
    padding: tuple[int, int] = (0, 0),
    target: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    header: str = HEADER,
    attributes: dict[str, object] | None = None,
    seed: int = 0,
) -> Path:
    """Write a fastMRI file; ``shape`` is (slice, coil, readout, phase), ``padding`` lines left and right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kspace = random_kspace(*shape, seed=seed)
    readout, phase = shape[2:]
    acquired = slice(padding[0], phase - padding[1])
    lines = np.zeros(phase, bool)
    lines[acquired] = True if mask is None else mask[acquired]
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace * lines
        file["ismrmrd_header"] = header.format(
            readout=readout,
            encoded=phase,
            rows=recon[0],
            columns=recon[1],
            last=phase - sum(padding) - 1,
            center=phase // 2 - padding[0],
        )
        if target is not None:
            file["reconstruction_rss"] = target
        if mask is not None:
            file["mask"] = mask
        file.attrs.update({"patient_id": "anonymous", "acquisition": "AXT2"} | (attributes or {}))
    return path
