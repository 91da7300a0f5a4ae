"""Options with which every denoiser is small: method -> keyword arguments of build_model."""

SIZES = {"num_cascades": 3, "sens_chans": 3, "sens_pools": 2}
SMALL = {**SIZES, "chans": 4, "pools": 2}
TINY_VIT = "timm/vit_tiny_patch16_224"
SMALL_DECODER = {**SIZES, "decoder_widths": (8, 8, 8, 8)}
SMALL_OPTIONS = {
    "varnet": SMALL,
    "varnet_zero": SMALL,
    "drunet": {**SIZES, "widths": (4, 6, 8)},
    "image_skip_only": SMALL_DECODER,
    "trained_embedding": {
        **SMALL_DECODER,
        "embedding_width": 24,
        "embedding_patch": 8,
        "encoder_image_size": 32,
        "blocks": (1, 2, 3),
    },
    TINY_VIT: {**SMALL_DECODER, "pretrained": False, "blocks": (1, 2, 3)},
}


def with_espirit(options: dict) -> dict:
    """The same without the sizes of learned maps, for networks that take ESPIRiT's."""
    return {name: value for name, value in options.items() if not name.startswith("sens_")}
