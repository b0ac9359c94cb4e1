"""A run that starts from nothing but the frozen networks of its coarse half."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from glualign.errors import TrainingError
from glualign.network.features import PretrainedFeatures
from glualign.network.glunet import GLUNet
from glualign.training.weights import start_from_backbone
from tests.networks import tiny_config


def test_the_projection_keeps_more_of_the_features_than_a_random_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {key: value.half() for key, value in PretrainedFeatures().state_dict().items()}
    save_file(state, tmp_path / "backbones.safetensors")
    network = GLUNet(
        tiny_config(coarse_backbone="efficientnet-lite0+xfeat", transformer_layers=1, descriptor_channels=16)
    ).eval()
    images = torch.nn.functional.interpolate(torch.randn(3, 3, 16, 16), (256, 256), mode="bilinear")
    start_from_backbone(network, tmp_path / "backbones.safetensors", images)
    key = "xfeat.head.weight"
    assert torch.equal(network.backbone.state_dict()[key], state[key].float())
    weight = network.transformer.project.weight
    assert torch.allclose(weight @ weight.T, torch.eye(16), atol=1e-4)
    with torch.no_grad():
        features = network.coarse_features(images[:1]).level4.flatten(2)[0].T
    random = torch.linalg.qr(torch.randn(features.shape[1], 16)).Q.T
    assert (features @ weight.T).square().sum() > 2 * (features @ random.T).square().sum()


def test_a_model_without_such_a_half_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="coarse_backbone"):
        start_from_backbone(GLUNet(tiny_config()), tmp_path / "any", torch.zeros(1, 3, 256, 256))
