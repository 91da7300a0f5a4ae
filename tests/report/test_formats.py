"""A table of two cells as it is written."""

import pandas as pd

from fm_unroll.report.formats import Cell, Table


def test_a_terminal_shows_a_star_at_the_best_alone():
    row = (Cell("x4"), Cell("0.91", "best"), Cell("0.90", "second"), Cell("0.80"))
    header = ((("", 1), ("CLIP", 1), ("DINOv2", 1), ("VarNet", 1)),)
    table = Table("one", "Means.", header, (row,), (), pd.DataFrame())
    assert table.text().splitlines()[-1].split() == ["x4", "0.91*", "0.90", "0.80"]
