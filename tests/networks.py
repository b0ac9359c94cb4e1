"""Small untrained networks for tests."""

from typing import Any

from glualign.network import GLUNetConfig


def tiny_config(**changes: Any) -> GLUNetConfig:
    """A residual network of a few thousand weights, as published but for compact's units."""
    return GLUNetConfig(
        **{
            "model": "tiny",
            "decoder": "residual",
            "upsampling": "bilinear",
            "pyramid_channels": (4, 8, 8, 16),
            "decoder_width": 0.125,
            "mapping_decoder_width": 0.125,
            "div": 8.0,
            "truncate_to_uint8": False,
            **changes,
        }
    )
