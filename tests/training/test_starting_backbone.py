"""A run that starts from nothing but the frozen networks of its coarse half."""

import importlib.util
from pathlib import Path

import torch

from glualign.network.glunet import GLUNet
from glualign.training.weights import start_from
from tests.networks import tiny_config


def test_the_projection_keeps_more_of_the_features_than_a_random_one(root: Path) -> None:
    spec = importlib.util.spec_from_file_location("convert", root / "tools" / "convert_backbones.py")
    assert spec is not None
    assert spec.loader is not None
    convert = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(convert)
    torch.manual_seed(0)
    network = GLUNet(tiny_config(pretrained=True, descriptor_channels=16)).eval()
    images = torch.nn.functional.interpolate(torch.randn(3, 3, 16, 16), (256, 256), mode="bilinear")
    weight = convert.principal_components(network, images)
    assert torch.allclose(weight @ weight.T, torch.eye(16), atol=1e-4)
    with torch.no_grad():
        features = network.backbone(images[:1]).flatten(2)[0].T
    random = torch.linalg.qr(torch.randn(features.shape[1], 16)).Q.T
    assert (features @ weight.T).square().sum() > 2 * (features @ random.T).square().sum()
    # A network that has nothing else takes them over; all else is left to training.
    other = GLUNet(network.config)
    known = {f"backbone.{key}": value for key, value in network.backbone.state_dict().items()}
    new = start_from(other, {**known, "descriptors.weight": weight[:, :, None, None].half()})
    assert torch.equal(other.backbone.state_dict()["xfeat.head.weight"], known["backbone.xfeat.head.weight"])
    assert torch.equal(other.descriptors.weight[:, :, 0, 0], weight.half().float())
    assert "pyramid.level_1.0.weight" in new
