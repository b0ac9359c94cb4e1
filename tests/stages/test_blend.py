"""Which explanation of a pair is believed: a free flow or the view it was seen through."""

import numpy as np
import pytest
from stage_pairs import example, runner_for

from glualign.stages.blend import FLAT_SCENE_ADVANTAGE, weigh
from glualign.stages.evidence import Judge
from glualign.stages.passes import Pass

SHIFT = 24


@pytest.fixture(scope="module")
def shifted():
    """A wall, moved sideways: its runner and judge."""
    wall = example("graf1.png", 384)
    runner = runner_for(np.roll(wall, SHIFT, axis=1), wall)
    return runner, Judge(runner)


def found(runner, transform, shift):
    """A pass in that view whose flow is ``shift`` working pixels to the right, both directions agreed."""
    flow = np.zeros((runner.working[0] // 4, runner.working[1] // 4, 2), np.float32)
    flow[..., 0] = shift
    return Pass(transform, flow, -flow, np.zeros(flow.shape[:2], np.float32), 1.0, 4)


def test_a_view_that_explains_the_scene_ranks_above_a_flow_that_does_as_well(shifted):
    runner, judge = shifted
    working_shift = SHIFT * runner.working[1] / runner.target_size[1]
    moved = runner.squeeze.copy()
    moved[0, 2] += SHIFT
    free = weigh(found(runner, runner.squeeze, working_shift), judge, fallback=True)
    view = weigh(found(runner, moved, 0.0), judge, fallback=True)
    assert view.evidence == pytest.approx(free.evidence, abs=FLAT_SCENE_ADVANTAGE * (1 - free.evidence) / 2)
    assert free.rank == free.evidence
    assert view.rank == pytest.approx(view.evidence + FLAT_SCENE_ADVANTAGE * (1 - view.evidence))
    assert view.rank > free.rank


def test_without_fallback_a_view_is_no_explanation(shifted):
    runner, judge = shifted
    moved = runner.squeeze.copy()
    moved[0, 2] += SHIFT
    view = weigh(found(runner, moved, 0.0), judge, fallback=False)
    assert view.rank == view.evidence
