"""The verb ``data synthesize``."""

from collections.abc import Sequence
from pathlib import Path

from fm_unroll.phantoms.data_set import SyntheticData
from fm_unroll.phantoms.examples import example_images
from fm_unroll.phantoms.sizes import SizeName
from fm_unroll.report.contact_sheet import IMAGES_PER_ROW, draw_contact_sheet


def synthesize(
    root: Path = Path("data/synthetic"),
    size: SizeName = "demo",
    hearts: int = 12,
    knees: int = 4,
    heads: int = 4,
    accelerations: Sequence[int] = (),
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Write the embedded synthetic data set: hearts in CMRxRecon's layout, knees and heads in fastMRI's.

    An interrupted run is taken up again by the same command: files that are there stay. Asking for more
    subjects or accelerations adds to what is there; a subject is the same however many there are.

    Args:
        root: folder to write to: new, empty, or begun by this command with the same size and seed.
        size: matrix sizes, coils, slices, frames: ``tiny`` is for tests, ``small`` and ``demo`` train
            on two cores, ``full`` is as large as the real data.
        hearts: subjects with cine (short axis, long axis) and T1/T2 mapping files.
        knees: coronal volumes, proton density without and with fat suppression by turns.
        heads: axial volumes, T1, T2 and FLAIR by turns.
        accelerations: also write hearts already undersampled; [4,8,10] gives AccFactor04, AccFactor08 and
            AccFactor10.
        seed: seed of all randomness.
        workers: processes that write; the files do not depend on it.

    Raises:
        InputError: an option is out of range or ``root`` holds something else.
    """
    SyntheticData(size, hearts, knees, heads, tuple(accelerations), seed).write(root, workers)
    picture = root / "contact_sheet.png"
    title = "Synthetic data: procedural phantoms, nobody was scanned"
    draw_contact_sheet(example_images(root, IMAGES_PER_ROW), title, picture)
    print(f"{root}: written; {picture} shows some of it")
