"""Cross-domain evaluation: what takes part, one row per slice, and the statistics of the rows."""

from fm_unroll.evaluation import further_metrics as further_metrics
