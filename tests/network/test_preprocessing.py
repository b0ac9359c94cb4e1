"""Working sizes, the area resize and its truncation to whole grey levels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glualign.network.warping import MEAN, STD, normalise, prepare, working_size


@pytest.mark.parametrize(
    ("size", "working"),
    [
        ((240, 240), (256, 256)),
        ((256, 263), (256, 256)),
        ((264, 255), (264, 256)),
        ((1001, 750), (1000, 744)),
    ],
)
def test_working_size(size, working):
    assert working_size(*size) == working


@pytest.mark.parametrize(
    ("size", "to"), [((301, 470), (296, 464)), ((400, 520), (256, 256)), ((240, 250), (256, 256))]
)
def test_truncation_is_exact_integer_arithmetic(size, to):
    image = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)

    def window(i, before, after):
        return slice(i * before // after, -(-(i + 1) * before // after))

    expected = np.array(
        [
            [
                (block := image[window(y, size[0], to[0]), window(x, size[1], to[1])]).sum(dtype=np.int64)
                // block.size
                for x in range(to[1])
            ]
            for y in range(to[0])
        ]
    )

    def levels(*, truncate: bool) -> np.ndarray:
        """The grey levels that the first channel of the normalised image stands for."""
        return (
            (prepare(np.dstack([image] * 3), to, truncate=truncate)[0, 0] * STD[0] + MEAN[0]) * 255
        ).numpy()

    np.testing.assert_allclose(levels(truncate=True), expected, atol=1e-3)
    plain = levels(truncate=False)
    assert (plain >= expected - 1e-3).all()
    assert (plain < expected + 1 + 1e-3).all()


@pytest.mark.parametrize("size", [(301, 470), (240, 250)])
def test_means_are_those_of_adaptive_pooling(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = normalise(F.interpolate(planes, size=(256, 256), mode="area"))
    torch.testing.assert_close(prepare(image, (256, 256), truncate=False), expected, atol=1e-6, rtol=1e-6)


def test_what_the_network_sees_is_normalised_by_the_imagenet_statistics():
    image = np.full((1, 1, 3), 255, np.uint8)
    expected = (torch.ones(3) - torch.tensor(MEAN)) / torch.tensor(STD)
    for truncate in (False, True):
        torch.testing.assert_close(prepare(image, (1, 1), truncate=truncate).flatten(), expected)
