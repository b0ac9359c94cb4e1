"""The family: configurations, sizes, the compact model's recorded flow, folding, batches, gradients."""

import numpy as np
import pytest
import torch

from glualign.network import CONFIGS, GLUNet, GLUNetConfig
from glualign.network.decoders import fold_batch_norms
from glualign.network.warping import prepare
from tests.golden.golden_cases import FOLDER, network_outputs, to_tensor

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


@pytest.mark.parametrize("pair", ["small", "wide"])
def test_the_first_compact_model_gives_its_recorded_flow(pair, first_compact):
    with np.load(FOLDER / "compact_v0.npz") as archive:
        source, target, recorded = (archive[f"{pair}.{what}"] for what in ("source", "target", "flow"))
    flow = network_outputs(first_compact, source, target)["flow"]
    if recorded.shape != flow.shape:
        flow = flow[:, ::4, ::4]
    assert np.abs(flow - recorded).max() < 2e-3


def test_folded_batch_norms_change_nothing(first_compact):
    with np.load(FOLDER / "compact_v0.npz") as archive:
        source, target = archive["small.source"], archive["small.target"]
    folded = fold_batch_norms(first_compact)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    plain, quick = (network_outputs(model, source, target)["flow"] for model in (first_compact, folded))
    # Rounding differs, and where a match sits on the frame's edge the warp amplifies it.
    assert np.abs(plain - quick).max() < 0.2
    assert np.abs(plain - quick).mean() < 1e-3


def test_a_batch_gives_what_its_pairs_give(first_compact):
    generator = np.random.default_rng(3)
    images = [generator.integers(0, 256, (256, 256, 3)).astype(np.uint8) for _ in range(3)]
    first, second, third = (prepare(to_tensor(image), (256, 256), truncate=False) for image in images)
    sources, targets = torch.cat([first, second]), torch.cat([third, first])
    with torch.inference_mode():
        together = first_compact(sources, targets, sources, targets)[3]
        alone = [
            first_compact(s, t, s, t)[3] for s, t in zip(sources[:, None], targets[:, None], strict=True)
        ]
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
