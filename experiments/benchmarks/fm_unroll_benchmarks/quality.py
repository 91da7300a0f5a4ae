"""The metrics that are timed: SSIM, PSNR and NMSE of a volume."""

import torch
from torch import Tensor

from fm_unroll.metrics import score_slices, volume_metrics
from fm_unroll_benchmarks.timing import Pair


def volume_scores(slices: int, rows: int, columns: int, device: torch.device) -> Pair:
    """Score one volume; the peer's metrics are ``fastmri.evaluate``'s, on the CPU."""
    from fastmri import evaluate  # needs runstats, which not every machine can build

    random = torch.Generator().manual_seed(0)
    target = torch.rand((slices, rows, columns), generator=random)
    image = (target + 0.1 * torch.randn(target.shape, generator=random)).clamp_min(0)
    ours_target, ours_image = target.to(device), image.to(device)
    peer_target, peer_image = target.numpy(), image.numpy()

    def ours() -> Tensor:
        data_range = ours_target.max().expand(slices)
        scores = volume_metrics(score_slices(ours_image, ours_target, data_range))
        return torch.stack([scores["ssim"], scores["psnr"], scores["nmse"]])

    def peer() -> Tensor:
        scores = [metric(peer_target, peer_image) for metric in (evaluate.ssim, evaluate.psnr, evaluate.nmse)]
        return torch.tensor([float(score[0]) if score.ndim else float(score) for score in scores])

    difference = ((ours() - peer()).abs() / peer().abs()).max()
    return Pair(ours, peer, float(difference), 1e-5)
