"""The global correlation, mutual matching and soft-argmax on values small enough to know the answer."""

import torch

from glualign.network.correlation import (
    global_correlation,
    mutual_matching,
    soft_argmax,
    unit_vectors,
)


def test_unit_vectors_keep_zero_and_put_epsilon_inside_the_root():
    features = torch.zeros(1, 2, 1, 2)
    features[0, :, 0, 0] = torch.tensor([3e-4, 4e-4])
    unit = unit_vectors(features)
    length = (25e-8 + 1e-6) ** 0.5
    torch.testing.assert_close(unit[0, :, 0, 0], torch.tensor([3e-4, 4e-4]) / length)
    assert (unit[0, :, 0, 1] == 0).all()


def test_channel_is_the_source_cell_in_row_major_order():
    source = torch.zeros(1, 1, 2, 3)
    source[0, 0, 1, 2] = 5.0
    target = torch.zeros(1, 1, 2, 3)
    target[0, 0, 0, 1] = 2.0
    correlation = global_correlation(source, target)
    assert correlation.shape == (1, 6, 2, 3)
    assert correlation[0, 5, 0, 1] == 10.0
    assert correlation.sum() == 10.0


def test_mutual_matching_keeps_mutual_bests_and_damps_the_rest():
    # Two source cells, two target cells: 0-0 is the best of both, 1-1 is only the best of source cell 1.
    correlation = torch.tensor([[1.0, 0.5], [0.2, 0.4]]).view(1, 2, 1, 2)
    kept = mutual_matching(correlation).view(2, 2)
    eps = 1e-5
    expected = torch.tensor(
        [
            [1.0 / ((1 + eps) * (1 + eps)), 0.5 * (0.5 / (1 + eps)) * (0.5 / (0.5 + eps))],
            [0.2 * (0.2 / (0.4 + eps)) * (0.2 / (1 + eps)), 0.4 * (0.4 / (0.4 + eps)) * (0.4 / (0.5 + eps))],
        ]
    )
    torch.testing.assert_close(kept, expected)


def test_soft_argmax_points_at_the_best_source_cell():
    cosines = torch.full((1, 12, 1, 2), -1.0)
    cosines[0, 0, 0, 0] = 1.0  # first cell: (-1, -1)
    cosines[0, 7, 0, 1] = 1.0  # row 1, column 3 of 3 x 4: x = +1, y = 0
    position = soft_argmax(cosines, (3, 4), 30.0)
    torch.testing.assert_close(position[0, :, 0], torch.tensor([[-1.0, 1.0], [-1.0, 0.0]]))
