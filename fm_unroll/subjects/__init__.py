"""Who the subjects are, how they are split, and whom a network has seen."""
