import pytest
import torch
from torch import nn

from glualign.network.config import GLUNetConfig
from glualign.network.features import FeatureTransformer, positional_encoding


def features(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return nn.functional.normalize(torch.rand(2, 16, 16, 16, generator=generator), dim=1)


def trained(layers: int = 2) -> FeatureTransformer:
    """A transformer whose zero-initialised projections are not zero."""
    torch.manual_seed(0)
    transformer = FeatureTransformer(16, 16, 16, layers)
    nn.init.normal_(transformer.update.weight, std=0.2)
    for layer in transformer.layers:
        for projection in (layer.self_attention.out, layer.cross_attention.out, layer.project):
            nn.init.normal_(projection.weight, std=0.2)
    return transformer


def test_the_two_images_play_the_same_part():
    transformer = trained()
    source, target = transformer(features(1), features(2))
    other_target, other_source = transformer(features(2), features(1))
    torch.testing.assert_close(source, other_source)
    torch.testing.assert_close(target, other_target)


def test_each_image_sees_the_other_one_and_no_other_pair():
    transformer = trained(layers=1)
    changed = features(2)
    changed[0, :, 3, 5] = changed[0, :, 9, 9].flip(0)
    before, after = transformer(features(1), features(2)), transformer(features(1), changed)
    assert (before[0][0] - after[0][0]).abs().amax() > 1e-3
    torch.testing.assert_close(before[0][1], after[0][1])
    torch.testing.assert_close(before[1][1], after[1][1])


def test_places_are_told_apart():
    code = positional_encoding(32, 16, 16)
    assert code.shape == (256, 32)
    distances = torch.cdist(code, code) + torch.eye(256) * 100
    assert distances.min() > 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transformer_layers": -1}, "must be 1 to 32"),
        ({"transformer_layers": 10**9}, "must be 1 to 32"),
        ({"transformer_channels": 18}, "multiple of 4"),
        ({"pretrained": True, "semantic": True}, "exclude each other"),
    ],
)
def test_a_transformer_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        GLUNetConfig.from_dict(values)
