# %% [markdown]
# # A new encoder is one entry

# %%
# --8<-- [start:entry]
from fm_unroll.encoders import EncoderSpec, register_encoder
from fm_unroll.encoders.registry import IMAGENET

register_encoder(
    EncoderSpec(
        name="my_vit",
        architecture="vit_small_patch16_224",
        depth=12,
        patch=16,
        native_size=224,
        statistics=IMAGENET,
        licence="MIT",
        citation="my paper",
        repository="me/my-vit",
    )
)
# --8<-- [end:entry]

# %%
from fm_unroll.encoders import build_encoder

encoder = build_encoder("my_vit", pretrained=False)
print(encoder)
