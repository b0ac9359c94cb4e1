"""Working sizes, the area resize and its truncation to whole grey levels."""

import numpy as np
import pytest
import torch

from glualign.network.warping import MEAN, STD, normalise, resize_image, working_size


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
    tensor = torch.from_numpy(image).expand(1, 3, *size)
    resized = resize_image(tensor, to, truncate=True)
    assert (resized[0, 0].numpy() == expected).all()
    plain = resize_image(tensor, to, truncate=False)[0, 0].numpy()
    assert (plain >= expected - 1e-3).all()
    assert (plain < expected + 1 + 1e-3).all()


def test_normalise_uses_the_imagenet_statistics():
    image = torch.full((1, 3, 1, 1), 255.0)
    expected = (torch.ones(3) - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(normalise(image).flatten(), expected)
