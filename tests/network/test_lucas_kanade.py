"""The level at 1/2 of the working size and its Lucas-Kanade step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glualign.matching.predictor import FlowPredictor
from glualign.network import GLUNet
from glualign.network.lucas_kanade import lucas_kanade_steps
from glualign.network.warping import resize_bilinear
from glualign.training.weights import initialise, start_from
from tests.networks import tiny_config

TINY = tiny_config()


@pytest.fixture
def finer() -> GLUNet:
    """A network with the level, whose head is still silent."""
    torch.manual_seed(2)
    plain = GLUNet(TINY)
    initialise(plain)
    network = GLUNet(replace(TINY, half_decoder_width=0.25))
    new = start_from(network, plain.state_dict())
    assert {name.split(".")[0] for name in new} == {"half_features", "decoder0"}
    return network.eval()


def images() -> list[torch.Tensor]:
    torch.manual_seed(3)
    return [torch.randn(2, 3, height, width) for height, width in ((264, 320),) * 2 + ((256, 256),) * 2]


def test_a_new_level_answers_with_a_step_from_the_flow_of_the_one_before(finer: GLUNet) -> None:
    with torch.no_grad():
        *_, quarter, half = finer(*images())
    assert half.shape == (2, 2, 132, 160)
    step = half - resize_bilinear(quarter, (132, 160))
    # At most a cell of two pixels in x and in y.
    assert 0 < step.abs().max() <= 2 + 1e-4


def test_without_the_level_the_answer_is_that_of_a_quarter() -> None:
    with torch.no_grad():
        flows = GLUNet(TINY).eval()(*images())
    assert flows[-1].shape == (2, 2, 66, 80)


def test_gradients_reach_both_images_through_the_level(finer: GLUNet) -> None:
    torch.nn.init.normal_(finer.decoder0.predict_flow.weight, std=0.1)
    source, target, *coarse = images()
    finer.requires_grad_(False)
    source.requires_grad_()
    target.requires_grad_()
    *_, quarter, half = finer(source, target, *coarse)
    (half - resize_bilinear(quarter.detach(), (132, 160))).abs().sum().backward()
    for image in (source, target):
        assert image.grad is not None
        assert image.grad.abs().sum() > 0


def texture(shift: tuple[float, float], size: int = 64) -> torch.Tensor:
    """Smooth waves in eight channels, moved by ``shift`` cells, as unit vectors."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    waves = []
    for _ in range(8):
        fx, fy, phase = rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35), rng.uniform(0, 6)
        waves.append(np.sin(fx * (x - shift[0]) + fy * (y - shift[1]) + phase))
    return torch.nn.functional.normalize(torch.from_numpy(np.stack(waves))[None].float(), dim=1)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.5, 0.6)])
def test_a_small_motion_is_measured_to_hundredths_of_a_cell(shift: tuple[float, float]) -> None:
    """``warped(x + d) = target(x)`` for a texture that stands ``d`` further on in ``warped``."""
    for step in lucas_kanade_steps(texture(shift), texture((0, 0)))[:-1]:
        inner = step[..., 8:-8, 8:-8]
        expected = torch.tensor(shift).view(1, 2, 1, 1).expand_as(inner)
        assert torch.linalg.vector_norm(inner - expected, dim=1).mean() < 0.1 * (0.1 + np.hypot(*shift))


def test_a_plain_surface_stays_where_it_is() -> None:
    """Half of the frame has no structure: no step there, however the other half moves."""
    warped, target = texture((0.5, 0)), texture((0, 0))
    plain = torch.nn.functional.normalize(torch.ones(8), dim=0).view(1, 8, 1, 1)
    for image in (warped, target):
        image[..., 32:] = plain
    for step in lucas_kanade_steps(warped, target)[:-1]:
        assert step[..., 50:].abs().max() < 1e-4
        assert step[:, 0, 8:-8, 8:20].mean() > 0.4


def test_what_shows_another_thing_hardly_counts() -> None:
    """A tenth of the cells are covered in one image; the rest is measured in spite of them."""
    warped, target = texture((0.4, 0.1)), texture((0, 0))
    covered = torch.rand(64, 64, generator=torch.Generator().manual_seed(1)) < 0.1
    step, _, residual = lucas_kanade_steps(warped, torch.where(covered, -target, target))
    assert residual[0, 0][covered].min() > residual[0, 0][~covered].max()
    inner = step[..., 8:-8, 8:-8]
    assert (inner - torch.tensor([0.4, 0.1]).view(1, 2, 1, 1)).abs().mean() < 0.05


def test_features_tell_the_four_pixels_of_a_cell_apart() -> None:
    """A shift by one pixel, half a cell, must show, or the level could not measure it."""
    torch.manual_seed(1)
    network = GLUNet(replace(TINY, half_decoder_width=0.25)).eval()
    for parameter in network.pyramid.parameters():
        torch.nn.init.zeros_(parameter)
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8, 8] = 1
    with torch.no_grad():
        here, there = (network.working_features(shifted).half for shifted in (image, image.roll(1, dims=3)))
    assert here.shape == (1, 4, 8, 8)
    assert (here - there).abs().max() > 0.01


def test_a_predictor_answers_on_cells_of_two_pixels(finer: GLUNet) -> None:
    rng = np.random.default_rng(4)
    pictures = [rng.integers(0, 256, (256, 320, 3)).astype(np.uint8) for _ in range(3)]
    predictor = FlowPredictor(finer, device=torch.device("cpu"), dtype=torch.float32)
    encoded = predictor.encode(pictures, (256, 320))
    forward, backward = predictor.match(encoded[:2], encoded[1:])
    assert forward[0].shape == backward[1].shape == (128, 160, 2)


@pytest.mark.parametrize("width", [-1.0, 0.01, 9.0, float("nan")])
def test_a_width_that_makes_no_decoder_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="half_decoder_width must be 0, or"):
        replace(TINY, half_decoder_width=width)
