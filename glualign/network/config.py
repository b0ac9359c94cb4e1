"""The numbers that turn one network into every member of the GLU-Net family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

Decoder = Literal["dense", "residual"]
Upsampling = Literal["transposed", "bilinear"]
CoarseBackbone = Literal["pyramid", "efficientnet-lite0+xfeat"]

COARSE_SIZE = 256
"""Side, in pixels, of the square images that the global (fixed-resolution) half of the network sees."""

MAX_TRANSFORMER_LAYERS = 32
"""More layers than anyone trains; a damaged file may ask for billions."""

MAX_CHANNELS = 1024
"""Of features, tokens and descriptors; more than any network here has."""

MIN_WIDTH, MAX_WIDTH = 0.05, 4.0
"""Of the decoders, in published channels; the smallest keeps a channel in every layer."""

MAX_DISPLACEMENT = 32
"""Eight times the published search radius; a damaged file may ask for billions."""


@dataclass(frozen=True)
class GLUNetConfig:
    """Architecture and pre-processing of one GLU-Net.

    Attributes:
        model: name of the family member, as the checkpoint registry and the user write it.
        decoder: densely connected decoders (GLU-Net) or residual ones (GLU-Net-star, WarpC-GLU-Net).
        upsampling: learned transposed convolutions or bilinear up-sampling of the flow between levels.
        semantic: hyper-column features and neighbourhood consensus (Semantic-GLU-Net).
        pyramid_channels: feature channels at full resolution and 1/2, at 1/4, at 1/8 and at 1/16.
        decoder_width: factor on the channels of decoders 3, 2, 1 and the refinement blocks.
        mapping_decoder_width: factor on the channels of the 16 x 16 decoder.
        max_displacement: radius of the local correlation in cells.
        div: every flow inside the network is in pixels / div.
        unit_local_features: local correlations are cosines instead of inner products / channels.
        soft_argmax_init: the 16 x 16 decoder refines the soft-argmax of the global correlation instead
            of predicting the map from nothing.
        soft_argmax_scale: inverse temperature of that soft-argmax.
        coarse_backbone: what the 16 x 16 features come from: the pyramid, or frozen pretrained networks.
        descriptor_channels: what the transformer projects the features of a pretrained backbone to.
        transformer_channels: of the transformer's tokens, with a pretrained backbone; without, those of 1/16.
        transformer_layers: layers of self- and cross-attention on the 1/16 features of both images before
            the global correlation (LoFTR, section 3.2).
        mutual_match_features: the 16 x 16 decoder also sees the mutual best match of every cell and its
            similarity.
        local_mapping: a second 16 x 16 decoder corrects the first one's flow from a local correlation, which
            lists by displacement what the global correlation lists by absolute position.
        global_map: the 16 x 16 decoder starts from a smooth map fitted robustly to the mutual matches
            (RANSAC, then least squares) instead of the soft-argmax, and sees where matches differ from it.
            Needs ``mutual_match_features``.
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
    unit_local_features: bool = False
    soft_argmax_init: bool = False
    soft_argmax_scale: float = 30.0
    coarse_backbone: CoarseBackbone = "pyramid"
    descriptor_channels: int = 256
    transformer_channels: int = 128
    transformer_layers: int = 0
    mutual_match_features: bool = False
    local_mapping: bool = False
    global_map: bool = False
    half_decoder_width: float = 0.0
    truncate_to_uint8: bool = True
    extra_layers_from_width: bool = False

    def __post_init__(self) -> None:
        if self.decoder not in ("dense", "residual"):
            raise ValueError(f"decoder must be 'dense' or 'residual', not {self.decoder!r}")
        if self.upsampling not in ("transposed", "bilinear"):
            raise ValueError(f"upsampling must be 'transposed' or 'bilinear', not {self.upsampling!r}")
        if self.coarse_backbone not in get_args(CoarseBackbone):
            raise ValueError(
                f"coarse_backbone must be one of {', '.join(get_args(CoarseBackbone))}, "
                f"not {self.coarse_backbone!r}"
            )
        for name in ("descriptor_channels", "transformer_channels"):
            if not 4 <= getattr(self, name) <= MAX_CHANNELS or getattr(self, name) % 4:
                raise ValueError(
                    f"{name} must be a multiple of 4 up to {MAX_CHANNELS}, not {getattr(self, name)}"
                )
        if self.pretrained and (self.semantic or not self.transformer_layers):
            raise ValueError("a pretrained coarse_backbone needs transformer_layers, and excludes semantic")
        if len(self.pyramid_channels) != 4 or not all(1 <= n <= MAX_CHANNELS for n in self.pyramid_channels):
            raise ValueError(
                f"pyramid_channels must be four numbers from 1 to {MAX_CHANNELS}, not {self.pyramid_channels}"
            )
        if not 1 <= self.max_displacement <= MAX_DISPLACEMENT:
            raise ValueError(f"max_displacement must be 1 to {MAX_DISPLACEMENT}, not {self.max_displacement}")
        for name in ("decoder_width", "mapping_decoder_width"):
            if not MIN_WIDTH <= getattr(self, name) <= MAX_WIDTH:
                raise ValueError(f"{name} must be {MIN_WIDTH} to {MAX_WIDTH}, not {getattr(self, name)}")
        for name in ("div", "soft_argmax_scale"):
            if not 1e-3 <= getattr(self, name) <= 1e3:
                raise ValueError(f"{name} must be 0.001 to 1000, not {getattr(self, name)}")
        if not 0 <= self.transformer_layers <= MAX_TRANSFORMER_LAYERS:
            raise ValueError(
                f"transformer_layers must be 0 to {MAX_TRANSFORMER_LAYERS}, not {self.transformer_layers}"
            )
        if not 0 <= self.half_decoder_width <= MAX_WIDTH or 0 < self.half_decoder_width < MIN_WIDTH:
            raise ValueError(
                f"half_decoder_width must be 0, or {MIN_WIDTH} to {MAX_WIDTH}, not {self.half_decoder_width}"
            )
        if self.transformer_layers and self.pyramid_channels[3] % 4:
            raise ValueError("transformer_layers need 1/16 channels that are a multiple of 4")
        if self.global_map and not (self.mutual_match_features and self.soft_argmax_init):
            raise ValueError("global_map needs mutual_match_features and soft_argmax_init")
        if self.transformer_layers and self.semantic:
            raise ValueError("transformer_layers and semantic hyper-columns exclude each other")

    @property
    def pretrained(self) -> bool:
        """Whether the coarse features are those of frozen pretrained networks."""
        return self.coarse_backbone != "pyramid"

    @property
    def published(self) -> bool:
        """Whether this is a network of the GLU-Net authors, not one of this project."""
        return self.model in CONFIGS and self.model != "compact"

    @property
    def stride(self) -> int:
        """Working pixels from cell to cell of the flow that the network answers with."""
        return 2 if self.half_decoder_width else 4

    @property
    def correlation_channels(self) -> int:
        """Channels of a local correlation: one for every displacement of the search window."""
        return (2 * self.max_displacement + 1) ** 2

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
        given = dict(values)
        if "pyramid_channels" in given:
            given["pyramid_channels"] = tuple(int(n) for n in given["pyramid_channels"])
        return cls(**given)


_STAR = {"decoder": "residual", "truncate_to_uint8": False}

CONFIGS: dict[str, GLUNetConfig] = {
    "glunet": GLUNetConfig(),
    "glunet-interp": GLUNetConfig(model="glunet-interp", upsampling="bilinear"),
    "semantic-glunet": GLUNetConfig(model="semantic-glunet", semantic=True),
    "glunet-star": GLUNetConfig(model="glunet-star", **_STAR),  # type: ignore[arg-type]
    "glunet-star-interp": GLUNetConfig(model="glunet-star-interp", upsampling="bilinear", **_STAR),  # type: ignore[arg-type]
    "warpc-glunet": GLUNetConfig(model="warpc-glunet", **_STAR),  # type: ignore[arg-type]
    "warpc-glunet-interp": GLUNetConfig(model="warpc-glunet-interp", upsampling="bilinear", **_STAR),  # type: ignore[arg-type]
    "compact": GLUNetConfig(
        model="compact",
        decoder="residual",
        upsampling="bilinear",
        pyramid_channels=(16, 32, 64, 128),
        decoder_width=0.5,
        div=8.0,
        unit_local_features=True,
        soft_argmax_init=True,
        soft_argmax_scale=20.0,
        coarse_backbone="efficientnet-lite0+xfeat",
        transformer_layers=4,
        mutual_match_features=True,
        local_mapping=True,
        global_map=True,
        half_decoder_width=0.25,
        truncate_to_uint8=False,
    ),
}
"""Every family member by name; the published ones first, then this project's own."""
