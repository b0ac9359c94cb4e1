import copy
from dataclasses import replace

import pytest
import torch

from glualign.errors import TrainingError
from glualign.network.features import VGGPyramid
from glualign.network.glunet import GLUNet
from glualign.training.weights import (
    add_batch_norms,
    fold_batch_norms,
    initialise,
    move_average,
    start_from,
)
from tests.networks import tiny_config

SMALL = tiny_config()


def test_additions_to_the_network_change_nothing_at_first() -> None:
    torch.manual_seed(0)
    old, new = GLUNet(SMALL), GLUNet(replace(SMALL, mutual_match_features=True, local_mapping=True))
    initialise(old)
    undetermined = start_from(new, old.state_dict())
    assert undetermined
    assert all(name.startswith("decoder4_local.") for name in undetermined)
    source, target = torch.randn(2, 1, 3, 256, 256)
    with torch.no_grad():
        before = old.eval()(source, target, source, target)
        after = new.eval()(source, target, source, target)
    for a, b in zip(before[:4], after[:4], strict=True):
        torch.testing.assert_close(a, b)


def test_a_fitted_map_starts_from_the_weights_of_a_network_without_one() -> None:
    """The decoder starts from another map, so flows differ; what it knows of its old inputs is kept."""
    torch.manual_seed(0)
    old = GLUNet(replace(SMALL, mutual_match_features=True))
    initialise(old)
    new = GLUNet(replace(SMALL, mutual_match_features=True, global_map=True))
    assert start_from(new, old.state_dict()) == []
    grown, before = new.decoder4.conv_0[0].weight, old.decoder4.conv_0[0].weight
    assert grown.shape[1] == before.shape[1] + 4
    torch.testing.assert_close(grown[:, :-4], before)
    assert grown[:, -4:].abs().max() == 0
    with torch.no_grad():
        out = new.eval()(*torch.randn(4, 1, 3, 256, 256))
    assert all(flow.isfinite().all() for flow in out[:4])


def test_a_fitted_map_needs_matches() -> None:
    with pytest.raises(ValueError, match="global_map needs mutual_match_features"):
        replace(SMALL, global_map=True)


def test_weights_of_another_network_are_refused() -> None:
    network = GLUNet(SMALL)
    with pytest.raises(TrainingError, match="recipe's model needs"):
        start_from(network, GLUNet(replace(SMALL, decoder_width=0.25)).state_dict())
    with pytest.raises(TrainingError, match="has not"):
        start_from(network, GLUNet(replace(SMALL, local_mapping=True)).state_dict())


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


def test_batch_norm_folds_into_the_convolutions() -> None:
    torch.manual_seed(0)
    normalised = VGGPyramid((4, 8, 8, 16))
    names = set(normalised.state_dict())
    add_batch_norms(normalised)
    for _ in range(5):
        normalised.level_4(normalised(torch.randn(2, 3, 64, 64) * 2 + 1)[2])
    for module in normalised.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    plain = copy.deepcopy(normalised.eval())
    fold_batch_norms(plain)
    assert set(plain.state_dict()) == names
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        levels, folded_levels = normalised(image), plain(image)
        levels = (*levels, normalised.level_4(levels[2]))
        folded_levels = (*folded_levels, plain.level_4(folded_levels[2]))
    for expected, folded in zip(levels, folded_levels, strict=True):
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(folded, expected, rtol=1e-4, atol=1e-4)
