import copy
from dataclasses import replace

import pytest
import torch

from glualign.errors import TrainingError
from glualign.network.features import ThinPyramid, VGGPyramid
from glualign.network.glunet import GLUNet
from glualign.training.weights import (
    add_batch_norms,
    initialise,
    move_average,
    remove_batch_norms,
    start_from,
)
from tests.networks import tiny_config

SMALL = tiny_config()


def test_additions_to_the_network_change_nothing_at_first() -> None:
    torch.manual_seed(0)
    old, new = GLUNet(SMALL), GLUNet(replace(SMALL, half_decoder_width=0.25))
    initialise(old)
    undetermined = start_from(new, old.state_dict())
    assert undetermined
    assert all(name.startswith(("half_features.", "decoder0.")) for name in undetermined)
    source, target = torch.randn(2, 1, 3, 256, 256)
    with torch.no_grad():
        before = old.eval()(source, target, source, target)
        after = new.eval()(source, target, source, target)
    for a, b in zip(before[:4], after[:4], strict=True):
        torch.testing.assert_close(a, b)


def test_weights_of_another_network_are_refused() -> None:
    network = GLUNet(SMALL)
    with pytest.raises(TrainingError, match="recipe's model needs"):
        start_from(network, GLUNet(replace(SMALL, decoder_width=0.25)).state_dict())
    with pytest.raises(TrainingError, match="has not"):
        start_from(network, GLUNet(replace(SMALL, half_decoder_width=0.25)).state_dict())


def test_a_fresh_network_starts_near_the_flow_it_is_given() -> None:
    torch.manual_seed(0)
    network = GLUNet(SMALL)
    initialise(network)
    with torch.no_grad():
        flow4, flow3, *_ = network.eval()(*torch.randn(4, 1, 3, 256, 256))
    assert (flow3 - torch.nn.functional.interpolate(flow4, size=(32, 32), mode="bilinear")).abs().mean() < 8


def test_the_average_follows_and_lags() -> None:
    layer = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.zeros_(layer.weight)
    average = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    values = []
    for updates in range(200):
        move_average(average, layer, 0.9, updates)
        values.append(average.weight.item())
    assert values == sorted(values)
    assert 0.3 < values[0] < 0.95
    assert values[-1] == pytest.approx(1.0, abs=1e-3)
    assert layer.weight.item() == 1.0


@pytest.mark.parametrize("kind", [VGGPyramid, ThinPyramid])
def test_batch_norm_folds_into_the_convolutions(kind) -> None:
    torch.manual_seed(0)
    normalised = kind((4, 8, 8, 16))
    names = set(normalised.state_dict())
    add_batch_norms(normalised)

    def levels(pyramid, image):
        *finer, eighth = pyramid(image)
        return (*finer, eighth, pyramid.level_4(eighth)) if kind is VGGPyramid else (*finer, eighth)

    for _ in range(5):
        levels(normalised, torch.randn(2, 3, 64, 64) * 2 + 1)
    for module in normalised.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    plain = copy.deepcopy(normalised.eval())
    remove_batch_norms(plain)
    assert set(plain.state_dict()) == names
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        for expected, folded in zip(levels(normalised, image), levels(plain, image), strict=True):
            assert expected.abs().max() > 0.1
            torch.testing.assert_close(folded, expected, rtol=1e-4, atol=1e-4)
