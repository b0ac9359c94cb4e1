"""Which network a state dict belongs to, told from its keys and shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from glualign.errors import CheckpointError
from glualign.network.config import CONFIGS, GLUNetConfig

Shapes = Mapping[str, tuple[int, ...]]

GOCOR_REASON = (
    "uses GOCor, whose code is licensed for non-commercial research only (CC BY-NC-SA 4.0); "
    "glualign leaves it out"
)
PDCNET_REASON = "is a PDC-Net (it has uncertainty decoders), another network than those glualign runs"

# Parts that only networks outside the supported family have.
_PDCNET_PARTS = ("uncertainty_decoder", "corr_uncertainty_decoder")
_GOCOR_PARTS = ("corr.corr_module.", "local_corr.", "pyramid_256.")

_PYRAMID = tuple(f"pyramid.level_{level}.0.weight" for level in (0, 2, 3, 4))
# Of the mapping decoder; the flow decoders spell it with an underscore in both.
_FIRST_LAYER = {"dense": "conv0.0.weight", "residual": "conv_0.0.weight"}
_OFFICIAL_WIDTH = 128  # output channels of every decoder's first layer


def detect_config(shapes: Shapes) -> GLUNetConfig:
    """The configuration of an official checkpoint.

    GLU-Net and DenseMatching files of the same model cannot be told apart; they get the GLU-Net repository's
    pre-processing. GLU-Net-star and WarpC-GLU-Net are alike too; both are called ``glunet-star``.

    Args:
        shapes: the shape of every tensor of the state dict, by key and without a ``module.`` prefix.

    Raises:
        CheckpointError: a GOCor or PDC-Net checkpoint, a network that is no GLU-Net, or one whose settings
            its shapes do not show.
    """
    reasons = [
        reason
        for parts, reason in ((_PDCNET_PARTS, PDCNET_REASON), (_GOCOR_PARTS, GOCOR_REASON))
        if any(key.startswith(parts) for key in shapes)
    ]
    if reasons:
        raise CheckpointError(f"this checkpoint {'; it '.join(reasons)}")
    name = _family_member(shapes)
    if name is None:
        first = ", ".join(f"{key:.60}" for key in sorted(shapes)[:3])
        raise CheckpointError(f"not a GLU-Net checkpoint (its first keys are {first or 'none'})")
    config = CONFIGS[name]
    first_layers = (f"decoder4.{_FIRST_LAYER[config.decoder]}", "decoder3.conv_0.0.weight")
    outputs = tuple(shapes.get(key, ())[:1] for key in (*_PYRAMID, *first_layers))
    if outputs != tuple((n,) for n in (*config.pyramid_channels, _OFFICIAL_WIDTH, _OFFICIAL_WIDTH)):
        raise CheckpointError(
            "a GLU-Net of unofficial size without its configuration; files written by "
            "`glualign weights export` carry it"
        )
    return replace(config, model=name)


def _family_member(shapes: Shapes) -> str | None:
    """The name of the family member, None for other networks."""
    semantic = "semantic-" if any(key.startswith("NeighConsensus.") for key in shapes) else ""
    suffix = "" if "deconv4.weight" in shapes else "-interp"
    residual = f"decoder4.{_FIRST_LAYER['residual']}" in shapes
    if any(key not in shapes for key in _PYRAMID) or not (
        residual or f"decoder4.{_FIRST_LAYER['dense']}" in shapes
    ):
        return None
    name = f"{semantic}glunet{'-star' if residual else ''}{suffix}"
    return name if name in CONFIGS else None
