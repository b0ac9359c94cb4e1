"""The tiled local correlation against its definition, values and gradients."""

import pytest
import torch

from glualign.network.correlation import local_correlation


def by_definition(first, second, radius):
    """One inner product at a time, as the formula is written."""
    batch, _, height, width = first.shape
    window = 2 * radius + 1
    out = torch.zeros(batch, window**2, height, width, dtype=first.dtype)
    for y in range(height):
        for x in range(width):
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        channel = window * (dy + radius) + dx + radius
                        out[:, channel, y, x] = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).sum(1)
    return out


def by_shifts(first, second, radius):
    height, width = first.shape[2:]
    window = range(2 * radius + 1)
    padded = torch.nn.functional.pad(second, (radius,) * 4)
    shifted = [padded[:, :, dy : dy + height, dx : dx + width] for dy in window for dx in window]
    return torch.stack([(first * other).sum(1) for other in shifted], 1)


def random_maps(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize(("shape", "radius"), [((1, 3, 9, 11), 4), ((2, 5, 6, 4), 2), ((1, 2, 3, 3), 1)])
def test_equals_its_definition(shape, radius):
    first, second = random_maps(*shape)
    torch.testing.assert_close(local_correlation(first, second, radius), by_definition(first, second, radius))


@pytest.mark.parametrize("shape", [(2, 3, 16, 24), (1, 4, 17, 9)])
def test_gradients_equal_those_of_shifted_products(shape):
    first, second = (maps.requires_grad_() for maps in random_maps(*shape))
    weights = torch.randn(shape[0], 81, *shape[2:], dtype=torch.float64)
    ours = torch.autograd.grad(local_correlation(first, second, 4), (first, second), weights)
    plain = torch.autograd.grad(by_shifts(first, second, 4), (first, second), weights)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_memory_format_does_not_matter():
    first, second = random_maps(1, 8, 10, 10)
    expected = local_correlation(first, second, 4)
    last = [maps.contiguous(memory_format=torch.channels_last) for maps in (first, second)]
    torch.testing.assert_close(local_correlation(*last, 4), expected)
