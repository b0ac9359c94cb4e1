"""The numbers that turn one network into every member of the GLU-Net family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

Decoder = Literal["dense", "residual"]
Upsampling = Literal["transposed", "bilinear"]

COARSE_SIZE = 256
"""Side, in pixels, of the square images that the global (fixed-resolution) half of the network sees."""

MAX_CHANNELS = 1024
"""Of features and descriptors; more than any network here has."""

CHOICES: dict[str, tuple[str, ...]] = {
    "decoder": get_args(Decoder),
    "upsampling": get_args(Upsampling),
}
LIMITS: dict[str, tuple[float, float]] = {
    "decoder_width": (0.05, 4.0),
    "mapping_decoder_width": (0.05, 4.0),
    "half_decoder_width": (0.05, 4.0),
    "max_displacement": (1, 32),
    "div": (1e-3, 1e3),
    "soft_argmax_scale": (1e-3, 1e3),
    "descriptor_channels": (4, MAX_CHANNELS),
}
"""Least and most of every number. A damaged file may ask for billions; the narrowest decoder of published
channels keeps one in every layer."""


@dataclass(frozen=True)
class GLUNetConfig:
    """Architecture and pre-processing of one GLU-Net.

    Attributes:
        model: name of the family member, as the checkpoint registry and the user write it.
        decoder: densely connected decoders (GLU-Net) or residual ones (GLU-Net-star, WarpC-GLU-Net).
        upsampling: learned transposed convolutions or bilinear up-sampling of the flow between levels.
        semantic: hyper-column features and neighbourhood consensus (Semantic-GLU-Net).
        pyramid_channels: feature channels at full resolution and 1/2, at 1/4, at 1/8 and at 1/16; with
            ``pretrained`` of the first convolution, at 1/2 and 1/4, at 1/8, and one of no use.
        decoder_width: factor on the channels of decoders 3, 2, 1 and the refinement blocks.
        mapping_decoder_width: factor on the channels of the 16 x 16 decoder.
        max_displacement: radius of the local correlation in cells.
        div: every flow inside the network is in pixels / div.
        soft_argmax_scale: inverse temperature of the soft-argmax of the global correlation, which networks
            with ``pretrained`` have.
        pretrained: the 16 x 16 features come from two frozen pretrained networks, not from the pyramid. The
            rest is then built like `compact` (docs/network.md): a thin pyramid, cosines, a map fitted to the
            mutual matches that a second 16 x 16 decoder corrects, less work at 1/4 and 1/2.
        descriptor_channels: of what pretrained features are projected to.
        half_decoder_width: factor on the channels of a decoder at 1/2 of the working size, which corrects the
            flow of 1/4 by a Lucas-Kanade step; 0: the finest flow is that of 1/4, as published.
        truncate_to_uint8: resized images are cut to whole grey levels before they are normalised, as the
            GLU-Net repository does and DenseMatching does not.
        extra_layers_from_width: the number of extra refinement layers follows the width alone, as in
            DenseMatching's GLUNetModel (it matters for tall images), instead of the longer side.
    """

    model: str = "glunet"
    decoder: Decoder = "dense"
    upsampling: Upsampling = "transposed"
    semantic: bool = False
    pyramid_channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    decoder_width: float = 1.0
    mapping_decoder_width: float = 1.0
    max_displacement: int = 4
    div: float = 1.0
    soft_argmax_scale: float = 30.0
    pretrained: bool = False
    descriptor_channels: int = 256
    half_decoder_width: float = 0.0
    truncate_to_uint8: bool = True
    extra_layers_from_width: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            value, kind = getattr(self, each.name), type(each.default)
            if type(value) is not kind and (type(value), kind) != (int, float):
                raise ValueError(f"{each.name} must be of type {kind.__name__}, not {value!r:.40}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be {' or '.join(allowed)}, not {getattr(self, name)!r}")
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            optional = name == "half_decoder_width"
            if not (low <= value <= high or (optional and value == 0)):
                raise ValueError(f"{name} must be {'0, or ' * optional}{low:g} to {high:g}, not {value}")
        channels = self.pyramid_channels
        if len(channels) != 4 or not all(type(n) is int and 1 <= n <= MAX_CHANNELS for n in channels):
            raise ValueError(
                f"pyramid_channels must be four integers from 1 to {MAX_CHANNELS}, not {channels!r:.80}"
            )
        if self.pretrained and self.semantic:
            raise ValueError("pretrained and semantic exclude each other")

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return {**asdict(self), "pyramid_channels": list(self.pyramid_channels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GLUNetConfig:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: a key is unknown, or a value is not allowed.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown configuration keys: {', '.join(unknown)}")
        channels = values.get("pyramid_channels", cls.pyramid_channels)
        if not isinstance(channels, Sequence):
            raise ValueError(f"pyramid_channels must be four integers, not {channels!r:.40}")
        return cls(**{**values, "pyramid_channels": tuple(channels)})


_GLUNET = GLUNetConfig()
_STAR = GLUNetConfig(model="glunet-star", decoder="residual", truncate_to_uint8=False)

CONFIGS: dict[str, GLUNetConfig] = {
    "glunet": _GLUNET,
    "glunet-interp": replace(_GLUNET, model="glunet-interp", upsampling="bilinear"),
    "semantic-glunet": replace(_GLUNET, model="semantic-glunet", semantic=True),
    "glunet-star": _STAR,
    "glunet-star-interp": replace(_STAR, model="glunet-star-interp", upsampling="bilinear"),
    "warpc-glunet": replace(_STAR, model="warpc-glunet"),
    "warpc-glunet-interp": replace(_STAR, model="warpc-glunet-interp", upsampling="bilinear"),
    "compact": GLUNetConfig(
        model="compact",
        decoder="residual",
        upsampling="bilinear",
        pyramid_channels=(24, 32, 64, 128),
        decoder_width=0.5,
        div=8.0,
        soft_argmax_scale=20.0,
        pretrained=True,
        half_decoder_width=0.25,
        truncate_to_uint8=False,
    ),
}
"""Every family member by name; the published ones first, then this project's own."""
