"""What a table is, and how it is written: CSV by pandas, every other format by a template."""

from dataclasses import dataclass
from functools import cache

import jinja2
import pandas as pd

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {TIMES: r"$\times$", MINUS: "$-$", MISSING: "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
    | {"Δ": r"$\Delta$", "<": "$<$", "≥": r"$\geq$", "·": r"$\cdot$", "…": r"\dots{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)

Header = tuple[tuple[tuple[str, int], ...], ...]


@dataclass(frozen=True)
class Cell:
    """One printed cell: text, mark (``best``, ``second``, ``worse``, ``better`` or none), second line."""

    text: str
    mark: str = ""
    small: str = ""

    @property
    def line(self) -> str:
        """Both lines in one."""
        if not self.small:
            return self.text
        return f"{self.text} {self.small}" if self.small.startswith("[") else f"{self.text} ({self.small})"


@dataclass(frozen=True)
class Table:
    """A table as it is printed, and the exact numbers beside it.

    Attributes:
        name: stem of its files.
        caption: one sentence.
        header: rows of (text, columns spanned).
        body: rows of cells; a row whose first cell has text begins a group.
        notes: sentences below the table.
        data: the exact numbers, one observation per row.
    """

    name: str
    caption: str
    header: Header
    body: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    data: pd.DataFrame

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.body[0]) if self.body else sum(span for _, span in self.header[-1])

    @property
    def one_header(self) -> list[str]:
        """The header as one row: its levels joined by commas."""
        levels = [[text for text, span in row for _ in range(span)] for row in self.header]
        return [", ".join(filter(None, column)) for column in zip(*levels, strict=True)]

    def csv(self) -> str:
        """The exact numbers (six significant digits), one observation per row."""
        return str(self.data.to_csv(index=False, float_format="%.6g", lineterminator="\n"))

    def markdown(self) -> str:
        """GitHub's pipe table; best in bold, second best underlined."""
        return environment().get_template("table.md").render(table=self)

    def latex(self) -> str:
        """A booktabs table; best in bold, second best underlined."""
        # braces belong to LaTeX
        tex = environment(
            block_start_string="<%",
            block_end_string="%>",
            variable_start_string="<<",
            variable_end_string=">>",
        )
        tex.filters["tex"] = lambda text: text.translate(TEX)
        return tex.get_template("table.tex").render(table=self)

    def text(self) -> str:
        """Aligned columns for a terminal; ``*`` marks the best."""
        rows = [self.one_header]
        rows += [[cell.text + ("*" if cell.mark == "best" else "") for cell in row] for row in self.body]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return environment().get_template("table.txt").render(table=self, rows=rows, widths=widths)


@cache  # a template is compiled once, not for each table
def environment(**delimiters: str) -> jinja2.Environment:
    """Where the templates of plain texts are; nothing in them is escaped."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("fm_unroll.report"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **delimiters,  # type: ignore[arg-type]  # the texts among the options
    )
    templates.filters["rstrip"] = str.rstrip
    return templates
