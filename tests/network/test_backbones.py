"""The pretrained backbones: shapes, what they ignore, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from glualign.checkpoints.load import load_model
from glualign.network.config import CONFIGS, GLUNetConfig
from glualign.network.features import (
    PRETRAINED_CHANNELS,
    EfficientNetLite,
    PretrainedFeatures,
    XFeatBackbone,
)
from glualign.network.glunet import GLUNet


def test_efficientnet_has_the_published_shapes() -> None:
    network = EfficientNetLite().eval()
    with torch.no_grad():
        features = network(torch.zeros(1, 3, 64, 96), (4, 7, 10, 12))
    assert [tuple(each.shape[1:]) for each in features] == [(40, 8, 12), (80, 4, 6), (112, 4, 6), (192, 2, 3)]


def test_xfeat_ignores_brightness_and_contrast() -> None:
    torch.manual_seed(0)
    network = XFeatBackbone().eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        plain, brighter = network(image), network(200 * image + 30)
    assert plain.shape == (1, 64, 8, 12)
    assert torch.allclose(plain, brighter, atol=1e-3 * float(plain.abs().max()))


def test_features_are_unit_vectors_of_parts_centred_over_the_image() -> None:
    torch.manual_seed(0)
    features = PretrainedFeatures().eval()
    with torch.no_grad():
        sixteenth = features(torch.randn(1, 3, 64, 64))
    assert sixteenth.shape == (1, PRETRAINED_CHANNELS, 4, 4)
    assert torch.allclose(sixteenth.square().sum(dim=1), torch.ones(1, 4, 4), atol=1e-3)
    assert not any(p.requires_grad for p in features.parameters())


def test_descriptors_are_unit_vectors_that_the_projection_alone_makes_of_the_features() -> None:
    torch.manual_seed(0)
    network = GLUNet(CONFIGS["compact"]).eval()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features = network.backbone(image)
        descriptors = network.described(features)
        projected = torch.einsum("dc,bchw->bdhw", network.descriptors.weight[:, :, 0, 0], features)
    assert descriptors.shape == (2, 256, 4, 6)
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(2, 4, 6), atol=1e-3)
    assert torch.cosine_similarity(descriptors, projected).min() > 0.9999


def test_a_network_with_a_pretrained_backbone_runs_and_has_no_pyramid_level_of_its_own_at_a_sixteenth() -> (
    None
):
    network = GLUNet(CONFIGS["compact"]).eval()
    assert not any(key.startswith("pyramid.level_4") for key in network.state_dict())
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        flow = network(image, image, image, image)[-1]
    assert flow.shape == (1, 2, 128, 128)
    assert flow.isfinite().all()


def test_the_shipped_backbones_answer_as_the_original_networks_did() -> None:
    """Outputs of the published networks, stored by tools/convert_backbones.py, with weights of 16 bits."""
    stored = np.load(Path(__file__).parent / "backbones.npz")
    backbone = load_model("compact").model.backbone
    image = torch.from_numpy(stored["image"]).float()
    blocks = (4, 7, 9, 10, 11, 12)
    with torch.no_grad():
        ours = {
            f"efficientnet_{block}": features
            for block, features in zip(blocks, backbone.efficientnet(image, blocks), strict=True)
        }
        ours["xfeat"] = backbone.xfeat(image)
    for name, features in ours.items():
        expected = stored[name].astype(np.float32)
        assert np.abs(features.numpy() - expected).max() < 5e-3 * np.abs(expected).max(), name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"descriptor_channels": 3}, "must be 4 to 1024"),
        ({"descriptor_channels": 10**9}, "must be 4 to 1024"),
        ({"pretrained": True, "semantic": True}, "exclude each other"),
    ],
)
def test_descriptors_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        GLUNetConfig.from_dict(values)
