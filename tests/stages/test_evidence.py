"""Edges as evidence: high for the same picture in any modality, near zero for another or a shifted one."""

import cv2
import numpy as np
import pytest
from stage_pairs import UntrainedMatcher, example, runner_for

from glualign.stages.evidence import Judge


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
def test_the_same_picture_agrees_whatever_its_colours(wall, change):
    runner = runner_for(change(wall), wall)
    assert Judge(runner).look(runner.squeeze).total > 0.7


def test_another_picture_does_not(wall):
    other = example("leuvenA.jpg", 384)
    runner = runner_for(other, wall)
    assert abs(Judge(runner).look(runner.squeeze).total) < 0.12


def test_a_shift_is_seen_and_its_flow_undoes_it(wall):
    shifted = np.roll(wall, 24, axis=1)
    runner = runner_for(shifted, wall)
    judge = Judge(runner)
    cells = (runner.working[0] // 4, runner.working[1] // 4, 2)
    flow = np.zeros(cells, np.float32)
    flow[..., 0] = 24 * runner.working[1] / wall.shape[1]
    assert judge.look(runner.squeeze).total < 0.25
    assert judge.look(runner.squeeze, flow).total > 0.6


def test_what_the_view_does_not_show_is_not_judged(wall):
    runner = runner_for(wall, wall)
    away = runner.squeeze.copy()
    away[0, 2] += 10 * wall.shape[1]
    evidence = Judge(runner).look(away)
    assert not evidence.covered.any()
    assert evidence.total == 0.0


def test_the_network_has_no_part_in_it(wall):
    runner = runner_for(wall, wall)
    encoded = UntrainedMatcher.encoded
    Judge(runner).look(runner.squeeze)
    assert UntrainedMatcher.encoded == encoded
