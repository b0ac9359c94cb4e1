"""Names of the styles of pictures, without the libraries that draw them: the help of commands lists them."""

from __future__ import annotations

from typing import Literal, get_args

FlowStyle = Literal["wheel", "arrows", "grid", "magnitude", "jacobian", "error", "confidence", "mask"]
PairStyle = Literal["blend", "checkerboard", "difference", "flicker", "side-by-side"]
Style = FlowStyle | PairStyle
VideoStyle = Literal["wheel", "arrows", "side-by-side", "warped"]
FLOW_STYLES: tuple[str, ...] = get_args(FlowStyle)
PAIR_STYLES: tuple[str, ...] = get_args(PairStyle)
"""The styles that show both images."""
VIDEO_STYLES: tuple[str, ...] = get_args(VideoStyle)
