"""Our metrics and the peer's are the same numbers."""

import torch

from fm_unroll_benchmarks.quality import volume_scores


def test_both_metrics_agree():
    assert volume_scores(3, 40, 33, torch.device("cpu")).difference < 1e-5
