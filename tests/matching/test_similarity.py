"""Edge similarity: high for the same picture in any modality, near zero for another or a shifted one."""

import cv2
import numpy as np
import pytest

from glualign.matching.similarity import EdgeSimilarity
from tests.matching.known_pairs import example, pair_without_network


@pytest.fixture(scope="module")
def wall():
    return example("graf1.png", 384)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: 255 - image,
        lambda image: (255 * (image / 255.0) ** 2).astype(np.uint8),
        lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    ],
    ids=["same", "inverted", "darker", "grey"],
)
def test_the_same_picture_is_similar_whatever_its_colours(wall, change):
    pair = pair_without_network(change(wall), wall)
    assert EdgeSimilarity(pair).compare(pair.to_source).total > 0.7


def test_another_picture_is_not(wall):
    pair = pair_without_network(example("leuvenA.jpg", 384), wall)
    assert abs(EdgeSimilarity(pair).compare(pair.to_source).total) < 0.12


def test_a_shift_lowers_it_and_the_flow_of_the_shift_restores_it(wall):
    pair = pair_without_network(np.roll(wall, 24, axis=1), wall)
    edges = EdgeSimilarity(pair)
    flow = np.zeros((pair.working[0] // 4, pair.working[1] // 4, 2), np.float32)
    flow[..., 0] = 24 * pair.working[1] / wall.shape[1]
    assert edges.compare(pair.to_source).total < 0.25
    assert edges.compare(pair.to_source, flow).total > 0.6


def test_what_the_transform_does_not_show_is_not_compared(wall):
    pair = pair_without_network(wall, wall)
    away = pair.to_source.copy()
    away[0, 2] += 10 * wall.shape[1]
    compared = EdgeSimilarity(pair).compare(away)
    assert not compared.covered.any()
    assert compared.total == 0.0


def test_the_local_value_tells_a_moved_half_from_the_other(wall):
    source = wall.copy()
    source[:, 192:] = np.roll(wall, 24, axis=0)[:, 192:]
    pair = pair_without_network(source, wall)
    local = EdgeSimilarity(pair).compare(pair.to_source).local(41)
    assert np.median(local[:, 40:150]) > 0.9
    assert np.median(local[:, 240:340]) < 0.3
