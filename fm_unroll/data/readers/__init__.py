"""Readers of k-space, one module per file layout."""
