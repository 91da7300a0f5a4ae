"""The verb ``report``."""

from pathlib import Path

from fm_unroll.report.page import write_report


def report(records: Path, out: Path | None = None) -> None:
    """Write ``report.html``, ``tables/`` (csv, md, tex) and ``figures/`` (png, pdf) from a run's records.

    Args:
        records: the ``records.csv`` of a run; ``images/``, ``priors.json`` and ``provenance.json`` beside it
            are used where they are.
        out: folder to write into; the folder of the records by default.

    Raises:
        InputError: records, pictures or one of the json files cannot be used.
    """
    out = out or records.parent
    tables, figures = write_report(records, out)
    print(f"{out / 'report.html'}\n{out / 'tables'}: {tables} tables (csv, md, tex)")
    print(f"{out / 'figures'}: {figures} figures (png, pdf)")
