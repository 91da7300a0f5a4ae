import math

import torch

from fm_unroll.data.sample import KSpaceBatch
from fm_unroll.physics import fft2c
from fm_unroll.training.callbacks import ERROR_GAIN, panel

RED, BLACK = torch.tensor([1.0, 0, 0]), torch.zeros(3)


def batch_of(image: torch.Tensor) -> KSpaceBatch:
    """One slice of one coil, fully sampled: its zero-filled image is the image itself."""
    rows, columns = image.shape
    return KSpaceBatch(
        kspace=fft2c(image.to(torch.complex64))[None, None],
        mask=torch.ones(1, 1, 1, columns, dtype=torch.bool),
        fully_sampled=True,
        num_acs=columns,
        target=image[None],
        crop=(rows, columns),
        data_range=image.max()[None],
        volume=["scan"],
        mask_seed=["scan"],
        subject=["somebody"],
        contrast=["any"],
        slice=[0],
        frame=[0],
        acceleration=1,
        true_acceleration=[1],
    )


def test_what_is_larger_than_white_is_red_and_all_else_is_gray():
    image = torch.rand(16, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    reconstruction = image.clone()
    peak = image.max()
    reconstruction[2, 3] = image[2, 3] - 0.1 * peak  # an error that stays below white
    reconstruction[4, 5] = 3 * peak
    reconstruction[6, 7] = math.nan
    target, shown, error, zero_filled = panel(reconstruction[None], batch_of(image)).movedim(1, -1)
    torch.testing.assert_close(target, (image / peak)[..., None].expand(-1, -1, 3))
    torch.testing.assert_close(zero_filled, target, atol=1e-4, rtol=0)
    for place in ((4, 5), (6, 7)):
        assert shown[place].equal(RED) and error[place].equal(RED)
    torch.testing.assert_close(error[2, 3], torch.full((3,), ERROR_GAIN * 0.1))
    elsewhere = torch.ones_like(image, dtype=torch.bool)
    elsewhere[[2, 4, 6], [3, 5, 7]] = False
    assert error[elsewhere].eq(BLACK).all() and shown[elsewhere].eq(target[elsewhere]).all()
