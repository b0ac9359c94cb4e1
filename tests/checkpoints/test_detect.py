import json
from dataclasses import replace

import pytest
import torch

from glualign.checkpoints.load import detect_config
from glualign.errors import CheckpointError
from glualign.network import CONFIGS, GLUNet


def shapes_of_config(config):
    with torch.device("meta"):
        return {key: tuple(tensor.shape) for key, tensor in GLUNet(config).state_dict().items()}


def shapes_of(model):
    return shapes_of_config(CONFIGS[model])


@pytest.mark.parametrize(
    "model", ["glunet", "glunet-interp", "semantic-glunet", "glunet-star", "glunet-star-interp"]
)
def test_official_architectures_are_told_from_their_shapes(model):
    assert detect_config(shapes_of(model)) == CONFIGS[model]


def test_warpc_looks_like_star():
    assert detect_config(shapes_of("warpc-glunet")).model == "glunet-star"


@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("glunet", "glunet"),
        ("semantic_glunet", "semantic-glunet"),
        ("densematching_glunet", "glunet"),
        ("densematching_glunet_interp", "glunet-interp"),
        ("densematching_glunet_star", "glunet-star"),
        ("densematching_semantic_glunet", "semantic-glunet"),
    ],
)
def test_key_lists_of_the_official_networks(shared, file, model):
    keys = json.loads((shared / "golden" / f"{file}_keys.json").read_text())
    assert detect_config({key: tuple(shape) for key, shape, _ in keys}).model == model


@pytest.mark.parametrize("file", ["densematching_glunet_gocor", "densematching_glunet_gocor_star"])
def test_official_gocor_key_lists_are_refused(shared, file):
    keys = json.loads((shared / "golden" / f"{file}_keys.json").read_text())
    with pytest.raises(CheckpointError, match="non-commercial"):
        detect_config({key: tuple(shape) for key, shape, _ in keys})


@pytest.mark.parametrize(
    "key",
    [
        "corr.corr_module.filter_optimizer.filter_reg",
        "local_corr.filter_initializer.scaling",
        "pyramid_256.level_0.0.weight",
    ],
)
def test_gocor_is_refused_with_its_licence(key):
    with pytest.raises(CheckpointError, match=r"GOCor.*non-commercial"):
        detect_config({**shapes_of("glunet"), key: (1,)})


def test_pdcnet_is_refused_by_name():
    key = "uncertainty_decoder4.conv_0.0.weight"
    with pytest.raises(CheckpointError, match="PDC-Net"):
        detect_config({**shapes_of("glunet-star"), key: (32, 38, 3, 3)})


@pytest.mark.parametrize("shapes", [{}, {"features.0.weight": (64, 3, 3, 3), "classifier.0.bias": (4096,)}])
def test_other_networks_are_refused(shapes):
    with pytest.raises(CheckpointError, match="not a GLU-Net"):
        detect_config(shapes)


def test_half_a_network_is_not_recognised():
    shapes = {key: shape for key, shape in shapes_of("glunet").items() if not key.startswith("decoder4.")}
    with pytest.raises(CheckpointError, match="not a GLU-Net"):
        detect_config(shapes)


def test_unofficial_sizes_need_their_configuration():
    with pytest.raises(CheckpointError, match="without its configuration"):
        detect_config(shapes_of_config(replace(CONFIGS["glunet-star"], decoder_width=0.5)))


def test_a_backbone_of_other_networks_needs_the_configuration():
    with pytest.raises(CheckpointError, match="not a GLU-Net"):
        detect_config(shapes_of("compact"))
