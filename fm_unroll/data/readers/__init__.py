"""Readers of the file layouts: the doors through which k-space comes in."""
