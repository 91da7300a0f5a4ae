"""All known layouts: the modules of this folder, and layouts that others registered."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any, TypeVar

from fm_unroll.data.readers.hdf5 import open_file, reading
from fm_unroll.data.readers.reader import Reader
from fm_unroll.errors import InputError
from fm_unroll.files import require_file, unopened

MAGIC_BYTES = 16  # how many first bytes of a file are compared


class UnknownLayoutError(InputError):
    """A file that can be opened, but is of no known layout."""


_READERS: dict[str, type[Reader[Any]]] = {}

Layout = TypeVar("Layout", bound=type[Reader[Any]])


def register_reader(layout: Layout) -> Layout:
    """Make a layout known; a decorator of its class.

    Raises:
        ValueError: another class has its name.
    """
    if layout.name in _READERS:
        raise ValueError(f"the layout {layout.name} is registered already")
    _READERS[layout.name] = layout
    return layout


def list_readers() -> list[Reader[Any]]:
    """One reader of each layout, in the order in which they are asked.

    Layouts of this folder come last, because a layout from elsewhere may be a special case of one of them.
    Among those from elsewhere the latest comes first.
    """
    folder = importlib.import_module("fm_unroll.data.readers")
    own = [module.name for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}.")]
    for module in own:
        importlib.import_module(module)
    elsewhere = [layout for layout in _READERS.values() if layout.__module__ not in own]
    here = [layout for layout in _READERS.values() if layout.__module__ in own]
    here.sort(key=lambda layout: layout.__module__)  # not in the order of their imports, which varies
    return [layout() for layout in [*reversed(elsewhere), *here]]


def recognise(path: Path) -> Reader[Any]:
    """The reader of a file, by its content.

    Raises:
        InputError: the file cannot be opened, or is of no known layout.
    """
    readers = list_readers()
    require_file(path)
    try:
        with path.open("rb") as content:
            start = content.read(MAGIC_BYTES)
    except OSError as error:
        raise InputError(f"{path}: {unopened(path, error)}") from error
    for reader in readers:
        if reader.magic and start.startswith(reader.magic):
            return reader
    with reading(path), open_file(path) as file:
        for reader in readers:
            if reader.recognises(file):
                return reader
        keys = ", ".join(sorted(file)[:10]) or "none"
    known = "; ".join(f"{reader.name}: {reader.keys}" for reader in readers if reader.keys)
    raise UnknownLayoutError(f"{path}: holds no k-space that is known here ({known}); its keys are {keys}")
