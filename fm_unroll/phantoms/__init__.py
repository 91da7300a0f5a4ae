"""Simulated scans: the embedded data set of procedural hearts, knees and heads, and pictures to train on.

Nothing here was measured. Every file says so in its attribute ``synthetic``, and so does every volume.
"""
