"""What lies between the edges that two images share: drawn pairs on one pattern, form and grid."""

import sys
from pathlib import Path

import numpy as np
import pytest

from glualign.matching.assess import CONTENT_AGREES, CONVINCING
from glualign.matching.estimate import fuse
from glualign.matching.finish import finish
from glualign.matching.similarity import EdgeSimilarity, content_correlation
from tests.matching.known_pairs import known_pair, pair_without_network, warp_homography

SHIFT = np.array([[1.0, 0, 6], [0, 1, -4], [0, 0, 1]])


@pytest.fixture(scope="module")
def drawn():
    """The scenes and appearances of the drawn pairs."""
    folder = Path(__file__).parent.parent.parent / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        import rendered_pairs

        yield rendered_pairs
    finally:
        sys.path.remove(str(folder))


def draw(drawn, scene, seed, height=240, width=320):
    return drawn.SCENES[scene](np.random.default_rng(seed), height, width)


def aligned(source, target, truth):
    """The quality of a pair under its true motion, which edges confirm."""
    pair = known_pair(source, target, truth)
    edges = EdgeSimilarity(pair)
    best = fuse(pair.match_transformed(pair.to_source), edges)
    found = finish(best, best.measured)
    assert found.quality.edge_similarity >= CONVINCING
    return found.quality


@pytest.mark.parametrize("scene", ["bricks", "form", "spreadsheet"])
def test_other_content_on_one_pattern_is_doubtful(drawn, scene):
    quality = aligned(draw(drawn, scene, 1), draw(drawn, scene, 2), np.eye(3))
    assert quality.content_correlation < CONTENT_AGREES
    assert quality.verdict == "doubtful"


@pytest.mark.parametrize("appearance", ["exposure", "season", "thermal", "night"])
@pytest.mark.parametrize("scene", ["bricks", "form", "leaves", "city"])
def test_the_same_content_in_another_light_is_good(drawn, scene, appearance):
    source = draw(drawn, scene, 1)
    target = warp_homography(source, SHIFT, source.shape[:2])
    changed = drawn.APPEARANCES[appearance](target, np.random.default_rng(3))
    assert aligned(source, changed, SHIFT).verdict == "good"


def test_nothing_but_the_edges_is_nothing_to_judge_by(drawn):
    """A page of a few lines with noise, and equal images: every edge is shared."""
    page = np.full((120, 160, 3), 240, np.uint8)
    page[20::24, 10:150] = 30
    noisy = np.clip(page + np.random.default_rng(0).normal(0, 4, page.shape), 0, 255).astype(np.uint8)
    for source in (page, noisy):
        pair = pair_without_network(source, page)
        edges = EdgeSimilarity(pair)
        assert content_correlation(edges.target, edges.compare(pair.to_source)) is None


def test_reversed_tones_agree_and_other_places_do_not(drawn):
    land = draw(drawn, "terrain", 1)
    for source, least, most in ((255 - land, 0.9, 1.0), (land[::-1].copy(), 0.0, CONTENT_AGREES)):
        pair = pair_without_network(source, land)
        edges = EdgeSimilarity(pair)
        found = content_correlation(edges.target, edges.compare(pair.to_source))
        assert least <= found <= most
