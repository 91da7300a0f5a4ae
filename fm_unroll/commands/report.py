"""The verb ``report``."""

from pathlib import Path

from fm_unroll.report.page import write_report


def report(records: Path, output: Path | None = None) -> None:
    """Write ``report.html``, ``tables/`` (csv, md, tex) and ``figures/`` (png, pdf) from a run's records.

    Args:
        records: the ``records.csv`` of a run; ``images/``, ``priors.json`` and ``provenance.json`` beside it
            are used where they are.
        output: folder to write into; the folder of the records by default.

    Raises:
        InputError: records, pictures or one of the json files cannot be used.
    """
    output = output or records.parent
    tables, figures = write_report(records, output)
    print(f"{output / 'report.html'}\n{output / 'tables'}: {tables} tables (csv, md, tex)")
    print(f"{output / 'figures'}: {figures} figures (png, pdf)")
