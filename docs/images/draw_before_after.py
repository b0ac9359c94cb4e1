"""Draw the first picture of the README: two images in turn, before and after they are aligned.

    python docs/images/draw_before_after.py build/pictures docs/images/before-after.webp
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from glualign.images import read_image
from glualign.viz.canvas import Drawing, Picture
from glualign.viz.styles import filled

ROOT = Path(__file__).resolve().parent.parent.parent
WIDTH, GAP, MILLISECONDS = 440, 12, 900


def main(folder: Path, output: Path) -> None:
    """Write an animation of two frames from what ``make_pictures.sh`` left in ``folder``."""
    source, target = (read_image(ROOT / "examples" / f"graf{n}.png").pixels for n in (1, 3))
    warped = read_image(folder / "graf1_warped.png").pixels
    trusted = read_image(folder / "graf1.mask.png").pixels > 0
    frames = [
        _frame(small(target), small(filled(target, target, trusted))),
        _frame(small(source), small(filled(warped, target, trusted))),
    ]
    first, second = (Image.fromarray(frame) for frame in frames)
    first.save(output, save_all=True, append_images=[second], duration=MILLISECONDS, loop=0, quality=70)


def small(picture: Picture) -> Picture:
    """At the width of one panel."""
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    return np.asarray(cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def _frame(before: Picture, after: Picture) -> Picture:
    drawings = Drawing(before, ("Two photographs in turn",)), Drawing(after, ("In turn, aligned",))
    panels = [drawing.explained() for drawing in drawings]
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]], axis=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
