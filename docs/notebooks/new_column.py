# %% [markdown]
# # A new column of the report is one entry

# %%
# --8<-- [start:column]
from fm_unroll.report.sentences import signed
from fm_unroll.report.tables import COMPARISON_COLUMNS, Column

COMPARISON_COLUMNS.append(
    Column("Δ, % of baseline", lambda row: signed(100 * row.difference / row.baseline_mean, 1))
)
# --8<-- [end:column]
