"""Names and files become networks that are ready to run."""

import pytest
import torch

import glualign
from glualign.checkpoints.fetch import fetch
from glualign.checkpoints.load import load_model


def test_the_default_model_is_ready():
    loaded = load_model("compact")
    assert loaded.name == "compact"
    assert loaded.config.model == "compact"
    assert not loaded.model.training
    assert {tensor.dtype for tensor in loaded.model.parameters()} == {torch.float32}
    assert {tensor.device.type for tensor in loaded.model.state_dict().values()} == {"cpu"}
    assert loaded.metadata["licence"] == "Apache-2.0"
    assert loaded.model.config == loaded.config


def test_the_public_name_is_this_function():
    assert glualign.load_model is load_model


def test_loading_twice_gives_two_networks():
    first, second = load_model("compact").model, load_model("compact").model
    with torch.no_grad():
        first.dc_conv7.weight.zero_()
    assert second.dc_conv7.weight.abs().max() > 0


def test_the_network_runs_and_can_be_trained():
    model = load_model("compact").model
    images = torch.rand(4, 1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    flow = model(*images)[3]
    assert flow.shape == (1, 2, 64, 64)
    assert torch.isfinite(flow).all()
    flow.mean().backward()
    assert model.decoder4.final.weight.grad is not None


def test_registered_settings_reach_the_network(drive, hurry):
    fetch("glunet-static", limits=hurry)
    loaded = load_model("glunet-static")
    assert loaded.config.truncate_to_uint8 is False
    assert loaded.model.config.truncate_to_uint8 is False
    assert '"kitti2012_aepe": 3.33' in loaded.metadata["metrics"]
    assert load_model(loaded.path).config.truncate_to_uint8 is True


@pytest.mark.parametrize("value", ["", "0"])
def test_offline_is_off(drive, hurry, monkeypatch, value):
    monkeypatch.setenv("GLUALIGN_OFFLINE", value)
    assert fetch("glunet-static", limits=hurry).path.is_file()
