"""Ours against a peer, in turn, in one run: speed and memory are given as ratios, never as bare times."""
