"""What the tests do with published networks: feed them, fill them with random values, record their tokens."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Options of the smallest prior over the registered encoder `tiny`.
TINY_PRIOR = {
    "num_cascades": 1,
    "sens_chans": 2,
    "sens_pools": 1,
    "pretrained": False,
    "blocks": [1, 2],
    "decoder_widths": [4, 4, 4, 4],
    "encoder_image_size": 64,
}


def random_image(size: int) -> Tensor:
    return torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0))


def standardise(image: Tensor) -> Tensor:
    """Three channels in ImageNet's statistics, as the published networks take them."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (image - mean) / std


def randomise(module: nn.Module) -> nn.Module:
    """Give every parameter random values of a trained network's size, so that none can hide."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = parameter.ndim == 1 and name.endswith(("weight", "gamma", "lambda1"))
            mean, std = (1, 0.1) if scale else (0, 0.03)
            parameter.normal_(mean, std, generator=generator)
    return module.eval()


def tokens_after(blocks: nn.Module, run: Callable[[], object]) -> list[Tensor]:
    """Record what leaves each block while `run` runs."""
    recorded: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *call: recorded.append(call[2])) for block in blocks]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return recorded
