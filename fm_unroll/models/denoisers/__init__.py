"""Denoisers D: complex image to complex image, ``(batch, readout, phase)``; one in every cascade."""
