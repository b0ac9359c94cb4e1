"""The family: configurations, sizes, the compact model's recorded flow, folding, batches, gradients."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from glualign.network import CONFIGS, GLUNet, GLUNetConfig
from glualign.network.decoders import fold_batch_norms
from glualign.network.features import ThinPyramid
from glualign.network.warping import prepare
from tests.golden.golden_cases import FOLDER, network_outputs

PARAMETERS = {
    "glunet": 13_590_488,
    "glunet-interp": 13_590_356,
    "semantic-glunet": 13_600_229,
    "glunet-star": 10_656_850,
    "warpc-glunet": 10_656_850,
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_the_published_number_of_parameters(name, count):
    with torch.device("meta"):
        model = GLUNet(CONFIGS[name])
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_survives_json(name):
    config = CONFIGS[name]
    assert config.model == name
    assert GLUNetConfig.from_dict(config.to_dict()) == config


def test_a_configuration_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown configuration keys: colour"):
        GLUNetConfig.from_dict({"colour": "blue"})
    with pytest.raises(ValueError, match="decoder"):
        GLUNetConfig(decoder="sparse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pretrained must be of type bool, not 'no'"):
        GLUNetConfig.from_dict({"pretrained": "no"})


@pytest.mark.parametrize("pair", ["small", "wide"])
def test_the_shipped_model_gives_its_recorded_flow(pair, compact):
    with np.load(FOLDER / "compact.npz") as archive:
        source, target, recorded = (archive[f"{pair}.{what}"] for what in ("source", "target", "flow"))
    flow = network_outputs(compact, source, target)["flow"][:, ::4, ::4]
    assert np.abs(flow - recorded).max() < 2e-3


def test_folded_batch_norms_change_nothing(compact):
    with np.load(FOLDER / "compact.npz") as archive:
        source, target = archive["small.source"], archive["small.target"]
    folded = fold_batch_norms(compact)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    plain, quick = (network_outputs(model, source, target)["flow"] for model in (compact, folded))
    # Rounding differs, and where a match sits on the frame's edge the warp amplifies it.
    assert np.abs(plain - quick).max() < 0.2
    assert np.abs(plain - quick).mean() < 1e-3


def test_a_batch_gives_what_its_pairs_give(compact):
    generator = np.random.default_rng(3)
    images = [generator.integers(0, 256, (256, 256, 3)).astype(np.uint8) for _ in range(3)]
    first, second, third = (prepare(image, (256, 256), truncate=False) for image in images)
    sources, targets = torch.cat([first, second]), torch.cat([third, first])
    with torch.inference_mode():
        together = compact(sources, targets, sources, targets)[-1]
        alone = [compact(s, t, s, t)[-1] for s, t in zip(sources[:, None], targets[:, None], strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-3, rtol=0)


def test_gradients_reach_every_parameter():
    config = GLUNetConfig(
        model="tiny",
        decoder="residual",
        pyramid_channels=(4, 4, 8, 8),
        decoder_width=0.125,
        half_decoder_width=0.125,
    )
    model = GLUNet(config)
    images = torch.randn(2, 3, 256, 256)
    output = model(images, images.flip(3), images, images.flip(3))
    sum(flow.abs().mean() for flow in output).backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing


def test_the_thin_pyramid_sees_as_far_to_either_side_of_a_cell():
    """Mirrored images have mirrored features, when every kernel is: cells are where the grid says."""
    pyramid = ThinPyramid((4, 4, 8, 8))
    mirrored = copy.deepcopy(pyramid)
    for module in mirrored.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.flip(3)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for level, (one, other) in enumerate(zip(pyramid(image), mirrored(image.flip(3)), strict=True), 1):
            assert one.shape[2:] == (64 >> level, 64 >> level)
            torch.testing.assert_close(other.flip(3), one, atol=1e-5, rtol=1e-4)


def test_compact_does_less_at_a_quarter_and_at_a_half_than_the_published_networks():
    names = GLUNet(CONFIGS["compact"]).state_dict()
    assert names["decoder1.conv_0.0.weight"].shape[1] == 5 * 5 + 4
    assert names["decoder2.conv_0.0.weight"].shape[1] == 9 * 9 + 2
    assert not any(name.startswith("l_dc_conv") for name in names)
    assert names["decoder0.conv_1.0.weight"].shape == (32, 1, 5, 5)
    assert names["decoder0.conv_1.1.weight"].shape == (32, 32, 1, 1)
