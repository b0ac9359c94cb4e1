"""Flicker files: two frames shown in turn for ever, as GIF, WebP or animated PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from glualign.errors import ImageError
from glualign.files import atomic_path
from glualign.viz.canvas import Picture

ANIMATION_EXTENSIONS = (".gif", ".webp", ".png")
_LARGEST_WEBP = 16383  # pixels a side, by the format


def write_animation(path: str | os.PathLike[str], frames: Sequence[Picture], interval: int = 700) -> None:
    """Write frames of one size as an endless animation; the extension chooses the format.

    GIF has 256 colours, shared by all frames so that flat areas do not shimmer; WebP and PNG keep them all.

    Args:
        path: a ``.gif``, ``.webp`` or ``.png`` file.
        frames: ``(H, W, 3)`` uint8 pictures.
        interval: milliseconds that each frame stays.

    Raises:
        ImageError: another extension, or a picture too large for the format.
        OutputError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in ANIMATION_EXTENSIONS:
        raise ImageError(
            f"{path}: an animation is written as {', '.join(ANIMATION_EXTENSIONS)}; choose one of these"
        )
    height, width = frames[0].shape[:2]
    if suffix == ".webp" and max(height, width) > _LARGEST_WEBP:
        raise ImageError(
            f"{path}: {width} x {height} pixels do not fit into WebP; make it smaller or use .png"
        )
    pictures = [PillowImage.fromarray(frame) for frame in frames]
    if suffix == ".gif":
        pictures = _with_one_palette(pictures)
    options = {
        ".gif": {"optimize": False, "disposal": 1},
        ".webp": {"quality": 90, "method": 4},
        ".png": {},
    }[suffix]
    with atomic_path(path) as temporary:
        pictures[0].save(
            temporary,
            format={".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[suffix],
            save_all=True,
            append_images=pictures[1:],
            duration=interval,
            loop=0,
            **options,
        )


def _with_one_palette(pictures: list[PillowImage.Image]) -> list[PillowImage.Image]:
    stacked = PillowImage.fromarray(np.concatenate([np.asarray(p) for p in pictures], axis=0))
    stacked.thumbnail((1024, 1024))  # plenty to choose 256 colours from
    palette = stacked.quantize(256, method=PillowImage.Quantize.MEDIANCUT)
    return [p.quantize(palette=palette, dither=PillowImage.Dither.FLOYDSTEINBERG) for p in pictures]
