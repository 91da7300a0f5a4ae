"""The embedded data set: procedural heart, knee and head, as multi-coil k-space in both real file layouts.

Nothing here was measured. Every file says so in its attribute ``synthetic``.
"""
