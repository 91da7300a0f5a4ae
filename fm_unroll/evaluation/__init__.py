"""Cross-domain evaluation: what to run, one row a slice, and the report made from the rows."""
