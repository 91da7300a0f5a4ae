"""A small encoder for the tests."""

import pytest

from fm_unroll.encoders import EncoderSpec, registry


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> EncoderSpec:
    """A registered encoder of twelve blocks and 192 channels, for 64 x 64 pixels."""
    spec = EncoderSpec(
        name="tiny",
        architecture="vit_tiny_patch16_224",
        depth=12,
        patch=16,
        native_size=64,
        statistics=registry.HALF,
        licence="none",
        citation="none",
    )
    monkeypatch.setitem(registry._REGISTRY, spec.name, spec)
    return spec
