"""Which network a state dict belongs to, told from its keys and shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from glualign.errors import CheckpointError
from glualign.network.config import CONFIGS, GLUNetConfig

Shapes = Mapping[str, tuple[int, ...]]

# Parts that only networks outside the supported family have, and why they are outside.
_REFUSED = {
    ("uncertainty_decoder", "corr_uncertainty_decoder"): (
        "is a PDC-Net (it has uncertainty decoders), another network than those glualign runs"
    ),
    ("corr.corr_module.", "local_corr.", "pyramid_256."): (
        "uses GOCor, whose code is licensed for non-commercial research only (CC BY-NC-SA 4.0); "
        "glualign leaves it out"
    ),
}
_PYRAMID = tuple(f"pyramid.level_{level}.0.weight" for level in (0, 2, 3, 4))
_RESIDUAL, _DENSE = "decoder4.conv_0.0.weight", "decoder4.conv0.0.weight"
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
    reasons = [reason for parts, reason in _REFUSED.items() if any(key.startswith(parts) for key in shapes)]
    if reasons:
        raise CheckpointError(f"this checkpoint {'; it '.join(reasons)}")
    semantic = "semantic-" if any(key.startswith("NeighConsensus.") for key in shapes) else ""
    star, first = ("-star", _RESIDUAL) if _RESIDUAL in shapes else ("", _DENSE)
    name = f"{semantic}glunet{star}{'' if 'deconv4.weight' in shapes else '-interp'}"
    if name not in CONFIGS or any(key not in shapes for key in (*_PYRAMID, first)):
        keys = ", ".join(f"{key:.60}" for key in sorted(shapes)[:3])
        raise CheckpointError(f"not a GLU-Net checkpoint (its first keys are {keys or 'none'})")
    config = CONFIGS[name]
    outputs = tuple(shapes.get(key, ())[:1] for key in (*_PYRAMID, first, "decoder3.conv_0.0.weight"))
    if outputs != tuple((n,) for n in (*config.pyramid_channels, _OFFICIAL_WIDTH, _OFFICIAL_WIDTH)):
        raise CheckpointError(
            "a GLU-Net of unofficial size without its configuration; files written by "
            "`glualign weights export` carry it"
        )
    return replace(config, model=name)
