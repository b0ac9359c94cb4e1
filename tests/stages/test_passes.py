"""Disagreement of both directions and reduced copies, on fields with a known answer."""

import numpy as np
import pytest
from stage_pairs import runner_for

from glualign.stages.passes import agreement, disagreement, inside, reduced


def constant(u, v, size=(16, 20)):
    return np.full((*size, 2), (u, v), np.float32)


def test_flows_that_undo_each_other_agree():
    error = disagreement(constant(8, -4), constant(-8, 4), stride=4)
    reaches = error[1:, :-2]  # two cells to the right and one up
    assert (reaches == 0).all()


def test_what_leaves_the_frame_has_no_agreement():
    error = disagreement(constant(8, -4), constant(-8, 4), stride=4)
    assert np.isinf(error[0]).all()
    assert np.isinf(error[:, -2:]).all()


def test_disagreement_is_in_pixels():
    error = disagreement(constant(4, 0), constant(-1, 4), stride=4)
    np.testing.assert_allclose(error[:, :-1], 5.0)


def test_cells_that_point_at_missing_source_do_not_agree():
    exists = np.ones((64, 80), bool)
    exists[:, :40] = False
    error = disagreement(constant(0, 0), constant(0, 0), stride=4, exists=exists)
    assert np.isinf(error[:, :10]).all()
    assert (error[:, 10:] == 0).all()


def test_agreement_falls_from_one():
    assert agreement(np.zeros((3, 3), np.float32), 2.0) == 1.0
    assert agreement(np.full((3, 3), 2.0, np.float32), 2.0) == pytest.approx(np.exp(-1))
    assert agreement(np.full((3, 3), np.inf, np.float32), 2.0) == 0.0


def test_reduced_leaves_small_images_alone():
    image = np.zeros((30, 40, 3), np.uint8)
    assert reduced(image, 40) is image
    assert reduced(image, None) is image
    assert reduced(image, 20).shape == (15, 20, 3)


def test_a_position_half_a_pixel_outside_is_still_inside():
    positions = np.array([[-0.5, 0], [9.5, 4.5], [-0.6, 0], [9.6, 0], [np.nan, 0]], np.float32)
    assert inside(positions, (5, 10)).tolist() == [True, True, False, False, False]


def test_a_view_that_shrinks_the_source_does_not_alias():
    # Stripes one pixel wide: sampled every fourth pixel they would be all black or all white.
    source = np.zeros((256, 256, 3), np.uint8)
    source[:, ::2] = 255
    runner = runner_for(source, source)
    shown, exists = runner.view(np.diag([4.0, 4.0, 1.0]), (60, 60))
    assert exists.all()
    assert abs(float(shown[5:-5, 5:-5].mean()) - 127.5) < 8
