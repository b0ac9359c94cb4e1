import dataclasses

import pytest
import torch
from torch import nn

from glualign.network.config import GLUNetConfig
from glualign.network.glunet import GLUNet
from glualign.network.transformer import FeatureTransformer, positional_encoding
from tests.networks import tiny_config

SMALL = tiny_config()


def features(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return nn.functional.normalize(torch.rand(2, 16, 16, 16, generator=generator), dim=1)


def trained(layers: int = 2) -> FeatureTransformer:
    """A transformer whose zero-initialised projections are not zero."""
    torch.manual_seed(0)
    transformer = FeatureTransformer(16, layers)
    for layer in transformer.layers:
        for projection in (layer.self_attention.out, layer.cross_attention.out, layer.project):
            nn.init.normal_(projection.weight, std=0.2)
    return transformer


def test_an_untrained_transformer_changes_nothing():
    source, target = FeatureTransformer(16, 2)(features(1), features(2))
    torch.testing.assert_close(source, features(1))
    torch.testing.assert_close(target, features(2))


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


def test_a_network_with_an_untrained_transformer_is_the_one_without():
    torch.manual_seed(3)
    plain = GLUNet(SMALL).eval()
    with_transformer = GLUNet(dataclasses.replace(SMALL, transformer_layers=2)).eval()
    missing = with_transformer.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys
    assert all(name.startswith("transformer.") for name in missing.missing_keys)
    image, other = torch.randn(2, 1, 3, 256, 256)
    with torch.inference_mode():
        expected = plain(image, other, image, other)
        got = with_transformer(image, other, image, other)
    torch.testing.assert_close(got.flow4, expected.flow4, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transformer_layers": -1}, "must be 0 to 32"),
        ({"transformer_layers": 10**9}, "must be 0 to 32"),
        ({"transformer_layers": 1, "pyramid_channels": [4, 8, 8, 18]}, "multiple of 4"),
        ({"transformer_layers": 1, "semantic": True}, "exclude each other"),
    ],
)
def test_a_transformer_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        GLUNetConfig.from_dict(values)
