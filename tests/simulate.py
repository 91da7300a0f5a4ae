"""Simulated scans and small files in the published formats.

The physics is written out in NumPy here, independently of the package that the tests look at.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

AXES = (-2, -1)  # readout and phase

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


def to_kspace(images: np.ndarray) -> np.ndarray:
    """Centred orthonormal FFT of ``(..., readout, phase)``."""
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, AXES), norm="ortho"), AXES)


def to_images(kspace: np.ndarray) -> np.ndarray:
    """Centred orthonormal inverse FFT of ``(..., readout, phase)``."""
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, AXES), norm="ortho"), AXES)


def rss_image(kspace: np.ndarray) -> np.ndarray:
    """Root-sum-of-squares image of ``(..., coil, readout, phase)``."""
    return np.linalg.norm(to_images(kspace), axis=-3)


def complex_noise(*shape: int, dtype: torch.dtype = torch.complex64, seed: int = 0) -> Tensor:
    """Complex white noise of unit variance."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def uniform_lines(num_lines: int, acceleration: int, acs_lines: int) -> np.ndarray:
    """Every R-th line from the first, and the centre, as in the challenge's mySubsampling.m: bool."""
    lines = np.arange(num_lines) % acceleration == 0
    lines[challenge_center(num_lines, acs_lines)] = True
    return lines


def challenge_center(num_lines: int, acs_lines: int) -> list[int]:
    """The centre lines, counted from 0, by the challenge's zpad.m, which counts from 1."""
    middle = math.floor(num_lines / 2)
    return [
        line - 1
        for line in range(middle + 1 + math.ceil(-acs_lines / 2), middle + math.ceil(acs_lines / 2) + 1)
    ]


def uniform_mask(num_lines: int, acceleration: int, acs_lines: int) -> Tensor:
    """The same lines as the mask of a batch: bool ``(1, 1, 1, phase)``."""
    return torch.from_numpy(uniform_lines(num_lines, acceleration, acs_lines))[None, None, None]


def coil_maps(coils: int, readout: int, phase: int) -> np.ndarray:
    """Smooth maps of coils around the image, complex64 ``(coil, readout, phase)``, with RSS 1."""
    rows, columns = _positions(readout, phase)
    angles = 2 * np.pi * np.arange(coils)[:, None, None] / coils
    away = (rows - 1.2 * np.cos(angles)) ** 2 + (columns - 1.2 * np.sin(angles)) ** 2
    maps = np.exp(-away / 2 + 1j * (angles + 0.8 * rows * np.sin(angles) + 0.5 * columns))
    return (maps / np.linalg.norm(maps, axis=0)).astype(np.complex64)


@dataclass(frozen=True)
class DiscScan:
    """Noiseless undersampled k-space of textured discs, and what it was made of.

    Attributes:
        kspace: complex64 ``(batch, coil, readout, phase)``, zero where nothing was measured.
        mask: bool ``(1, 1, 1, phase)``.
        num_acs: number of fully sampled centre lines.
        image: the discs, complex64 ``(batch, readout, phase)``.
        maps: the coils' sensitivities, complex64 ``(coil, readout, phase)``.
    """

    kspace: Tensor
    mask: Tensor
    num_acs: int
    image: Tensor
    maps: Tensor

    @property
    def measured(self) -> tuple[Tensor, Tensor, int]:
        """What a network takes."""
        return self.kspace, self.mask, self.num_acs


def disc_scan(
    batch: int = 2,
    coils: int = 6,
    readout: int = 48,
    phase: int = 45,
    acceleration: int = 3,
    acs_lines: int = 15,
) -> DiscScan:
    """Scan textured discs with smooth phase, so that methods meet what they meet in scans."""
    rows, columns = _positions(readout, phase)
    texture = 1 + 0.4 * np.random.default_rng(3).random((batch, readout, phase))
    image = (rows**2 + columns**2 < 0.6) * texture * np.exp(1j * (0.5 * rows - columns))
    maps = coil_maps(coils, readout, phase)
    kspace = to_kspace(image[:, None] * maps).astype(np.complex64)
    mask = uniform_mask(phase, acceleration, acs_lines)
    return DiscScan(
        kspace=torch.from_numpy(kspace) * mask,
        mask=mask,
        num_acs=acs_lines,
        image=torch.from_numpy(image.astype(np.complex64)),
        maps=torch.from_numpy(maps),
    )


def noise_scan(
    batch: int = 2,
    coils: int = 3,
    readout: int = 20,
    phase: int = 17,
    acceleration: int = 2,
    acs_lines: int = 5,
) -> tuple[Tensor, Tensor, int]:
    """Undersampled k-space of pure noise, its mask and its number of ACS lines, as a network takes them."""
    mask = uniform_mask(phase, acceleration, acs_lines)
    return complex_noise(batch, coils, readout, phase) * mask, mask, acs_lines


def _positions(readout: int, phase: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns from -1 to 1."""
    rows, columns = np.meshgrid(np.linspace(-1, 1, readout), np.linspace(-1, 1, phase), indexing="ij")
    return rows, columns


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
        file.attrs.update({"patient_id": "anonymous", "acquisition": "CORPD_FBK"} | (attributes or {}))
    return path
