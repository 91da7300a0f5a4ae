"""The two files of a figure, and its picture in the page."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from fontTools.subset import Options
from matplotlib.figure import Figure
from pebble import ProcessPool
from PIL import Image

from fm_unroll.report.style import SETTINGS, data_uri

AT_ONCE = 2  # figures that are saved: as many as the smallest machines have cores

# A PDF holds the glyphs that it shows and the place of each. What a font says of kerning, ligatures and
# formulas is of no use there, but takes half of the time to cut down. matplotlib hands no options on.
Options._drop_tables_default += ["GDEF", "GPOS", "GSUB", "MATH"]


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write ``name.png`` and ``name.pdf`` into a folder; return the picture as a data URI."""
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS):
        figure.savefig(buffer, format="png", metadata={"Software": None})
        figure.set_layout_engine("none")  # both files have one layout, which takes as long as drawing
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    (folder / f"{name}.png").write_bytes(buffer.getvalue())
    with Image.open(buffer) as picture:
        return data_uri(picture)


@contextmanager
def saving(folder: Path) -> Iterator[Callable[[Figure, str], Future[str]]]:
    """Within this, :func:`save` figures in other processes, while this one goes on.

    Args:
        folder: to write into.

    Yields:
        Takes a figure and its name; the data URI is there as soon as it is saved.
    """
    with ProcessPool(AT_ONCE) as processes:
        try:
            yield lambda figure, name: processes.schedule(save, (figure, folder, name))
        except BaseException:
            processes.stop()  # type: ignore[no-untyped-call]  # pebble leaves it without annotations
            raise
