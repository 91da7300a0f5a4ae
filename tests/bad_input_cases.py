"""The table of bad inputs: what is given, what is done to it, and the words with which it is refused.

Every file is made here by code. A data set starts from one good scan in its published layout.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
import yaml

from fm_unroll.data.index import IndexCache, build_index
from fm_unroll.data.readers.cmrxrecon import CMRxReconReader
from simulate import HEADER, random_kspace, write_fastmri, write_matlab

Command = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        make: writes it into an empty folder and returns the file to be named in the message.
        command: the command line that meets it.
        words: part of the error's line; None where the input is repaired and the command succeeds.
    """

    make: Callable[[Path], Path]
    command: Command
    words: str | None


def evaluate(kind: str, **options: object) -> Command:
    """Score the zero-filled images of a data set: reads every slice, and trains nothing."""

    def command(folder: Path) -> list[str]:
        data = {"class_path": kind, "init_args": {"root": str(folder / "data"), "num_workers": 0, **options}}
        if kind == "CMRxReconData":
            data["init_args"] |= {"split": [0.0, 0.0, 1.0], "contrasts": ["cine_sax"]}
        test_set = {"name": "bad", "data": data, "centers": [2 if kind == "CMRxReconData" else 0.2]}
        content = {"test_sets": [test_set], "checkpoints": [], "accelerations": [2]}
        config = folder / "protocol.yaml"
        config.write_text(yaml.safe_dump({**content, "output": str(folder / "results"), "num_workers": 0}))
        return ["cross-domain", "--config", str(config)]

    return command


HEARTS = evaluate("CMRxReconData", acs_lines=2)
UNDERSAMPLED_HEARTS = evaluate("CMRxReconData", acs_lines=2, acquisition="AccFactor04")
KNEES = evaluate("FastMRIKneeData", center_fraction=0.2)


def heart_path(folder: Path, part: str = "FullSample") -> Path:
    return folder / "data" / "MultiCoil" / "Cine" / "TrainingSet" / part / "P001" / "cine_sax.mat"


def heart(spoil: Callable[[Path], object] | None = None, **variables: np.ndarray) -> Callable[[Path], Path]:
    """A CMRxRecon scan: other variables than the good one's, or something done to the good file."""

    def make(folder: Path) -> Path:
        good = {"kspace_full": random_kspace(16, 12, 2, 2, 2)}
        path = write_matlab(heart_path(folder), **(variables or good))
        if spoil is not None:
            spoil(path)
        return path

    return make


def undersampled(kspace: np.ndarray, **masks: np.ndarray) -> Callable[[Path], Path]:
    """An undersampled CMRxRecon scan with its mask file."""

    def make(folder: Path) -> Path:
        path = write_matlab(heart_path(folder, "AccFactor04"), kspace_sub04=kspace)
        write_matlab(path.with_name("cine_sax_mask.mat"), **masks)
        return path

    return make


def knee(spoil: Callable[[Path], object] | None = None, **options: object) -> Callable[[Path], Path]:
    """A fastMRI scan made with other options, or something done to the good file."""

    def make(folder: Path) -> Path:
        path = write_fastmri(folder / "data" / "multicoil_val" / "file1.h5", **options)
        if spoil is not None:
            spoil(path)
        return path

    return make


def within(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    """A change made through HDF5."""

    def spoil(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return spoil


def instead(name: str, **dataset: object) -> Callable[[Path], None]:
    """A data set in the place of another one."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if dataset:
            file.create_dataset(name, **dataset)

    return within(change)


def cut(fraction: float) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])


def declared(*shape: int, chunks: tuple[int, ...] | None = None) -> dict:
    """A data set that was declared and never written."""
    return {"shape": shape, "dtype": "c8", "chunks": chunks}


def with_value(value: complex, dtype: str = "c8") -> np.ndarray:
    kspace = random_kspace(16, 12, 2, 2, 2).astype(dtype)
    kspace[3, 4, 1, 1, 1] = value
    return kspace


def set_text_length(path: Path) -> None:
    """Let the header's text, of variable length, claim to have 3.5 GB."""
    with h5py.File(path) as file:
        offset = file["ismrmrd_header"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset : offset + 4] = struct.pack("<I", 3_500_000_000)
    path.write_bytes(content)


def zeros_in_one_chunk(path: Path) -> None:
    """Eight GiB of zeros in one compressed chunk of a few MiB, as no scanner writes them."""
    shape = (1, 2, 2**14, 2**15)
    packed = zlib.compressobj(9)
    content = b"".join(packed.compress(bytes(2**24)) for _ in range(8)) + packed.flush()
    with h5py.File(path, "r+") as file:
        del file["kspace"]
        chunk = (1, 1, 2**13, 2**14)
        kspace = file.create_dataset("kspace", shape, "c8", chunks=chunk, compression="gzip")
        for place in np.ndindex(1, 2, 2, 2):
            kspace.id.write_direct_chunk(
                tuple(int(i * c) for i, c in zip(place, chunk, strict=True)), content * 8
            )


def replaced(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def config(content: str | bytes, verb: str = "fit") -> Case:
    """A config file; the words follow with :func:`refused`."""
    data = content.encode() if isinstance(content, str) else content
    return Case(
        lambda folder: replaced(folder / "config.yaml", data),
        lambda folder: [verb, "--config", str(folder / "config.yaml")],
        None,
    )


def refused(case: Case, words: str) -> Case:
    return Case(case.make, case.command, words)


def checkpoint(content: object) -> Callable[[Path], Path]:
    """What ``torch.save`` makes of an object, or bytes as they are."""

    def make(folder: Path) -> Path:
        if isinstance(content, bytes):
            return replaced(folder / "best.ckpt", content)
        torch.save(content, folder / "best.ckpt")
        return folder / "best.ckpt"

    return make


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_with_checkpoint(folder: Path) -> list[str]:
    return ["test", "--ckpt_path", str(folder / "best.ckpt"), "--data.root", str(folder / "nowhere")]


def records(text: str) -> Callable[[Path], Path]:
    return lambda folder: replaced(folder / "records.csv", text.encode("latin-1"))


def report(folder: Path) -> list[str]:
    return ["report", str(folder / "records.csv")]


class Payload:
    """A pickle that would run code."""

    def __reduce__(self):
        return (print, ("code ran",))


def torn_index(folder: Path) -> Path:
    """A good scan whose data set has a torn index: it is indexed anew."""
    path = heart()(folder)
    build_index(folder / "data", CMRxReconReader(("cine_sax",)))
    cache = IndexCache((folder / "data").resolve(), CMRxReconReader()).file
    cache.write_text(cache.read_text()[:-3])
    return path


LINES = np.broadcast_to((np.arange(12) % 4 == 0) | (abs(np.arange(12) - 6) < 2), (16, 12))
MASKED = random_kspace(16, 12, 2, 1, 1) * LINES[..., None, None, None]
TARGET = np.ones((3, 8, 8), "f4")
DEEP = "[" * 3000 + "]" * 3000

CASES: dict[str, Case] = {
    # ---- files that are no HDF5, or no longer
    "heart: empty": Case(heart(lambda p: p.write_bytes(b"")), HEARTS, "an empty file"),
    "heart: text": Case(heart(lambda p: p.write_text("hello")), HEARTS, "no HDF5 file"),
    "heart: page of a web server": Case(
        heart(lambda p: p.write_text("<html>404</html>")), HEARTS, "no HDF5 file"
    ),
    "heart: MATLAB 5": Case(
        heart(lambda p: p.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))),
        HEARTS,
        "save it again with -v7.3",
    ),
    "heart: user block alone": Case(heart(cut(0.05)), HEARTS, "truncated"),
    "heart: cut in the middle": Case(heart(cut(0.5)), HEARTS, "truncated"),
    "heart: last byte missing": Case(
        heart(lambda p: p.write_bytes(p.read_bytes()[:-1])), HEARTS, "truncated"
    ),
    "heart: zeros from the middle on": Case(
        heart(lambda p: p.write_bytes(p.read_bytes()[:2500].ljust(p.stat().st_size, b"\0"))), HEARTS, ""
    ),
    "heart: a folder of that name": Case(
        lambda f: (heart_path(f).mkdir(parents=True), heart_path(f))[1], HEARTS, "Is a directory"
    ),
    "heart: link to nowhere": Case(
        heart(lambda p: (p.unlink(), p.symlink_to("gone.mat"))), HEARTS, "No such file"
    ),
    "heart: link to itself": Case(
        heart(lambda p: (p.unlink(), p.symlink_to(p.name))), HEARTS, "Too many levels"
    ),
    # ---- HDF5 that is no heart
    "heart: no variables": Case(heart(instead("kspace_full")), HEARTS, "its keys are none"),
    "heart: another variable": Case(
        heart(kspace_raw=random_kspace(16, 12, 2)), HEARTS, "holds no kspace_full"
    ),
    "heart: two k-spaces": Case(
        heart(kspace_full=MASKED, kus=MASKED), HEARTS, "holds both kspace_full and kus"
    ),
    "heart: a group": Case(
        heart(within(lambda f: (f.pop("kspace_full"), f.create_group("kspace_full")))), HEARTS, "is a Group"
    ),
    "heart: soft link": Case(
        heart(within(lambda f: (f.move("kspace_full", "x"), f.update({"kspace_full": h5py.SoftLink("/x")})))),
        HEARTS,
        "links are not followed",
    ),
    "heart: external link": Case(
        heart(
            within(
                lambda f: (
                    f.pop("kspace_full"),
                    f.update({"kspace_full": h5py.ExternalLink("/etc/passwd", "x")}),
                )
            )
        ),
        HEARTS,
        "links are not followed",
    ),
    "heart: external storage": Case(
        heart(instead("kspace_full", shape=(2, 2, 8, 8), dtype="c8", external="/etc/passwd")),
        HEARTS,
        "keeps its data in other files",
    ),
    "heart: two dimensions": Case(heart(kspace_full=random_kspace(16, 12)), HEARTS, "has 2 dimensions"),
    "heart: six dimensions": Case(
        heart(instead("kspace_full", data=np.ones((2, 1, 1, 2, 8, 8), "c8"))), HEARTS, "has 6 dimensions"
    ),
    "heart: scalar": Case(heart(instead("kspace_full", data=1j)), HEARTS, "has 0 dimensions"),
    "heart: magnitudes": Case(
        heart(kspace_full=random_kspace(16, 12, 2, 2, 2).real), HEARTS, "expected complex numbers"
    ),
    "heart: complex integers": Case(
        heart(instead("kspace_full", data=np.ones((2, 2, 8, 8), [("real", "i2"), ("imag", "i2")]))),
        HEARTS,
        "expected complex numbers",
    ),
    "heart: text as k-space": Case(
        heart(instead("kspace_full", data=np.full((2, 2, 2), b"text"))), HEARTS, "expected complex numbers"
    ),
    "heart: no coils": Case(
        heart(instead("kspace_full", shape=(2, 2, 0, 8, 8), dtype="c8")), HEARTS, "has shape (2, 2, 0, 8, 8)"
    ),
    "heart: axes of fastMRI": Case(
        heart(instead("kspace_full", data=np.ones((1, 2, 204, 9, 9), "c8"))), HEARTS, "has shape (1, 2, 204"
    ),
    "heart: smaller than the window of SSIM": Case(
        heart(kspace_full=random_kspace(16, 6, 2, 2, 2)), HEARTS, "images of 16 x 6 are smaller"
    ),
    # ---- more than a file can hold
    "heart: a petabyte declared": Case(
        heart(instead("kspace_full", **declared(10**4, 10**3, 10, 1000, 1000, chunks=(1, 1, 1, 100, 100)))),
        HEARTS,
        "MiB are stored",
    ),
    "heart: a gigabyte declared": Case(
        heart(instead("kspace_full", **declared(12, 10, 10, 204, 512, chunks=(1, 1, 1, 204, 512)))),
        HEARTS,
        "MiB are stored",
    ),
    "heart: a million images": Case(
        heart(instead("kspace_full", data=np.zeros((10**6, 1, 1, 1), "c8"), compression="gzip")),
        HEARTS,
        "has shape (1000000",
    ),
    "knee: eight gigabytes in one slice": Case(knee(zeros_in_one_chunk), KNEES, "larger than any scan's"),
    "knee: a text of 3.5 GB": Case(knee(set_text_length), KNEES, "declares a text of 3500000000 bytes"),
    # ---- values that no scanner measures
    "heart: NaN": Case(heart(kspace_full=with_value(np.nan)), HEARTS, "slice 1, frame 1: k-space holds NaN"),
    "heart: Inf": Case(heart(kspace_full=with_value(np.inf)), HEARTS, "k-space holds NaN or Inf"),
    "heart: imaginary NaN": Case(
        heart(kspace_full=with_value(1j * np.nan)), HEARTS, "k-space holds NaN or Inf"
    ),
    "heart: beyond float32": Case(
        heart(kspace_full=with_value(1e300, "c16")), HEARTS, "k-space holds NaN or Inf"
    ),
    "heart: squares beyond float32": Case(
        heart(kspace_full=random_kspace(16, 12, 2, 1, 1) * np.float32(1e25)),
        HEARTS,
        "store it in other units",
    ),
    "heart: squares below float32": Case(
        heart(kspace_full=random_kspace(16, 12, 2, 1, 1) * np.float32(1e-25)),
        HEARTS,
        "store it in other units",
    ),
    "heart: nothing but zeros": Case(
        heart(kspace_full=np.zeros((16, 12, 2, 2, 2), "c8")), HEARTS, "zero everywhere"
    ),
    # ---- masks
    "mask: of another matrix": Case(
        undersampled(MASKED, mask04=np.ones((12, 16))), UNDERSAMPLED_HEARTS, "expected numbers (ky, kx)"
    ),
    "mask: varies along the readout": Case(
        undersampled(MASKED, mask04=np.eye(16, 12)), UNDERSAMPLED_HEARTS, "varies along kx"
    ),
    "mask: without a name": Case(
        undersampled(MASKED, lines=LINES.astype(float)), UNDERSAMPLED_HEARTS, "holds no mask04"
    ),
    "mask: data outside it": Case(
        undersampled(MASKED, mask04=(LINES & (np.arange(12) > 3)).astype(float)),
        UNDERSAMPLED_HEARTS,
        "needs fully sampled files",
    ),
    "mask: empty": Case(
        undersampled(MASKED, mask04=np.zeros((16, 12))),
        UNDERSAMPLED_HEARTS,
        "centre of k-space is not sampled",
    ),
    "mask: undersampled scans have no target": Case(
        undersampled(MASKED, mask04=LINES.astype(float)), UNDERSAMPLED_HEARTS, "needs fully sampled files"
    ),
    # ---- fastMRI
    "knee: empty": Case(knee(lambda p: p.write_bytes(b"")), KNEES, "an empty file"),
    "knee: cut in the middle": Case(knee(cut(0.5)), KNEES, "truncated"),
    "knee: no k-space": Case(knee(instead("kspace")), KNEES, "holds no kspace"),
    "knee: header missing": Case(knee(instead("ismrmrd_header")), KNEES, "ismrmrd_header is missing"),
    "knee: header of numbers": Case(
        knee(instead("ismrmrd_header", data=np.ones(3))), KNEES, "expected one text"
    ),
    "knee: header cut": Case(knee(header="<ismrmrdHeader><encoding>"), KNEES, "no valid XML"),
    "knee: header with entities": Case(
        knee(header='<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'), KNEES, "refused"
    ),
    "knee: header with a huge number": Case(
        knee(header=HEADER.replace("{rows}", "9" * 400)), KNEES, "expected a whole number"
    ),
    "knee: padding beyond the matrix": Case(
        knee(header=HEADER.replace("{center}", "99")), KNEES, "puts the first acquired line at"
    ),
    "knee: target of other slices": Case(
        knee(target=TARGET[:2]), KNEES, "expected floats (3, rows, columns)"
    ),
    "knee: NaN in the target": Case(
        knee(target=TARGET * np.float32(np.nan)), KNEES, "stored reconstruction holds NaN"
    ),
    "knee: target is zero": Case(knee(target=TARGET * 0), KNEES, "zero everywhere"),
    "knee: mask of another matrix": Case(knee(instead("mask", data=np.ones(11))), KNEES, "mask is float64"),
    "knee: mask without a centre": Case(
        knee(instead("mask", data=np.zeros(12))), KNEES, "centre of k-space is not sampled"
    ),
    # ---- folders
    "root: missing": Case(lambda f: f / "data", KNEES, "no such folder"),
    "root: a file": Case(lambda f: replaced(f / "data", b"x"), HEARTS, "no such folder"),
    "root: empty": Case(
        lambda f: ((f / "data").mkdir(), f / "data")[1], HEARTS, "no CMRxRecon files; expected"
    ),
    # ---- configs
    "config: not YAML": refused(config("model: ["), "not plain YAML"),
    "config: bytes": refused(config(b"\xff\xfe\x00"), "not plain YAML"),
    "config: a word": refused(config("word", "summary"), "holds a str"),
    "config: a list": refused(config("[1, 2]"), "holds a list"),
    "config: nested too deep": refused(config(DEEP), "not plain YAML"),
    "config: code": refused(config("a: !!python/object/apply:os.system ['true']"), "not plain YAML"),
    "config: a foreign class": refused(
        config("trainer: {callbacks: [{class_path: subprocess.Popen}]}"), "only fm_unroll"
    ),
    # ---- checkpoints
    "checkpoint: missing": Case(lambda f: f / "best.ckpt", test_with_checkpoint, "is not a file"),
    "checkpoint: empty": Case(checkpoint(b""), test_with_checkpoint, "cannot be read"),
    "checkpoint: text": Case(checkpoint(b"root:x:0:0\n"), test_with_checkpoint, "cannot be read"),
    "checkpoint: torn": Case(
        checkpoint(saved({"a": torch.ones(99)})[:700]), test_with_checkpoint, "cannot be read"
    ),
    "checkpoint: code": Case(checkpoint({"a": Payload()}), test_with_checkpoint, "cannot be read"),
    "checkpoint: of another program": Case(
        checkpoint({"state_dict": {}}), test_with_checkpoint, "is not a checkpoint of fm_unroll"
    ),
    "checkpoint: a tensor": Case(checkpoint(torch.ones(3)), test_with_checkpoint, "is not a checkpoint"),
    # ---- records
    "records: missing": Case(lambda f: f / "records.csv", report, "no such file"),
    "records: empty": Case(records(""), report, "not a table of records"),
    "records: ragged": Case(records("a,b\n1,2\n1,2,3,4\n"), report, "not a table of records"),
    "records: not text": Case(records("\xff\xfe\x00"), report, ""),
    "records: other columns": Case(records("method,ssim\nvarnet,1\n"), report, "columns missing"),
    # ---- what is repaired
    "repaired: torn index": Case(torn_index, HEARTS, None),
    "repaired: double precision": Case(
        heart(kspace_full=random_kspace(16, 12, 2, 2, 2).astype("c16")), HEARTS, None
    ),
    "repaired: no patient, no contrast, no maximum": Case(
        knee(within(lambda f: [f.attrs.pop(name) for name in list(f.attrs)])), KNEES, None
    ),
    "repaired: mask of all lines, empty attributes": Case(knee(attributes={"note": ""}), KNEES, None),
}
