"""What another run has computed for a measurement already: maps and classical solutions on disk.

In validation, in tests and in ``cross-domain`` the mask of a slice is the same in every run, and so are its
maps and its start. One safetensors file holds one result, in the cache folder.
"""

import hashlib
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fm_unroll.files import cache_folder
from fm_unroll.models.classical.memory import SHARE_OF_MAPS, gibibytes
from fm_unroll.provenance import source_sha256

SETTING = "FM_UNROLL_START_DISK"  # GiB of all runs together; 0: none
DEFAULT = 8.0
# what decides a result, besides what was measured and the machine
DECIDING = ("fm_unroll.models.classical", "fm_unroll.physics")
LOOKS = 16  # a process looks what lies in the folder whenever it has written one so-manieth of the limit

log = logging.getLogger(__name__)

_masks_are_fixed: ContextVar[bool] = ContextVar("masks_are_fixed", default=False)


@contextmanager
def fixed_masks() -> Iterator[None]:
    """Within this, slices have the masks that they have in every run, so that results are worth keeping."""
    token = _masks_are_fixed.set(True)
    try:
        yield
    finally:
        _masks_are_fixed.reset(token)


class Store:
    """Results for slices, on disk, within :func:`fixed_masks`; several processes may share them.

    Where there is no more room, what was not used for longest goes. What this run has used or written stays,
    for it goes through all slices in turn: dropping the oldest would drop what the next run needs first.
    """

    def __init__(self, name: str, share: float) -> None:
        """Keep this share of what the setting allows at most, in a folder of this name."""
        self.name = name
        self.share = share
        self._begun = time.time()
        self._room = 0.0  # bytes to write before the next look
        self._closed = False  # nothing more is written
        self._warned = False  # of a damaged file

    def __call__(
        self, slices: Sequence[Hashable], compute: Callable[[], Tensor], device: torch.device
    ) -> Tensor:
        """The result for a batch of slices, to the last bit: on the CPU if it was stored, else computed.

        Args:
            slices: what tells each of them apart, with whatever else the result depends on.
            compute: computes it on the device, with slices along its first axis.
            device: where.
        """
        limit = gibibytes(SETTING, DEFAULT) * self.share * 2**30 if _masks_are_fixed.get() else 0.0
        if limit == 0:
            return compute()
        folder = cache_folder() / "starts" / self.name
        files = [folder / _name(slice_, device) for slice_ in slices]
        stored: list[Tensor] = []
        for file in files:
            found = self._read(file)
            if found is None:
                break
            stored.append(found)
        else:
            return torch.stack(stored)
        results = compute()
        for file, result in zip(files, results, strict=True):
            self._write(file, result, limit)
        return results

    def _read(self, file: Path) -> Tensor | None:
        """What a file holds; None if there is none, or if it is damaged."""
        try:
            tensors = load(file.read_bytes())
            result = tensors["result"]
            if tensors["sha256"].numpy().tobytes() == _sha256(result):
                with suppress(OSError):  # somebody else's folder
                    os.utime(file)
                return result
            reason = "its content has changed"
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, SafetensorError, KeyError) as error:
            reason = str(error)
        if not self._warned:
            log.warning("%s: cannot be used (%s), computed anew, as others of its kind", file, reason)
        self._warned = True
        with suppress(OSError):
            file.unlink()
        return None

    def _write(self, file: Path, result: Tensor, limit: float) -> None:
        """Write a result, whole or not at all, if there is room."""
        size = result.numel() * result.element_size()
        if self._closed:
            return
        try:
            if file.exists():
                return
            # images of patients: for nobody else
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._has_room(file.parent, size, limit):
                return
            result = result.detach().resolve_conj().cpu().contiguous()
            digest = torch.frombuffer(bytearray(_sha256(result)), dtype=torch.uint8)
            descriptor, draft = tempfile.mkstemp(dir=file.parent)
            try:
                with os.fdopen(descriptor, "wb") as part:
                    part.write(save({"result": result, "sha256": digest}))
                Path(draft).replace(file)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            self._closed = True
            log.warning("%s: %s are not kept (%s); see %s", file.parent, self.name, error, SETTING)

    def _has_room(self, folder: Path, size: int, limit: float) -> bool:
        """Whether a result may be written; removes what was not used for longest where that makes room."""
        if self._room < size:
            self._room = self._look(folder, limit, max(size, limit / LOOKS))
            self._closed = self._room < size
        self._room -= size
        return not self._closed

    def _look(self, folder: Path, limit: float, wanted: float) -> float:
        """Make room for some bytes; how many may be written before the next look."""
        files = []
        for file in folder.iterdir():
            with suppress(FileNotFoundError):  # another process has made room
                status = file.stat()
                files.append((status.st_mtime, status.st_size, file))
        room = limit - sum(size for _, size, _ in files)
        for used, size, file in sorted(files):
            if room >= wanted or used >= self._begun:
                break
            file.unlink(missing_ok=True)
            room += size
        return min(room, wanted)


stored_maps = Store("maps", SHARE_OF_MAPS)
stored_solutions = Store("solutions", 1 - SHARE_OF_MAPS)


def _name(slice_: Hashable, device: torch.device) -> str:
    """A file's name: a hash of the measurement, the settings, the code and the arithmetic of the machine."""
    # a process may change these two as it goes
    arithmetic = torch.get_num_threads(), torch.get_float32_matmul_precision()
    return hashlib.sha256(repr((slice_, *_origin(device), *arithmetic)).encode()).hexdigest()


@cache
def _origin(device: torch.device) -> tuple[str, ...]:
    card = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    )
    return source_sha256(*DECIDING), torch.__version__, card


def _sha256(result: Tensor) -> bytes:
    """Hash of a tensor's type, shape and bytes."""
    digest = hashlib.sha256(repr((result.dtype, tuple(result.shape))).encode())
    digest.update(result.numpy().tobytes())
    return digest.digest()
