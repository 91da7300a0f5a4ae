"""Metrics beyond the built-in ones: every file in this folder is imported with the table of metrics."""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
